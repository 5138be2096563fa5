"""The loss landscape around a checkpoint's weights, as measures: curvature, flatness, surface, tangent kernel.

All take the mean cross-entropy over the samples of a split as a function of every weight. What is drawn depends on the
seed and the weights' names alone.

Legend: n images, S values of sigma, G points of each
side of a plane, T of a line, B blocks, M points of a density.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks.losses import loss_of
from bench.datasets import nested_order
from bench.errors import BenchError, RunError
from bench.landscape import ntk
from bench.landscape.batchnorm import take_anew
from bench.landscape.curvature import Curvature
from bench.landscape.flatness import ascent_losses, group_ascent_losses, noise_losses
from bench.landscape.objective import AT_ONCE, LOSSES, Objective
from bench.landscape.surface import axis, line_losses, plane_losses
from bench.landscape.trace import Trace
from bench.measure import Loader, Pace, PictureLoader
from bench.measure.inside import constant, words
from bench.records import Array
from bench.text import amounts

_EIGENVALUES = 5
"""The largest ones that are sought."""
_OF_BLOCKS = 0.05
"""Bound of a block's largest eigenvalue as a share of it: the value itself is far closer."""
STEPS_OF_A_START = 10
"""Products for each random vector of a spectral density: more vectors help more than more products."""


def samples_of(loader: Loader) -> tuple[Tensor, Tensor]:
    """All images (n, 3, h, w) and labels (n,) of a loader, held in the machine's memory."""
    batches = [(batch.images_NCHW.cpu(), batch.labels_N.cpu()) for batch in loader]
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


class LossOfWeights:
    """What a landscape is of: the loss, and the statistics that BatchNorm takes.

    Args:
        loss: `ce` or `bce`.
        batchnorm: `eval` or `train`.

    Raises:
        UnknownNameError: there is no such loss.
    """

    def __init__(self, loss: str, batchnorm: str) -> None:
        self.loss, self.batchnorm = loss_of(loss, LOSSES), batchnorm

    def arguments(self, pace: Pace) -> dict[str, Any]:
        """As `bench.landscape.objective.Objective` takes them.

        Args:
            pace: of the run, whose batches are taken; where BatchNorm takes their statistics, the same for every run.
        """
        at_once = AT_ONCE if self.batchnorm == "train" else pace.batch_size
        return {"loss": self.loss, "batchnorm": self.batchnorm, "at_once": at_once}

    def objective(self, module: nn.Module, loader: Loader, pace: Pace) -> Objective:
        """Of a checkpoint, images in [0, 1] to logits, on all samples of a loader."""
        return Objective(module, *samples_of(loader), **self.arguments(pace))


class Curved:
    """The checkpoint measure `curvature`.

    Args:
        steps: products with the Hessian at most for its eigenvalues, of the whole and of each block; fewer are taken
            where these are known to a thousandth of the largest.
        probes: products for a trace.
        starts: random vectors for the spectral density, each of `STEPS_OF_A_START` products; 0 leaves it out.
        blocks: whether the blocks of weights are measured too.
        loss: `ce` or `bce`.
        batchnorm: `eval` or `train`.

    Raises:
        BenchError: a number is not possible, or a name unknown.
    """

    def __init__(
        self,
        steps: int = 30,
        probes: int = 10,
        starts: int = 0,
        blocks: bool = False,
        loss: str = "ce",
        batchnorm: str = "eval",
    ) -> None:
        if steps < 2 or probes < 2 or starts < 0:
            raise BenchError(
                f"curvature takes at least 2 steps and 2 probes, and no fewer than 0 starts, not {steps}, {probes} and "
                f"{starts}."
            )
        self._most, self._probes, self._starts, self._blocks = steps, probes, starts, blocks
        self._of = LossOfWeights(loss, batchnorm)

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Take the extreme eigenvalues of the Hessian, what each image gives of the largest, and the trace.

        Returns:
            float64, all but the first the same in every row: `along_top` (n,), the curvature of the image's own loss
            along the vector of the largest eigenvalue; `eigenvalues` and `eigenvalue_bounds` (n, 5), the largest ones,
            falling, and how far each may be off; `smallest_eigenvalue` and `smallest_bound` (n,); `trace` and
            `trace_error` (n,), its standard error by the probes. With `starts`, `density_values` and
            `density_shares` (n, M), see `bench.landscape.density.Density`. With `blocks`, `block_names` and
            `block_kinds` text, `block_eigenvalues`, `block_bounds`, `block_traces` and `block_trace_errors` (n, B).

        Raises:
            BenchError: the loss has no second derivative.
            RunError: a single image does not fit into memory.
        """
        images_NCHW, labels_N = samples_of(loader)
        curvature = Curvature(module, images_NCHW, labels_N, seed=seed, **self._of.arguments(pace))
        steps = Steps(pace, len(labels_N), 3 + (self._starts > 0) + 2 * self._blocks)
        known = curvature.eigenvalues(largest=_EIGENVALUES, most=self._most)
        along_N = steps.through(curvature.by_image(known.vectors(1)[0]))
        trace = curvature.trace(known, self._probes)
        steps.take()
        same: dict[str, Any] = {
            "eigenvalues": known.largest_K,
            "eigenvalue_bounds": known.largest_bounds_K,
            "smallest_eigenvalue": float(known.smallest_K[0]),
            "smallest_bound": float(known.smallest_bounds_K[0]),
            "trace": trace.value,
            "trace_error": trace.standard_error,
        }
        if self._starts:
            density = curvature.density(known, starts=self._starts, steps=STEPS_OF_A_START)
            same |= {"density_values": density.values_M, "density_shares": density.shares_M}
            steps.take()
        if self._blocks:
            same |= _of_blocks(curvature, trace, most=self._most)
        return {"along_top": along_N, **{name: constant(value, len(along_N)) for name, value in same.items()}}


def _of_blocks(curvature: Curvature, trace: Trace, most: int) -> dict[str, Any]:
    """What is the same in every row; see `Curved.run`."""
    blocks = curvature.blocks
    ends = curvature.block_eigenvalues(most=most, tolerance=_OF_BLOCKS)
    return {
        "block_names": words([block.name for block in blocks]),
        "block_kinds": words([block.kind for block in blocks]),
        "block_eigenvalues": [float(ends[block.name].largest_K[0]) for block in blocks],
        "block_bounds": [float(ends[block.name].largest_bounds_K[0]) for block in blocks],
        "block_traces": [trace.blocks[block.name].value for block in blocks],
        "block_trace_errors": [trace.blocks[block.name].standard_error for block in blocks],
    }


class Flatness:
    """The checkpoint measure `flatness`.

    Args:
        sigma: standard deviations of the noise of each weight, ascending, joined by `+`.
        relative: lengths of a filter's noise as shares of the filter's own, likewise.
        rho: distance of SAM's ascent, as an L2 norm over all weights.
        draws: of each noise.
        group: images whose gradient an ascent of its own follows, beside that of all; in the order in which growing
            limits take them.
        loss: `ce` or `bce`.
        batchnorm: `eval` or `train`.

    Raises:
        BenchError: a number is not possible, or a name unknown.
    """

    def __init__(
        self,
        sigma: str = "0.01",
        relative: str = "0.1",
        rho: float = 0.05,
        draws: int = 10,
        group: int = 64,
        loss: str = "ce",
        batchnorm: str = "eval",
    ) -> None:
        self._sigmas, self._shares = amounts(sigma, "sigma"), amounts(relative, "relative")
        self._rho, self._draws, self._group = rho, draws, group
        for name, value in (("rho", rho), ("draws", draws), ("group", group)):
            check_amount(value, f"{name} of flatness")
        self._of = LossOfWeights(loss, batchnorm)

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Take every image's loss at the weights, and at weights that are moved.

        Returns:
            Nats, float64: `clean_loss` (n,); `noise_loss` (n, S) under noise of one size and `relative_noise_loss`
            (n, R) under noise that goes by the filters, the mean over draws; `ascent_loss` (n,) where SAM takes its
            gradient, `group_ascent_loss` (n,) where it takes that of the image's group.

        Raises:
            RunError: a loss is NaN or infinite, or a gradient vanishes.
        """
        objective = self._of.objective(module, loader, pace)
        order, n = nested_order(loader.ids), len(loader.ids)
        # BatchNorm's statistics of a single image are none.
        groups = [torch.from_numpy(np.sort(rows)) for rows in np.array_split(order, max(1, round(n / self._group)))]
        steps = Steps(pace, n, len(self._sigmas) + len(self._shares) + 3)

        def noise(sizes: list[float], *, scaled: bool) -> Array:
            return np.stack(
                [
                    steps.through(noise_losses(objective, size, scaled=scaled, draws=self._draws, seed=seed))
                    for size in sizes
                ],
                axis=1,
            )

        return {
            "clean_loss": steps.through(objective.losses()),
            "noise_loss": noise(self._sigmas, scaled=False),
            "relative_noise_loss": noise(self._shares, scaled=True),
            "ascent_loss": steps.through(ascent_losses(objective, self._rho)),
            "group_ascent_loss": steps.through(group_ascent_losses(objective, self._rho, groups)),
        }


class Surface:
    """The checkpoint measure `surface`.

    Args:
        points: of each axis, odd, so that the weights themselves are one.
        extent: where an axis ends, in lengths of every filter.
        dimensions: 1, a line, or 2, a plane whose first axis it is.
        loss: `ce` or `bce`.
        batchnorm: `eval` or `train`.

    Raises:
        BenchError: a number is not possible, or a name unknown.
    """

    def __init__(
        self,
        points: int = 21,
        extent: float = 1.0,
        dimensions: int = 1,
        loss: str = "ce",
        batchnorm: str = "eval",
    ) -> None:
        if points < 3 or points % 2 == 0:
            raise BenchError(f"points of surface must be an odd number of at least 3, not {points}.")
        check_amount(extent, "extent of surface")
        if dimensions not in (1, 2):
            raise BenchError(f"dimensions of surface must be 1 or 2, not {dimensions}.")
        self._axis, self._dimensions = axis(extent, points), dimensions
        self._of = LossOfWeights(loss, batchnorm)

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Take every image's loss along directions that are scaled to the filters.

        Returns:
            `surface` (n, T) or (n, G²) float32 nats, the second axis the faster one; and, the same in every row,
            `surface_axis` float32, the points of an axis.

        Raises:
            RunError: a loss is NaN or infinite.
        """
        objective = self._of.objective(module, loader, pace)
        take = line_losses if self._dimensions == 1 else plane_losses
        losses = take(objective, self._axis, seed=seed)
        n = len(loader.ids)
        return {
            "surface": losses.numpy().astype(np.float32),
            "surface_axis": constant(np.array(self._axis, np.float32), n),
        }


class TangentKernel:
    """The checkpoint measure `ntk`.

    Args:
        state: `initial`, the architecture's first values by the seed, or `trained`, the checkpoint's weights.
        block: images of one kernel; in the order in which growing limits take them. A last block of fewer is left out,
            but for the only one.

    Raises:
        BenchError: the state is unknown, or a block is of fewer than 2.
    """

    def __init__(self, state: str, block: int = 16) -> None:
        if state not in ("initial", "trained"):
            raise BenchError(f"state of ntk must be initial or trained, not {state!r}.")
        if block < 2:
            raise BenchError(f"block of ntk must be at least 2 images, not {block}.")
        self._initial, self._block = state == "initial", block

    def run(
        self, module: nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Take the tangent kernel of each block of images, in float64.

        Returns:
            float64: `ntk_norm` (n,), the length of an image's gradient; `ntk_largest` and `ntk_smallest` (n,), the
            extreme eigenvalues of its block's kernel, the smallest 0 where rounding hides it; NaN of images that are
            in no block. `ntk_block` (n,) int32, the number of the block, or -1.

        Raises:
            RunError: there is one image alone, or the architecture cannot be made anew.
        """
        n = len(loader.ids)
        if n < 2:
            raise RunError(f"a tangent kernel needs at least 2 images, not {n}.")
        size = min(self._block, n)
        blocks = nested_order(loader.ids)[: n - n % size].reshape(-1, size)
        objective = Objective(
            untrained(module, seed) if self._initial else module,
            *samples_of(loader),
            at_once=AT_ONCE,  # of which new statistics are the mean; each image passes alone afterwards
            loss=ntk.summed_logits,
            dtype=torch.float64,
        )
        if self._initial:
            take_anew(objective)  # statistics of no images would be those of no layer
        columns = {name: np.full(n, np.nan) for name in ("ntk_norm", "ntk_largest", "ntk_smallest")}
        columns["ntk_block"] = np.full(n, -1, np.int32)
        for number, rows in enumerate(blocks):
            kernel_NN = ntk.kernel(objective, torch.from_numpy(rows))
            columns["ntk_norm"][rows] = kernel_NN.diagonal().sqrt().cpu().numpy()
            columns["ntk_largest"][rows], columns["ntk_smallest"][rows] = ntk.extremes(kernel_NN)
            columns["ntk_block"][rows] = number
            pace.done(len(rows))
        return columns


def untrained(module: nn.Module, seed: int) -> nn.Module:
    """A checkpoint's architecture with its first values, on its device.

    Args:
        module: of a checkpoint.
        seed: by which they are drawn.

    Raises:
        RunError: the module does not say how it is made.
    """
    make = getattr(module, "untrained", None)
    if make is None:
        raise RunError(f"{type(module).__name__} does not say how it is made, so it has no kernel at initialisation.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = make()
    return made


def check_amount(value: float, name: str) -> None:
    """Hold a parameter against what it must be.

    Raises:
        BenchError: it is not a number above 0.
    """
    if not 0 < value < math.inf:
        raise BenchError(f"{name} must be more than 0, not {value}.")


class Steps:
    """Tells the run how far a loop over many passes is, in samples: the only unit that it counts.

    Args:
        pace: of the measure.
        samples: of the split.
        steps: that the loop takes.
    """

    def __init__(self, pace: Pace, samples: int, steps: int) -> None:
        self._pace, self._samples, self._steps = pace, samples, steps
        self._taken = 0

    def take(self) -> None:
        """A step is through."""
        before, self._taken = self._taken, self._taken + 1
        told, now = (self._samples * taken // self._steps for taken in (before, self._taken))
        self._pace.done(now - told)

    def through(self, rows: Tensor) -> Array:
        """A column (n, …) as float64, of a step that is through."""
        self.take()
        return rows.double().cpu().numpy()
