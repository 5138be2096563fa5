"""The data set `lights`: a folder of JPEG files, SPLIT/CLASS/NAME.jpg, at the place that the user gives."""

from pathlib import Path

import numpy as np

from bench.datasets import Dataset, datasets
from bench.errors import BenchError
from bench.records import ClassSpace

LIGHTS = ClassSpace(name="lights", classes=("red", "amber", "green"))


class FolderSamples:
    """One split, read file by file."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise BenchError(f"lights: there is no folder {folder}; give the right place in bench.toml.")
        self.files = sorted(folder.glob("*/*.jpg"))
        self.ids = np.array([f"{file.parent.name}/{file.stem}" for file in self.files])
        self.labels = np.array([LIGHTS.classes.index(file.parent.name) for file in self.files], dtype=np.int64)
        self.sizes = np.array([file.stat().st_size for file in self.files], dtype=np.int64)

    def read(self, index: int) -> bytes:
        """Return the file's bytes; rtbench decodes them."""
        return self.files[index].read_bytes()

    def stamp(self, index: int) -> int:
        """Return the time of the last change."""
        return self.files[index].stat().st_mtime_ns


def open_split(split: str, place: Path | None) -> FolderSamples:
    """Open PLACE/SPLIT."""
    if place is None:
        raise BenchError('lights: say where its pictures are, in bench.toml: [data] lights = "FOLDER".')
    return FolderSamples(place / split)


datasets.register(Dataset(name="lights", class_space=LIGHTS, open=open_split, splits=("train", "test")))
