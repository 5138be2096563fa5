"""A CUDA device beside the CPU, and the engine beside a bare module on it; `cuda.sh` keeps what it prints.

    python benchmarks/on_device.py

1. The digits track in fp32 on the CPU and on the device, and in bf16: predictions that differ.
2. vit_base_patch16_224 in bf16 from a warm cache of crops, beside what timm's benchmark.py does: the bare module on
   synthetic images that lie on the device already (bf16 weights and inputs, channels last, batch 256).
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from _common import claim, clock, register_random, register_synthetic

from bench import api
from bench.config import load_config
from bench.metrics.classification import TOP1
from bench.records import Array, Checkpoint, Condition, Data, Protocol, Settings
from bench.store import Store
from bench.suite import Score, Suite

FLIPS_BAR = 0.002
"""Share of predictions; design: "across batch sizes and devices at most 0.2% of predictions flip"."""
THROUGHPUT_BAR = 0.85
"""Issue 3, "Numbers to reach"."""
ARCH, SIZE = "vit_base_patch16_224", 224


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="another one tries the script itself")
    parser.add_argument("--images", type=int, default=20_000, help="crops in the warm cache")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arch", default=ARCH)
    parser.add_argument("--limit", type=int, help="samples of each digits set (default: all)")
    return parser.parse_args()


def main() -> None:
    """Both, in turn."""
    arguments = parse()
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "the CPU"
    print(f"{name}, torch {torch.__version__}, timm {timm.__version__}, Python {sys.version.split()[0]}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        compare_devices(arguments, Path(folder))
        compare_throughput(arguments, Path(folder))


# -- predictions ----------------------------------------------------------------------------------------------------


def compare_devices(arguments: argparse.Namespace, folder: Path) -> None:
    """Count the predictions in which the device, and bf16, differ from the CPU."""
    ways = [("cpu", "fp32"), (arguments.device, "fp32"), (arguments.device, "bf16")]
    found = [predictions(folder / f"digits-{device}-{precision}", device, precision, arguments.limit)
             for device, precision in ways]  # fmt: skip
    for (device, precision), other in zip(ways[1:], found[1:], strict=True):
        flipped = sum(int((other[key] != one).sum()) for key, one in found[0].items())
        total = sum(len(one) for one in found[0].values())
        print(
            f"{flipped:,} of {total:,} predictions in {precision} on {device} differ from the CPU's in fp32", flush=True
        )
        if precision == "fp32":
            claim("predictions that another device flips", f"{flipped / total:.3%}", flipped / total <= FLIPS_BAR)


def predictions(store: Path, device: str, precision: str, limit: int | None) -> dict[tuple[str, Condition], Array]:
    """Of the whole digits track, by checkpoint and condition."""
    flags = {"store": str(store), "cache": "off", "device": device, "precision": precision, "limit": limit}
    settings = load_config(flags).settings
    result = api.run(*api.select(track="digits"), settings)
    if not result.ok:
        raise SystemExit(f"the digits track failed: {result.failures}")
    read = Store(settings.store).read
    return {(c.checkpoint.name, c.condition): read(c.key).columns["prediction"] for c in result.plan.cells}


# -- throughput -----------------------------------------------------------------------------------------------------


def compare_throughput(arguments: argparse.Namespace, folder: Path) -> None:
    """Images per second of the engine, whole run and forward passes, and of the bare module."""
    entry = register_random("random", arguments.arch, SIZE, 0, folder)
    register_synthetic("synthetic", arguments.images, SIZE)
    suite = Suite(
        name="throughput", version=1, title="Throughput", paper="", track="benchmarks",
        protocol=Protocol(terms=("synthetic",)),
        scores=(Score(metric=TOP1, conditions=(Condition(data=Data(dataset="synthetic")),), column="top-1"),),
    )  # fmt: skip
    flags = {"cache": str(folder / "crops"), "device": arguments.device, "precision": "bf16",
             "batch_size": arguments.batch_size}  # fmt: skip
    settings = load_config(flags).settings
    engine(suite, entry, settings, folder / "warm-up")  # fills the cache
    ours, bare = [], []
    for number in range(arguments.rounds):
        ours.append(engine(suite, entry, settings, folder / str(number)))
        bare.append(bare_module(arguments))
    whole, sweep = np.median(ours, axis=0)
    peer = float(np.median(bare))
    print(f"bare module {peer:,.0f} images/s; engine {sweep:,.0f} in the sweep of {arguments.images:,} images,")
    print(f"{whole:,.0f} with planning, loading and writing")
    claim("throughput from a warm cache beside the bare module", f"{sweep / peer:.1%}", sweep / peer >= THROUGHPUT_BAR)


class _FirstToLast:
    """Told of every batch by the engine: the seconds between the first and the last, and the images after the first."""

    def begin(self, total: int) -> None:
        """See `bench.progress.Progress`."""
        self.times: list[float] = []
        self.counts: list[int] = []

    def advance(self, count: int, doing: str) -> None:
        """See `bench.progress.Progress`."""
        self.times.append(float(clock()[0]))
        self.counts.append(count)

    def note(self, text: str) -> None:
        """See `bench.progress.Progress`."""

    def end(self) -> None:
        """See `bench.progress.Progress`."""

    @property
    def rate(self) -> float:
        """Images per second once the first batch is through."""
        return sum(self.counts[1:]) / (self.times[-1] - self.times[0])


def engine(suite: Suite, entry: Checkpoint, settings: Settings, store: Path) -> tuple[float, float]:
    """Images per second of a whole run, and of its sweep after the first batch."""
    progress = _FirstToLast()
    start = clock()
    result = api.run([suite], [entry], dataclasses.replace(settings, store=store), progress)
    seconds = float((clock() - start)[0])
    if not result.ok:
        raise SystemExit(f"the run failed: {result.failures}")
    return result.plan.cells[0].n / seconds, progress.rate


def bare_module(arguments: argparse.Namespace) -> float:
    """Images per second as timm's benchmark.py takes them."""
    device = torch.device(arguments.device)
    module = timm.create_model(arguments.arch).to(device, torch.bfloat16).to(memory_format=torch.channels_last).eval()
    images = torch.randn(arguments.batch_size, 3, SIZE, SIZE, device=device, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    batches: int = max(arguments.images // arguments.batch_size, 2)
    with torch.inference_mode():
        for _ in range(2):  # to warm up
            module(images)
        wait(device)
        start = clock()
        for _ in range(batches):
            module(images)
        wait(device)
    seconds = float((clock() - start)[0])
    return batches * int(arguments.batch_size) / seconds


def wait(device: torch.device) -> None:
    """Until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
