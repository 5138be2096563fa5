"""What the engine does with a device: loading models into its memory, precision, batches that fit."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from bench.checkpoints.fetch import locate
from bench.checkpoints.loading import load
from bench.checkpoints.memory import held_digest
from bench.errors import BenchError, RunError, one_line
from bench.foreign.faults import blamed
from bench.machine.memory import free_memory, in_pieces
from bench.machine.torch_defaults import products_of_fp32
from bench.measure import BatchMeasure
from bench.records import Array, Cell, Checkpoint, Precision
from bench.run.rows import columns_of

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WEIGHTS_SHARE = 0.5
"""Of the free memory, for the weights of the checkpoints in one pass; activations need the rest."""


ModelKey: TypeAlias = tuple[str, int | None]
"""Model digest, and the input size where the condition sets one."""


@dataclass
class Model:
    """A loaded checkpoint and the largest batch that has fitted so far."""

    module: torch.nn.Module
    size: int
    """Side of the images that it takes, pixels."""
    chunk: int
    parameters: int = 0
    """Numbers learnt in training."""
    macs: int = 0
    """Multiply-accumulates for one image."""


def model_key(cell: Cell) -> ModelKey:
    """Cells with the same key are measured with the same module."""
    return cell.model_digest, cell.condition.model.input_size


def check_device(name: str) -> None:
    """Make sure that torch can use the device.

    Raises:
        BenchError: it cannot.
    """
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = one_line(error).split(". ")[0]  # what follows names every backend
        raise BenchError(f"torch cannot use the device {name!r} ({reason}); try --device cpu.") from error


def default_batch_size(device: str) -> int:
    """Samples in a batch where the user leaves it open."""
    return 256 if device.startswith("cuda") else 64


@contextlib.contextmanager
def numerics(device: str, precision: Precision) -> Iterator[None]:
    """Run in a precision: autocast for bf16 and fp16; fp32 without TF32, which torch allows convolutions."""
    with contextlib.ExitStack() as stack:
        if precision != "fp32":
            kind = device.split(":")[0]
            stack.enter_context(torch.autocast(kind, dtype=_AUTOCAST[precision]))
        elif device.startswith("cuda"):
            stack.enter_context(products_of_fp32(tf32_convolutions=False))
        yield


def load_models(
    cells: Iterable[Cell], device: str, batch_size: int
) -> Iterator[tuple[dict[ModelKey, Model], dict[ModelKey, str]]]:
    """Load as many of the cells' checkpoints at a time as the device's memory holds.

    Yields:
        The models by key, and for each key that failed to load the reason. Dropped before the next are loaded.
    """
    budget = _WEIGHTS_SHARE * free_memory(device)
    waiting = list({model_key(cell): cell for cell in cells}.items())
    while waiting:
        models: dict[ModelKey, Model] = {}
        broken: dict[ModelKey, str] = {}
        taken = 0
        while waiting and (not models or taken + _size(waiting[0][1].checkpoint) <= budget):
            key, cell = waiting.pop(0)
            taken += _size(cell.checkpoint)
            try:
                with blamed("loading failed"):
                    models[key] = _load_model(cell, device, batch_size)
            except BenchError as error:
                broken[key] = str(error)
        yield models, broken


def _load_model(cell: Cell, device: str, batch_size: int) -> Model:
    """The model of a cell.

    Raises:
        BenchError: it does not load, or is another one than when the run was planned.
    """
    size = cell.condition.model.input_size
    module = load(cell.checkpoint, device, input_size=size, planned=cell.model_digest)
    if not held_digest(cell.checkpoint):  # whose weights would be laid out anew under their owner's hands
        module.to(memory_format=torch.channels_last)
    return Model(
        module,
        size=size or cell.checkpoint.input_size,
        chunk=batch_size,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=module.macs,  # type: ignore[arg-type]  # of PixelModel
    )


class PeakMemory:
    """The most memory that a module takes on a CUDA device, its own weights and what it allocates; else nothing.

    Args:
        device: where it runs.
        module: other modules may be on the device beside it.
    """

    def __init__(self, device: str, module: torch.nn.Module) -> None:
        self.bytes: int | None = None
        self._device = torch.device(device)
        self._weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))

    def __enter__(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self._device) - self._before + self._weights
            self.bytes = max(self.bytes or 0, most)


def to_unit_range(images_NCHW: torch.Tensor, device: str) -> torch.Tensor:
    """Bring a batch in [0, 255] to the device as models take it: float32 in [0, 1]."""
    images = images_NCHW.to(device, non_blocking=True)
    images = images.clone() if images.dtype == torch.float32 else images.float()  # divided in place
    # By a tensor of the device's: CUDA multiplies by the rounded reciprocal of a plain number, and half of the 256
    # values differ in their last bit from a CPU's.
    return images.div_(torch.full((), 255.0, device=images.device))


def _size(checkpoint: Checkpoint) -> int:
    """Bytes of the weights file; 0 where there is none, which loading will say."""
    try:
        return locate(checkpoint).stat().st_size
    except (BenchError, OSError):
        return 0


def run_in_chunks(
    measure: BatchMeasure,
    model: Model,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    device: str,
    *,
    fixed: bool,
    name: str = "",
) -> dict[str, Array]:
    """Measure a batch, in halves of halves where memory runs out.

    Args:
        measure: gives rows.
        model: its `chunk` shrinks for good when a batch does not fit.
        images_NCHW: uint8, on the CPU or the device.
        labels_N: int64.
        device: where to run.
        fixed: the user chose the batch size: running out of memory is an error.
        name: of the measure where it is not ours; faults are then its own, else of the forward pass.

    Returns:
        Column name to an array (N, …).

    Raises:
        RunError: a single image does not fit, the module or the measure fails, or the measure's rows do not join.
    """

    def rows_of(images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> dict[str, Array]:
        images_NCHW = to_unit_range(images_NCHW, device)
        rows = measure.rows(model.module, images_NCHW, labels_N.to(device, non_blocking=True))
        return columns_of(name or type(measure).__name__, rows, len(images_NCHW))

    with blamed(f"measure {name!r} failed" if name else "the forward pass failed"):
        made = in_pieces(rows_of, images_NCHW, labels_N, at_once=model.chunk, fixed=fixed)
    model.chunk, parts = made.at_once, made.parts
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (ValueError, KeyError) as error:
        raise RunError(f"the rows of its batches do not join: {type(error).__name__}: {one_line(error)}.") from error
