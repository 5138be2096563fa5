"""Photographs of ImageNet for tests, where they are, and what models make of them in two ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.checkpoints.loading import load
from bench.datasets.crops import CropSource
from bench.records import Array, Checkpoint
from bench.run.device import to_unit_range

SHARED = Path(__file__).parents[4] / "shared" / "data"
FOLDER, LITE0 = SHARED / "imagenet-sample", SHARED / "weights" / "tf_efficientnet_lite0.safetensors"
MOST = 12
"""Of the photographs, for a test that is not slow: every eighth or so."""


class Files:
    """Image files as the samples of a split."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.ids = np.array([path.name for path in paths])
        self.labels = np.zeros(len(paths), np.int64)
        self.sizes = np.array([path.stat().st_size for path in paths])

    def read(self, index: int) -> bytes:
        return self.paths[index].read_bytes()

    def stamp(self, index: int) -> int:
        return index


def photographs(most: int | None = MOST) -> Files:
    """Some of them, or all; a test is skipped where they are not."""
    paths = sorted(FOLDER.glob("*/*"))
    if not paths:
        pytest.skip("the photographs of ImageNet are not on this machine")
    return Files(paths[:: max(1, len(paths) // most)] if most else paths)


def ours(checkpoint: Checkpoint, files: Files) -> Array:
    """(n, K): the logits that a run would score."""
    source = CropSource(files, checkpoint.crop)  # type: ignore[arg-type]
    crops = source.empty(len(files.paths))
    source.fill(range(len(files.paths)), crops)
    module = load(checkpoint, "cpu")
    with torch.inference_mode():
        images = to_unit_range(torch.from_numpy(crops).permute(0, 3, 1, 2), "cpu")
        logits: Array = torch.cat([module(images[i : i + 1]) for i in range(len(images))]).numpy()
    return logits


def theirs(
    model: torch.nn.Module, transform: Callable[[Any], Any], files: Files, logits_of: Callable[[Any], Any] = lambda o: o
) -> Array:
    """(n, K): the logits of a library's own pipeline."""
    rows = []
    with torch.inference_mode():
        for path in files.paths:
            with Image.open(path) as picture:
                rows.append(logits_of(model.eval()(transform(picture.convert("RGB"))[None])))
    logits: Array = torch.cat(rows).numpy()
    return logits


def assert_alike(checkpoint: Checkpoint, files: Files, wanted_NK: Array) -> None:
    """Every prediction the same, and every logit but for rounding."""
    logits_NK = ours(checkpoint, files)
    assert logits_NK.shape == wanted_NK.shape
    assert (logits_NK.argmax(1) == wanted_NK.argmax(1)).all()
    assert np.abs(logits_NK - wanted_NK).max() < 1e-3 * max(1.0, np.abs(wanted_NK).max())
