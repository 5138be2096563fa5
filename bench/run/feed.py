"""The crops of a sweep, batch by batch: read and cut in processes of their own, in a fixed order.

A corruption that is made one image at a time is made there too; batched ones follow in `bench.run.prepare`.
"""

import collections
import concurrent.futures
import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.corruptions.makers import corruption_of
from bench.datasets.crops import CropSource
from bench.errors import BenchError
from bench.foreign.faults import blamed
from bench.foreign.state import undisturbed_by
from bench.machine.processes import in_processes
from bench.machine.threads import one_thread
from bench.records import Array, ImageSet, Perturbation
from bench.run.prepare import perturb


@dataclass(frozen=True, slots=True)
class Task:
    """One batch to be made."""

    images: ImageSet
    indices: Array
    """(n,) int64 into the split."""
    start: int
    """Samples of the condition that come in earlier batches."""
    kept: bool = False
    """Whether all its crops stand in the cache, and nothing is to be done to them here."""


def at_once(images: ImageSet) -> Perturbation | None:
    """What is to be done to whole batches of a set, after their crops have been made."""
    perturbation = images.perturbation
    return perturbation if perturbation is not None and corruption_of(perturbation).batched else None


def one_by_one(images: ImageSet) -> Perturbation | None:
    """What is to be done to a set where its crops are made."""
    return None if at_once(images) is not None else images.perturbation


@dataclass(frozen=True, slots=True)
class Made:
    """One batch as made, or why it could not be."""

    task: Task
    crops_NCHW: torch.Tensor
    """uint8 (or a transform's numbers in [0, 255]), channels last in memory. Of none where they could not be made."""
    error: str = ""

    def pin_memory(self) -> "Made":
        """Itself with its images in page-locked memory."""
        return replace(self, crops_NCHW=self.crops_NCHW.pin_memory())

    def __reduce__(self) -> tuple[Any, ...]:
        """From one process to another as an array: torch would put a tensor into /dev/shm, which may be small."""
        return _made, (self.task, self.crops_NCHW.permute(0, 2, 3, 1).contiguous().numpy(), self.error)


def _made(task: Task, crops_NHWC: Array, error: str) -> Made:
    return Made(task, torch.from_numpy(crops_NHWC).permute(0, 3, 1, 2), error)


_NO_IMAGES = torch.empty(0, 3, 0, 0, dtype=torch.uint8)
_AHEAD = 2
"""Batches that are made before they are wanted, while the models work: of kept crops, or by each process."""
_MOST_AHEAD = 2 * 2**30
"""Bytes of the batches that processes have made and nobody has taken, unless one alone is larger."""


class _Maker:
    """Runs in the processes. Gives faults back as values: exceptions lose their type and grow a traceback there."""

    def __init__(self, sources: Mapping[tuple[str, str], CropSource], seed: int) -> None:
        self.sources = sources
        self.seed = seed

    def __call__(self, task: Task) -> Made:
        try:
            # Crops that are kept need no code of others. They are read in a thread, which would put back, beside the
            # models, what the main thread has set for these: TF32 among it.
            source = self.sources[task.images.dataset, task.images.split]
            theirs = contextlib.nullcontext() if task.kept else undisturbed_by(type(source.samples).__module__)
            with blamed("making images failed"), theirs:
                return Made(task, self._make(task))
        except BenchError as error:
            return Made(task, _NO_IMAGES, str(error))

    def bytes_of(self, task: Task) -> int:
        """Of the crops of a batch."""
        source = self.sources[task.images.dataset, task.images.split]
        return len(task.indices) * 3 * source.crop.size**2 * source.dtype.itemsize

    def _make(self, task: Task) -> torch.Tensor:
        source = self.sources[task.images.dataset, task.images.split]
        crops_NHWC = source.empty(len(task.indices))
        source.fill(task.indices, crops_NHWC)
        crops_NCHW = torch.from_numpy(crops_NHWC).permute(0, 3, 1, 2)
        perturbation = one_by_one(task.images)
        if perturbation is None:
            return crops_NCHW
        ids = [str(i) for i in source.samples.ids[task.indices]]
        return perturb(crops_NCHW, perturbation, seed=self.seed, ids=ids)


def make_images(
    sources: Mapping[tuple[str, str], CropSource], tasks: Iterable[Task], *, seed: int, workers: int, pin: bool
) -> Iterator[Made]:
    """Make batches in the order of the tasks.

    Args:
        sources: data set and split to what gives its crops by index.
        tasks: read lazily, a few ahead of what is consumed.
        seed: of the run.
        workers: processes; 0 makes each batch when it is asked for.
        pin: put batches into page-locked memory, from which they travel to a CUDA device faster.

    Raises:
        RunError: a process died, or could not be started.
    """
    maker = _Maker(sources, seed)
    for kept, group in itertools.groupby(tasks, key=lambda task: task.kept and workers > 0):
        yield from (_in_a_thread(maker, group, pin) if kept else _in_processes(maker, group, workers, pin))  # noqa: B031


def _in_a_thread(maker: _Maker, tasks: Iterable[Task], pin: bool) -> Iterator[Made]:
    """For crops that stand in the cache: bringing them from another process costs more than reading them."""
    waiting: collections.deque[concurrent.futures.Future[Made]] = collections.deque()
    # One thread: where a kept crop turns out torn, samples are read, and nothing asks that of several at once.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(maker, task))
                if len(waiting) > _AHEAD:
                    made = waiting.popleft().result()
                    yield made.pin_memory() if pin else made
            while waiting:
                made = waiting.popleft().result()
                yield made.pin_memory() if pin else made
        finally:
            pool.shutdown(cancel_futures=True)


def _in_processes(maker: _Maker, tasks: Iterator[Task], workers: int, pin: bool) -> Iterator[Made]:
    first = next(tasks, None)
    if first is None:
        return
    made = in_processes(
        maker,
        itertools.chain([first], tasks),
        workers,
        doing="makes images",
        begin=one_thread,
        advice="give fewer --workers (0 makes them in this process); finished cells are stored",
        ahead=max(1, min(_AHEAD * workers, _MOST_AHEAD // maker.bytes_of(first))),
    )
    yield from _pinned(made) if pin else made


def _pinned(batches: Iterator[Made]) -> Iterator[Made]:
    """Batches in page-locked memory; they are copied there in a thread, while the models work."""
    waiting: collections.deque[concurrent.futures.Future[Made]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for made in batches:
            waiting.append(pool.submit(made.pin_memory))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def tasks_of(images: ImageSet, source: CropSource, indices: Array, batch_size: int) -> Iterator[Task]:
    """Consecutive batches of at most `batch_size` samples; the last may be smaller.

    Args:
        images: what is shown.
        source: gives its crops.
        indices: (n,) of the samples.
        batch_size: samples in a batch.
    """
    kept = one_by_one(images) is None and source.holds(indices)
    for start in range(0, len(indices), batch_size):
        yield Task(images, indices[start : start + batch_size], start, kept)
