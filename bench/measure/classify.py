"""One forward pass a batch: what every accuracy, calibration and likelihood score is computed from.

Shapes: N samples, C channels, H × W pixels, K classes, T = min(10, K).
"""

import math
from collections.abc import Sequence

import torch

from bench.datasets import class_spaces
from bench.datasets.groups import class_groups
from bench.errors import RunError

TOP = 10
"""Largest logits that are kept a sample."""


class Classify:
    """The batch measure `classify`.

    Args:
        subsets: names of class spaces that are parts of the logits' own, joined by `+`. For each, the columns are
            also given for the logits cut to its classes, under names that begin with its own and a slash.
        groups: name of the class groups that the data are labelled with; all columns are then of these, see
            `grouped`. Empty where the data are labelled with the logits' own classes.
    """

    def __init__(self, subsets: str = "", groups: str = "") -> None:
        self._groups = class_groups.get(groups).members if groups else ()
        self._indices = {name: class_spaces.get(name).indices for name in subsets.split("+") if name}

    def rows(
        self, module: torch.nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Forward the batch and describe its logits; see `describe`.

        Raises:
            RunError: a logit is NaN or infinite: no score can come from it.
        """
        logits_NK = module(images_NCHW).float()
        bad = int((~torch.isfinite(logits_NK)).any(dim=1).sum())
        if bad:
            raise RunError(
                f"the logits of {bad} of {len(logits_NK)} images are NaN or infinite; look for NaN in the weights, and "
                "where these are sound use --precision fp32."
            )
        if self._groups:
            return describe(grouped(logits_NK, self._groups), labels_N)
        columns = describe(logits_NK, labels_N)
        for name, indices in self._indices.items():
            columns |= {f"{name}/{key}": c for key, c in _describe_cut(logits_NK, labels_N, indices).items()}
        return columns


def grouped(logits_NK: torch.Tensor, members: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of groups of classes: the log of the mean probability of each group's classes (Geirhos et al. 2019).

    Sum and maximum are other protocols: a group of many classes would be chosen more often.

    Args:
        logits_NK: float32.
        members: G groups of indices into the K classes; those in none count in the softmax alone.

    Returns:
        (N, G) float32, at most 0.
    """
    log_p_NK = logits_NK.log_softmax(dim=1)
    columns = [log_p_NK[:, list(group)].logsumexp(dim=1) - math.log(len(group)) for group in members]
    return torch.stack(columns, dim=1)


def _describe_cut(logits_NK: torch.Tensor, labels_N: torch.Tensor, indices: Sequence[int]) -> dict[str, torch.Tensor]:
    """Describe, as `describe` does, the logits of some classes; classes keep their numbers.

    Rows whose label is none of them have rank -1 and a loss and Brier score of NaN: they have no score there.
    """
    classes_S = torch.tensor(indices, device=logits_NK.device)
    within_NS = labels_N[:, None] == classes_S
    columns = describe(logits_NK[:, classes_S], within_NS.int().argmax(dim=1))
    outside_N = ~within_NS.any(dim=1)
    for name in ("prediction", "top_classes"):
        columns[name] = classes_S[columns[name]].to(torch.int32)
    columns["correct"] = columns["correct"] & ~outside_N
    columns["rank"] = columns["rank"].masked_fill(outside_N, -1)
    for name in ("loss", "brier"):
        columns[name] = columns[name].masked_fill(outside_N, torch.nan)
    return columns


def describe(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> dict[str, torch.Tensor]:
    """The columns that scores are computed from.

    Equal logits are ordered by class index, so that prediction, rank and top logits agree on every device.

    Args:
        logits_NK: float32.
        labels_N: int64 in [0, K).

    Returns:
        `prediction` (N,), `correct` (N,), `top_logits` and `top_classes` (N, T) in falling order, `log_sum_exp`
        (N,), `loss` (N,) cross-entropy in nats, `rank` (N,) of the label (0 is the largest logit), and `brier`
        (N,), the sum over classes of (p - [class is the label])², in [0, 2] (Brier 1950).
    """
    values_NK, order_NK = torch.sort(logits_NK, dim=1, descending=True, stable=True)
    label_logit_N1 = logits_NK.gather(1, labels_N[:, None])
    log_sum_exp_N = torch.logsumexp(logits_NK, dim=1)
    p_NK = torch.exp(logits_NK - log_sum_exp_N[:, None])
    p_label_N = p_NK.gather(1, labels_N[:, None])[:, 0]
    return {
        "prediction": order_NK[:, 0].to(torch.int32),
        "correct": order_NK[:, 0] == labels_N,
        "top_logits": values_NK[:, :TOP].contiguous(),
        "top_classes": order_NK[:, :TOP].to(torch.int32),
        "log_sum_exp": log_sum_exp_N,
        "loss": log_sum_exp_N - label_logit_N1[:, 0],
        "rank": (order_NK == labels_N[:, None]).int().argmax(dim=1).to(torch.int32),
        "brier": p_NK.square().sum(dim=1) - 2 * p_label_N + 1,
    }
