"""What a preprocessing pipeline does to pictures: a crop recipe where it is one, else the pipeline itself.

Torchvision's pipelines of `Resize`, `CenterCrop`, conversion and `Normalize` (also its presets, and version 2) are the
recipes that every checkpoint has. Whatever else turns a picture into numbers is run as it is
(`bench.images.transform`), once it is known how its numbers become pixels again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import numpy as np
from PIL import Image

from bench.crops import Interpolation, ratio_of
from bench.errors import BenchError
from bench.foreign.faults import blamed
from bench.foreign.sources import source_of, values_of
from bench.foreign.state import undisturbed
from bench.images.transform import Transform, are_whole, as_numbers, hold, to_pixels
from bench.records import Array, digest

_SHAPES = ((300, 400), (400, 300), (431, 365))
"""Heights and widths of the pictures that a pipeline is tried out on."""
_TO_NUMBERS = ("ToTensor", "PILToTensor", "ToImage", "MaybeToTensor", "MaybePILToTensor")
_RGB = ("_convert_to_rgb", "_convert_to_rgb_or_rgba", "RGB")


def fields_of(pipeline: Any, name: str, *, understood: bool = True) -> dict[str, Any]:
    """Fields of a `Checkpoint` by which its images are those that a pipeline makes.

    Args:
        pipeline: from a picture (RGB) to (3, S, S) normalised numbers.
        name: of the pipeline, for messages.
        understood: whether it is to be read as a crop recipe where it is one.

    Raises:
        BenchError: it fails, or gives other numbers than a model of square pictures takes.
    """
    recipe = _recipe(pipeline) if understood else None
    if recipe is not None and _agrees(recipe, pipeline):
        return recipe
    transform = hold(_tried(pipeline, name))
    return {
        "input_size": transform.size,
        "crop_ratio": 1.0,
        "mean": transform.mean,
        "std": transform.std,
        "transform": transform.digest,
    }


# -- pipelines that are crop recipes ------------------------------------------------------------------------------


def _recipe(pipeline: Any) -> dict[str, Any] | None:
    """What a pipeline of torchvision's does, as fields; None where it does anything else too."""
    from torchvision.transforms import _presets

    if type(pipeline) is _presets.ImageClassification:
        return _fields(
            list(pipeline.resize_size), list(pipeline.crop_size), pipeline.interpolation, pipeline.mean, pipeline.std
        )
    steps = [step for step in _steps(pipeline) if not _is_passive(step)]
    names = [type(step).__name__ for step in steps]
    if not all(_is_torchvisions(step) for step in steps) or names not in (
        ["Resize", "CenterCrop", "Normalize"],
        ["Resize", "Normalize"],
    ):
        return None
    resize, *crops, normalise = steps
    size = _sides(crops[0].size) if crops else None
    if resize.max_size is not None or not _is_before_numbers(pipeline):
        return None
    return _fields(_sides(resize.size), size, resize.interpolation, normalise.mean, normalise.std)


def _fields(
    resize: list[int], crop: list[int] | None, interpolation: Any, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Any] | None:
    squashed = len(resize) == 2
    size = crop or resize
    if len(set(resize)) > 1 or len(set(size)) > 1 or (crop is None and not squashed):
        return None
    name = getattr(interpolation, "value", interpolation)
    if name not in get_args(Interpolation) or len(mean) != 3 or len(std) != 3:
        return None
    return {
        "input_size": int(size[0]),
        "crop_ratio": ratio_of(int(size[0]), int(resize[0])),
        "crop_mode": "squash" if squashed else "center",
        "interpolation": name,
        "mean": tuple(map(float, mean)),
        "std": tuple(map(float, std)),
    }


def _steps(pipeline: Any) -> Iterator[Any]:
    inner = getattr(pipeline, "transforms", None)
    if type(pipeline).__name__ == "Compose" and isinstance(inner, Iterable):
        for step in inner:
            yield from _steps(step)
    elif type(pipeline).__name__ == "Sequential":
        for step in pipeline:
            yield from _steps(step)
    else:
        yield pipeline


def _is_torchvisions(step: Any) -> bool:
    return type(step).__module__.partition(".")[0] == "torchvision"


def _is_passive(step: Any) -> bool:
    """Whether a step changes no pixel of an RGB picture: it is another form of the same numbers."""
    kind = type(step).__name__
    if kind == "ToDtype":
        return bool(step.scale)
    if getattr(step, "__name__", "") in _RGB:
        return True
    return kind in (*_TO_NUMBERS, "ConvertImageDtype", "ToPureTensor", "RGB", "MaybeConvertMode")


def _is_before_numbers(pipeline: Any) -> bool:
    """Whether pictures are resized while they are Pillow's: tensors are resized by other arithmetic."""
    kinds = [type(step).__name__ for step in _steps(pipeline)]
    to_numbers = [place for place, kind in enumerate(kinds) if kind in _TO_NUMBERS]
    return bool(to_numbers) and max(kinds.index(kind) for kind in ("Resize", "CenterCrop") if kind in kinds) < min(
        to_numbers
    )


def _sides(size: Any) -> list[int]:
    return [int(size)] if isinstance(size, int) else [int(side) for side in size]


def _agrees(fields: dict[str, Any], pipeline: Any) -> bool:
    """Whether the recipe gives the pipeline's pixels on pictures of several shapes."""
    from bench.images.crop import crop_image
    from bench.records import Checkpoint, ClassSpace

    crop = Checkpoint(name="tried", class_space=ClassSpace(name="none", classes=()), **fields).crop
    for picture in _pictures():
        pixels = to_pixels(as_numbers(pipeline(picture)), fields["mean"], fields["std"])
        made = crop_image(np.asarray(picture), crop)
        if pixels.shape != made.shape or np.abs(pixels - made).max() > 0.5:
            return False
    return True


# -- any other pipeline -------------------------------------------------------------------------------------------


def _tried(pipeline: Any, name: str) -> Transform:
    """A pipeline as a transform: its mean and standard deviation are told by what it makes of black and white."""
    with blamed(f"the transform {name} can't be run on a picture", BenchError), undisturbed():
        black, white = (as_numbers(pipeline(Image.new("RGB", (400, 300), (grey,) * 3))) for grey in (0, 255))
        made = [as_numbers(pipeline(picture)) for picture in _pictures() for _ in range(2)]
    size = _size(made, name)
    low, high = (np.median(numbers, axis=(1, 2)) for numbers in (black, white))
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (high - low > 1e-6).all()):
        raise BenchError(
            f"the transform {name} gives the same numbers for black and for white, so rtbench can't tell pixels from "
            "them; normalise by fixed values, or put that step into the model."
        )
    if any(not np.array_equal(first, again) for first, again in zip(made[::2], made[1::2], strict=True)):
        raise BenchError(f"the transform {name} gives other numbers each time; give the one that you evaluate with.")
    std = tuple(float(part) for part in 1 / (high - low))
    mean = tuple(float(part) for part in -low / (high - low))
    return Transform(
        name=name,
        digest=digest([source_of(pipeline), values_of(pipeline)])[:16],
        function=pipeline,
        size=size,
        mean=mean,  # type: ignore[arg-type]  # three, as the shape was checked
        std=std,  # type: ignore[arg-type]
        whole=all(are_whole(to_pixels(numbers, mean, std)) for numbers in made),
    )


def _size(made: Iterable[Array], name: str) -> int:
    shapes = {numbers.shape for numbers in made}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise BenchError(
            f"the transform {name} gives numbers of the shape {' or '.join(map(str, sorted(shapes)))}; (3, S, S) with "
            "the same S for every picture was wanted."
        )
    return int(shape[1])


def _pictures() -> list[Image.Image]:
    """Pictures with all kinds of detail, the same ones each time."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in _SHAPES]
    return [one.resize((w, h), Image.Resampling.BICUBIC) for one, (h, w) in zip(coarse, _SHAPES, strict=True)]
