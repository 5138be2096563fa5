"""The crops of a sweep, batch by batch: read and cut in worker processes, in a fixed order.

A corruption that is made one image at a time is made there too; batched ones follow in `bench.run.prepare`.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.corruptions.makers import corruption_of
from bench.datasets.crops import CropSource
from bench.errors import BenchError, RunError, one_line
from bench.foreign.faults import blamed
from bench.foreign.state import undisturbed_by
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
    """uint8, channels last in memory. Of no images where they could not be made."""
    error: str = ""

    def pin_memory(self) -> "Made":
        """Itself with its images in page-locked memory; DataLoader calls this, and pins nothing of a foreign type."""
        return replace(self, crops_NCHW=self.crops_NCHW.pin_memory())


_NO_IMAGES = torch.empty(0, 3, 0, 0, dtype=torch.uint8)
_AHEAD = 2
"""Batches of kept crops that are read before they are wanted, while the models work."""


class _Maker(Dataset[Made]):
    """Runs in the workers. Gives faults back as values: exceptions lose their type and grow a traceback there."""

    def __init__(self, sources: Mapping[tuple[str, str], CropSource], seed: int) -> None:
        self.sources = sources
        self.seed = seed

    def __getitem__(self, task: Task) -> Made:
        try:
            source = self.sources[task.images.dataset, task.images.split]
            with blamed("making images failed"), undisturbed_by(type(source.samples).__module__):
                return Made(task, self._make(task))
        except BenchError as error:
            return Made(task, _NO_IMAGES, str(error))

    def _make(self, task: Task) -> torch.Tensor:
        source = self.sources[task.images.dataset, task.images.split]
        crops_NHWC = np.empty((len(task.indices), source.crop.size, source.crop.size, 3), dtype=np.uint8)
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
        RunError: a worker process died.
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
                waiting.append(pool.submit(maker.__getitem__, task))
                if len(waiting) > _AHEAD:
                    made = waiting.popleft().result()
                    yield made.pin_memory() if pin else made
            while waiting:
                made = waiting.popleft().result()
                yield made.pin_memory() if pin else made
        finally:
            pool.shutdown(cancel_futures=True)


def _in_processes(maker: _Maker, tasks: Iterable[Task], workers: int, pin: bool) -> Iterator[Made]:
    loader = DataLoader(
        maker,
        batch_size=None,
        sampler=_Lazy(tasks),
        num_workers=workers,
        pin_memory=pin,
        # torch would draw the workers' seeds from its global generator; nothing here uses them.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        yield from loader
    except (RuntimeError, OSError, EOFError) as error:  # not a fault in making images: those come as values
        raise _death(error) from error


@contextlib.contextmanager
def deaths_of_workers() -> Iterator[None]:
    """Turn the death of a worker into one sentence: torch raises it in a signal handler, wherever the run then is.

    Raises:
        RunError: a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _death(error) from error


def _death(error: Exception) -> RunError:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or torch's handler raises again while its loader is taken down
    return RunError(
        f"a process that makes images died ({one_line(error)}), mostly for want of memory or of shared memory in "
        "/dev/shm; give fewer --workers (0 needs neither). Finished cells are stored."
    )


class _Lazy:
    """An iterable for DataLoader, whose `sampler` is typed as a class of its own."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = tasks

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)


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
