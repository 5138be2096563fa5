"""Checkpoints that share a sweep of corrupted images, beside what they cannot do without, and beside the usual way.

    python benchmarks/sweep.py [--photos DIR]

Three sides, of the same checkpoints, images and conditions, from decoded images on:

- ours: a whole run of the engine from an empty store (planning, corrupting each batch once, every checkpoint, storing,
  scoring);
- the least: every corrupted batch made once, and every checkpoint's forward pass over every batch, timed apart and
  added;
- the usual: one checkpoint after another, each with a DataLoader whose workers call imagecorruptions image by image.

Without --photos: the six digits checkpoints on `digits-c`. With it: three timm models with random weights on the
generated `imagenet-c` at 224 (with its JPEG of quality 85), over photographs of DIR.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it

import argparse
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from _common import claim, link_photographs, register_random, table
from _replay import by_reference
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench import api
from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import Library
from bench.datasets.crops import CropSource
from bench.datasets.spaces import IMAGENET
from bench.records import Array, Checkpoint, Crop, Perturbation, Settings
from bench.run.device import to_unit_range
from bench.run.prepare import Preparer
from bench.suite import Suite, suites

BAR = 1.25
"""Issue 4: at most this many times the least."""
ARCHS = ("resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_100")
BATCH = 64


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, metavar="DIR")
    parser.add_argument("--images", type=int, default=100, help="of each condition")
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="conditions of the run")
    parser.add_argument("--workers", type=int, default=2, help="of the usual way")
    parser.add_argument("--rounds", type=int, default=1, help="after a run of two images")
    return parser.parse_args()


def cut(suite: Suite, severities: Sequence[int]) -> Suite:
    """The suite's headline-free part: accuracies of single conditions of these severities."""
    kept = [
        score
        for score in suite.scores
        if len(score.conditions) == 1
        and (perturbation := score.conditions[0].images.perturbation) is not None
        and perturbation.severity in severities
    ]
    return dataclasses.replace(suite, scores=(dataclasses.replace(kept[0], column="first"), *kept[1:]), fallback="")


class Work:
    """The images, conditions and checkpoints of the three sides."""

    def __init__(self, suite: Suite, entries: list[Checkpoint], settings: Settings) -> None:
        self.suite, self.entries, self.settings = suite, entries, settings
        condition = suite.conditions[0]
        samples = Library(settings.places).open(condition.data.dataset, condition.data.split).samples
        crop = condition.images.crop or Crop(size=entries[0].input_size, ratio=entries[0].crop_ratio)
        n = min(settings.limit or len(samples.ids), len(samples.ids))
        self.crops: Array = np.empty((n, crop.size, crop.size, 3), np.uint8)
        CropSource(samples, crop).fill(np.arange(n), self.crops)
        self.perturbations = [c.images.perturbation for c in suite.conditions if c.images.perturbation]
        self.modules = [load(entry, "cpu").to(memory_format=torch.channels_last) for entry in entries]

    # -- ours ---------------------------------------------------------------------------------------------------

    def run(self, limit: int | None = None) -> float:
        """Seconds of the engine."""
        with tempfile.TemporaryDirectory() as store:
            settings = dataclasses.replace(self.settings, store=Path(store), limit=limit or self.settings.limit)
            start = time.perf_counter()
            result = api.run([self.suite], self.entries, settings)
            seconds = time.perf_counter() - start
        if not result.ok:
            raise SystemExit(f"the run went wrong: {result.failures}")
        return seconds

    # -- the least ----------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[torch.Tensor]:
        """Uncorrupted, as our loop cuts them."""
        for start in range(0, len(self.crops), BATCH):
            yield torch.from_numpy(self.crops[start : start + BATCH]).permute(0, 3, 1, 2)

    def corrupt_once(self) -> float:
        """Seconds to make every corrupted batch once."""
        prepare, start = Preparer("cpu", 0), time.perf_counter()
        for perturbation in self.perturbations:
            for images in self.batches():
                ids, size = [str(i) for i in range(len(images))], images.shape[2]
                prepare(images, perturbation, ids=ids, sizes=[size])
        return time.perf_counter() - start

    def forwards(self) -> float:
        """Seconds of every checkpoint's pass over every condition; the pixels do not matter to it."""
        start = time.perf_counter()
        with torch.inference_mode():
            for module in self.modules:
                for _ in self.perturbations:
                    for images in self.batches():
                        module(to_unit_range(images, "cpu"))
        return time.perf_counter() - start

    # -- the usual way ------------------------------------------------------------------------------------------

    def one_after_another(self, workers: int) -> float:
        """Seconds of a loop over checkpoints and conditions with imagecorruptions in a DataLoader."""
        start = time.perf_counter()
        with torch.inference_mode():
            for module in self.modules:
                for perturbation in self.perturbations:
                    images = Corrupted(self.crops, perturbation)
                    for batch in DataLoader(images, batch_size=BATCH, num_workers=workers):
                        module(batch)
        return time.perf_counter() - start


class Corrupted(Dataset[torch.Tensor]):
    """Images as a script gives them: corrupted, saved as JPEG if the set is, and in [0, 1]."""

    def __init__(self, crops: Array, perturbation: Perturbation) -> None:
        self.crops, self.perturbation = crops, perturbation

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> torch.Tensor:
        perturbation = self.perturbation
        image = by_reference(perturbation.corruption, self.crops[index], perturbation.severity, index)
        if perturbation.jpeg_quality is not None:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=perturbation.jpeg_quality)
            image = np.array(Image.open(file))
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def digits(arguments: argparse.Namespace) -> Work:
    """Six checkpoints on `digits-c`."""
    settings = api.configure(cache="off", device="cpu", workers=0, limit=arguments.images, batch_size=BATCH).settings
    entries = [entry for entry in checkpoints if entry.name.startswith("digits-")]
    return Work(cut(suites.get("digits-c"), arguments.severities), entries, settings)


def photographs(arguments: argparse.Namespace, folder: Path) -> Work:
    """Three timm models on the generated `imagenet-c`."""
    (folder / "val").mkdir()
    link_photographs(arguments.photos, arguments.images, folder / "val")
    flags = {"cache": "off", "device": "cpu", "workers": 0, "batch_size": BATCH}
    settings = api.configure(**flags, data={"imagenet": str(folder / "val")}).settings
    entries = [register_random(arch, arch, 224, 0, folder, class_space=IMAGENET) for arch in ARCHS]
    return Work(cut(suites.get("imagenet-c-generated"), arguments.severities), entries, settings)


def report(times: list[dict[str, float]], work: Work) -> None:
    """Medians, and the claim."""
    median = {name: float(np.median([row[name] for row in times])) for name in times[0]}
    least = median["corrupting once"] + median["forward passes"]
    n = f"{len(work.perturbations)} conditions × {len(work.crops)} images × {len(work.entries)} checkpoints"
    rows = [(n, "seconds", "of the least"), *((k, f"{v:.1f}", f"{v / least:.2f}") for k, v in median.items())]
    table(rows)
    ratio = median["ours"] / least
    claim(f"a run at most {BAR} × (corrupting once + the forward passes)", f"{ratio:.2f} ×", ratio <= BAR)
    print(f"the usual way takes {median['the usual way'] / median['ours']:.1f} × as long as ours")


def main() -> None:
    """Time the sides in turn."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        work = photographs(arguments, Path(folder)) if arguments.photos else digits(arguments)
        sides: dict[str, Callable[[], float]] = {
            "ours": work.run,
            "corrupting once": work.corrupt_once,
            "forward passes": work.forwards,
            "the usual way": lambda: work.one_after_another(arguments.workers),
        }
        work.run(limit=2)  # imports, compiles, reads pictures of frost
        report([{name: side() for name, side in sides.items()} for _ in range(arguments.rounds)], work)


if __name__ == "__main__":
    main()
