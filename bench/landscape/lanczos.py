"""Eigenvalues from products alone: Lanczos with full reorthogonalisation, and bounds on how far each is off.

Legend: P size of a vector, S steps, K eigenvalues, R vectors that are kept out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.landscape.blocks import Block
from bench.landscape.products import Job, Products

_ROUNDING = 16.0
"""How far rounding may move eigenvalues, over the asymmetry that products show: 7 × in the worst of 200 networks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ritz:
    """What a recurrence knows of the eigenvalues, in falling order; float64 on the CPU."""

    values_S: Tensor
    residuals_S: Tensor
    """Of exact products, an eigenvalue lies within this distance of the value."""
    rounding: float
    """What the precision of the products adds to that, at most."""
    weights_S: Tensor
    """The share of the start vector that lies along each, squared; their sum is 1."""
    coordinates_SS: Tensor
    """Columns: each Ritz vector in the basis."""

    @property
    def bounds_S(self) -> Tensor:
        """An eigenvalue lies within this distance of the value."""
        return self.residuals_S + self.rounding


class Krylov:
    """One Lanczos recurrence, a product a step.

    Every new direction is made orthogonal to all before it, twice: without that, fp32 shows copies of the largest
    eigenvalue. Where the directions span an invariant space, it goes on from a new vector beside it.

    Args:
        draw: makes a random vector (P,), another one each time.
        steps: the most that are taken, at most P.
        beside_RP: orthonormal vectors that all directions stay orthogonal to; the matrix is then that of the rest.
    """

    def __init__(self, draw: Callable[[], Tensor], steps: int, beside_RP: Tensor | None = None) -> None:
        start_P = draw()
        self._draw = draw
        self._beside_RP = start_P.new_empty(0, len(start_P)) if beside_RP is None else beside_RP
        self._basis_SP = start_P.new_empty(min(steps, len(start_P) - len(self._beside_RP)), len(start_P))
        self._diagonal: list[float] = []
        self._beside_diagonal: list[float] = []
        self._asymmetry = 0.0
        self._point_along(start_P)

    @property
    def steps(self) -> int:
        """Products taken in."""
        return len(self._diagonal)

    @property
    def full(self) -> bool:
        """Whether no step is left."""
        return self.steps == len(self._basis_SP)

    @property
    def direction(self) -> Tensor:
        """(P,): the vector to multiply next."""
        return self._basis_SP[self.steps]

    @property
    def basis_SP(self) -> Tensor:
        """The orthonormal directions so far."""
        return self._basis_SP[: self.steps]

    @property
    def diagonal_P(self) -> Tensor:
        """The diagonal of what the basis holds of the matrix; its sum is the matrix's trace over the basis."""
        diagonal_S, beside = (self._basis_SP.new_tensor(values) for values in (self._diagonal, self._beside_diagonal))
        found_P = diagonal_S @ self.basis_SP.square()
        return found_P + 2 * beside[:-1] @ (self.basis_SP[:-1] * self.basis_SP[1:])

    def take(self, product_P: Tensor) -> None:
        """Take in the product with `direction`."""
        done = self.steps
        rest_P, along_S = self._orthogonal(product_P, done + 1)
        # What exact products of a symmetric matrix would have: nothing, but along the last two directions.
        expected_S = torch.zeros_like(along_S)
        expected_S[done] = along_S[done]
        if done:
            expected_S[done - 1] = self._beside_diagonal[-1]
        self._asymmetry = max(self._asymmetry, float((along_S - expected_S).norm()))
        self._diagonal.append(float(along_S[done]))
        length = float(rest_P.norm())
        if length > 10 * torch.finfo(rest_P.dtype).eps * self._scale():
            self._beside_diagonal.append(length)
            if not self.full:
                self._basis_SP[self.steps] = rest_P / length
        else:  # the directions span an invariant space
            self._beside_diagonal.append(0.0)
            if not self.full:
                self._point_along(self._draw())

    def ritz(self) -> Ritz:
        """The eigenvalues of the matrix within the basis."""
        diagonal_S = torch.tensor(self._diagonal, dtype=torch.float64)
        beside = torch.tensor(self._beside_diagonal, dtype=torch.float64)
        matrix_SS = torch.diag(diagonal_S) + torch.diag(beside[:-1], 1) + torch.diag(beside[:-1], -1)
        values_S, vectors_SS = (found.flip(-1) for found in torch.linalg.eigh(matrix_SS))
        return Ritz(
            values_S=values_S,
            residuals_S=float(beside[-1]) * vectors_SS[-1].abs(),
            rounding=_ROUNDING * (self._asymmetry + torch.finfo(self._basis_SP.dtype).eps * self._scale()),
            weights_S=vectors_SS[0].square(),
            coordinates_SS=vectors_SS,
        )

    def rest(self, vector_P: Tensor) -> Tensor:
        """(P,): what of a vector is orthogonal to all directions so far."""
        return self._orthogonal(vector_P, self.steps)[0]

    def vectors(self, places: Sequence[int]) -> Tensor:
        """(K, P): Ritz vectors of length 1, of some of the values of `ritz`."""
        coordinates_KS = self.ritz().coordinates_SS[:, list(places)].T.to(self._basis_SP)
        return coordinates_KS @ self.basis_SP

    def _point_along(self, vector_P: Tensor) -> None:
        rest_P, _ = self._orthogonal(vector_P, self.steps)
        self._basis_SP[self.steps] = rest_P / rest_P.norm()

    def _orthogonal(self, vector_P: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """A vector without its parts along the first `count` directions and those beside; and these parts (count,)."""
        known_P, along = vector_P.clone(), vector_P.new_zeros(count)
        for _ in range(2):  # once leaves what rounding put in
            known_P -= (self._beside_RP @ known_P) @ self._beside_RP
            part = self._basis_SP[:count] @ known_P
            known_P -= part @ self._basis_SP[:count]
            along += part
        return known_P, along

    def _scale(self) -> float:
        """About the matrix's norm, as known so far."""
        return max(map(abs, (*self._diagonal, *self._beside_diagonal)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Eigenvalues:
    """The ends of a spectrum."""

    largest_K: Tensor
    """Falling; float64 on the CPU, as all of these."""
    largest_bounds_K: Tensor
    """An eigenvalue lies within this distance of each."""
    smallest_K: Tensor
    """Rising: the first is the most negative."""
    smallest_bounds_K: Tensor
    products: int
    """That it took."""
    krylov: Krylov
    """The recurrence that they are of."""

    def vectors(self, count: int) -> Tensor:
        """(count, P): vectors of length 1 of the largest values, in their order."""
        return self.krylov.vectors(range(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which eigenvalues are sought, and how well."""

    largest: int
    smallest: int
    tolerance: float
    """Largest residual of each, as a share of the largest absolute value."""
    most: int
    """Products, whether the bounds are met or not."""

    def met(self, ritz: Ritz) -> bool:
        """Whether all of them are known so well."""
        residuals = ritz.residuals_S.tolist()  # what rounding adds, no further step takes away
        sought = [*residuals[: self.largest], *residuals[len(residuals) - self.smallest :]]
        enough = len(residuals) >= self.largest + self.smallest
        return enough and max(sought, default=0.0) <= self.tolerance * float(ritz.values_S.abs().max())


def eigenvalues(
    products: Products, draws: Sequence[Callable[[], Tensor]], blocks: Sequence[Block | None], wanted: Wanted
) -> list[Eigenvalues]:
    """The ends of the spectra of several matrices, side by side: of all weights (None), or of blocks.

    Args:
        products: what multiplies.
        draws: for each, makes a random vector of its size, another one each time.
        blocks: which.
        wanted: of each.
    """
    courses = [Course(Krylov(draw, wanted.most), block) for draw, block in zip(draws, blocks, strict=True)]
    advance(products, courses, lambda krylov: wanted.met(krylov.ritz()))
    return [_ends(course.krylov, wanted) for course in courses]


def _ends(krylov: Krylov, wanted: Wanted) -> Eigenvalues:
    ritz = krylov.ritz()
    last = max(0, krylov.steps - wanted.smallest)
    return Eigenvalues(
        largest_K=ritz.values_S[: wanted.largest],
        largest_bounds_K=ritz.bounds_S[: wanted.largest],
        smallest_K=ritz.values_S[last:].flip(0),
        smallest_bounds_K=ritz.bounds_S[last:].flip(0),
        products=krylov.steps,
        krylov=krylov,
    )


@dataclass(frozen=True, slots=True)
class Course:
    """A recurrence on its way: of the whole matrix or of a block."""

    krylov: Krylov
    block: Block | None = None


def advance(products: Products, courses: Sequence[Course], enough: Callable[[Krylov], bool]) -> None:
    """Take steps of several recurrences side by side, until each has enough or is full.

    Args:
        products: what multiplies.
        courses: the recurrences, each with its block.
        enough: asked after each step.
    """
    going = [course for course in courses if not course.krylov.full]
    while going:
        found = products.all([Job(course.krylov.direction, course.block) for course in going])
        for course, product in zip(going, found, strict=True):
            course.krylov.take(product)
        going = [course for course in going if not (course.krylov.full or enough(course.krylov))]
