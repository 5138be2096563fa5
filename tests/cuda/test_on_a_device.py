"""What only a CUDA device can show; skipped without one. `benchmarks/cuda.sh` runs it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import api
from bench.checkpoints import checkpoints
from bench.corruptions import SEVERITIES, corrupt, corruptions
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.measure.classify import Classify
from bench.run.device import Model, PeakMemory, numerics, run_in_chunks, to_unit_range
from bench.store import Store
from bench.suite import suites

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.slow,  # a CPU computes what the device is held against
]

FLIPPED = 0.002
"""Share of predictions that may differ between devices, as between batch sizes."""
BATCHED = [entry.name for entry in corruptions if entry.batched]


def pictures(size: int, n: int = 6) -> torch.Tensor:
    """(n, 3, size, size) uint8: smooth colours under a fine grain."""
    rng = np.random.default_rng(size)
    coarse = torch.from_numpy(rng.integers(0, 256, (n, 3, 7, 7)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    grain = torch.from_numpy(rng.normal(0, 9, (n, 3, size, size)).astype(np.float32))
    return (smooth + grain).clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [32, 75, 224])
@pytest.mark.parametrize("name", BATCHED)
def test_corrupted_pictures_are_a_cpus(name, size):
    entry, images = corruptions.get(name), pictures(max(size, corruptions.get(name).smallest))
    ids = [f"picture {row}" for row in range(len(images))]
    for severity in SEVERITIES:
        expected = corrupt(entry, images, severity, seed=3, ids=ids).int()
        got = corrupt(entry, images.cuda(), severity, seed=3, ids=ids).cpu().int()
        difference = (got - expected).abs()
        assert (difference > 1).float().mean() <= 1e-4, f"severity {severity}"
        assert difference.float().mean() <= 2e-3, f"severity {severity}"


@pytest.mark.parametrize("name", BATCHED)
def test_neither_batch_nor_memory_layout_changes_a_corrupted_picture(name):
    entry, images = corruptions.get(name), pictures(64).cuda()
    ids = [f"picture {row}" for row in range(len(images))]
    together = corrupt(entry, images, 3, seed=3, ids=ids)
    assert torch.equal(corrupt(entry, images.contiguous(), 3, seed=3, ids=ids), together)
    for row in (0, len(ids) - 1):
        alone = corrupt(entry, images[row : row + 1], 3, seed=3, ids=ids[row : row + 1])
        assert torch.equal(alone[0], together[row])


def test_jpeg_and_resizing_are_a_cpus():
    images = pictures(224)
    assert (round_trip(images.cuda(), 85).cpu().int() - round_trip(images, 85).int()).abs().max() <= 1
    assert (resize(images.cuda(), 160).cpu().int() - resize(images, 160).int()).abs().max() <= 1


def test_full_precision_has_no_tf32():
    torch.manual_seed(0)
    conv, images = torch.nn.Conv2d(64, 64, 3), torch.randn(4, 64, 32, 32)
    with torch.no_grad():
        exact = conv.double()(images.double())
    with numerics("cuda", "fp32"), torch.inference_mode():
        got = conv.float().cuda()(images.cuda()).cpu()
    assert float((got - exact).norm() / exact.norm()) < 1e-5  # TF32's is some 3e-4


def test_memory_that_the_device_does_not_have_halves_the_batch():
    class Greedy(torch.nn.Module):
        def forward(self, images):
            if len(images) > 3:
                torch.empty(1 << 50, dtype=torch.uint8, device=images.device)
            return images.flatten(1)[:, :7]

    images = torch.zeros(10, 3, 4, 4, dtype=torch.uint8)
    model = Model(Greedy(), size=4, chunk=10)
    rows = run_in_chunks(Classify(), model, images, torch.arange(10) % 7, "cuda", fixed=False)
    assert model.chunk == 2
    assert len(rows["prediction"]) == 10


def test_peak_memory_is_the_weights_and_what_a_pass_allocates():
    module = torch.nn.Linear(1 << 10, 1 << 10).cuda()
    with (peak := PeakMemory("cuda", module)):
        module(torch.zeros(1 << 12, 1 << 10, device="cuda"))
    assert 4 * (1 << 20) + 2 * 4 * (1 << 22) <= peak.bytes < 1 << 28


def outcomes(folder, suite, device: str, **flags):
    """What each cell of a digits checkpoint's suite holds, by condition, after a run."""
    flags = {"store": str(folder / device), "cache": "off", "device": device, "precision": "fp32", **flags}
    settings = api.configure(**flags).settings
    result = api.run([suite], [checkpoints.get("digits-resnet-sam")], settings)
    assert result.ok, result.failures
    return {cell.condition: Store(settings.store).read(cell.key).columns for cell in result.plan.cells}


def flipped(ours, theirs) -> float:
    assert ours.keys() == theirs.keys()
    pairs = [(ours[condition]["prediction"], theirs[condition]["prediction"]) for condition in ours]
    return float(np.mean(np.concatenate([first != second for first, second in pairs])))


@pytest.mark.parametrize("workers", [0, 2])
def test_predictions_are_a_cpus(tmp_path, workers):
    torch.zeros(1, device="cuda")  # so that processes are forked from one that has a device open
    suite = suites.get("digits-c")
    given = outcomes(tmp_path, suite, "cuda", workers=workers), outcomes(tmp_path, suite, "cpu", workers=workers)
    assert flipped(*given) <= FLIPPED


@pytest.mark.parametrize("name", ["digits-pgd", "digits-autoattack"])
def test_attacks_fool_the_images_that_they_fool_on_a_cpu(tmp_path, name):
    on_device, on_cpu = (
        outcomes(tmp_path, suites.get(name), device, limit=20, workers=0) for device in ("cuda", "cpu")
    )
    column = "smallest_eps" if name == "digits-pgd" else "fooled_by"
    for condition, columns in on_device.items():
        assert np.mean(columns[column] != on_cpu[condition][column]) <= 0.05, condition


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_transfer_and_fine_tuning_learn_what_they_learn_on_a_cpu(tmp_path, precision):
    suite = suites.get("digits-transfer").over(["letters"])
    on_device = outcomes(tmp_path, suite, "cuda", precision=precision)
    on_cpu = outcomes(tmp_path, suite, "cpu") if precision == "fp32" else None
    for condition, columns in on_device.items():
        accuracy = np.mean(columns["correct"])
        assert accuracy > 0.15, condition
        if on_cpu:
            assert abs(accuracy - np.mean(on_cpu[condition]["correct"])) < 0.05, condition


def test_a_pixel_is_the_same_fraction_on_both_devices():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_unit_range(pixels, "cuda").cpu(), to_unit_range(pixels, "cpu"))


def test_a_checkpoint_of_another_size_of_images_runs(tmp_path):
    entry = replace(checkpoints.get("digits-resnet-sam"), name="larger", input_size=64)
    settings = api.configure(store=str(tmp_path / "runs"), cache="off", device="cuda", limit=20, workers=0).settings
    assert api.run([suites.get("digits")], [entry], settings).ok
