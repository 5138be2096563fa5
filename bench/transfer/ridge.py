"""Ridge regression to one-hot labels in closed form: the few-shot protocol of BiT and ViT.

Legend: N samples, D features, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.transfer.features import standardisation

# google-research/big_vision, evaluators/fewshot_lsr.py, which BiT (arXiv 1912.11370) and ViT (arXiv 2010.11929) report:
L2 = 1024.0
"""Strength, chosen there on ImageNet 5-shot and used for every data set."""
BIAS = 100.0
"""The constant feature of the bias: so large that its weight is hardly regularised."""


@dataclass(frozen=True, slots=True)
class Ridge:
    """Weights of standardised features and of the bias."""

    mean_D: Tensor
    std_D: Tensor
    weights_PK: Tensor
    """(D + 1, K)."""

    def scores(self, features_ND: Tensor) -> Tensor:
        """(N, K) float64; the largest is the prediction."""
        return _with_bias((features_ND.double() - self.mean_D) / self.std_D) @ self.weights_PK


def fit(features_ND: Tensor, labels_N: Tensor, classes: int, l2: float = L2) -> Ridge:
    """Minimise |X W - Y|² + l2 |W|², X being the standardised features with the bias, Y the labels as ±1; in float64.

    Solved by its normal equations, of D + 1 unknowns, or of N where these are fewer: both have the same solution.

    Args:
        features_ND: of the samples that are learnt from, which also say mean and deviation.
        labels_N: int64 in [0, classes).
        classes: K.
        l2: strength.
    """
    features_ND = features_ND.double()
    mean_D, std_D = standardisation(features_ND)
    x_NP = _with_bias((features_ND - mean_D) / std_D)
    y_NK = 2 * F.one_hot(labels_N, classes).to(x_NP) - 1
    n, p = x_NP.shape
    fewer_samples = n < p
    weights_PK = x_NP.T @ _solve(x_NP @ x_NP.T, l2, y_NK) if fewer_samples else _solve(x_NP.T @ x_NP, l2, x_NP.T @ y_NK)
    return Ridge(mean_D, std_D, weights_PK)


def _solve(gram: Tensor, l2: float, right: Tensor) -> Tensor:
    gram.diagonal().add_(l2)
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram))


def _with_bias(x_ND: Tensor) -> Tensor:
    return F.pad(x_ND, (0, 1), value=BIAS)
