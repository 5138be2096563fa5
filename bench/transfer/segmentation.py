"""A linear head on frozen patch tokens that says the class of each pixel, by the linear protocol of DINOv2.

Oquab et al. 2023 (arXiv 2304.07193), section 7.4, with the numbers of its configurations for mmsegmentation: batch norm
and a 1×1 convolution on the last layer's tokens, whose logits are upsampled to the pixels. Left out are its photometric
distortion and its choice among crops that show one class. Here the windows are as large as the model's input.

Legend: N images, D features, K classes, H × W pixels, S the side of the model's input, G that of its grid of tokens.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import RunError
from bench.images.crop import resized, resized_shape
from bench.images.decode import IGNORED
from bench.machine.threads import in_threads
from bench.records import Array
from bench.training.randomness import own_randomness

SCALES = (0.5, 2.0)
"""Of the short side in training, in sides of the model's input."""
WARMUP_SHARE = 1500 / 40000
"""Of the steps, while the learning rate rises from almost 0; it then falls to 0 along a line."""
STRIDE_SHARE = 341 / 512
"""From one window of a test image to the next, in sides of the window."""
WEIGHT_DECAY = 1e-4
_FIRST_WEIGHTS = 0.01
"""Standard deviation of the classifier's, as mmsegmentation has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Pictures with their masks, each made when it is asked for, by several threads at once."""

    count: int
    read: Callable[[int], tuple[Array, Array]]
    """From an index to the picture (H, W, 3) uint8 and its mask (H, W) uint8: classes, or `IGNORED`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the head is trained."""

    steps: int
    batch_size: int
    learning_rate: float
    """The largest, of AdamW."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        >>> schedule = Schedule(steps=40_000, batch_size=16, learning_rate=1e-3)
        >>> [round(schedule.rate(step), 6) for step in (0, 749, 1499, 20_000, 39_999)]
        [1e-06, 0.000491, 0.000963, 0.0005, 0.0]
        """
        along = self.learning_rate * (1 - step / self.steps)
        return along * min(1.0, (step + 1) / max(1.0, WARMUP_SHARE * self.steps))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draw:
    """What chance decides of one training example."""

    index: int
    scale: float
    down: float
    across: float
    """Where the crop lies, from 0 to 1 of the room that it has."""
    mirrored: bool


class Segmenter(nn.Module):
    """From square images in [0, 1] to logits of each pixel.

    Args:
        features: from images (N, 3, S, S) in [0, 1] to grids of tokens (N, D, G, G); it is not trained.
        width: D.
        classes: K.
    """

    def __init__(self, features: Callable[[Tensor], Tensor], width: int, classes: int) -> None:
        super().__init__()
        self._features, self.classes = features, classes
        self.classifier = nn.Conv2d(width, classes, 1)
        self.head = nn.Sequential(nn.BatchNorm2d(width), self.classifier)

    def forward(self, images_NCSS: Tensor) -> Tensor:
        """(N, K, S, S)."""
        with torch.no_grad():
            features_NDGG = self._features(images_NCSS)
        logits_NKGG: Tensor = self.head(features_NDGG)
        return _upsampled(logits_NKGG, images_NCSS.shape[-2:])


def _upsampled(logits_NKHW: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(logits_NKHW, size=size, mode="bilinear", align_corners=False)


def learn(
    features: Callable[[Tensor], Tensor],
    examples: Examples,
    schedule: Schedule,
    *,
    classes: int,
    size: int,
    interpolation: str,
    seed: int,
    device: torch.device,
    done: Callable[[float], None] = lambda share: None,
) -> Segmenter:
    """Train a head on crops of pictures whose short side is scaled at random; nothing else of the model learns.

    Args:
        features: as of `Segmenter`.
        examples: to learn from.
        schedule: of the training.
        classes: K; masks hold numbers below it.
        size: S.
        interpolation: of pictures that are scaled.
        seed: decides order, crops and first weights.
        device: where `features` runs.
        done: told the share of the steps that are through.

    Returns:
        The segmenter, in eval mode.

    Raises:
        RunError: the loss is not finite, no pixel of a class was ever seen, or a picture or mask cannot be read.
    """
    draws = _draws(examples.count, torch.Generator().manual_seed(seed))
    model = _begun(features, classes, size, seed, device).train()
    optimizer = torch.optim.AdamW(model.head.parameters(), weight_decay=WEIGHT_DECAY)
    learnt = False
    for step in range(schedule.steps):
        batch = list(itertools.islice(draws, schedule.batch_size))
        images_NCSS, masks_NSS = _crops(examples, batch, size, interpolation)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        learnt |= _step(model, optimizer, images_NCSS.to(device), masks_NSS.to(device))
        done((step + 1) / schedule.steps)
    if not learnt:
        raise RunError("no pixel that was learnt from is of a class; are these the masks of this data set?")
    return model.eval()


def _begun(features: Callable[[Tensor], Tensor], classes: int, size: int, seed: int, device: torch.device) -> Segmenter:
    """A head that has learnt nothing yet, whatever torch's global generators are at."""
    with torch.no_grad():
        width = features(torch.full((1, 3, size, size), 0.5, device=device)).shape[1]
    with own_randomness(seed, torch.device("cpu")):
        model = Segmenter(features, width, classes)
        nn.init.normal_(model.classifier.weight, std=_FIRST_WEIGHTS)
    nn.init.zeros_(model.classifier.bias)  # type: ignore[arg-type]  # it has one
    return model.to(device)


def _step(model: Segmenter, optimizer: torch.optim.Optimizer, images_NCSS: Tensor, masks_NSS: Tensor) -> bool:
    """Step along the gradient of one batch; whether there was a pixel to learn from."""
    if bool((masks_NSS == IGNORED).all()):
        return False
    loss = F.cross_entropy(model(images_NCSS).float(), masks_NSS, ignore_index=IGNORED)
    if not torch.isfinite(loss):
        raise RunError("the loss of the linear head is not finite; look for NaN in the features, or lower the rate.")
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return True


def _draws(count: int, generator: torch.Generator) -> Iterator[_Draw]:
    """Every example once, in a new order, again and again."""
    while True:
        for index in torch.randperm(count, generator=generator).tolist():
            scale, down, across, coin = torch.rand(4, generator=generator).tolist()
            low, high = SCALES
            yield _Draw(index=index, scale=low + scale * (high - low), down=down, across=across, mirrored=coin < 0.5)


def _crops(examples: Examples, draws: list[_Draw], size: int, interpolation: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) in [0, 1] and masks (N, S, S) int64."""
    images_NSSC = np.empty((len(draws), size, size, 3), np.uint8)
    masks_NSS = np.empty((len(draws), size, size), np.uint8)

    def fill(row: int) -> None:
        draw = draws[row]
        picture, mask = examples.read(draw.index)
        shape = resized_shape(mask.shape[0], mask.shape[1], round(size * draw.scale))
        images_NSSC[row] = _cut(resized(picture, shape, interpolation), draw, size, blank=0)
        masks_NSS[row] = _cut(resized(mask, shape, "nearest"), draw, size, blank=IGNORED)

    in_threads(fill, range(len(draws)))
    return _unit(images_NSSC), torch.from_numpy(masks_NSS).long()


def _unit(images_NHWC: Array) -> Tensor:
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() / 255


def _cut(image: Array, draw: _Draw, size: int, blank: int) -> Array:
    """The crop that was drawn; where the image is smaller, what it lacks at the bottom and right is blank."""
    lacks = [(0, max(0, size - side)) for side in image.shape[:2]]
    image = np.pad(image, [*lacks, *[(0, 0)] * (image.ndim - 2)], constant_values=blank)
    top, left = (
        int(share * (side - size + 1)) for share, side in zip((draw.down, draw.across), image.shape, strict=False)
    )
    cut = image[top : top + size, left : left + size]
    return cut[:, ::-1] if draw.mirrored else cut


def segment(
    model: Segmenter, picture: Array, shape: tuple[int, ...], size: int, interpolation: str, at_once: int
) -> Array:
    """The class of each pixel of a picture.

    The short side is brought to the model's input; windows slide along the picture, their logits are averaged where
    they overlap, and upsampled to the size that is wanted.

    Args:
        model: that was learnt.
        picture: (H, W, 3) uint8.
        shape: height and width of the result.
        size: S.
        interpolation: of the picture.
        at_once: windows that the model is shown together.

    Returns:
        `shape`, uint8.
    """
    device = next(model.parameters()).device
    scaled = resized(picture, resized_shape(picture.shape[0], picture.shape[1], size), interpolation)
    places = list(itertools.product(*(window_starts(side, size) for side in scaled.shape[:2])))
    windows_NSSC = np.stack([scaled[top : top + size, left : left + size] for top, left in places])
    total_KHW = torch.zeros(model.classes, *scaled.shape[:2], device=device)
    windows_HW = torch.zeros(scaled.shape[:2], device=device)
    with torch.no_grad():
        for start in range(0, len(places), at_once):
            logits_NKSS = model(_unit(windows_NSSC[start : start + at_once]).to(device)).float()
            for logits_KSS, (top, left) in zip(logits_NKSS, places[start:], strict=False):
                total_KHW[:, top : top + size, left : left + size] += logits_KSS
                windows_HW[top : top + size, left : left + size] += 1
        logits_KHW = _upsampled((total_KHW / windows_HW)[None], shape)[0]
    if not torch.isfinite(logits_KHW).all():
        raise RunError("the linear head gives logits that are NaN or infinite; use --precision fp32.")
    return logits_KHW.argmax(dim=0).byte().cpu().numpy()


def window_starts(side: int, size: int) -> list[int]:
    """Where windows begin along a side of at least their size; the last ends with it.

    >>> window_starts(224, 224), window_starts(300, 224), window_starts(600, 224)
    ([0], [0, 76], [0, 149, 298, 376])
    """
    stride = max(1, int(STRIDE_SHARE * size))
    count = -(-(side - size) // stride) + 1
    return [min(number * stride, side - size) for number in range(count)]


def counts(predicted: Array, mask: Array, classes: int) -> dict[str, Array]:
    """Pixels of an image by class: `intersection` (K,), those that are predicted right; `target` and `predicted`.

    Args:
        predicted: (H, W) classes.
        mask: (H, W) classes, or `IGNORED`, where nothing counts.
        classes: K.

    >>> counts(np.array([[0, 1, 1]]), np.array([[0, 1, 255]]), 2)["predicted"].tolist()
    [1, 1]
    """
    scored = mask != IGNORED
    says, true = predicted[scored], mask[scored]
    of = {"intersection": true[says == true], "target": true, "predicted": says}
    return {name: np.bincount(pixels, minlength=classes).astype(np.int32) for name, pixels in of.items()}
