"""Batches that fit: memory that runs out halves the batch, and nothing else changes."""

import numpy as np
import pytest
import torch

from bench.errors import BenchError, RunError
from bench.measure.classify import Classify
from bench.run.device import Model, numerics, run_in_chunks, to_unit_range


class Small(torch.nn.Module):
    """Runs out of memory above `most` images; remembers its batches."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(len(images))
        return images.flatten(1)[:, :7]


IMAGES = torch.randint(0, 256, (10, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10) % 7


def rows(most: int, *, fixed: bool = False) -> tuple[dict[str, torch.Tensor], Model]:
    model = Model(Small(most), size=4, chunk=10)
    return run_in_chunks(Classify(), model, IMAGES, LABELS, "cpu", fixed=fixed), model


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_rows():
    whole, _ = rows(10)
    halved, model = rows(3)
    assert model.module.seen == [2, 2, 2, 2, 2]
    assert whole.keys() == halved.keys()
    for name in whole:
        assert np.array_equal(whole[name], halved[name])


def test_the_smaller_batch_is_remembered():
    _, model = rows(3)
    assert model.chunk == 2


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(RunError, match="out of memory with 1 image at once"):
        rows(0)


def test_a_batch_size_that_the_user_chose_is_not_changed():
    with pytest.raises(RunError, match="smaller --batch-size, or auto"):
        rows(3, fixed=True)


def test_a_module_that_fails_says_why():
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match\nmore")

    with pytest.raises(
        BenchError, match=r"forward pass failed: RuntimeError: shapes do not match \(.*test_device\.py, line \d+\)$"
    ):
        run_in_chunks(Classify(), Model(Broken(), 4, 10), IMAGES, LABELS, "cpu", fixed=False)


def test_images_are_exact_fractions_of_255():
    images = to_unit_range(IMAGES, "cpu")
    assert images.dtype == torch.float32
    assert torch.equal((images * 255).round().to(torch.uint8), IMAGES)


def test_every_value_of_a_pixel_is_what_a_cpu_divides_it_to():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_unit_range(pixels, "cpu").flatten(), torch.arange(256) / 255)


def test_memory_that_the_cpu_allocator_does_not_have_halves_the_batch():
    class Greedy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 3:
                torch.empty(10**15)  # raises as torch does, not as this test thinks it does
            return images.flatten(1)[:, :7]

    model = Model(Greedy(), size=4, chunk=10)
    run_in_chunks(Classify(), model, IMAGES, LABELS, "cpu", fixed=False)
    assert model.chunk == 2


class Rows:
    """A measure that gives what it is told to."""

    def __init__(self, give):
        self.give = give

    def rows(self, module, images_NCHW, labels_N):
        return self.give(images_NCHW)


def test_rows_in_bfloat16_are_kept_as_float32():
    give = Rows(lambda images: {"feature": images[:, 0, 0].bfloat16()})
    rows = run_in_chunks(give, Model(Small(10), 4, 10), IMAGES, LABELS, "cpu", fixed=False)
    assert rows["feature"].dtype == np.float32


def test_one_number_a_batch_is_no_row():
    give = Rows(lambda images: {"loss": images.mean()})
    with pytest.raises(RunError, match="a single value for 10 samples"):
        run_in_chunks(give, Model(Small(10), 4, 10), IMAGES, LABELS, "cpu", fixed=False)


def test_full_precision_on_a_gpu_keeps_its_library_of_convolutions():
    before = torch.backends.cudnn.enabled
    with numerics("cuda", "fp32"):
        assert torch.backends.cudnn.enabled == before
        assert not torch.backends.cudnn.allow_tf32
