"""What an attack does to pictures of one's own: clean, perturbed and their difference side by side, with predictions.

There is no label: a picture is attacked away from the class that the model predicts of it.

Legend: N is 1, C channels, H × W pixels, K classes.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from bench.attacks.course import Ending, Spec
from bench.attacks.epsilon import NORMS
from bench.errors import RunError
from bench.foreign.faults import blamed
from bench.machine.torch_defaults import torch_defaults
from bench.records import Array, Checkpoint, Precision, Settings
from bench.tools.drawing import GAP, LABEL, MARGIN, SMALL, TITLE, font, text_width
from bench.tools.gallery import PictureError, read_crop

if TYPE_CHECKING:
    import torch

    from bench.attacks import UpdateRule

_SIDE, _WIDEST = 256, 400
"""Pixels: what a panel is enlarged to, roughly, and the most room that a line below it is given."""
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """What a model makes of an image."""

    prediction: int
    name: str
    """Of the class, as people know it."""
    probability: float

    def __str__(self) -> str:
        return f"{self.name} ({self.probability:.1%})"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttackedPicture:
    """A picture, and what an attack made of it."""

    path: Path
    checkpoint: str
    """Its name."""
    spec: Spec
    eps: str
    """As it was asked for."""
    seed: int
    precision: Precision
    clean_HWC: Array
    """uint8: the checkpoint's crop."""
    perturbed_HWC: Array
    """float32 in [0, 1]: the image that fools, else the last."""
    clean: Guess
    perturbed: Guess
    rounded: Guess
    """Of the perturbed image as a PNG would keep it."""
    ending: Ending

    @property
    def name(self) -> str:
        """The name of its file: the picture's, the attack, norm and eps."""
        return f"{self.path.stem}.{self.spec.name}-{self.spec.norm}-{self.eps.replace('/', '_')}"

    @property
    def bytes_HWC(self) -> Array:
        """The perturbed image, rounded to uint8."""
        rounded_HWC: Array = np.rint(self.perturbed_HWC * 255).astype(np.uint8)
        return rounded_HWC

    @property
    def verdict(self) -> str:
        """Whether it is fooled, and after how many steps."""
        steps = self.ending.steps
        if not self.ending.fooled:
            return f"withstood {_steps(steps)}"
        return f"fooled after {_steps(steps)}" if steps else "fooled by its random start"

    @property
    def verdict_rounded(self) -> str:
        """Whether it still is when rounded to bytes."""
        fools = self.rounded.prediction != self.clean.prediction
        if self.ending.fooled:
            return f"rounded to bytes: {'still' if fools else 'no longer'} fooled"
        return f"rounded to bytes: {'fooled' if fools else 'withstood too'}"

    @property
    def summary(self) -> str:
        """One line: prediction before and after, steps."""
        return f"{self.clean} → {self.perturbed}, {self.verdict}; {self.verdict_rounded}"

    @property
    def change(self) -> str:
        """The size of the change in the attack's norm; of Linf in 255ths, as people write eps."""
        norm, size = NORMS[self.spec.norm], self.ending.norm
        return f"{norm} {255 * size:.3g}/255" if self.spec.norm == "linf" else f"{norm} {size:.3g}"

    def draw(self) -> Image.Image:
        """The picture for people."""
        return _lay_out(self)


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


# -- the attack -----------------------------------------------------------------------------------------------


def attack_pictures(
    pictures: Sequence[Path],
    checkpoint: Checkpoint,
    settings: Settings,
    *,
    eps: str,
    attack: str = "pgd",
    norm: str = "linf",
    loss: str = "ce",
    steps: int | None = None,
    note: Callable[[str], None] = lambda line: None,
    skip: Callable[[PictureError], None] | None = None,
) -> Iterator[AttackedPicture]:
    """Attack pictures, one after the other, each away from what the checkpoint predicts of it.

    Args:
        pictures: files; a file's name is the sample id of its random start.
        checkpoint: whose crop is taken; weights that are not here are fetched.
        settings: device, seed, and precision where the user named one; else it is fp32.
        eps: as `parse_eps` takes it, `4/255`.
        attack: a registered attack.
        norm: `linf` or `l2`.
        loss: `ce` or `dlr`.
        steps: None takes the attack's own number.
        note: takes a line on what is being fetched.
        skip: told of pictures that cannot be attacked, which are then left out; without it the first one raises.

    Raises:
        BenchError: a name is unknown, a number not possible, or the checkpoint is not here, does not load, or
            gives no gradients.
        PictureError: a picture cannot be read or attacked.
    """
    from bench.attacks import attacks
    from bench.attacks.epsilon import parse_eps
    from bench.measure.attacked import Attacked

    parse_eps(eps, norm)  # the measure takes a grid; this is one value
    spec = Attacked(attack, norm, eps, loss, steps).spec
    rule = attacks.get(attack).load()
    module = _load(checkpoint, settings.device, note)

    def each() -> Iterator[AttackedPicture]:
        for path in pictures:
            try:
                attacked = _attack(path, checkpoint, module, spec, rule, eps, settings)
            except PictureError as error:
                if skip is None:
                    raise
                skip(error)
            else:
                yield attacked

    return each()


def _load(checkpoint: Checkpoint, device: str, note: Callable[[str], None]) -> "torch.nn.Module":
    """The checkpoint's module, as runs have it."""
    import torch

    from bench.checkpoints.fetch import fetch
    from bench.checkpoints.loading import load
    from bench.run.device import check_device

    check_device(device)
    fetch(checkpoint, note)
    with blamed(f"checkpoint {checkpoint.name!r}: loading failed"):
        return load(checkpoint, device).to(memory_format=torch.channels_last)


@torch_defaults()
def _attack(
    path: Path,
    checkpoint: Checkpoint,
    module: "torch.nn.Module",
    spec: Spec,
    rule: "UpdateRule",
    eps: str,
    settings: Settings,
) -> AttackedPicture:
    import torch

    from bench.attacks.engine import Engine, Pictures
    from bench.run.device import numerics, to_unit_range

    def shown(images_NCHW: torch.Tensor) -> Guess:
        with torch.no_grad():
            probabilities_K = module(images_NCHW)[0].float().softmax(0)
        best = int(probabilities_K.argmax())
        name = class_name(checkpoint.class_space.classes[best])
        return Guess(prediction=best, name=name, probability=float(probabilities_K[best]))

    clean_HWC = read_crop(path, checkpoint.crop)
    clean_NCHW = to_unit_range(_batch(clean_HWC), settings.device)
    precision = settings.numerics(exact=True).precision
    ends: list[tuple[Ending, torch.Tensor]] = []
    fails = f"{spec.name} on {checkpoint.name} fails on {path}"
    with blamed(fails, PictureError), numerics(settings.device, precision):
        clean = shown(clean_NCHW)
        label_N = torch.tensor([clean.prediction], device=clean_NCHW.device)
        pictures = Pictures(rows=[0], ids=[path.name], labels_N=label_N, images_NCHW=clean_NCHW)
        engine = Engine(
            module, spec, rule, seed=settings.seed, width=1, ended=lambda _, end, image: ends.append((end, image))
        )
        engine.run([pictures])
        if not ends:
            raise RunError(
                f"checkpoint {checkpoint.name!r} predicts another class of {path} when it is shown again, so there "
                "is nothing to attack it away from; look for randomness in the model."
            )
        ending, perturbed_CHW = ends[-1]
        if ending.flat and not ending.fooled:
            raise RunError(
                f"the checkpoint gives no gradients at {path} (they are zero in every value), and this attack goes by "
                "them: let the module's forward be differentiable."
            )
        perturbed = shown(perturbed_CHW[None])
        rounded = shown(to_unit_range((perturbed_CHW[None] * 255).round().byte(), settings.device))
    return AttackedPicture(
        path=path,
        checkpoint=checkpoint.name,
        spec=spec,
        eps=eps,
        seed=settings.seed,
        precision=precision,
        clean_HWC=clean_HWC,
        perturbed_HWC=perturbed_CHW.permute(1, 2, 0).cpu().numpy(),
        clean=clean,
        perturbed=perturbed,
        rounded=rounded,
        ending=ending,
    )


def _batch(image_HWC: Array) -> "torch.Tensor":
    """(1, C, H, W) uint8."""
    import torch

    return torch.from_numpy(image_HWC.copy()).permute(2, 0, 1)[None].contiguous()


def class_name(name: str) -> str:
    """A class as people know it: of a wnid, the first words of timm's description.

    >>> class_name("n01440764"), class_name("automobile")
    ('tench', 'automobile')
    """
    return _descriptions().get(name, name).split(",")[0] if _WNID.fullmatch(name) else name


@functools.cache
def _descriptions() -> dict[str, str]:
    """The descriptions of the classes of ImageNet, by wnid."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo()
    return {wnid: info.label_name_to_description(wnid) for wnid in info.label_names()}


# -- the picture ----------------------------------------------------------------------------------------------


def difference(clean_HWC: Array, perturbed_HWC: Array) -> tuple[float, Array]:
    """How far each value has moved, enlarged until it can be seen.

    Args:
        clean_HWC: uint8.
        perturbed_HWC: float32 in [0, 1].

    Returns:
        By how much it is enlarged, one digit and zeros, so that the largest difference about fills the range; and the
        difference as (H, W, 3) uint8, grey where nothing has changed.

    >>> difference(np.full((1, 1, 3), 51, np.uint8), np.full((1, 1, 3), 0.21, np.float32))
    (50.0, array([[[255, 255, 255]]], dtype=uint8))
    """
    change_HWC = perturbed_HWC - clean_HWC.astype(np.float32) / 255  # as models are shown it: 0 where nothing changed
    largest = float(np.abs(change_HWC).max())
    times = _first_digit(0.5 / largest) if largest else 1.0
    return times, np.rint((0.5 + times * change_HWC).clip(0, 1) * 255).astype(np.uint8)


def _first_digit(value: float) -> float:
    """The largest number of one digit and zeros that is not above `value`."""
    place = 10.0 ** math.floor(math.log10(value))
    return math.floor(value / place + 1e-4) * place  # a little more: float32 makes 50 of 0.01 a 49.9999


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the three."""

    image_HWC: Array
    """uint8."""
    heading: str
    lines: Sequence[str]
    """Below it."""

    @property
    def width(self) -> int:
        """Width of its words, in pixels."""
        return max(text_width(self.heading, LABEL), *(text_width(line, SMALL) for line in self.lines))


def _lay_out(attacked: AttackedPicture) -> Image.Image:
    """Three panels under a title, and what is to be said of each below it."""
    times, difference_HWC = difference(attacked.clean_HWC, attacked.perturbed_HWC)
    enlarged = f"{times:,.0f}" if times >= 1 else f"{times:g}"
    panels = [
        _Panel(attacked.clean_HWC, "clean", [f"predicted {attacked.clean}"]),
        _Panel(
            attacked.bytes_HWC,
            "perturbed",
            [f"predicted {attacked.perturbed}", attacked.verdict, attacked.verdict_rounded],
        ),
        # Pillow's font has no ×.
        _Panel(difference_HWC, f"difference x {enlarged}", [f"size {attacked.change}", "grey: no change"]),
    ]
    title = [(attacked.path.name, TITLE, "black"), *((line, SMALL, "#555555") for line in _how(attacked))]
    side = _shown_side(len(attacked.clean_HWC))
    columns = [max(side, min(_WIDEST, panel.width)) for panel in panels]
    top = MARGIN + sum(size + 2 * GAP for _, size, _ in title) + GAP
    words = LABEL + max(len(panel.lines) for panel in panels) * (SMALL + 2 * GAP) + 2 * GAP
    width = max(sum(columns) + 2 * MARGIN, *(text_width(text, size) for text, size, _ in title))
    picture = Image.new("RGB", (MARGIN + width + MARGIN, top + side + 2 * GAP + words + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    y = MARGIN
    for text, size, colour in title:
        draw.text((MARGIN, y + size), text, colour, font(size), anchor="ls")
        y += size + 2 * GAP
    x = MARGIN
    for panel, column in zip(panels, columns, strict=True):
        picture.paste(Image.fromarray(panel.image_HWC).resize((side, side), Image.Resampling.NEAREST), (x, top))
        y = top + side + 2 * GAP + LABEL
        draw.text((x, y), panel.heading, "black", font(LABEL), anchor="ls")
        for line in panel.lines:
            y += SMALL + 2 * GAP
            draw.text((x, y), _shortened(line, column), "black", font(SMALL), anchor="ls")
        x += column + MARGIN
    return picture


def _how(attacked: AttackedPicture) -> tuple[str, str]:
    """What was done to which checkpoint, and away from what."""
    spec = attacked.spec
    numbers = [
        f"{NORMS[spec.norm]} eps {attacked.eps}",
        _steps(spec.steps),
        f"loss {spec.loss}",
        *([f"seed {attacked.seed}"] if spec.random_start else []),
        *([attacked.precision] if attacked.precision != "fp32" else []),
    ]
    return (
        f"{attacked.checkpoint}: {', '.join([spec.name, *numbers])}",
        "no label: attacked away from what is predicted of the clean picture",
    )


def _shown_side(side: int) -> int:
    """A panel's side: small images are enlarged by a whole number, so that pixels stay squares."""
    return side * max(1, round(_SIDE / side))


def _shortened(line: str, room: int) -> str:
    """A line of small letters; where it is too wide it loses letters, but not the probability at its end."""
    if text_width(line, SMALL) <= room:
        return line
    words, bracket, number = line.rpartition(" (")
    while words and text_width(f"{words}…{bracket}{number}", SMALL) > room:
        words = words[:-1]
    return f"{words}…{bracket}{number}"
