"""What the batch size changes: nothing in what a model sees, and few predictions.

The six digits checkpoints on digits, digits-v2, digits-r and some corruptions, and two timm models with random
weights at 224 whose heads are scaled until their predictions spread, with batches of 1, 7, 64 and 256: the share
of predictions that differ from those with batches of 64. That the images themselves are bit-identical is a test
(`tests/test_model_inputs.py`); the workers and the order are part of it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import claim, register_random, register_synthetic, table

from bench import api
from bench.plan import make_sweeps
from bench.records import Checkpoint, Condition, Data, Images, Perturbation, Protocol
from bench.scores import TOP1
from bench.store import Store
from bench.suite import Score, Suite

BAR = 0.002
"""Share of predictions; `Promises` of the design."""
BATCHES = (64, 1, 7, 256)
"""The first is the one that the others are compared with."""
CORRUPTIONS = ("gaussian_noise", "glass_blur", "fog", "contrast", "jpeg_compression")


def digits() -> tuple[Condition, ...]:
    """Clean, shifted and corrupted conditions of the digits track."""
    corrupted = (
        Condition(data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption=name, severity=3)))
        for name in CORRUPTIONS
    )
    return (*(Condition(data=Data(dataset=name)) for name in ("digits", "digits-v2", "digits-r")), *corrupted)


def spread(module: Any) -> None:
    """Make the head's outputs differ from image to image, as a trained model's do."""
    import torch

    head = module.get_classifier()
    torch.nn.init.normal_(head.weight, std=1.0)
    torch.nn.init.zeros_(head.bias)


def predictions(
    conditions: tuple[Condition, ...], entries: list[Checkpoint], batch: int, folder: Path
) -> dict[tuple[str, Condition], Any]:
    """(checkpoint, condition) to predictions (n,), with batches of one size."""
    scores = tuple(Score(metric=TOP1, conditions=(c,), column=str(i)) for i, c in enumerate(conditions))
    suite = Suite(name="flips", version=1, title="", paper="", track="", protocol=Protocol(terms=()), scores=scores)
    flags = {"store": str(folder / f"runs-{batch}"), "cache": str(folder / "crops"), "device": "cpu"}
    settings = api.configure(**flags, batch_size=batch).settings
    result = api.run([suite], entries, settings)
    if not result.ok:
        raise SystemExit(f"a run failed: {result.failures}")
    store = Store(settings.store)
    cells = [cell for sweep in make_sweeps(result.plan.cells) for cell in sweep.cells]
    return {(cell.checkpoint.name, cell.condition): store.read(cell.key).columns["prediction"] for cell in cells}


def compare(name: str, conditions: tuple[Condition, ...], entries: list[Checkpoint], folder: Path) -> float:
    """Print the share that flips for each batch size; the largest."""
    reference = predictions(conditions, entries, BATCHES[0], folder)
    distinct = min(len(np.unique(values)) for values in reference.values())
    rows = [(f"{name} (at least {distinct} distinct predictions)", "flipped", "of", "share")]
    worst = 0.0
    for batch in BATCHES[1:]:
        found = predictions(conditions, entries, batch, folder)
        flipped = sum(int((found[key] != reference[key]).sum()) for key in reference)
        total = sum(len(values) for values in reference.values())
        worst = max(worst, flipped / total)
        rows.append((f"batches of {batch} against {BATCHES[0]}", str(flipped), f"{total:,}", f"{flipped / total:.3%}"))
    table(rows)
    return worst


def main() -> None:
    """Compare on both kinds of models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="synthetic ones at 224")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _, shipped = api.select(["digits"])
        register_synthetic("synthetic", arguments.images, 224)
        large = [
            register_random(arch, arch, 224, 0, folder, prepare=spread) for arch in ("resnet18", "vit_tiny_patch16_224")
        ]
        worst = max(
            compare("six digits checkpoints", digits(), shipped, folder / "digits"),
            compare("resnet18, vit_tiny at 224", (Condition(data=Data(dataset="synthetic")),), large, folder / "large"),
        )
    claim(f"at most {BAR:.1%} of predictions flip with the batch size", f"{worst:.3%}", worst <= BAR)


if __name__ == "__main__":
    main()
