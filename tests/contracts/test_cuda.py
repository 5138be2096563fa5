"""Every path of a CUDA device, run on tensors that hold no data: shapes, types, devices, and what waits for the host.

A tensor left on the host, or a value read back, is an error as the operation runs. What is copied between host and
device must stand in a list here, with its reason.
"""

import re

import pytest
import torch
from _counting import Counts, fake_cuda

from bench.corruptions import SEVERITIES, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.images.jpeg import round_trip
from bench.images.resize import resize
from bench.records import Perturbation
from bench.run.prepare import Preparer

NAMES = [name for names in GROUPS.values() for name in names]
BATCH = 6
IDS = [f"{i}" for i in range(BATCH)]
KEYS = rf"\({BATCH}, 2\) torch.int32 to the device"
"""The random generator's keys: 8 bytes an image, once a batch, made of the samples' ids on the host."""
CROPS = rf"\({BATCH}, 3, \d+, \d+\) torch.uint8 to the device"
"""The batch itself, once."""


@pytest.fixture(autouse=True)
def cuda():
    list(corruptions)  # what registers itself makes tensors with data
    with fake_cuda():
        yield


def counted(function):
    """What a call asks of the device once its tables lie there."""
    function()
    with Counts() as counts:
        made = function()
    return made, counts


def check(counts, *allowed):
    """Each of what is allowed was copied at most once, and nothing else."""
    left = list(counts.transfers)
    for pattern in allowed:
        found = [transfer for transfer in left if re.fullmatch(pattern, transfer)]
        if found:
            left.remove(found[0])
    assert not left


def crops(size, device="cuda"):
    return torch.empty(BATCH, size, size, 3, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", NAMES)
def test_corruptions_keep_to_the_device(name, size):
    severity = SEVERITIES[(NAMES.index(name) + size // 32) % 5]
    made, counts = counted(lambda: corrupt(corruptions.get(name), crops(size), severity, seed=0, ids=IDS))
    assert (made.shape, made.dtype, made.device.type) == ((BATCH, 3, size, size), torch.uint8, "cuda")
    check(counts, KEYS)


@pytest.mark.parametrize("name", ["gaussian_noise", "spatter", "zoom_blur"])
def test_corruptions_without_triton_keep_to_the_device_too(name, monkeypatch):
    monkeypatch.setattr("bench.machine.triton_op._works", lambda device: False)
    made, counts = counted(lambda: corrupt(corruptions.get(name), crops(32), 5, seed=0, ids=IDS))
    assert (made.dtype, made.device.type) == (torch.uint8, "cuda")
    check(counts, KEYS)


def test_jpeg_and_sizes_keep_to_the_device():
    made, counts = counted(lambda: resize(round_trip(crops(224), 85), 160))
    assert (made.shape, made.device.type) == ((BATCH, 3, 160, 160), "cuda")
    check(counts)


def test_a_batch_is_prepared_on_the_device():
    preparer = Preparer("cuda", seed=0)
    perturbation = Perturbation(corruption="fog", severity=3, jpeg_quality=85)
    made, counts = counted(lambda: preparer(crops(224, "cpu"), perturbation, ids=IDS, sizes=[224, 160]))
    assert {size: images.device.type for size, images in made.items()} == {160: "cuda", 224: "cuda"}
    check(counts, KEYS, CROPS)
