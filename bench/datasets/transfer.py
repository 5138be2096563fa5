"""The data sets that features are transferred to, with their authors' splits and metrics.

Each is found as class folders of its splits, as the authors' archives unpack (`layouts.py`), or as a table of the hub.
Sources of counts: the papers and pages named in the records.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bench.datasets import Dataset, Samples, Whole, datasets, layouts
from bench.datasets.layouts import Layout, label_by_name
from bench.datasets.readers.folder import class_folders
from bench.datasets.readers.hub_tables import HUB, no_place, open_table, refuse_packed
from bench.datasets.readers.parquet import parquet_files
from bench.datasets.spaces import CARS, DTD, FLOWERS102, FOOD101, INAT18, INAT19, PETS
from bench.errors import AbsentError
from bench.records import ClassSpace

_FOLDERS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
"""Split to the names that its folder goes by."""


def _open(
    space: ClassSpace, layout: Layout, repo: str, also: Mapping[str, str], split: str, place: Path | None
) -> Samples:
    name = space.name
    if place is None:
        raise no_place(name, datasets.get(name).source, repo)
    refuse_packed(place)
    names = (split, also[split]) if split in also else (split,)
    root = layout.root(place)
    if root is not None:
        return layout.samples(root, split, space, name)
    if not place.is_dir() or parquet_files(place):
        return open_table(place, names, space, name)
    folder = _split_folder(place, names)
    if folder is None:
        listed = [file for files in layout.files.values() for file in files]
        raise AbsentError(
            f"split {split!r} of {name} is not at {place}: a folder {names[0]}/ of class folders, "
            f"{' or '.join(dict.fromkeys(listed))} of its authors' archives, and Parquet files named after the split "
            f"were looked for; obtain it from {datasets.get(name).source}."
        )
    return class_folders(folder, space, name, label_by_name(space))


def _split_folder(place: Path, splits: tuple[str, ...]) -> Path | None:
    folders = (place / name for split in splits for name in _FOLDERS[split])
    return next((folder for folder in folders if folder.is_dir()), None)


def _register(
    space: ClassSpace,
    layout: Layout,
    *,
    images: Mapping[str, int],
    about: str,
    licence: str,
    source: str,
    size: str,
    repo: str = "",
    also: Mapping[str, str] | None = None,
    metric: Literal["top1", "mean_per_class_accuracy"] = "top1",
) -> None:
    """Register a data set under the name of its class space.

    `images` gives the number of images of each split; what is not called test is learnt from. `repo` is a copy on the
    hub with the same splits and class names, empty where none is known. `also` gives another name that a split goes
    by in folders and tables.
    """
    files = ", ".join(dict.fromkeys(file for several in layout.files.values() for file in several))
    fetched = f"; or {HUB}//OWNER/NAME in the place of a folder, which fetches these" if repo else ""
    datasets.register(
        Dataset(
            name=space.name,
            class_space=space,
            open=functools.partial(_open, space, layout, repo, also or {}),
            splits=("test", *(split for split in images if split != "test")),
            fit=tuple(split for split in images if split != "test"),
            metric=metric,
            expected={split: Whole(images=count, classes=len(space.classes)) for split, count in images.items()},
            about=about,
            licence=licence,
            source=source,
            size=size,
            layout=f"unpacked archives ({files}), {'/, '.join(images)}/ of class folders, or Parquet files{fetched}",
            hub=repo,
        ),
        origin=__name__,
    )


_register(
    FLOWERS102,
    layouts.FLOWERS,
    images={"train": 1_020, "validation": 1_020, "test": 6_149},
    metric="mean_per_class_accuracy",
    about="Oxford Flowers: 6,149 test, 1,020 training and 1,020 validation photographs of 102 flowers (Nilsback & "
    "Zisserman 2008).",
    licence="none stated by its authors; the photographs keep their owners' rights",
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    size="345 MB",
    repo="dpdl-benchmark/oxford_flowers102",
)
_register(
    PETS,
    layouts.PETS,
    images={"train": 3_680, "test": 3_669},
    metric="mean_per_class_accuracy",
    about="Oxford-IIIT Pet: 3,669 test and 3,680 training photographs of 37 breeds of cats and dogs (Parkhi et al. "
    "2012).",
    licence="CC BY-SA 4.0",
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    size="811 MB",
    repo="timm/oxford-iiit-pet",
)
_register(
    CARS,
    layouts.CARS,
    images={"train": 8_144, "test": 8_041},
    about="Stanford Cars: 8,041 test and 8,144 training photographs of 196 models (Krause et al. 2013).",
    licence="non-commercial research, by its authors",
    source="copies of https://ai.stanford.edu/~jkrause/cars/car_dataset.html, which is gone",
    size="2.0 GB",
    repo="tanganke/stanford_cars",
)
_register(
    DTD,
    layouts.DTD,
    images={"train": 1_880, "validation": 1_880, "test": 1_880},
    about="Describable Textures, the first of its ten splits: 1,880 test, training and validation pictures each, 47 "
    "textures (Cimpoi et al. 2014, arXiv 1311.3618).",
    licence="research, by its authors",
    source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    size="625 MB",
    repo="mcimpoi/dtd_split_1",
)
_register(
    FOOD101,
    layouts.FOOD,
    images={"train": 75_750, "test": 25_250},
    about="Food-101: 25,250 test and 75,750 training photographs of 101 dishes; some training labels are wrong, as "
    "its authors meant it (Bossard et al. 2014).",
    licence="fair use in science, by its authors; the photographs keep their owners' rights",
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    size="5.0 GB",
    repo="ethz/food101",
    # The hub calls the authors' test images so.
    also={"test": "validation"},
)
for _space, _layout, _year, _train, _test, _size in (
    (INAT18, layouts.INAT18, 2018, 437_513, 24_426, "120 GB"),
    (INAT19, layouts.INAT19, 2019, 265_213, 3_030, "74 GB"),
):
    _register(
        _space,
        _layout,
        images={"train": _train, "test": _test},
        about=f"iNaturalist {_year}: {_train:,} training photographs of {len(_space.classes):,} species; the labels of "
        f"its test images are not published, so its {_test:,} validation images are the test split here.",
        licence="non-commercial research and education, by its authors",
        source=f"https://github.com/visipedia/inat_comp/tree/master/{_year}",
        size=_size,
        also={"test": "validation"},
    )
