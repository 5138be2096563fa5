"""What a model is shown depends on (seed, condition, sample) alone: not on batch size, workers or order.

A fake checkpoint takes part: its ten logits are the hash of the image that it is shown, so that equal outcomes of
`classify` mean bit-identical inputs.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench import api
from bench.checkpoints import checkpoints
from bench.corruptions import corruptions
from bench.datasets import Library, subset
from bench.datasets.crops import CropSource
from bench.metrics.classification import TOP1
from bench.records import Condition, Crop, Data, Images, ImageSet, Params, Perturbation, Protocol, Settings
from bench.run.feed import Task, at_once, make_images
from bench.run.prepare import Preparer
from bench.store import Store
from bench.suite import Score, Suite

DIGITS = Data(dataset="digits")
LIMIT = 40
# glass_blur and impulse_noise are given their seeds as arguments; the others draw from numpy's global stream.
CORRUPTIONS = ("gaussian_noise", "impulse_noise", "glass_blur", "motion_blur", "frost", "elastic_transform")


class Hash(torch.nn.Module):
    """Logits that are 16 bits each of the hash of an image, and memory for `most` images at once."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(1))
        self.most = most

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        if len(images_NCHW) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        pixels = images_NCHW.contiguous().numpy()
        digests = [hashlib.blake2b(image.tobytes(), digest_size=20).digest() for image in pixels]
        return torch.from_numpy(np.stack([np.frombuffer(d, dtype=np.uint16) for d in digests]).astype(np.float32))


@pytest.fixture
def fake(tmp_path):
    save_file({"nothing": torch.zeros(1)}, tmp_path / "hash.safetensors")
    digits = checkpoints.get("digits-vit")
    return replace(
        digits, name="hash", arch="", builder=f"{__name__}:Hash", weights=str(tmp_path / "hash.safetensors"),
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
        weights_digest="",
    )  # fmt: skip


def perturbed(name: str) -> Condition:
    return Condition(data=DIGITS, images=Images(perturbation=Perturbation(corruption=name, severity=2)))


CONDITIONS = (Condition(data=DIGITS), *map(perturbed, CORRUPTIONS))


def hashes(fake, store: Path, conditions=CONDITIONS, **settings) -> dict[Condition, dict[str, bytes]]:
    """What the fake checkpoint was shown: condition to sample id to the hash of the image."""
    scores = tuple(Score(metric=TOP1, conditions=(c,), column=str(i)) for i, c in enumerate(conditions))
    suite = Suite(
        name="inputs", version=1, title="", paper="", track="mine", protocol=Protocol(terms=()), scores=scores
    )
    result = api.run([suite], [fake], Settings(**{"store": store, "cache": None, "limit": LIMIT, **settings}))
    assert result.ok, result.failures
    found = {}
    for cell in result.plan.cells:
        outcome = Store(store).read(cell.key)
        logits, classes = outcome.columns["top_logits"], outcome.columns["top_classes"]
        words = np.take_along_axis(logits, np.argsort(classes, axis=1), axis=1)
        assert len(set(outcome.ids.tolist())) == outcome.n
        found[cell.condition] = dict(zip(outcome.ids.tolist(), map(bytes, words), strict=True))
    return found


@pytest.fixture(scope="module")
def reference():
    """The hashes of a plain run, made once."""
    return {}


@pytest.fixture
def expected(reference, fake, tmp_path):
    if not reference:
        reference.update(hashes(fake, tmp_path / "reference", batch_size=64, workers=0))
    return reference


def test_every_image_is_another_and_every_corruption_changes_it(expected):
    every = [image for images in expected.values() for image in images.values()]
    assert len(set(every)) == len(every) == len(CONDITIONS) * LIMIT


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (256, 0), (1, 2), (7, 2), (256, 2)])
def test_inputs_do_not_depend_on_batch_size_or_workers(fake, tmp_path, expected, batch_size, workers):
    assert hashes(fake, tmp_path / "runs", batch_size=batch_size, workers=workers) == expected


def test_inputs_do_not_depend_on_the_order_of_conditions(fake, tmp_path, expected):
    assert hashes(fake, tmp_path / "runs", tuple(reversed(CONDITIONS)), batch_size=7) == expected


def test_inputs_do_not_depend_on_what_else_is_measured(fake, tmp_path, expected):
    alone = hashes(fake, tmp_path / "runs", (perturbed("glass_blur"),))
    assert alone[perturbed("glass_blur")] == expected[perturbed("glass_blur")]


def test_inputs_do_not_depend_on_the_limit(fake, tmp_path, expected):
    for condition, images in hashes(fake, tmp_path / "runs", limit=11).items():
        assert len(images) == 11
        assert images.items() <= expected[condition].items()


def test_inputs_do_not_depend_on_the_crop_cache(fake, tmp_path, expected):
    for store in ("first", "second"):  # written, then read
        assert hashes(fake, tmp_path / store, cache=tmp_path / "cache") == expected


def test_inputs_do_not_depend_on_memory_that_runs_out(fake, tmp_path, expected):
    tight = replace(fake, arch_args=Params(most=3))
    assert hashes(tight, tmp_path / "runs", batch_size=None) == expected


def test_another_seed_gives_other_inputs_where_something_is_random(fake, tmp_path, expected):
    other = hashes(fake, tmp_path / "runs", seed=1)
    assert other[CONDITIONS[0]] == expected[CONDITIONS[0]]
    for condition in CONDITIONS[1:]:
        assert all(other[condition][name] != image for name, image in expected[condition].items())


@pytest.mark.parametrize("name", [None, *CORRUPTIONS])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_do_not_depend_on_the_order_of_samples(name, workers):
    samples = Library().open("digits", "test").samples
    source = CropSource(samples, Crop(size=32))
    perturbation = None if name is None else Perturbation(corruption=name, severity=4, jpeg_quality=85)
    images = ImageSet(dataset="digits", split="test", perturbation=perturbation)

    def made(*batches):
        tasks = [Task(images, np.array(batch), 0) for batch in batches]
        found = {}
        for batch in make_images({("digits", "test"): source}, tasks, seed=3, workers=workers, pin=False):
            ids = samples.ids[batch.task.indices]
            shown = Preparer("cpu", 3)(batch.crops_NCHW, at_once(batch.task.images), ids=ids, sizes=(32, 48))
            for index, *sizes in zip(batch.task.indices, shown[32], shown[48], strict=True):
                found[int(index)] = tuple(image.numpy().tobytes() for image in sizes)
        return found

    forwards = made(range(12))
    assert made([11, 3], [0, 5, 9, 10, 1], [7, 6, 8, 2, 4]) == forwards
    assert len(set(forwards.values())) == 12


def test_every_sample_is_shown_once_and_in_the_order_of_the_data_set(fake, tmp_path):
    ids = Library().open("digits", "test").samples.ids
    for limit, batch_size in ((None, 256), (LIMIT, 7), (1, 7)):
        shown = hashes(fake, tmp_path / str(limit), (CONDITIONS[0],), limit=limit, batch_size=batch_size)
        assert list(shown[CONDITIONS[0]]) == ids[subset(ids, limit)].tolist()


def test_these_corruptions_are_random():
    assert all(corruptions.get(name).seeded for name in CORRUPTIONS)
