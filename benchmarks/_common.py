"""What the scripts share: synthetic pictures, checkpoints of random weights, medians, the closing line."""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.checkpoints import checkpoints
from bench.datasets import Dataset, datasets
from bench.records import Array, Checkpoint, ClassSpace

CLASSES = ClassSpace(name="synthetic", classes=tuple(f"class {i}" for i in range(1000)))
_BLOBS = 9
"""Side of the coarse picture that is drawn large; gives each image a structure of its own."""
_GRAIN = 20
"""Half the range of the fine noise on top, grey levels."""


class Synthetic:
    """Samples made up from their index alone: soft coloured blobs under fine noise. Keeps no pixel.

    Args:
        n: samples.
        size: side of the pictures, pixels.
    """

    def __init__(self, n: int, size: int) -> None:
        self.size = size
        self.ids: Array = np.array([f"s{i:07d}" for i in range(n)])
        self.labels: Array = np.arange(n, dtype=np.int64) % len(CLASSES.classes)
        self.sizes: Array = np.full(n, size * size * 3, dtype=np.int64)

    def read(self, index: int) -> Array:
        """(size, size, 3) uint8."""
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (_BLOBS, _BLOBS, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((self.size, self.size), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.integers(-_GRAIN, _GRAIN, (self.size, self.size, 1), dtype=np.int8)
        return (smooth + grain).clip(0, 255).astype(np.uint8)

    def stamp(self, index: int) -> int:
        """The index says it all."""
        return index


def register_synthetic(name: str, n: int, size: int) -> Dataset:
    """Register a data set of `n` synthetic pictures."""
    return datasets.register(Dataset(name=name, class_space=CLASSES, open=lambda split, place: Synthetic(n, size)))


def register_random(
    name: str,
    arch: str,
    size: int,
    seed: int,
    folder: Path,
    prepare: Callable[..., None] | None = None,
    class_space: ClassSpace = CLASSES,
) -> Checkpoint:
    """Register a timm architecture with random weights, kept as safetensors.

    Args:
        name: of the checkpoint.
        arch: timm's name.
        size: side of its images, pixels.
        seed: of the weights.
        folder: gets the weights file.
        prepare: changes the module before it is saved.
        class_space: what it predicts.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = timm.create_model(arch, num_classes=len(class_space.classes)).eval()
    if prepare is not None:
        prepare(module)
    path = folder / f"{name}.safetensors"
    save_file(module.state_dict(), path)
    return checkpoints.register(
        Checkpoint(name=name, class_space=class_space, arch=arch, weights=str(path), input_size=size, crop_ratio=1.0)
    )


def link_photographs(photos: Path, n: int, folder: Path) -> None:
    """Make `n` links to the photographs, named as the validation set's files."""
    files = sorted(path for path in photos.glob("n*/*") if path.is_file())
    if not files:
        raise SystemExit(f"{photos} holds no photographs in class folders such as n01440764/.")
    for number, path in zip(range(1, n + 1), itertools.cycle(files), strict=False):
        link = folder / path.parent.name / f"ILSVRC2012_val_{number:08d}.JPEG"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path.resolve())


def clock() -> Array:
    """Now, in seconds: wall time; user and system time of this process and of its children that have ended."""
    times = os.times()
    return np.array([time.perf_counter(), times.user + times.children_user, times.system + times.children_system])


def in_turn(rounds: int, timed: Sequence[Callable[[], Array]], warm_up: int = 1) -> Array:
    """What each function gives, called in turn (A B A B …) so that a slow minute hits all of them.

    Returns:
        (rounds, functions, 3): seconds as `clock` has them; without the first `warm_up` rounds.
    """
    return np.array([[function() for function in timed] for _ in range(warm_up + rounds)])[warm_up:]


def claim(what: str, measured: str, reached: bool) -> None:
    """Print the closing line of a claim."""
    print(f"claim: {what}; measured {measured} → {'reached' if reached else 'NOT reached'}", flush=True)


def table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns, the first to the left, the others to the right."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]), flush=True)


def bench_command() -> list[str]:
    """The command `bench` of the Python that runs this."""
    command = Path(sys.executable).with_name("bench")
    if not command.exists():
        raise SystemExit(f"there is no {command}; install rtbench into this Python first: pip install .")
    return [str(command)]
