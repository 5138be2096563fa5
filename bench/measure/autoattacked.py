"""AutoAttack as a measure: which images withstand its four attacks, in fixed blocks of ids.

Legend: n images.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.attacks.autoattack import BlockResult, autoattack
from bench.attacks.balls import ball_of
from bench.attacks.course import NOT_TRIED
from bench.attacks.epsilon import parse_eps
from bench.attacks.losses import cross_entropy
from bench.datasets import nested_order
from bench.measure import Loader, Pace, PictureLoader
from bench.measure.attacked import Attacked
from bench.measure.signs import COLUMNS, afresh_rows
from bench.records import Array

_FRACTIONS = (0.25, 0.5, 1.0)
"""Of eps, at which the signs of false security are looked for."""


class AutoAttacked:
    """The checkpoint measure `autoattack`.

    Args:
        norm: `linf` or `l2`.
        eps: such as `8/255`.
        block: images that are attacked together: they share AutoAttack's random draws. Blocks are cut in the order in
            which growing limits take the images, so that a larger limit leaves the earlier blocks as they are.

    Raises:
        BenchError: the norm is unknown, or eps not possible.
    """

    def __init__(self, norm: str, eps: str, block: int = 100) -> None:
        self.norm, self.eps, self.block = norm, parse_eps(eps, norm), block
        grid = "+".join(repr(fraction * self.eps) for fraction in _FRACTIONS)
        self._probe = Attacked("pgd", norm=norm, grid=grid)

    def run(
        self, module: torch.nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Attack every image that the model has right.

        Returns:
            `fooled_by` (n,) text: the attack, empty for images that withstood and for those that were wrong anyway.
            `queries` (n,) int32: forward passes while they were attacked. `flags` (n,) text: what AutoAttack warned of,
            on the image's block. The others are as `bench.measure.attacked.Attacked` has them.
        """
        n = len(loader.ids)
        columns = _empty(n)
        for rows in np.split(nested_order(loader.ids), range(self.block, n, self.block)):
            reported = 0

            def fooled(count: int) -> None:
                nonlocal reported
                reported += count
                pace.done(count)

            batches = list(loader.at(rows))
            images_NCHW = torch.cat([batch.images_NCHW for batch in batches])
            labels_N = torch.cat([batch.labels_N for batch in batches])
            result = autoattack(
                module,
                images_NCHW,
                labels_N,
                norm=self.norm,
                eps=self.eps,
                seed=seed,
                most=pace.batch_size if pace.fixed else None,
                fooled=fooled,
            )
            for name, values in self._columns(images_NCHW, labels_N, result).items():
                columns[name][rows] = values
            pace.done(len(rows) - reported)
        return columns | self._signs(module, loader, seed, pace)

    def _columns(self, images_NCHW: Tensor, labels_N: Tensor, result: BlockResult) -> dict[str, Array]:
        """The columns of one block."""
        change_N = ball_of(self.norm).size(result.perturbed_NCHW - images_NCHW)
        correct = np.array(result.predictions) == labels_N.cpu().numpy()
        by = np.array(result.fooled_by, dtype=object)
        return {
            "prediction": np.array(result.predictions),
            "correct": correct,
            "smallest_eps": np.where(by != "", self.eps, np.where(correct, math.inf, 0.0)),
            "adversarial_prediction": result.perturbed_logits_NK.argmax(1).cpu().numpy(),
            "clean_loss": cross_entropy(result.logits_NK, labels_N).cpu().numpy(),
            "adversarial_loss": cross_entropy(result.perturbed_logits_NK, labels_N).cpu().numpy(),
            "change": change_N.cpu().numpy(),
            "queries": np.array(result.queries),
            "fooled_by": by,
            "flags": np.array(["+".join(result.flags)] * len(by), dtype=object),
        }

    def _signs(self, module: torch.nn.Module, loader: Loader, seed: int, pace: Pace) -> dict[str, Array]:
        """Found by PGD at and below eps, on the images that are attacked afresh; the other rows are not tried."""
        rows = afresh_rows(loader.ids)
        signs = self._probe.run(module, loader.at(rows), {}, seed, replace(pace, done=lambda count: None))
        columns = {}
        for name in COLUMNS:
            values = signs[name]
            absent = math.nan if values.dtype.kind == "f" else NOT_TRIED
            columns[name] = np.full((len(loader.ids), *values.shape[1:]), absent, dtype=values.dtype)
            columns[name][rows] = values
        return columns


def _empty(n: int) -> dict[str, Array]:
    types = {
        "prediction": np.int32,
        "correct": np.bool_,
        "smallest_eps": np.float32,
        "adversarial_prediction": np.int32,
        "clean_loss": np.float32,
        "adversarial_loss": np.float32,
        "change": np.float32,
        "queries": np.int32,
        "fooled_by": np.object_,
        "flags": np.object_,
    }
    return {name: np.empty(n, dtype=dtype) for name, dtype in types.items()}
