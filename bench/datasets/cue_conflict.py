"""Pictures with the shape of one category and the texture of another (Geirhos et al. 2019, arXiv 1811.12231)."""

import functools
import re
from pathlib import Path

from bench.datasets import Dataset, Samples, Whole, datasets
from bench.datasets.groups import SIXTEEN
from bench.datasets.readers.folder import class_folders, folder_at
from bench.datasets.readers.tar_folder import TarFolder
from bench.errors import AbsentError, BenchError

_NAME = re.compile(r"([a-z]+)\d*-([a-z]+)\d*\.\w+")
"""Of a file: `cat1-airplane2.png` has the shape of a cat and the texture of an airplane."""
_INNER = ("stimuli/style-transfer-preprocessed-512", "style-transfer-preprocessed-512")
"""What the folder is called in the authors' repository."""
_SHIPPED = Path(__file__).parent / "embedded" / "cue-conflict-demo.tar"


def texture_of(sample_id: str) -> int | None:
    """The category of a picture's texture, by its file's name; None where that does not say it.

    >>> texture_of("cat/cat1-airplane2.png")
    0
    """
    match = _NAME.fullmatch(sample_id.rpartition("/")[2])
    return _PLACES.get(match[2]) if match else None


_PLACES = {name: place for place, name in enumerate(SIXTEEN.space.classes)}


def _open(split: str, place: Path | None) -> Samples:
    if place is None:
        raise AbsentError(
            "data set 'cue-conflict' is not on this machine as far as rtbench knows: obtain the folder "
            f"{_INNER[0]} of {datasets.get('cue-conflict').source}, then give --data cue-conflict=FOLDER."
        )
    root = folder_at(place, "cue-conflict")
    root = next((root / name for name in _INNER if (root / name).is_dir()), root)
    return class_folders(root, SIXTEEN.space, "cue-conflict")


def _open_shipped(name: str, split: str, place: Path | None) -> Samples:
    if place is not None:
        raise BenchError(f"data set {name!r} ships with rtbench; give the whole set as --data cue-conflict={place}.")
    return class_folders(TarFolder(_SHIPPED), SIXTEEN.space, name)


datasets.register(
    Dataset(
        name="cue-conflict",
        class_space=SIXTEEN.space,
        open=_open,
        expected={"test": Whole(images=1_280, classes=16)},
        about="1,280 pictures with the shape of one of 16 categories and the texture of one (Geirhos et al. 2019, "
        "arXiv 1811.12231); of 80, both are the same.",
        licence="CC BY 4.0",
        source="https://github.com/rgeirhos/texture-vs-shape",
        layout="one folder a category, by shape: cat/cat1-airplane1.png, …",
    ),
    origin=__name__,
)
datasets.register(
    Dataset(
        name="cue-conflict-demo",
        class_space=SIXTEEN.space,
        open=functools.partial(_open_shipped, "cue-conflict-demo"),
        expected={"test": Whole(images=300, classes=16)},
        about="300 of cue-conflict's 1,200 pictures whose shape and texture differ (Geirhos et al. 2019), as WebP.",
        licence="CC BY 4.0, Geirhos et al. 2019; changed: a part of the pictures, saved as WebP of quality 75",
    ),
    origin=__name__,
)
