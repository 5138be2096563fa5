"""Multinomial logistic regression for many strengths of regularisation at once: one batched L-BFGS.

All problems share their features, so every step of all of them is two matrix products. Each problem is solved in
coordinates in which its Hessian at the start is the identity: features rotated to the axes of their covariance, each
scaled by that axis's curvature. Deep features are so correlated that this takes a tenth of the iterations.

Legend: N samples, D features, K classes, L strengths, A of them still under way, M pairs of the L-BFGS history. Rows
of weights are the D features and, last, the bias.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Largest entry of the gradient of the mean loss where a problem counts as solved. At scikit-learn's default, 1e-4, one
prediction in 300 was another than at 1e-9 on features of a ViT; here none, for half as many steps again."""
_MOST_STEPS = 5000
_HISTORY = 10
"""Pairs kept; scikit-learn's L-BFGS keeps as many."""
_ARMIJO = 1e-4  # Nocedal & Wright 2006, section 3.1
_BLOCK_BYTES = 2**26
"""Of logits at a time."""
_STATE_BYTES = 2**31
"""Of weights, gradients and histories: what is more is solved in groups, one after another."""
_SHORTEST = 1e-12
"""A step that has been cut below this share gains no more than rounding."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The weights of every problem."""

    weights_LDK: Tensor
    bias_LK: Tensor
    converged_L: Tensor
    """Whether the gradient met the tolerance; else the number of steps, or of digits, was at its end."""
    steps: int
    """Of the problem that took most."""

    def logits(self, features_ND: Tensor, problem: int) -> Tensor:
        """(N, K) of one problem."""
        return features_ND @ self.weights_LDK[problem] + self.bias_LK[problem]


def fit(features_ND: Tensor, labels_N: Tensor, classes: int, l2_L: Tensor, *, tolerance: float = TOLERANCE) -> Solution:
    """Minimise sum of cross-entropies + l2 / 2 * |weights|² for each l2; scikit-learn's C is 1 / l2.

    The bias is not regularised. Means over samples are what is compared with the tolerance, as in scikit-learn.

    Args:
        features_ND: floating, standardised; the precision of all that is computed.
        labels_N: int64 in [0, classes).
        classes: K.
        l2_L: strengths, more than 0.
        tolerance: largest absolute entry of the gradient of the objective over N.
    """
    objective = _Objective(features_ND, labels_N, classes, l2_L)
    # A problem keeps some six vectors beside its history.
    together = _STATE_BYTES // (objective.scale_PL1[:, :1].nbytes * classes * (2 * _HISTORY + 6))
    solutions = []
    for problems_L in torch.arange(len(l2_L), device=features_ND.device).split(max(1, together)):
        state = _Lbfgs(objective, problems_L, tolerance)
        for _ in range(_MOST_STEPS):
            if state.step():
                break
        solutions.append(state.solution())
    return Solution(
        weights_LDK=torch.cat([solution.weights_LDK for solution in solutions]),
        bias_LK=torch.cat([solution.bias_LK for solution in solutions]),
        converged_L=torch.cat([solution.converged_L for solution in solutions]),
        steps=max(solution.steps for solution in solutions),
    )


class _Objective:
    """Values and gradients of problems at weights in rotated coordinates.

    Scaled coordinates u stand for weights u * scale: in them the Hessian at zero weights is the identity.
    """

    def __init__(self, features_ND: Tensor, labels_N: Tensor, classes: int, l2_L: Tensor) -> None:
        n = len(features_ND)
        self.classes, self.labels_N = classes, labels_N
        curvature_D, self.axes_DD = torch.linalg.eigh(features_ND.T @ features_ND / n)
        self.rotated_ND = features_ND @ self.axes_DD
        self.penalty_L = l2_L.to(features_ND) / n
        # The Hessian of mean cross-entropy at zero weights is (1/K)(I - 11'/K) times the covariance.
        steep_DL = curvature_D.clamp(min=0)[:, None] / classes + self.penalty_L
        bias_1L = torch.full_like(steep_DL[:1], 1 / classes)
        self.scale_PL1 = torch.cat([steep_DL, bias_1L]).rsqrt()[:, :, None]

    def __call__(self, scaled_PAK: Tensor, problems_A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (A,), gradient in scaled coordinates (D + 1, A, K), largest entry of that of the weights (A,)."""
        scale_PA1 = self.scale_PL1[:, problems_A]
        weights_PAK = scaled_PAK * scale_PA1
        loss_A, gradient_PAK = self._mean_loss(weights_PAK)
        penalty_A = self.penalty_L[problems_A]
        loss_A += penalty_A / 2 * weights_PAK[:-1].square().sum(dim=(0, 2))
        gradient_PAK[:-1] += penalty_A[:, None] * weights_PAK[:-1]
        a, k = gradient_PAK.shape[1:]
        unrotated_DAK = (self.axes_DD @ gradient_PAK[:-1].reshape(-1, a * k)).view(-1, a, k)
        largest_A = torch.maximum(unrotated_DAK.abs().amax(dim=(0, 2)), gradient_PAK[-1].abs().amax(dim=1))
        return loss_A, gradient_PAK * scale_PA1, largest_A

    def _mean_loss(self, weights_PAK: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy (A,) and its gradient (D + 1, A, K), a block of rows at a time."""
        p, a, k = weights_PAK.shape
        n = len(self.rotated_ND)
        flat_PX = weights_PAK.reshape(p, a * k)
        loss_A, gradient_PX = flat_PX.new_zeros(a), torch.zeros_like(flat_PX)
        rows = max(1, _BLOCK_BYTES // (a * k * flat_PX.element_size()))
        for start in range(0, n, rows):
            block_BD, labels_B = self.rotated_ND[start : start + rows], self.labels_N[start : start + rows]
            logits_BAK = torch.addmm(flat_PX[-1], block_BD, flat_PX[:-1]).view(-1, a, k)
            index_BA1 = labels_B[:, None, None].expand(-1, a, 1)
            logits_BAK -= logits_BAK.amax(dim=2, keepdim=True)
            loss_A -= logits_BAK.gather(2, index_BA1).sum(dim=(0, 2))
            total_BA1 = logits_BAK.exp_().sum(dim=2, keepdim=True)
            loss_A += total_BA1.log().sum(dim=(0, 2))
            residual_BAK = logits_BAK.div_(total_BA1)
            residual_BAK.scatter_add_(2, index_BA1, residual_BAK.new_full((), -1.0).expand(index_BA1.shape))
            residual_BX = residual_BAK.view(-1, a * k)
            gradient_PX[:-1].addmm_(block_BD.T, residual_BX)
            gradient_PX[-1] += residual_BX.sum(dim=0)
        return loss_A / n, gradient_PX.div_(n).view(p, a, k)


@dataclass
class _Lbfgs:
    """L-BFGS (Liu & Nocedal 1989) over problems side by side, each with its own step length, history and end."""

    objective: _Objective
    problems_L: Tensor
    """Which of the objective's."""
    tolerance: float
    steps: int = 0
    history: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Changes of the weights and of the gradient (D + 1, A, K), and 1 / their product (A,), 0 where it is unfit."""

    def __post_init__(self) -> None:
        count = len(self.problems_L)
        self.found_PLK = self.objective.scale_PL1.new_zeros(
            len(self.objective.scale_PL1), count, self.objective.classes
        )
        self.converged_L = torch.zeros_like(self.problems_L, dtype=torch.bool)
        self.active_A = torch.arange(count, device=self.problems_L.device)
        self.at_PAK = self.found_PLK.clone()
        self.value_A, self.gradient_PAK, largest_A = self.objective(self.at_PAK, self.problems_L)
        self.share_A = torch.ones_like(self.value_A)
        self.direction_PAK = -self.gradient_PAK
        self._retire(largest_A, torch.zeros_like(largest_A, dtype=torch.bool))

    def step(self) -> bool:
        """Try a step in every problem; those where it lowers the value enough take it. Whether all are solved."""
        if len(self.active_A) == 0:
            return True
        self.steps += 1
        slope_A = _dot(self.gradient_PAK, self.direction_PAK)
        tried_PAK = self.at_PAK + self.share_A[:, None] * self.direction_PAK
        value_A, gradient_PAK, largest_A = self.objective(tried_PAK, self.problems_L[self.active_A])
        rounding_A = 4 * torch.finfo(value_A.dtype).eps * self.value_A.abs()
        taken_A = value_A <= self.value_A + _ARMIJO * self.share_A * slope_A + rounding_A
        self._remember(tried_PAK, gradient_PAK, taken_A)
        # Where the step is too long: to the minimum of the parabola through what is known, within [0.1, 0.5] of it.
        bend_A = 2 * (value_A - self.value_A - self.share_A * slope_A)
        shorter_A = (-slope_A * self.share_A / bend_A).clamp(0.1, 0.5).nan_to_num(0.1) * self.share_A
        take = taken_A[:, None]
        self.at_PAK = torch.where(take, tried_PAK, self.at_PAK)
        self.gradient_PAK = torch.where(take, gradient_PAK, self.gradient_PAK)
        self.value_A = torch.where(taken_A, value_A, self.value_A)
        self.share_A = torch.where(taken_A, torch.ones_like(self.share_A), shorter_A)
        stuck_A = self.share_A < _SHORTEST
        self._retire(torch.where(taken_A, largest_A, torch.inf), stuck_A, taken_A)
        return len(self.active_A) == 0

    def _remember(self, tried_PAK: Tensor, gradient_PAK: Tensor, taken_A: Tensor) -> None:
        moved_PAK, turned_PAK = tried_PAK - self.at_PAK, gradient_PAK - self.gradient_PAK
        product_A = _dot(moved_PAK, turned_PAK)
        fit_A = taken_A & (product_A > torch.finfo(product_A.dtype).eps * _dot(turned_PAK, turned_PAK))
        inverse_A = torch.where(fit_A, 1 / product_A, torch.zeros_like(product_A))
        self.history = [*self.history[-_HISTORY + 1 :], (moved_PAK, turned_PAK, inverse_A)]

    def _retire(self, largest_A: Tensor, stuck_A: Tensor, moved_A: Tensor | None = None) -> None:
        """Take the problems that are at their end out, and find the others' next direction."""
        converged_A = largest_A <= self.tolerance
        ended_A = converged_A | stuck_A
        if ended_A.any():
            self.found_PLK[:, self.active_A[ended_A]] = self.at_PAK[:, ended_A]
            self.converged_L[self.active_A[converged_A]] = True
            self._keep(~ended_A)
        if len(self.active_A):
            self.direction_PAK = self._direction()

    def _keep(self, kept_A: Tensor) -> None:
        self.active_A, self.value_A, self.share_A = (t[kept_A] for t in (self.active_A, self.value_A, self.share_A))
        self.at_PAK, self.gradient_PAK = self.at_PAK[:, kept_A], self.gradient_PAK[:, kept_A]
        self.history = [(s[:, kept_A], y[:, kept_A], r[kept_A]) for s, y, r in self.history]

    def _direction(self) -> Tensor:
        """The two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        direction_PAK, weights = -self.gradient_PAK, []
        for moved_PAK, turned_PAK, inverse_A in reversed(self.history):
            weight_A = inverse_A * _dot(moved_PAK, direction_PAK)
            direction_PAK -= weight_A[:, None] * turned_PAK
            weights.append(weight_A)
        direction_PAK *= self._length()[:, None]
        for (moved_PAK, turned_PAK, inverse_A), weight_A in zip(self.history, reversed(weights), strict=True):
            direction_PAK += (weight_A - inverse_A * _dot(turned_PAK, direction_PAK))[:, None] * moved_PAK
        return direction_PAK

    def _length(self) -> Tensor:
        """Of the first guess of the inverse Hessian: by the last fit pair of each problem."""
        length_A = torch.ones_like(self.value_A)
        for _, turned_PAK, inverse_A in self.history:
            square_A = _dot(turned_PAK, turned_PAK)
            length_A = torch.where(inverse_A > 0, 1 / (inverse_A * square_A), length_A)
        return length_A

    def solution(self) -> Solution:
        """What was found, in the coordinates of the features."""
        self.found_PLK[:, self.active_A] = self.at_PAK
        weights_PLK = self.found_PLK * self.objective.scale_PL1[:, self.problems_L]
        p, l2_count, k = weights_PLK.shape
        unrotated_DLK = (self.objective.axes_DD @ weights_PLK[:-1].reshape(p - 1, -1)).view(p - 1, l2_count, k)
        return Solution(unrotated_DLK.transpose(0, 1), weights_PLK[-1], self.converged_L, self.steps)


def _dot(first_PAK: Tensor, second_PAK: Tensor) -> Tensor:
    """(A,): the product of each problem."""
    return torch.einsum("pak,pak->a", first_PAK, second_PAK)
