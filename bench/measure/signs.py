"""Signs of a false sense of security, as columns: what some images show under attacks that must succeed.

After Athalye et al. 2018 (arXiv 1802.00420) and Carlini et al. 2019 (arXiv 1902.06705). The same 50 images of a data
set are attacked afresh at every eps, with five times the steps, without bound and by a black box;
`bench.metrics.robustness` makes numbers and warnings of the columns. What was not tried is -1, or NaN.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from bench.attacks.autoattack import square
from bench.attacks.course import NOT_TRIED, WITHSTOOD, Spec
from bench.attacks.groups import Result
from bench.datasets import subset
from bench.measure import Loader
from bench.records import Array

COLUMNS = ("unsteady", "flat", "stuck", "longer", "unbounded", "fresh", "square")
"""That the functions here give of an iterative attack."""
AFRESH = 50
"""Images that are attacked afresh: the first in the order of limits, so the same ones under every limit."""
QUERIES = 500
"""Of the black box, an image; AutoAttack's has 5,000."""


def afresh_rows(ids: Array) -> Array:
    """Rows of the images that are attacked afresh, ascending."""
    return subset(ids, AFRESH)


def sign_columns(results: Sequence[Result], grid: int) -> dict[str, Array]:
    """What the engine found.

    Args:
        results: one a row.
        grid: values of eps.

    Returns:
        `unsteady` (n,) float32: by how much of their largest an image's logits change among other images, `flat` (n,)
        int8: whether the first gradient was all zero, `fresh` (n, grid) int8: whether the attack afresh at each eps
        fools, `stuck`, `longer`, `unbounded` (n,) int8, see `bench.attacks.course.Finding`.
    """
    findings = [result.finding for result in results]
    columns: dict[str, Array] = {"unsteady": np.array([result.unsteady for result in results], dtype=np.float32)}
    for name in ("flat", "stuck", "longer", "unbounded"):
        columns[name] = np.array([getattr(f, name) if f else NOT_TRIED for f in findings], dtype=np.int8)
    columns["fresh"] = np.array([f.fresh if f else [NOT_TRIED] * grid for f in findings], dtype=np.int8)
    return columns


def square_column(
    module: torch.nn.Module, loader: Loader, spec: Spec, columns: Mapping[str, Array], seed: int
) -> dict[str, Array]:
    """Whether Square fools where the attack did not: images attacked afresh that withstood the largest eps.

    Args:
        module: images in [0, 1] to logits.
        loader: of the images.
        spec: the attack.
        columns: as `sign_columns` gives them.
        seed: of the run.

    Returns:
        `square` (n,) int8.
    """
    column = np.full(len(loader.ids), NOT_TRIED, dtype=np.int8)
    rows = np.flatnonzero(columns["fresh"][:, -1] == WITHSTOOD)
    if len(rows):
        batches = list(loader.at(rows))
        images_NCHW = torch.cat([batch.images_NCHW for batch in batches])
        labels_N = torch.cat([batch.labels_N for batch in batches])
        fools_N = square(module, images_NCHW, labels_N, norm=spec.norm, eps=spec.grid[-1], queries=QUERIES, seed=seed)
        column[rows] = fools_N.cpu().numpy()
    return {"square": column}
