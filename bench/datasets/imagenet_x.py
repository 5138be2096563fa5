"""Annotations of ImageNet's validation set: what sets each image apart from its class's usual pictures.

ImageNet-X (Idrissi et al. 2022, arXiv 2211.01866), by the names of files. They come with the package `imagenet-x`,
whose licence (CC BY-NC 4.0) keeps them out of this one.
"""

import csv
import functools
import hashlib
import importlib.util
import io
import json
from collections.abc import Mapping
from pathlib import Path

from bench.datasets.copies import VAL_NAME
from bench.datasets.readers.files import contents
from bench.errors import AbsentError, RunError
from bench.metrics.attributes import NONE, Attribute

FACTORS = (
    "pose", "background", "pattern", "color", "smaller", "shape", "partial_view", "subcategory", "texture", "larger",
    "darker", "object_blocking", "person_blocking", "style", "brighter", "multiple_objects",
)  # fmt: skip
_PACKAGE = "imagenet_x"
_FILES = {
    "imagenet_x_val_top_factor.jsonl": "083253dfe7c3491c76c4745d00d2c1c6eb19615f3935cfc80c6b914dcd4bd177",
    "prototypical_paths.csv": "3f693c9e056560d9d7bd2242909ae549325e78b763aedb59e5f0c9afdb8a9ea3",
}
"""SHA-256 of the annotations of version 0.0.7: with others the factors are others, and so are the ratios."""
_MOST_BYTES = 2**26


def top_factor(sample_id: str) -> str | None:
    """The factor that sets a sample of the validation set apart the most; `NONE` of prototypes and of what has none.

    Args:
        sample_id: whose file's name is looked for; None is returned where it is none of the validation set's.

    Raises:
        AbsentError: the annotations are not here.
        RunError: they are others than those of the paper.
    """
    number = _number(sample_id)
    return None if number is None else top_factors().get(number, NONE)


def _number(sample_id: str) -> str | None:
    match = VAL_NAME.search(sample_id)
    return match[1] if match else None


@functools.cache
def top_factors() -> Mapping[str, str]:
    """The top factor of each annotated image that is no prototype, `NONE` where it has none.

    Returns:
        Number of a validation file, eight digits as in its name, to the factor; 46,110 of them.

    Raises:
        AbsentError: the package is not installed.
        RunError: its files are others than those of version 0.0.7.
    """
    rows = map(json.loads, _read("imagenet_x_val_top_factor.jsonl").splitlines())
    prototypes = {row["file_name"] for row in csv.DictReader(io.StringIO(_read("prototypical_paths.csv")))}
    return {
        str(_number(row["file_name"])): next((factor for factor in FACTORS if row[factor]), NONE)
        for row in rows
        if row["file_name"] not in prototypes
    }


def _read(name: str) -> str:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise AbsentError(
            "the annotations of ImageNet-X are not here: pip install 'rtbench[imagenet-x]' brings them (CC BY-NC 4.0)."
        )
    path = Path(spec.origin).parent / "annotations" / name
    data = contents(path, _MOST_BYTES, "install imagenet-x again")
    if hashlib.sha256(data).hexdigest() != _FILES[name]:
        raise RunError(f"{path} is not that of imagenet-x 0.0.7, whose annotations scores go by; install that version.")
    return data.decode()


def _annotated(sample_id: str) -> str | None:
    number = _number(sample_id)
    return None if number is None else "yes" if number in top_factors() else NONE


_SOURCE = "ImageNet-X, which goes by the validation files' names"
FACTOR = Attribute(name="factor", values=FACTORS, value_of=top_factor, source=_SOURCE)
ANNOTATED = Attribute(name="annotated", values=("yes",), value_of=_annotated, source=_SOURCE)
"""Which images count: those that are annotated, without the prototypes of their classes."""
