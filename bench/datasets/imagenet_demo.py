"""Twenty of ImageNet's photographs that a package of the package index carries: something to look at at once."""

import functools
import re
from importlib.util import find_spec
from pathlib import Path

from bench.datasets import Dataset, Samples, datasets
from bench.datasets.readers.folder import listed_files
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError, BenchError

_NAME = re.compile(r"imagenet_\d+_(\d+)\.jpg")
"""Of foolbox's files: number and class."""


def _open(name: str, split: str, place: Path | None) -> Samples:
    if place is not None:
        raise BenchError(
            f"data set {name!r} comes with the package foolbox; give photographs of your own as --data "
            f"imagenet={place}."
        )
    spec = find_spec("foolbox")  # which does not import it
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise AbsentError(
            f"the photographs of data set {name!r} come with the package foolbox, which is not installed: pip install "
            "'rtbench[imagenet-demo]'."
        )
    samples = listed_files(folder, IMAGENET, _label, "foolbox's photographs")
    samples.passed_over = None  # pictures of other data sets, as one knows who put them there
    return samples


def _label(file: str) -> int | None:
    match = _NAME.fullmatch(file)
    return int(match[1]) if match and int(match[1]) < len(IMAGENET.classes) else None


datasets.register(
    Dataset(
        name="imagenet-demo",
        class_space=IMAGENET,
        open=functools.partial(_open, "imagenet-demo"),
        about="20 photographs of 19 of ImageNet's classes, at 224×224, which the package foolbox carries (Rauber et "
        "al. 2017, arXiv 1707.04131).",
        licence="the photographs keep their owners' rights; rtbench does not ship them",
        source="pip install 'rtbench[imagenet-demo]'",
    ),
    origin=__name__,
)
