"""PGD over a grid of eps: ours against foolbox's, on the same model and images from the same random starts.

    python benchmarks/attacks.py --cifar10 DIR          # the two CIFAR-10 checkpoints: one weak, one fairly robust
    python benchmarks/attacks.py --agreement            # also which images are fooled, on the six digits checkpoints

Ours is the measure as `bench run` has it: with the images that are attacked afresh, and the signs of false security.
Foolbox gets the images in batches of the same size, and the module as we load it (no gradients for its weights).
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eagerpy
import numpy as np
import torch
from _common import claim, table

from bench import api
from bench.attacks.balls import ball_of
from bench.attacks.epsilon import parse_grid
from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import Library, subset
from bench.datasets.crops import CropSource
from bench.measure import Batch, Pace
from bench.measure.attacked import Attacked
from bench.records import Array, Checkpoint
from bench.rng import Draws, keys

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it takes a function of SciPy's from an old place
    import foolbox

GRIDS = {"linf": "0.5/255+1/255+2/255+4/255+8/255", "l2": "0.1+0.25+0.5+1"}
STEPS = 20
BATCH = 64
OTHER_BATCH = 17
FASTER, DIFFERENT, FLIPPED = 2.0, 0.005, 0.002
"""Bars: ratio of time, share of judgements that differ from foolbox's, share that differ between batch sizes."""


@dataclass
class Loader:
    """Images at hand; see `bench.measure.Loader`."""

    ids: Array
    labels: Array
    images_NCHW: torch.Tensor
    batch: int = BATCH

    def __iter__(self) -> Any:
        for start in range(0, len(self.ids), self.batch):
            some = slice(start, start + self.batch)
            labels = torch.from_numpy(self.labels[some]).to(self.images_NCHW.device)
            yield Batch(ids=[str(i) for i in self.ids[some]], labels_N=labels, images_NCHW=self.images_NCHW[some])

    def at(self, rows: Array) -> "Loader":
        """Some of them."""
        return Loader(self.ids[rows], self.labels[rows], self.images_NCHW[rows], self.batch)


def images_of(library: Library, name: str, entry: Checkpoint, limit: int, device: str = "cpu") -> Loader:
    samples = library.open(name, "test").samples
    rows = subset(samples.ids, limit)
    crops_NHWC = np.empty((len(rows), entry.input_size, entry.input_size, 3), dtype=np.uint8)
    CropSource(samples, entry.crop).fill(rows, crops_NHWC)
    images_NCHW = torch.from_numpy(crops_NHWC).permute(0, 3, 1, 2).float().div(255)
    return Loader(samples.ids[rows], samples.labels[rows], images_NCHW.to(device))


def ours(module: torch.nn.Module, loader: Loader, norm: str, batch: int = BATCH) -> Array:
    """(images, eps): which are fooled."""
    pace = Pace(batch_size=batch, fixed=False, done=lambda count: None)
    shown = Loader(loader.ids, loader.labels, loader.images_NCHW, batch)
    columns = Attacked("pgd", norm=norm, grid=GRIDS[norm], steps=STEPS).run(module, shown, {}, 0, pace)
    grid = np.array(parse_grid(GRIDS[norm], norm).values, dtype=np.float32)
    fooled: Array = columns["smallest_eps"][:, None] <= grid
    return fooled


def foolboxs(module: torch.nn.Module, loader: Loader, norm: str) -> Array:
    """(images, eps): which are fooled, each eps by itself."""
    model = foolbox.PyTorchModel(module, bounds=(0, 1))
    grid = list(parse_grid(GRIDS[norm], norm).values)
    fooled = []
    for batch in loader:
        attack = _from_our_starts(list(batch.ids), norm)(rel_stepsize=2.5 / STEPS, steps=STEPS)
        fooled.append(attack(model, batch.images_NCHW, batch.labels_N, epsilons=grid)[2].cpu().numpy().T)
    return np.concatenate(fooled)


def _from_our_starts(ids: Sequence[str], norm: str) -> Any:
    base: Any = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]

    class FromOurStarts(base):  # type: ignore[misc]
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            draws = Draws(keys(0, f"attack/pgd/ce/{norm}/{epsilon:.9g}/0", ids, x0.raw.device))
            return x0 + eagerpy.astensor(epsilon * ball_of(norm).random(draws, x0.shape[1:]))

    return FromOurStarts


def timed(function: Callable[[], Array]) -> tuple[float, Array]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(entry: Checkpoint, loader: Loader, norm: str, rounds: int) -> tuple[list[str], float, float, float]:
    """A row of the table; ratio of times, share of judgements that differ, largest difference in success at one eps."""
    module = load(entry, loader.images_NCHW.device).to(memory_format=torch.channels_last)
    ratios = []
    for _ in range(rounds):  # in turn: a slow minute hits both
        theirs_s, theirs = timed(lambda: foolboxs(module, loader, norm))
        ours_s, mine = timed(lambda: ours(module, loader, norm))
        ratios.append(theirs_s / ours_s)
    ratio, different = statistics.median(ratios), float((mine != theirs).mean())
    less = float(np.max(theirs.mean(0) - mine.mean(0)))
    row = [
        f"{entry.name} {norm}",
        *(f"{100 * (1 - share):.1f}" for share in (mine[:, 0].mean(), mine[:, -1].mean(), theirs[:, -1].mean())),
        f"{100 * different:.2f}%",
        f"{ratio:.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
    ]
    print(f"  {row[0]}: {ratio:.2f}", flush=True)
    return row, ratio, different, less


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, metavar="DIR", help="CIFAR-10's Parquet files, or another layout")
    parser.add_argument("--images", type=int, default=1000, help="of CIFAR-10 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--agreement", action="store_true", help="also all six digits checkpoints, a round each")
    arguments = parser.parse_args()
    api.configure()
    library = Library({"cifar10": arguments.cifar10} if arguments.cifar10 else {})
    jobs = []
    if arguments.cifar10:
        jobs += [("cifar10", name, arguments.images) for name in ("cifar10-resnet", "cifar10-resnet-adversarial")]
    digits = [entry.name for entry in checkpoints if entry.name.startswith("digits-")]
    jobs += [("digits", name, 500) for name in (digits if arguments.agreement else digits[:1])]
    rows = [["", "at smallest eps", "largest", "foolbox's", "differ", "ratio", "of rounds"]]
    found, flips = {}, {}
    for dataset, name, limit in jobs:
        entry = checkpoints.get(name)
        loader = images_of(library, dataset, entry, limit, arguments.device)
        for norm in GRIDS:
            rounds = arguments.rounds if dataset == "cifar10" else 1
            row, ratio, different, less = compare(entry, loader, norm, rounds)
            rows.append(row)
            found[name, norm] = (dataset, ratio, different, less)
        module = load(entry, arguments.device).to(memory_format=torch.channels_last)
        changed = ours(module, loader, "linf") != ours(module, loader, "linf", OTHER_BATCH)
        flips[name] = float(changed.any(axis=1).mean())
    print("accuracy in percent after PGD; differ: judgements (image and eps); ratio: foolbox's time over ours\n")
    table(rows)
    print()
    worst = max(different for _, _, different, _ in found.values())
    claim(f"foolbox judges at most {DIFFERENT:.1%} otherwise", f"{worst:.2%} at most", worst <= DIFFERENT)
    less = max(less for *_, less in found.values())
    print(f"at no eps does ours fool fewer images than foolbox's by more than {max(less, 0):.2%} of them")
    most = max(flips.values())
    claim(f"batches of {BATCH} and {OTHER_BATCH} agree but for {FLIPPED:.1%}", f"{most:.2%}", most <= FLIPPED)
    for (name, norm), (dataset, ratio, _, _) in found.items():
        if dataset == "cifar10":
            claim(f"{name}, {norm}: at least {FASTER:g} x as fast as foolbox", f"{ratio:.2f} x", ratio >= FASTER)


if __name__ == "__main__":
    main()
