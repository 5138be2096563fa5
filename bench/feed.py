"""The images of a sweep, batch by batch: read, cropped and perturbed in worker processes, in a fixed order."""

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.corruptions import corrupt, corruptions
from bench.errors import BenchError, RunError, one_line
from bench.images.source import CropSource
from bench.records import Array, Perturbation


@dataclass(frozen=True, slots=True)
class Task:
    """One batch to be made."""

    perturbation: Perturbation | None
    indices: Array
    """(n,) int64 into the split."""
    start: int
    """Samples of the condition that come in earlier batches."""


@dataclass(frozen=True, slots=True)
class Made:
    """One batch as made, or why it could not be."""

    task: Task
    images_NCHW: torch.Tensor | None
    """uint8, channels last in memory."""
    error: str = ""

    def pin_memory(self) -> "Made":
        """Itself with its images in page-locked memory; DataLoader calls this, and pins nothing of a foreign type."""
        return self if self.images_NCHW is None else replace(self, images_NCHW=self.images_NCHW.pin_memory())


class _Maker(Dataset[Made]):
    """Runs in the workers. Gives faults back as values: exceptions lose their type and grow a traceback there."""

    def __init__(self, source: CropSource, seed: int) -> None:
        self.source = source
        self.seed = seed

    def __getitem__(self, task: Task) -> Made:
        try:
            return Made(task, self._make(task))
        except BenchError as error:
            return Made(task, None, str(error))
        except Exception as error:
            where = f" under {task.perturbation.corruption!r}" if task.perturbation else ""
            return Made(task, None, f"making images{where} failed: {type(error).__name__}: {one_line(error)}")

    def _make(self, task: Task) -> torch.Tensor:
        images_NHWC = np.stack([self.source.get(int(index)) for index in task.indices])
        images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)
        if task.perturbation is None:
            return images_NCHW
        ids = [str(i) for i in self.source.samples.ids[task.indices]]
        corruption = corruptions.get(task.perturbation.corruption)
        corrupted = corrupt(corruption, images_NCHW, task.perturbation.severity, seed=self.seed, ids=ids)
        return corrupted.contiguous(memory_format=torch.channels_last)


def make_images(source: CropSource, tasks: Iterable[Task], *, seed: int, workers: int, pin: bool) -> Iterator[Made]:
    """Make batches in the order of the tasks.

    Args:
        source: gives crops by index.
        tasks: read lazily, a few ahead of what is consumed.
        seed: of the run.
        workers: processes; 0 makes each batch when it is asked for.
        pin: put batches into page-locked memory, from which they travel to a CUDA device faster.

    Raises:
        RunError: a worker process died.
    """
    loader = DataLoader(
        _Maker(source, seed),
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


def tasks_of(perturbation: Perturbation | None, indices: Array, size: int) -> Iterator[Task]:
    """Consecutive batches of at most `size` samples; the last may be smaller."""
    for start in range(0, len(indices), size):
        yield Task(perturbation, indices[start : start + size], start)
