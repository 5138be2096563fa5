"""The Triton kernels make what the compiled loops make, bit for bit: on a CUDA device, or interpreted without one."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from bench import rng
from bench.corruptions import corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.images.resize import resize
from bench.machine import triton_op

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = [name for names in GROUPS.values() for name in names]
OTHERWISE = ("defocus_blur",)
"""Summed in another order, by FFT: what lies on a whole number but for rounding falls on either side."""
SIZES = (1, 2, 1023, 1024, 1025, 2051) if DEVICE == "cpu" else (1, 2, 1023, 1024, 1025, 2051, 150_528)


@pytest.fixture
def device(monkeypatch):
    """Where kernels run; without one, tensors of the host take the ways of a device."""
    if DEVICE == "cpu":
        hasten_the_interpreter(monkeypatch)
        monkeypatch.setattr(torch.Tensor, "is_cuda", True)
        monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    return DEVICE


def hasten_the_interpreter(monkeypatch):
    """Leave out what it does beside computing, which takes two thirds of its time."""
    from triton.runtime import interpreter

    run, patched = interpreter.InterpretedFunction.run, set()

    def launch(function, *arguments, **named):
        patched.clear()
        return run(function, *arguments, **named)

    def call(function, *arguments, **named):
        module = id(function.fn.__globals__)
        if module not in patched:  # once a launch, not once a call
            patched.add(module)
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*arguments, **named)

    monkeypatch.setattr(interpreter.InterpretedFunction, "run", launch)
    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
    options = replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    monkeypatch.setattr(interpreter.interpreter_builder, "options", options)


def pictures(n, height, width, *, last):
    """Grain, with parts that are black, white and flat."""
    images = np.random.default_rng(height).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0, :9], images[0, 9:15], images[0, -9:, -9:] = 255, 0, (90, 160, 160)
    images_NCHW = torch.from_numpy(images).permute(0, 3, 1, 2)
    return images_NCHW if last else images_NCHW.contiguous()


def made(name, images_NCHW, severity):
    ids = [f"{i}" for i in range(len(images_NCHW))]
    return corrupt(corruptions.get(name), images_NCHW, severity, seed=3, ids=ids)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("draw", [rng.bits, rng.uniform, rng.normal])
def test_random_numbers_are_those_of_a_cpu(draw, size, request):
    ids = ["a", "b"]
    expected = draw(rng.keys(3, "noise", ids), (size,), 11)
    device = request.getfixturevalue("device")
    assert torch.equal(draw(rng.keys(3, "noise", ids, device), (size,), 11).to("cpu"), expected)


@pytest.mark.parametrize(
    ("shape", "severity", "last"), [((1, 32, 33), 1, True), ((1, 33, 32), 5, False)]
    if DEVICE == "cpu" else [((5, 224, 224), severity, severity % 2 == 0) for severity in range(1, 6)]
)  # fmt: skip
@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_those_of_a_cpu(name, shape, severity, last, request):
    images_NCHW = pictures(*shape, last=last)
    expected = made(name, images_NCHW, severity)
    device = request.getfixturevalue("device")
    difference = (made(name, images_NCHW.to(device), severity).to("cpu").int() - expected.int()).abs()
    assert difference.max() <= (1 if name in OTHERWISE else 0)


def test_images_of_a_batch_are_the_ones_made_alone(device):
    images_NCHW = pictures(3, 34, 37, last=True).to(device)
    for name in ("gaussian_noise", "shot_noise", "frost"):
        together = made(name, images_NCHW, 4)
        assert torch.equal(made(name, images_NCHW[:1], 4)[0], together[0])


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("size", [24, 50])
def test_sizes_are_pillow_s(size, last, request):
    images_NCHW = pictures(1, 37, 37, last=last)
    expected = resize(images_NCHW, size)
    assert torch.equal(resize(images_NCHW.to(request.getfixturevalue("device")), size).to("cpu"), expected)


def test_edges_are_followed_to_their_end(device):
    from bench.corruptions.kernels import spatter_triton

    rng_ = np.random.default_rng(2)
    ridge = torch.from_numpy(rng_.random((2, 19, 70)) < 0.55)
    edges = ridge & torch.from_numpy(rng_.random((2, 19, 70)) < 0.02)
    expected = edges.float()
    for _ in range(19 * 70):
        expected = max_pool2d(expected, 3, stride=1, padding=1) * ridge
    state = (ridge.to(torch.uint8) + edges).to(device)
    spatter_triton.grow(state)
    assert torch.equal(state.to("cpu") == 2, expected.bool())
    assert edges.sum() < expected.sum() < ridge.sum()


def test_a_device_on_which_nothing_compiles_is_told_once_and_does_without(device, monkeypatch):
    def broken():
        raise RuntimeError("Failed to find C compiler")

    images_NCHW = pictures(2, 32, 32, last=True).to(device)
    expected = made("shot_noise", images_NCHW, 2)
    triton_op._works.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(triton_op, "_probe", broken)
        with pytest.warns(UserWarning, match="Triton does not run on .*Failed to find C compiler.*slower ways"):
            assert torch.equal(made("shot_noise", images_NCHW, 2), expected)
        assert torch.equal(made("shot_noise", images_NCHW, 2), expected)  # and no warning
    triton_op._works.cache_clear()


@pytest.mark.slow
def test_kernels_compile_for_a_card_that_is_not_here_and_fuse_no_product_with_a_sum():
    script = Path(__file__).parents[2] / "benchmarks" / "compile_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    kernels = [line.split() for line in done.stdout.splitlines() if line.startswith("_")]
    assert {"_normal_kernel", "_poisson_kernel", "_blocks_kernel", "_level_kernel"} <= {name for name, *_ in kernels}
    assert {fused for _, _, fused, *_ in kernels} == {"0"}
