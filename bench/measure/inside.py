"""What goes on inside a checkpoint, as measures: its neurons, the norms of its weights, its attention.

Names of layers stand in a column of text, the same in every row, one word a layer. Legend: n images, L layers, A heads
of all layers, P patches.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.landscape.attention import attention_of
from bench.landscape.neurons import joined, layers_of
from bench.landscape.norms import norms_of
from bench.machine.memory import in_pieces
from bench.measure import Loader, Pace, PictureLoader
from bench.records import Array

_T = TypeVar("_T")


class Neurons:
    """The checkpoint measure `neurons`."""

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Watch every activation while the images pass.

        Returns:
            `active` (n, L) float32: the share of an image's values above zero after each activation. The same in every
            row: `never_active` (n, L) float32, the share of the layer's units that no image activates, and
            `active_layers` text.

        Raises:
            RunError: no activation of the architecture is a module of its own.
        """
        activity = joined(_pieces(lambda images_NCHW: layers_of(module, images_NCHW), loader, pace))
        n = len(loader.ids)
        return {
            "active": activity.active_NL.numpy().astype(np.float32),
            "never_active": constant(activity.never_L.numpy().astype(np.float32), n),
            "active_layers": constant(words(activity.layers), n),
        }


class Norms:
    """The checkpoint measure `norms`."""

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Take the norms of the weights; the images play no part.

        Returns:
            The same in every row: `weight_norm` (n,) float64 of all parameters, `layer_norms` (n, L) float64, and
            `norm_layers` text.

        Raises:
            RunError: the module has no parameters.
        """
        norms, n = norms_of(module), len(loader.ids)
        return {
            "weight_norm": constant(norms.total, n),
            "layer_norms": constant(norms.by_layer, n),
            "norm_layers": constant(words(norms.layers), n),
        }


class Attended:
    """The checkpoint measure `attention`."""

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Look at the attention of each head while the images pass.

        Returns:
            `attention_entropy` (n, A) float32 nats, `attention_distance` (n, A) float32 sides of the image, `rollout`
            (n, P) float32, see `bench.landscape.attention.Attention`; and, the same in every row, `attention_heads`
            text. An architecture without attention between all tokens has one head of NaN, without a name.
        """
        made = _pieces(lambda images_NCHW: attention_of(module, images_NCHW), loader, pace)
        parts = [part for part in made if part is not None]
        n = len(loader.ids)
        if not parts:
            none = np.full((n, 1), np.nan, np.float32)
            heads = {"attention_heads": constant("", n)}
            return {"attention_entropy": none, "attention_distance": none.copy(), "rollout": none.copy(), **heads}
        return {
            "attention_entropy": _rows(part.entropy_NA for part in parts),
            "attention_distance": _rows(part.distance_NA for part in parts),
            "rollout": _rows(part.rollout_NP for part in parts),
            "attention_heads": constant(words(parts[0].heads), n),
        }


# -- what these share ------------------------------------------------------------------------------------------------


def constant(value: Any, n: int) -> Array:
    """A column (n, …) that says the same in every row."""
    row = np.asarray(value)
    return np.repeat(row[None], n, axis=0) if row.ndim else np.full(n, value)


def words(names: Sequence[str]) -> str:
    """Names of parts of a module as one text; that of the bare model within a checkpoint's is left out of them."""
    return " ".join(name.removeprefix("model.") or "model" for name in names)


def _pieces(make: Callable[[Tensor], _T], loader: Loader, pace: Pace) -> list[_T]:
    """What is made of all images, in pieces that fit into memory."""
    made: list[_T] = []
    at_once = pace.batch_size
    for batch in loader:
        here = in_pieces(make, batch.images_NCHW, at_once=at_once, fixed=pace.fixed)
        at_once = here.at_once
        made += here.parts
        pace.done(len(batch.ids))
    return made


def _rows(parts: Iterable[Tensor]) -> Array:
    """Pieces of a column (n, …) as float32."""
    return torch.cat(list(parts)).cpu().numpy().astype(np.float32)
