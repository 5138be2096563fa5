"""Spatter is the reference's: the 8-bit stages are OpenCV's to the last bit, the pictures differ by rounding."""

import io
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from imagecorruptions import corruptions as reference
from PIL import Image, ImageOps
from skimage.filters import gaussian

from bench.corruptions import spatter as module
from bench.corruptions.kernels import spatter_cpu
from bench.corruptions.spatter import spatter

PATHS = ("compiled", "batched")
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
PHOTOGRAPHS, SMALL = 20, 200
DRY = 35  # the first seed whose 32 × 32 layer of severity 1 holds no water
MEAN, OFF_BY_3 = 0.001, 1e-4  # of 255, and of all values: float32 against their float64


class TheirDraws:
    """What the reference draws under seeds, less its mean and in units of its deviation."""

    def __init__(self, seeds, size):
        self.layers = [np.random.RandomState(seed).standard_normal((size, size)) for seed in seeds]

    def normal(self, *shape):
        assert shape == self.layers[0].shape
        return torch.from_numpy(np.stack(self.layers).astype(np.float32))


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """Tensors on the CPU take either path."""
    if request.param == "batched":
        monkeypatch.setattr(module, "_relief", module._relief_at_once)
        monkeypatch.setattr(module, "_covered", module._covered_at_once)
    return request.param


@pytest.fixture
def opencv():
    """OpenCV's own code everywhere: Intel's sums distances in float32."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    yield
    cv2.ipp.setUseIPP(before)


def real_data(part):
    place = os.environ.get("RTBENCH_TEST_DATA")
    if not place:
        pytest.skip("RTBENCH_TEST_DATA names no folder of real data")
    if not (Path(place) / part).exists():
        pytest.skip(f"RTBENCH_TEST_DATA holds no {part}")
    return Path(place) / part


@pytest.fixture(scope="module")
def photographs():
    paths = sorted(real_data("imagenet-sample").glob("*/*.JPEG"))[:PHOTOGRAPHS]
    return np.stack([ImageOps.fit(Image.open(path).convert("RGB"), (224, 224)) for path in paths])


@pytest.fixture(scope="module")
def small():
    rows = pd.read_parquet(real_data("cifar10/test.parquet")).iloc[:SMALL, 0]
    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows])


@pytest.fixture(scope="module")
def gradients():
    """Made pictures, dark to bright in each channel."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR) for image in coarse])


def as_batch(images_NHWC):
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)


def theirs(image_HWC, severity, seed):
    np.random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0 / 0, and NumPy's notices about the package's old idioms
        return reference.spatter(Image.fromarray(image_HWC), severity)


def layers(shape):
    """Layers of liquid as in all severities, and harder ones for each stage."""
    rng = np.random.default_rng(shape[0])
    found = [np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8)]
    for _ in range(6):
        for blur, threshold in ((4, 0.69), (3, 0.68), (2, 0.68)):
            layer = gaussian(0.65 + 0.3 * rng.standard_normal(shape), sigma=blur)
            found.append((layer * (layer >= threshold) * 255).astype(np.uint8))
        found.append(rng.integers(0, 256, shape, dtype=np.uint8) // rng.integers(1, 9, dtype=np.uint8))
        smooth = 100 + rng.uniform(20, 200) * gaussian(rng.standard_normal(shape), sigma=1.5)
        found.append(smooth.clip(0, 255).astype(np.uint8))
    return found


def opencv_stages(layer):
    edges = cv2.Canny(layer, 50, 150)
    distance = np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), 20)
    flat = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    return edges > 0, distance * 65536, cv2.blur(cv2.filter2D(flat, cv2.CV_8U, EMBOSS), (3, 3))


def compiled_stages(layer):
    edges = spatter_cpu.canny(layer)
    return edges[1:-1, 1:-1], spatter_cpu.distance(edges)[1:-1, 1:-1], spatter_cpu.height_of(edges)


def batched_stages(layers):
    edges = module._canny(torch.from_numpy(np.stack(layers)))
    distance = module._distance(edges)
    return zip(edges.numpy(), distance.numpy(), module._height(distance).numpy(), strict=True)


@pytest.mark.parametrize("shape", [(224, 224), (32, 32), (33, 47), (97, 64)])
def test_every_stage_is_opencvs(opencv, shape):
    found = layers(shape)
    for layer, batched in zip(found, batched_stages(found), strict=True):
        for name, expected, *got in zip(
            ("edges", "distance", "height"), opencv_stages(layer), compiled_stages(layer), batched, strict=True
        ):
            for path, stage in zip(PATHS, got, strict=True):
                assert np.array_equal(stage, expected), (name, path)


def test_shades_are_the_same_on_both_paths():
    found = torch.from_numpy(np.stack(layers((64, 80))))
    assert torch.equal(module._relief(found), module._relief_at_once(found))


def test_weak_edges_are_followed_to_their_end():
    layer = np.zeros((64, 64), np.uint8)
    layer[2:-2, 2:-2] = 20  # a weak edge all around, which begins at one corner
    layer[2:5, 2:5] = 255
    edges = module._canny(torch.from_numpy(layer)[None])[0].numpy()
    assert np.array_equal(edges, cv2.Canny(layer, 50, 150) > 0)
    assert edges[-4:, -4:].any()
    assert module._ROUNDS < 100  # the far corner is 2 · 60 steps away: the growth has to go on


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("source", ["photographs", "small", "gradients"])
def test_pictures_are_the_references(request, path, source, severity):
    images_NHWC = request.getfixturevalue(source)
    seeds = range(len(images_NHWC))
    expected = np.stack([theirs(images_NHWC[seed], severity, seed) for seed in seeds])
    got = spatter(as_batch(images_NHWC), severity, TheirDraws(seeds, images_NHWC.shape[1])).permute(0, 2, 3, 1).numpy()
    wet = ~np.isnan(expected).any((1, 2, 3))
    assert np.array_equal(got[~wet], images_NHWC[~wet])
    difference = np.abs(got[wet].astype(int) - np.uint8(expected[wet]))
    assert difference.mean() <= MEAN
    assert (difference > 2).mean() <= OFF_BY_3
    assert (got != images_NHWC).mean() > 0.02


def test_an_image_that_no_water_hits_stays_as_it_is(path):
    image_HWC = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.isnan(theirs(image_HWC, 1, DRY)).all()
    images_NCHW = as_batch(image_HWC[None])
    assert not spatter(images_NCHW, 1, TheirDraws([DRY], 32)).any()


@pytest.mark.parametrize("severity", [2, 5])
def test_neither_the_batch_nor_the_memory_layout_changes_a_picture(gradients, path, severity):
    images_NCHW, draws = as_batch(gradients), TheirDraws(range(len(gradients)), 64)
    together = spatter(images_NCHW, severity, draws)
    assert torch.equal(spatter(images_NCHW.contiguous(), severity, draws), together)
    for seed in range(5):
        alone = spatter(images_NCHW[seed : seed + 1], severity, TheirDraws([seed], 64))
        assert torch.equal(alone[0], together[seed])
    assert torch.equal(images_NCHW, as_batch(gradients))  # and the input is left alone


def test_liquid_above_255_wraps_around_as_in_the_reference(path):
    image_HWC = np.full((40, 40, 3), 90, np.uint8)
    draws = TheirDraws([0], 40)
    draws.layers[0][:9, :9] = 4.0
    (layer,) = draws.normal(40, 40).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "normal", lambda size, loc, scale: loc + scale * draws.layers[0])
        expected = np.uint8(reference.spatter(Image.fromarray(image_HWC), 3))
    assert gaussian(0.65 + 0.3 * layer, sigma=2).max() > 1
    got = spatter(as_batch(image_HWC[None]), 3, draws)[0].permute(1, 2, 0).numpy()
    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("severity", range(1, 6))
def test_a_cuda_device_gives_a_cpus_pictures(gradients, severity):
    class OnDevice(TheirDraws):
        def normal(self, *shape):
            return super().normal(*shape).cuda()

    images_NCHW, seeds = as_batch(gradients), range(len(gradients))
    expected = spatter(images_NCHW, severity, TheirDraws(seeds, 64)).int()
    got = spatter(images_NCHW.cuda(), severity, OnDevice(seeds, 64)).cpu().int()
    assert (got - expected).abs().float().mean() <= MEAN
