"""Multinomial logistic regression for many strengths of regularisation at once: one batched L-BFGS.

All problems share their features, so every step of all of them is two matrix products. Each problem is solved in
coordinates in which its Hessian at the start is the identity: features rotated to the axes of their covariance, each
scaled by that axis's curvature. Deep features are so correlated that this takes a tenth of the iterations.

Legend: N samples, D features, R = min(N, D) axes, K classes, L strengths, A of them still under way. Rows of weights
are the P = R + 1 axes and, last, the bias.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

TOLERANCE = 1e-4
"""Largest entry of the gradient of the mean loss where a problem counts as solved; scikit-learn's default."""
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
    together = _STATE_BYTES // (objective.scale_LP1[0].nbytes * classes * (2 * _HISTORY + 6))
    solutions = []
    for problems_L in torch.split(torch.arange(len(l2_L), device=features_ND.device), max(1, together)):
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
    """Values and gradients of problems at weights in scaled coordinates.

    These stand for weights * scale of rotated features: in them the Hessian at zero weights is the identity.
    """

    def __init__(self, features_ND: Tensor, labels_N: Tensor, classes: int, l2_L: Tensor) -> None:
        n = len(features_ND)
        self.classes, self.labels_N = classes, labels_N
        curvature_R, self.axes_DR = _axes(features_ND)
        self.rotated_NR = features_ND @ self.axes_DR
        self.penalty_L = l2_L.to(features_ND) / n
        # The Hessian of mean cross-entropy at zero weights is (1/K)(I - 11'/K) times the covariance.
        steep_LR = curvature_R.clamp(min=0) / classes + self.penalty_L[:, None]
        bias_L1 = torch.full((len(l2_L), 1), 1 / classes).to(steep_LR)
        self.scale_LP1 = torch.cat([steep_LR, bias_L1], dim=1).rsqrt()[:, :, None]

    def __call__(self, scaled_APK: Tensor, problems_A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (A,), gradient in scaled coordinates (A, P, K), largest entry of that of the weights (A,)."""
        scale_AP1, penalty_A = self.scale_LP1[problems_A], self.penalty_L[problems_A]
        weights_APK = scaled_APK * scale_AP1
        loss_A, gradient_APK = self._mean_loss(weights_APK)
        loss_A += penalty_A / 2 * weights_APK[:, :-1].square().sum(dim=(1, 2))
        gradient_APK[:, :-1] += penalty_A[:, None, None] * weights_APK[:, :-1]
        unrotated_ADK = self.axes_DR @ gradient_APK[:, :-1]
        largest_A = torch.maximum(unrotated_ADK.abs().amax(dim=(1, 2)), gradient_APK[:, -1].abs().amax(dim=1))
        return loss_A, gradient_APK * scale_AP1, largest_A

    def _mean_loss(self, weights_APK: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy (A,) and its gradient (A, P, K), a block of rows at a time."""
        a, p, k = weights_APK.shape
        n = len(self.rotated_NR)
        flat_PX = weights_APK.transpose(0, 1).reshape(p, a * k)
        loss_A, gradient_PX = flat_PX.new_zeros(a), torch.zeros_like(flat_PX)
        rows = max(1, _BLOCK_BYTES // (a * k * flat_PX.element_size()))
        for start in range(0, n, rows):
            block_BR, labels_B = self.rotated_NR[start : start + rows], self.labels_N[start : start + rows]
            logits_BAK = torch.addmm(flat_PX[-1], block_BR, flat_PX[:-1]).view(-1, a, k)
            index_BA1 = labels_B[:, None, None].expand(-1, a, 1)
            logits_BAK -= logits_BAK.amax(dim=2, keepdim=True)
            loss_A -= logits_BAK.gather(2, index_BA1).sum(dim=(0, 2))
            total_BA1 = logits_BAK.exp_().sum(dim=2, keepdim=True)
            loss_A += total_BA1.log().sum(dim=(0, 2))
            residual_BAK = logits_BAK.div_(total_BA1)
            residual_BAK.scatter_add_(2, index_BA1, residual_BAK.new_full((), -1.0).expand(index_BA1.shape))
            residual_BX = residual_BAK.view(-1, a * k)
            gradient_PX[:-1].addmm_(block_BR.T, residual_BX)
            gradient_PX[-1] += residual_BX.sum(dim=0)
        return loss_A / n, gradient_PX.div_(n).view(p, a, k).transpose(0, 1).contiguous()


def _axes(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (R,) and axes (D, R) of the features' second moments; of the smaller Gram matrix where N < D.

    All gradients, and so all solutions, lie in the span of the samples: R is at most N.
    """
    n, d = features_ND.shape
    if d <= n:
        curvature_D, axes_DD = torch.linalg.eigh(features_ND.T @ features_ND / n)
        return curvature_D, axes_DD
    curvature_N, samples_NN = torch.linalg.eigh(features_ND @ features_ND.T / n)
    kept_N = curvature_N > n * torch.finfo(curvature_N.dtype).eps * curvature_N[-1]
    curvature_R = curvature_N[kept_N]
    return curvature_R, features_ND.T @ samples_NN[:, kept_N] / (n * curvature_R).sqrt()


@dataclass
class _Lbfgs:
    """L-BFGS (Liu & Nocedal 1989) over problems side by side, each with its own step length, history and end."""

    objective: _Objective
    problems_L: Tensor
    """Which of the objective's."""
    tolerance: float
    steps: int = 0
    history: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Changes of the weights and of the gradient (A, P, K), and 1 / their product (A,), 0 where it is unfit."""

    def __post_init__(self) -> None:
        count, unknowns = len(self.problems_L), self.objective.scale_LP1.shape[1]
        self.found_LPK = self.objective.scale_LP1.new_zeros(count, unknowns, self.objective.classes)
        self.converged_L = torch.zeros_like(self.problems_L, dtype=torch.bool)
        self.active_A = torch.arange(count, device=self.problems_L.device)
        self.at_APK = self.found_LPK.clone()
        self.value_A, self.gradient_APK, largest_A = self.objective(self.at_APK, self.problems_L)
        self.share_A = torch.ones_like(self.value_A)
        self.direction_APK = -self.gradient_APK
        self._retire(largest_A)

    def step(self) -> bool:
        """Try a step in every problem; those where it lowers the value enough take it. Whether all are solved."""
        if len(self.active_A) == 0:
            return True
        self.steps += 1
        slope_A = _dot(self.gradient_APK, self.direction_APK)
        tried_APK = self.at_APK + self.share_A[:, None, None] * self.direction_APK
        value_A, gradient_APK, largest_A = self.objective(tried_APK, self.problems_L[self.active_A])
        rounding_A = 4 * torch.finfo(value_A.dtype).eps * self.value_A.abs()
        taken_A = value_A <= self.value_A + _ARMIJO * self.share_A * slope_A + rounding_A
        self._remember(tried_APK, gradient_APK, taken_A)
        # Where the step is too long: to the minimum of the parabola through what is known, within [0.1, 0.5] of it.
        bend_A = 2 * (value_A - self.value_A - self.share_A * slope_A)
        shorter_A = (-slope_A * self.share_A / bend_A).nan_to_num(0.1).clamp(0.1, 0.5) * self.share_A
        take_A11 = taken_A[:, None, None]
        self.at_APK = torch.where(take_A11, tried_APK, self.at_APK)
        self.gradient_APK = torch.where(take_A11, gradient_APK, self.gradient_APK)
        self.value_A = torch.where(taken_A, value_A, self.value_A)
        self.share_A = torch.where(taken_A, torch.ones_like(self.share_A), shorter_A)
        self._retire(torch.where(taken_A, largest_A, torch.inf))
        return len(self.active_A) == 0

    def _remember(self, tried_APK: Tensor, gradient_APK: Tensor, taken_A: Tensor) -> None:
        moved_APK, turned_APK = tried_APK - self.at_APK, gradient_APK - self.gradient_APK
        product_A = _dot(moved_APK, turned_APK)
        fit_A = taken_A & (product_A > torch.finfo(product_A.dtype).eps * _dot(turned_APK, turned_APK))
        inverse_A = torch.where(fit_A, 1 / product_A, torch.zeros_like(product_A))
        self.history = [*self.history[-_HISTORY + 1 :], (moved_APK, turned_APK, inverse_A)]

    def _retire(self, largest_A: Tensor) -> None:
        """Take the problems that are at their end out, and find the others' next direction."""
        converged_A = largest_A <= self.tolerance
        ended_A = converged_A | (self.share_A < _SHORTEST)
        if ended_A.any():
            self.found_LPK[self.active_A[ended_A]] = self.at_APK[ended_A]
            self.converged_L[self.active_A[converged_A]] = True
            self._keep(~ended_A)
        if len(self.active_A):
            self.direction_APK = self._direction()

    def _keep(self, kept_A: Tensor) -> None:
        self.active_A, self.value_A, self.share_A = (t[kept_A] for t in (self.active_A, self.value_A, self.share_A))
        self.at_APK, self.gradient_APK = self.at_APK[kept_A], self.gradient_APK[kept_A]
        self.history = [(s[kept_A], y[kept_A], r[kept_A]) for s, y, r in self.history]

    def _direction(self) -> Tensor:
        """The two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        direction_APK, weights = -self.gradient_APK, []
        for moved_APK, turned_APK, inverse_A in reversed(self.history):
            weight_A = inverse_A * _dot(moved_APK, direction_APK)
            direction_APK.addcmul_(turned_APK, weight_A[:, None, None], value=-1)
            weights.append(weight_A)
        direction_APK *= self._length()[:, None, None]
        for (moved_APK, turned_APK, inverse_A), weight_A in zip(self.history, reversed(weights), strict=True):
            left_A = weight_A - inverse_A * _dot(turned_APK, direction_APK)
            direction_APK.addcmul_(moved_APK, left_A[:, None, None])
        return direction_APK

    def _length(self) -> Tensor:
        """Scale of the first guess of the inverse Hessian, by the last fit pair of each problem."""
        length_A, known_A = torch.ones_like(self.value_A), torch.zeros_like(self.value_A, dtype=torch.bool)
        for _, turned_APK, inverse_A in reversed(self.history):
            new_A = (inverse_A > 0) & ~known_A
            if new_A.any():
                length_A = torch.where(new_A, 1 / (inverse_A * _dot(turned_APK, turned_APK)), length_A)
                known_A |= new_A
            if known_A.all():
                break
        return length_A

    def solution(self) -> Solution:
        """What was found, in the coordinates of the features."""
        self.found_LPK[self.active_A] = self.at_APK
        weights_LPK = self.found_LPK * self.objective.scale_LP1[self.problems_L]
        return Solution(self.objective.axes_DR @ weights_LPK[:, :-1], weights_LPK[:, -1], self.converged_L, self.steps)


def _dot(first_APK: Tensor, second_APK: Tensor) -> Tensor:
    """(A,): the product of each problem."""
    product_A: Tensor = torch.linalg.vecdot(first_APK.flatten(1), second_APK.flatten(1))
    return product_A
