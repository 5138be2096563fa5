"""Pictures of one's own under corruptions: one at a time, and as a sheet that shows them side by side."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.corruptions import Corruption, corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.errors import RunError
from bench.foreign.faults import blamed
from bench.images.crop import crop_image
from bench.images.decode import MOST_BYTES, decode
from bench.machine.files import ending
from bench.machine.torch_defaults import torch_defaults
from bench.records import Array, Crop
from bench.tools.drawing import GAP, LABEL, MARGIN, SMALL, TITLE, font, text_width

SHEET_CROP = Crop(size=224, ratio=224 / 256, interpolation="bilinear")  # as the files of ImageNet-C were cut
_COLOURS = {
    "noise": "#0072B2",
    "blur": "#D55E00",
    "weather": "#009E73",
    "digital": "#AA4499",
    "extra": "#777777",
}  # told apart by the colour-blind: after Okabe & Ito 2008, "Color universal design"
_OTHER_COLOUR = "#222222"

# Of a sheet, pixels.
_CELL, _GROUP_GAP = 160, 18
_BAND = 30
"""The strip that names a group."""


class PictureError(RunError):
    """A picture that cannot be read, corrupted or attacked; others may be."""


def in_groups(names: Sequence[str] = ()) -> list[Corruption]:
    """Corruptions by name, without names all that are registered: group by group, in ImageNet-C's order.

    Raises:
        UnknownNameError: a name is not registered.
    """
    chosen = [corruptions.get(name) for name in dict.fromkeys(names)] if names else list(corruptions)
    groups = list(GROUPS)
    order = {name: place for place, name in enumerate(name for members in GROUPS.values() for name in members)}

    def place(corruption: Corruption) -> tuple[int, str, int]:
        group = corruption.group
        return (groups.index(group) if group in groups else len(groups), group, order.get(corruption.name, len(order)))

    return sorted(chosen, key=place)


def read_picture(path: Path, chosen: Sequence[Corruption] = ()) -> Array:
    """A picture file as (h, w, 3) uint8, as it is stored: EXIF turns nothing, as in the data sets.

    Args:
        path: of the file.
        chosen: what is to be done to it as it is.

    Raises:
        PictureError: it is no picture, or smaller than they take.
    """
    try:
        with ending(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        image_HWC = decode(data, str(path))
    except IsADirectoryError as error:
        raise PictureError(f"{path} is a folder; name picture files, such as {path}/*.jpg.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{path} can't be read: {reason}; correct its name.") from error
    except RunError as error:
        raise PictureError(str(error)) from error
    height, width = image_HWC.shape[:2]
    smallest = max((corruption.smallest for corruption in chosen), default=1)
    if min(height, width) < smallest:
        raise PictureError(
            f"{path} is {width}×{height} pixels, and corruptions need at least {smallest}×{smallest}: enlarge it."
        )
    return image_HWC


def read_crop(path: Path, crop: Crop) -> Array:
    """What models see of a picture file, (crop.size, crop.size, 3) uint8.

    Raises:
        PictureError: it is no picture, or too narrow.
    """
    try:
        return crop_image(read_picture(path), crop, str(path))
    except PictureError:
        raise
    except RunError as error:
        raise PictureError(str(error)) from error


def corrupted(
    path: Path, chosen: Sequence[Corruption], severities: Sequence[int], *, seed: int
) -> Iterator[tuple[Corruption, int, Image.Image]]:
    """A picture at its own size under each corruption and severity; its file's name is the sample id of the draws.

    Raises:
        PictureError: it cannot be read or corrupted.
    """
    image_HWC = read_picture(path, chosen)
    for corruption in chosen:
        for severity in severities:
            yield corruption, severity, Image.fromarray(_corrupt(image_HWC, corruption, severity, seed, path))


@torch_defaults()
def _corrupt(image_HWC: Array, corruption: Corruption, severity: int, seed: int, path: Path) -> Array:
    import torch

    images_NCHW = torch.from_numpy(image_HWC.copy()).permute(2, 0, 1)[None]
    with blamed(f"{corruption.name} at severity {severity} fails on {path}", PictureError):
        made_NCHW = corrupt(corruption, images_NCHW, severity, seed=seed, ids=[path.name])
    return np.ascontiguousarray(made_NCHW[0].permute(1, 2, 0).numpy())


# -- the sheet ------------------------------------------------------------------------------------------------


def contact_sheet(path: Path, chosen: Sequence[Corruption], severities: Sequence[int], *, seed: int) -> Image.Image:
    """A picture under corruptions (rows) and severities (columns), the clean one first in each row.

    It shows what models see: the crop of ImageNet-C is taken first, so that pictures of any size compare.

    Args:
        path: the picture's file.
        chosen: the corruptions, as `in_groups` orders them.
        severities: the columns.
        seed: of the draws.

    Raises:
        PictureError: it cannot be read or corrupted.
    """
    image_HWC = read_crop(path, SHEET_CROP)
    about = f"short side to {SHEET_CROP.resize}, centre {SHEET_CROP.size}, as in ImageNet-C; seed {seed}"
    xs, ys = _columns(chosen, severities), _rows(chosen)
    width = max(xs[-1] + _CELL, MARGIN + text_width(path.name, TITLE), MARGIN + text_width(about, SMALL))
    sheet = Image.new("RGB", (width + MARGIN, ys[-1] + _CELL + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), path.name, "black", font(TITLE), anchor="lt")
    draw.text((MARGIN, MARGIN + TITLE + 2 * GAP), about, "#555555", font(SMALL), anchor="lt")
    for x, heading in zip(xs, ["clean", *(f"severity {severity}" for severity in severities)], strict=True):
        draw.text((x + _CELL // 2, ys[0] - 2 * GAP), heading, "black", font(LABEL), anchor="ms")
    for corruption, y in zip(chosen, ys, strict=True):
        draw.text((xs[0] - MARGIN, y + _CELL // 2), corruption.name, "black", font(LABEL), anchor="rm")
        cells = [image_HWC, *(_corrupt(image_HWC, corruption, severity, seed, path) for severity in severities)]
        for x, cell_HWC in zip(xs, cells, strict=True):
            sheet.paste(Image.fromarray(cell_HWC).resize((_CELL, _CELL), Image.Resampling.BICUBIC), (x, y))
    for group in dict.fromkeys(corruption.group for corruption in chosen):
        own = [y for corruption, y in zip(chosen, ys, strict=True) if corruption.group == group]
        sheet.paste(_band(group, own[-1] + _CELL - own[0]), (MARGIN, own[0]))
    return sheet


def _columns(chosen: Sequence[Corruption], severities: Sequence[int]) -> list[int]:
    """Where each column begins: the clean picture, a little apart, and the severities."""
    names = max(text_width(corruption.name, LABEL) for corruption in chosen)
    left = MARGIN + _BAND + MARGIN + names + MARGIN
    return [left, *(left + GAP + column * (_CELL + GAP) for column in range(1, len(severities) + 1))]


def _rows(chosen: Sequence[Corruption]) -> list[int]:
    """Where each row begins, below the title and the headings; groups are set apart."""
    rows = [MARGIN + TITLE + 2 * GAP + SMALL + _GROUP_GAP + LABEL + 2 * GAP]
    for above, below in itertools.pairwise(chosen):
        rows.append(rows[-1] + _CELL + (GAP if above.group == below.group else _GROUP_GAP))
    return rows


def _band(group: str, height: int) -> Image.Image:
    """The strip beside the rows of a group, with its name, read from below."""
    band = Image.new("RGB", (height, _BAND), _COLOURS.get(group, _OTHER_COLOUR))
    ImageDraw.Draw(band).text((height // 2, _BAND // 2), group, "white", font(LABEL), anchor="mm")
    return band.transpose(Image.Transpose.ROTATE_90)
