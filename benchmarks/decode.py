"""Decoding and cropping photographs, beside the DataLoader with timm's transform; reading crops from the cache.

The peer: `timm.data.ImageDataset` with timm's evaluation transform and `fast_collate`, in torch's DataLoader. Ours:
`bench.run.feed.make_images`, without a cache, into an empty one, and from a warm one. Each with the same number of
workers, on the same files, in turn; each gives uint8 batches, and before anything is timed their bytes are compared
picture by picture. Starting the workers is part of every figure, so `--images` should be some thousands.

Two other ways of doing our work are timed for comparison: threads in place of worker processes, and the threads of
`spdl`, where it is installed. Processor time stands beside the wall: on a machine with other work it says more.
"""

import argparse
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `bench.cli.main` does

import numpy as np
import torch
from _common import claim, clock, in_turn, table
from timm.data.dataset import ImageDataset
from timm.data.loader import fast_collate
from timm.data.transforms_factory import create_transform
from torch.utils.data import ConcatDataset, DataLoader, Subset

from bench.datasets.crops import CropSource
from bench.images.cache import CropCache
from bench.records import Array, Crop, ImageSet
from bench.run.feed import make_images, tasks_of

DECODE_BAR, CACHE_BAR = 1.8, 20.0
"""Times the peer's images a second."""
AHEAD = 2
"""Batches that each thread may be ahead; DataLoader's default for a worker."""
IMAGES = ImageSet(dataset="photographs", split="test")

Batches = Callable[[], Iterable[torch.Tensor]]
"""Gives the whole set once as (n, 3, size, size) uint8."""


class Repeated:
    """The same files again and again, as samples.

    Args:
        files: their paths.
        n: samples.
    """

    def __init__(self, files: list[str], n: int) -> None:
        self.files = files
        self.ids: Array = np.array([f"{i}" for i in range(n)])
        self.labels: Array = np.zeros(n, dtype=np.int64)
        self.sizes: Array = np.array([os.stat(files[i % len(files)]).st_size for i in range(n)])

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        return Path(self.files[index % len(self.files)]).read_bytes()

    def stamp(self, index: int) -> int:
        """The time of the file's last change."""
        return os.stat(self.files[index % len(self.files)]).st_mtime_ns


@dataclass(frozen=True)
class Work:
    """One pass over the photographs in each of the ways."""

    photos: Path
    n: int
    crop: Crop
    batch_size: int
    workers: int
    cache: CropCache

    def peer(self) -> Iterator[torch.Tensor]:
        """With timm's transform in torch's DataLoader."""
        size, crop = self.crop.size, self.crop
        transform = create_transform(
            (3, size, size), crop_pct=crop.ratio, interpolation=crop.interpolation, use_prefetcher=True
        )
        once = photographs(self.photos, transform)
        repeated: Any = ConcatDataset([once] * -(-self.n // len(once)))
        loader: Any = DataLoader(
            Subset(repeated, range(self.n)), self.batch_size, num_workers=self.workers, collate_fn=fast_collate
        )
        for images, _ in loader:
            yield images

    def decoding(self) -> Iterator[torch.Tensor]:
        """Ours without a cache."""
        return self._ours(self.source())

    def writing(self) -> Iterator[torch.Tensor]:
        """Ours into an empty cache."""
        self.cache.clear()
        return self.reading()

    def reading(self) -> Iterator[torch.Tensor]:
        """Ours from the cache."""
        return self._ours(self.source(cached=True))

    def threads(self) -> Iterator[torch.Tensor]:
        """What our workers do, in threads."""
        source, chunks = self.source(), self.chunks()
        running: deque[Future[torch.Tensor]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            for indices in chunks:
                running.append(pool.submit(made, source, indices))
                if len(running) > AHEAD * self.workers:
                    yield running.popleft().result()
            for future in running:
                yield future.result()

    def spdl(self) -> Iterator[torch.Tensor]:
        """What our workers do, in spdl's threads."""
        from spdl.pipeline import PipelineBuilder

        source = self.source()
        builder: Any = PipelineBuilder().add_source(self.chunks())
        builder = builder.pipe(lambda indices: made(source, indices), concurrency=self.workers, output_order="input")
        pipeline = builder.add_sink(AHEAD * self.workers).build(num_threads=self.workers)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    def chunks(self) -> Iterator[Array]:
        """The indices of each batch."""
        return iter(np.array_split(np.arange(self.n), range(self.batch_size, self.n, self.batch_size)))

    def source(self, cached: bool = False) -> CropSource:
        """Gives our crops; the files are those of the peer, in its order."""
        dataset = photographs(self.photos)
        samples = Repeated([dataset.filename(i, absolute=True) for i in range(len(dataset))], self.n)
        file = self.cache.open(IMAGES.dataset, "0" * 64, self.crop, self.n) if cached else None
        return CropSource(samples, self.crop, file)

    def _ours(self, source: CropSource) -> Iterator[torch.Tensor]:
        sources = {(IMAGES.dataset, IMAGES.split): source}
        tasks = tasks_of(IMAGES, source, np.arange(self.n), self.batch_size)
        for batch in make_images(sources, tasks, seed=0, workers=self.workers, pin=False):
            if batch.error:
                raise SystemExit(batch.error)
            yield batch.crops_NCHW
        if source.cache is not None:
            source.cache.close()


def photographs(folder: Path, transform: Any = None) -> Any:
    """The class folders as a data set of timm, which has no types."""
    make: Any = ImageDataset
    return make(str(folder), transform=transform)


def made(source: CropSource, indices: Array) -> torch.Tensor:
    """One batch, made here."""
    images = np.empty((len(indices), source.crop.size, source.crop.size, 3), dtype=np.uint8)
    source.fill(indices, images)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def timed(batches: Batches, n: int) -> Callable[[], Array]:
    """Gives the seconds of one pass, to the end of its workers."""

    def run() -> Array:
        start = clock()
        seen = sum(len(images) for images in batches())
        assert seen == n
        return clock() - start

    return run


def check_bytes(ways: dict[str, Batches]) -> int:
    """Compare every way's pictures with those of the first; how many were compared."""
    (_, reference), *others = ways.items()
    expected = torch.cat(list(reference()))
    for name, batches in others:
        got = torch.cat(list(batches()))
        differ = int((got != expected).flatten(1).any(dim=1).sum())
        if differ:
            raise SystemExit(f"{name}: {differ} of {len(expected)} pictures are not the peer's")
    return len(expected)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of class folders of photographs")
    parser.add_argument("--images", type=int, default=4000, help="the photographs are read again until it is reached")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--ratio", type=float, default=0.875)
    parser.add_argument("--interpolation", choices=("bilinear", "bicubic"), default="bicubic")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Check the bytes, measure every way and print what came out."""
    crop = Crop(size=arguments.size, ratio=arguments.ratio, interpolation=arguments.interpolation)
    shared = {"photos": arguments.photos, "crop": crop, "workers": arguments.workers}
    cache = CropCache(folder / "crops", budget=2**40)
    found = len(photographs(arguments.photos))
    work = Work(n=arguments.images, batch_size=arguments.batch_size, cache=cache, **shared)
    small = Work(n=min(found, arguments.images), batch_size=32, cache=CropCache(folder / "small", 2**40), **shared)
    names = ["peer", "decoding", "writing", "reading", "threads"]
    try:
        import spdl.pipeline  # noqa: F401

        names.append("spdl")
    except ImportError:
        print("spdl is not installed: not tried")
    print(
        f"{arguments.images} images from {found} photographs in batches of {arguments.batch_size}, "
        f"{arguments.workers} workers, {crop}; medians of {arguments.rounds} rounds"
    )
    print(f"bytes equal to the peer's: {check_bytes({name: getattr(small, name) for name in names})} pictures each way")
    rounds = in_turn(arguments.rounds, [timed(getattr(work, name), arguments.images) for name in names])
    wall, processor = rounds[..., 0], rounds[..., 1:].sum(axis=2)
    faster, leaner = (np.median(seconds[:, :1] / seconds, axis=0) for seconds in (wall, processor))
    rows: list[tuple[str, ...]] = [("way", "images/s", "times the peer's", "processor µs an image", "peer's over it")]
    for i, name in enumerate(names):
        rate, cost = arguments.images / np.median(wall[:, i]), np.median(processor[:, i]) / arguments.images
        rows.append((name, f"{rate:.0f}", f"{faster[i]:.2f}", f"{cost * 1e6:.0f}", f"{leaner[i]:.2f}"))
    table(rows)
    for name, what, bar in (("decoding", "decode and crop", DECODE_BAR), ("reading", "a warm cache", CACHE_BAR)):
        ratio = float(faster[names.index(name)])
        claim(f"{what}: at least {bar} × the images per second of DataLoader and timm", f"{ratio:.2f} ×", ratio >= bar)


def main() -> None:
    """Run in a folder of its own."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
