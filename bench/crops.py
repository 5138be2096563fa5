"""The crop recipe: how a picture of any size becomes the square that a model sees."""

import math
from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic"]
CropMode = Literal["center", "squash", "border"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """How a picture becomes a square: it is resized, and the centre is cut out."""

    size: int
    """Side of the crop, pixels."""
    ratio: float = 1.0
    """Share of the resized short side that the crop keeps; timm's `crop_pct`. Above 1 the picture is padded."""
    interpolation: Interpolation = "bicubic"
    """Pillow's filter for the resize."""
    mode: CropMode = "center"
    """What is resized to `resize` pixels: the short side, both sides alike (`squash`), the long side (`border`)."""
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The colour beside a picture that is padded, in [0, 1]."""
    transform: str = ""
    """Digest of code that makes the square in the place of all this; see `bench.images.transform`."""

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.ratio < math.inf:
            raise ValueError(f"a crop needs a size of at least 1 and a ratio above 0, not {self}")

    @property
    def resize(self) -> int:
        """Pixels of the side that is resized (timm's rule)."""
        return max(1, math.floor(self.size / self.ratio))

    @property
    def fill_bytes(self) -> tuple[int, ...]:
        """The colour in [0, 255]."""
        return tuple(round(255 * part) for part in self.fill)

    @property
    def name(self) -> str:
        """All of it in a word that can stand in a file's name."""
        if self.transform:
            return f"{self.size}px-{self.transform}"
        colour = "".join(f"{part:02x}" for part in self.fill_bytes)
        mode = "" if self.mode == "center" else f"-{self.mode}{colour}"
        return f"{self.size}px-{float(self.ratio)!r}-{self.interpolation}{mode}"


def ratio_of(size: int, resize: int) -> float:
    """The ratio under which a picture is resized to `resize` pixels and cut to `size`.

    Args:
        size: side of the crop, pixels.
        resize: pixels of the side that is resized.

    >>> Crop(size=224, ratio=ratio_of(224, 232)).resize
    232
    """
    ratio = size / resize
    while math.floor(size / ratio) < resize:  # rounded up, so that what is divided by it comes out below
        ratio = math.nextafter(ratio, 0)
    return ratio
