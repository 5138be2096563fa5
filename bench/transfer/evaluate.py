"""Showing a split once to a module: rows a sample, from as many processes as there are.

Legend: N images of one batch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bench.machine.distributed import gather_rows, together
from bench.machine.memory import in_pieces
from bench.records import Array

Shown: TypeAlias = Iterable[tuple[Tensor, Tensor]]
"""Images (n, 3, h, w) in [0, 1] and labels (n,), on the device, batch by batch; may be iterated over again."""
Rows: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Mapping[str, Tensor]]
"""From module, images and labels to columns with a row an image."""


def evaluate(module: nn.Module, rows: Rows, shown: Shown, *, at_once: int, fixed: bool) -> dict[str, Array]:
    """Show every image once to a module in eval mode; under several processes, each shows its own rows.

    Args:
        module: from images in [0, 1] to logits.
        rows: what is taken down of each image.
        shown: the images.
        at_once: how many a forward pass takes, halved where memory runs out.
        fixed: whether the user chose that number: running out of memory is then an error.

    Returns:
        Column name to an array (n, …), in the order of the whole split.
    """
    return gather_rows(together(lambda: _columns(module.eval(), rows, shown, at_once, fixed)))


@torch.inference_mode()
def _columns(module: nn.Module, rows: Rows, shown: Shown, at_once: int, fixed: bool) -> dict[str, Array]:
    def columns_of(images_NCHW: Tensor, labels_N: Tensor) -> dict[str, Array]:
        return {name: column.cpu().numpy() for name, column in rows(module, images_NCHW, labels_N).items()}

    parts: list[dict[str, Array]] = []
    for images_NCHW, labels_N in shown:
        made = in_pieces(columns_of, images_NCHW, labels_N, at_once=at_once, fixed=fixed)
        at_once = made.at_once
        parts += made.parts
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
