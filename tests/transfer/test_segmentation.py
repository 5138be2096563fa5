"""A linear head on patch tokens: it learns what tokens tell, crops stay with their masks, windows cover a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from bench.checkpoints.zoo.architectures import ARCHITECTURES
from bench.errors import RunError
from bench.metrics.segmentation import MEAN_IOU
from bench.records import Outcome
from bench.store import Store
from bench.transfer import segmentation
from bench.transfer.features import FeatureMap
from bench.transfer.segmentation import Examples, Schedule, Segmenter, counts, learn, segment

COLOURS = np.array([(60, 60, 60), (220, 40, 40), (40, 60, 220)])
SIZE, IGNORED, CLASSES = 32, 255, 3
CPU = torch.device("cpu")


def colours(images: torch.Tensor) -> torch.Tensor:
    """Features of cells of 4×4 pixels: their mean colours."""
    return F.avg_pool2d(images, 4)


def examples(count: int, seed: int = 0) -> Examples:
    """Grey pictures with a coloured rectangle, which is the class; the first rows are of no class."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        mask = np.zeros((40 + rng.integers(8), 56 + rng.integers(8)), np.uint8)
        top, left = rng.integers(4, 16), rng.integers(4, 30)
        mask[top : top + 20, left : left + 20] = rng.integers(1, 3)
        picture = np.clip(COLOURS[mask] + rng.integers(-15, 15, (*mask.shape, 3)), 0, 255).astype(np.uint8)
        mask[:2] = IGNORED
        pairs.append((picture, mask))
    return Examples(count=count, read=pairs.__getitem__)


def learnt(given: Examples, seed: int = 0, steps: int = 60, **others: object) -> Segmenter:
    schedule = Schedule(steps=steps, batch_size=4, learning_rate=0.1)
    about = {"classes": CLASSES, "size": SIZE, "interpolation": "bilinear", "device": CPU, **others}
    return learn(colours, given, schedule, seed=seed, **about)


def miou(model: Segmenter, given: Examples) -> float:
    rows = []
    for picture, mask in map(given.read, range(given.count)):
        rows.append(counts(segment(model, picture, mask.shape, SIZE, "bilinear", 2), mask, CLASSES))
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    ids = np.arange(given.count).astype(str)
    return MEAN_IOU.estimate([Outcome(ids=ids, labels=np.zeros(given.count, np.int64), columns=columns)]).value


def test_it_learns_what_tokens_tell_and_finds_it_in_new_pictures() -> None:
    assert miou(learnt(examples(12)), examples(6, seed=1)) > 0.8
    assert miou(learnt(examples(12), steps=1), examples(6, seed=1)) < 0.6


def test_the_seed_decides_the_head_and_global_randomness_does_not() -> None:
    def weights(seed: int) -> torch.Tensor:
        return learnt(examples(5), seed=seed, steps=2).classifier.weight.detach()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, after = weights(0), torch.rand(1)
        torch.manual_seed(1)
        assert torch.equal(torch.rand(1), after)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_a_crop_and_its_mask_stay_together() -> None:
    """Masks as pictures, scaled alike: they must show the same; what a small picture lacks is black and of no class."""
    rng = np.random.default_rng(0)
    masks = [np.kron(rng.integers(1, 200, (7, 9)), np.ones((6, 6))).astype(np.uint8) for _ in range(6)]
    given = Examples(count=6, read=lambda index: (np.repeat(masks[index][..., None], 3, 2), masks[index]))
    draws = segmentation._draws(6, torch.Generator().manual_seed(0))
    batch = [next(draws) for _ in range(24)]
    images, cut = segmentation._crops(given, batch, SIZE, "nearest")
    assert images.shape == (24, 3, SIZE, SIZE)
    assert cut.shape == (24, SIZE, SIZE)
    pixels = (images * 255).round().long()
    beyond = cut == IGNORED
    assert beyond.any()
    assert not beyond.all(dim=(1, 2)).any()
    assert torch.equal(pixels[:, 0], torch.where(beyond, 0, cut))
    assert {draw.mirrored for draw in batch} == {True, False}
    assert sorted(draw.index for draw in batch[:6]) == list(range(6))


@pytest.mark.parametrize("shape", [(32, 32), (40, 90), (97, 40), (16, 20)])
def test_windows_cover_a_picture_of_any_shape(shape: tuple[int, int]) -> None:
    """The right half is of another colour; each pixel far from the border has its half's class, in any window."""
    halves = np.zeros(shape, np.uint8)
    halves[:, shape[1] // 2 :] = 1
    model = Segmenter(colours, 3, 2).eval()
    with torch.no_grad():  # logits: how grey, and how red
        model.classifier.weight.copy_(torch.tensor([[-1.0, 0, 1], [1, 0, -1]])[..., None, None])
        model.classifier.bias.zero_()
    blue_and_red = np.array([(0, 0, 255), (255, 0, 0)], np.uint8)
    predicted = segment(model, blue_and_red[halves], shape, SIZE, "bilinear", 3)
    assert predicted.shape == shape
    assert predicted.dtype == np.uint8
    near = max(2, min(shape) // 4)
    far = np.abs(np.arange(shape[1]) - shape[1] / 2) > near
    assert np.array_equal(predicted[:, far], halves[:, far])


def test_how_many_windows_are_shown_at_once_changes_nothing() -> None:
    model, (picture, mask) = learnt(examples(4), steps=5), examples(1, seed=3).read(0)
    one, many = (segment(model, picture, mask.shape, SIZE, "bilinear", at_once) for at_once in (1, 8))
    assert np.array_equal(one, many)


def test_masks_without_a_class_teach_nothing_and_say_so() -> None:
    blank = Examples(
        count=2, read=lambda index: (np.zeros((40, 40, 3), np.uint8), np.full((40, 40), IGNORED, np.uint8))
    )
    with pytest.raises(RunError, match="no pixel that was learnt from is of a class"):
        learnt(blank, steps=2)


def test_features_that_are_not_finite_end_the_training() -> None:
    with pytest.raises(RunError, match="the loss of the linear head is not finite"):
        learn(
            lambda images: colours(images) / 0,
            examples(2),
            Schedule(steps=2, batch_size=2, learning_rate=0.1),
            classes=CLASSES,
            size=SIZE,
            interpolation="bilinear",
            seed=0,
            device=CPU,
        )


class Pixels(nn.Module):
    """As `bench.checkpoints.loading` wraps a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.5))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_grid_of_features_is_that_of_the_last_layer(name: str) -> None:
    model, images = ARCHITECTURES[name]().eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        grid, last = FeatureMap(Pixels(model))(images), model.forward_features((images - 0.5) / 0.5)
    if last.ndim == 3:
        side = grid.shape[-1]
        assert side**2 == last.shape[1] - getattr(model, "num_prefix_tokens", 0)
        assert torch.equal(grid[:, :, 1, 0], last[:, last.shape[1] - side**2 + side])
    else:
        assert torch.equal(grid, last)


def test_a_suite_over_fixtures_runs_and_is_stored(bench, tmp_path: Path) -> None:
    given = examples(5)
    for split, rows in (("training", range(3)), ("validation", range(3, 5))):
        for row in rows:
            picture, mask = given.read(row)
            for folder, image, ending in (("images", picture, "jpg"), ("annotations", mask + 1, "png")):
                path = tmp_path / "ade" / folder / split / f"ADE_{row}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    run = ("run", "--suite", "segmentation", "--data", "ade20k=ade", "--set", "steps=2", "--set", "batch_size=2")
    checkpoints = ("--checkpoint", "digits-resnet", "--store", "runs")
    ended = bench(*run, *checkpoints)
    assert ended.returncode == 0, ended.stderr
    assert "1 cell measured" in ended.stderr
    assert "learn from" in ended.stdout
    store = Store(tmp_path / "runs")
    (key,) = store.keys()
    shown = [np.bincount(mask[mask != IGNORED], minlength=150) for _, mask in map(given.read, (3, 4))]
    assert np.array_equal(store.read(key).columns["target"], shown)
    assert "0 cells measured, 1 were stored" in bench(*run, *checkpoints).stderr
