"""What holds for every registered corruption; a new one is tested with no new line here.

Legend: N images, C channels, H × W pixels.
"""

import random

import numpy as np
import pytest
import torch

from bench.corruptions import Corruption, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.corruptions.makers import reference_of
from bench.datasets import Library
from bench.errors import BenchError

NAMES = [entry.name for entry in corruptions]
SEVERITIES = (1, 2, 3, 4, 5)
IDS = [f"sample-{i}" for i in range(6)]


def blobs(n: int, height: int, width: int) -> torch.Tensor:
    """Coloured shapes on a gradient (N, C, H, W): edges, flat parts, dark and bright ones."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width] / max(height, width)
    images = []
    for _ in range(n):
        image = np.stack([y * a + x * b for a, b in rng.uniform(60, 140, (3, 2))])
        for _ in range(4):
            (cy, cx), r = rng.uniform(0, 0.8, 2), rng.uniform(0.08, 0.25)
            inside = (y - cy) ** 2 + (x - cx) ** 2 < r**2
            image[:, inside] = rng.uniform(0, 255, (3, 1))
        images.append(image)
    return torch.from_numpy(np.stack(images).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def small() -> torch.Tensor:
    return blobs(len(IDS), 32, 32)


@pytest.fixture(params=NAMES)
def entry(request):
    return corruptions.get(request.param)


def apply(entry, images, severity=3, seed=0, ids=IDS):
    return corrupt(entry, images, severity, seed=seed, ids=ids[: len(images)])


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(32, 32), (48, 80), (80, 48)])
def test_shape_and_type_are_kept_at_every_severity(entry, severity, shape):
    images = blobs(2, *shape)
    before = images.clone()
    corrupted = apply(entry, images, severity)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == torch.uint8
    assert torch.equal(images, before), "the images that came in were changed"
    assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("severity", [1, 5])
def test_the_same_seed_gives_the_same_pictures(entry, small, severity):
    assert torch.equal(apply(entry, small, severity), apply(entry, small, severity))


def test_another_seed_changes_every_picture_if_anything_is_random(entry, small):
    one, other = apply(entry, small, seed=0), apply(entry, small, seed=1)
    changed = [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert changed == [entry.seeded] * len(small)


def test_samples_of_one_batch_draw_apart(entry, small):
    same = small[:1].expand(len(small), -1, -1, -1).contiguous()
    pictures = {picture.numpy().tobytes() for picture in apply(entry, same)}
    assert len(pictures) == (len(small) if entry.seeded else 1)


@pytest.mark.parametrize("severity", [1, 5])
def test_a_picture_does_not_depend_on_its_batch(entry, small, severity):
    together = apply(entry, small, severity)
    order = [4, 1, 5, 0, 3, 2]
    shuffled = apply(entry, small[order], severity, ids=[IDS[i] for i in order])
    assert torch.equal(shuffled, together[order])
    for i, name in enumerate(IDS):
        assert torch.equal(apply(entry, small[i : i + 1], severity, ids=[name])[0], together[i])


def test_neither_threads_nor_modes_of_the_caller_change_a_picture(entry):
    images, ids = blobs(8, 224, 224), [f"{i}" for i in range(8)]  # more than one piece
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = apply(entry, images, ids=ids)
        torch.set_num_threads(2)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(apply(entry, images, ids=ids), expected)
        torch.set_default_dtype(torch.float64)
        assert torch.equal(apply(entry, images, ids=ids), expected)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def test_a_picture_does_not_depend_on_its_batch_on_other_devices_either(entry, small, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # every choice between the two ways goes by it
    together = apply(entry, small, 5)
    for i, name in enumerate(IDS):
        assert torch.equal(apply(entry, small[i : i + 1], 5, ids=[name])[0], together[i])


def test_floats_give_the_same_picture_and_stay_floats(entry, small):
    expected = apply(entry, small)
    for dtype in (torch.float32, torch.float16, torch.float64):
        made = apply(entry, (small / 255).to(dtype))
        assert made.dtype == dtype
        assert torch.equal(made.mul(255).round().to(torch.uint8), expected)


def test_slices_and_empty_batches_are_taken(entry, small):
    wide = torch.cat([small, small], 3)[..., 16:48]
    assert torch.equal(apply(entry, wide), apply(entry, wide.contiguous()))
    assert apply(entry, small[:0], ids=[]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("images", "severity", "words"),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.int64), 1, "take uint8, or floats"),
        (torch.full((1, 3, 32, 32), 255.0), 1, r"floats in \[0, 1\], and these hold others or NaN; divide by 255"),
        (torch.full((1, 3, 32, 32), float("nan")), 1, "these hold others"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), 1, r"\(n, 3, h, w\) and n ids, not \(1, 1, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 1, "and 1 ids"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 6, "from 1 to 5, not 6"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), True, "from 1 to 5, not True"),
    ],
)
def test_what_no_corruption_takes_is_refused_in_words(images, severity, words):
    with pytest.raises(BenchError, match=words):
        corrupt(corruptions.get("fog"), images, severity, seed=0, ids=["a"])


@pytest.mark.parametrize("name", [name for names in GROUPS.values() for name in names])
def test_images_too_small_are_refused_in_words(name):
    with pytest.raises(BenchError, match=f"{name} needs images of at least 32×32 pixels, not 31×40; enlarge"):
        corrupt(corruptions.get(name), torch.zeros(1, 3, 40, 31, dtype=torch.uint8), 1, seed=0, ids=["a"])


@pytest.mark.parametrize("name", ["gaussian_noise", "frost", "snow"])
def test_the_reference_is_repeatable_whatever_the_threads(name):
    images, ids = blobs(16, 128, 128), [f"{i}" for i in range(16)]
    entry, threads = reference_of(corruptions.get(name)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = apply(entry, images, ids=ids)
        torch.set_num_threads(2)
        assert torch.equal(apply(entry, images, ids=ids), expected)
    finally:
        torch.set_num_threads(threads)


def test_the_reference_lacks_what_is_not_its_own():
    stranger = Corruption(name="dusk", version=1, load=lambda: None)
    with pytest.raises(BenchError, match="has no 'dusk'; leave --corruptions reference out"):
        reference_of(stranger)


def test_memory_format_does_not_change_a_picture(entry, small):
    last = small.contiguous(memory_format=torch.channels_last)
    assert torch.equal(apply(entry, last), apply(entry, small))


def test_global_random_state_is_neither_used_nor_changed(entry, small):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    expected, before = apply(entry, small), states()
    try:
        apply(entry, small)
        assert states() == before
        random.seed(1)
        np.random.seed(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            assert torch.equal(apply(entry, small), expected)
    finally:
        random.setstate(before[0])


def test_severity_5_changes_more_than_severity_1(entry):
    samples = Library().open("digits", "test").samples
    digits = torch.from_numpy(np.stack([samples.read(i) for i in range(12)])).permute(0, 3, 1, 2)
    for images in (blobs(12, 32, 32), digits.contiguous()):
        ids = [f"{i}" for i in range(len(images))]
        change = [(apply(entry, images, s, ids=ids).float() - images).abs().mean().item() for s in (1, 5)]
        assert change[1] > change[0]


def test_each_says_what_it_is(entry):
    assert entry.group in ("noise", "blur", "weather", "digital", "extra")
    assert entry.about
    assert entry.version >= 1


def test_all_nineteen_of_imagenet_c_are_there():
    groups = {group: sum(entry.group == group for entry in corruptions) for group in ("noise", "blur", "weather")}
    assert groups == {"noise": 3, "blur": 4, "weather": 4}
    assert len(NAMES) >= 19
