"""Sets whose images have several right labels among ImageNet's classes: ImageNet-Hard, ImageNet-D.

Sources of counts and layouts: each data set's own repository, named in its record.
"""

from pathlib import Path

import numpy as np

from bench.datasets import Dataset, Samples, datasets
from bench.datasets.class_groups import ClassGroups
from bench.datasets.copies import absent, table_at
from bench.datasets.groups import IMAGENET_D
from bench.datasets.readers.columns import padded
from bench.datasets.readers.folder import FolderSamples, Place, class_folders, folder_at
from bench.datasets.spaces import IMAGENET
from bench.errors import AbsentError, BenchError

D_SPLITS = ("background", "texture", "material")


def named_folders(root: Place, names: ClassGroups, subject: str, *, others_known: bool = False) -> FolderSamples:
    """Folders whose names stand for one or more of ImageNet's classes, each of which is a right label.

    Args:
        root: the folder; its folders bear names of `names`, also with blanks or hyphens for their underscores.
        names: what each stands for.
        subject: the data set's name, for messages.
        others_known: whether the set has folders of other names too, which are left out.

    Returns:
        The samples; an id is `NAME/FILE`, a label the first of the name's classes.

    Raises:
        BenchError: as `class_folders` raises it.
        RunError: as `class_folders` raises it.
    """
    places = {_plain(name): place for place, name in enumerate(names.space.classes)}
    samples = class_folders(
        root, names.space, subject, lambda name: places.get(_plain(name)), others_known=others_known
    )
    samples.label_sets = padded(names.members)[samples.labels]
    samples.labels = np.ascontiguousarray(samples.label_sets[:, 0])
    return samples


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _open_hard(split: str, place: Path | None) -> Samples:
    if place is None:
        raise absent("imagenet-hard")
    table = table_at(place, ("validation", "test", "train"), IMAGENET, "imagenet-hard", several=True)
    if table is None:
        raise BenchError(
            f"{place} was given as imagenet-hard, but holds no Parquet files; give the folder that does, or "
            f"--data imagenet-hard=hf://{datasets.get('imagenet-hard').hub}."
        )
    return table


def _open_d(split: str, place: Path | None) -> Samples:
    if place is None:
        raise absent("imagenet-d")
    root = folder_at(place, "imagenet-d")
    inner = next((root / name for name in ("ImageNet-D", "imagenet-d") if (root / name).is_dir()), root)
    if not (inner / split).is_dir():
        if not any((inner / name).is_dir() for name in D_SPLITS):
            raise BenchError(
                f"{place} was given as imagenet-d, but holds none of the folders {', '.join(D_SPLITS)}; give the one "
                "that does."
            )
        raise AbsentError(f"imagenet-d at {inner} lacks {split}: obtain it from {datasets.get('imagenet-d').source}.")
    return named_folders(inner / split, IMAGENET_D, "imagenet-d")


datasets.register(
    Dataset(
        name="imagenet-hard",
        class_space=IMAGENET,
        open=_open_hard,
        label_sets=True,
        about="Images of several sets that networks get wrong however they are cropped, each with its right labels "
        "(Taesiri et al. 2023, arXiv 2304.05538); their number changed, 13,925 at first, 10,980 later.",
        licence="MIT, by its repository; the pictures keep their owners' rights",
        source="https://huggingface.co/datasets/taesiri/imagenet-hard",
        layout="Parquet files, or hf://OWNER/NAME; `label` is a list",
        hub="taesiri/imagenet-hard",
    ),
    origin=__name__,
)
datasets.register(
    Dataset(
        name="imagenet-d",
        class_space=IMAGENET,
        open=_open_d,
        splits=D_SPLITS,
        label_sets=True,
        about="Objects that a diffusion model drew with unusual backgrounds, textures and materials, 4,835 pictures of "
        "113 names (Zhang et al. 2024, arXiv 2403.18775).",
        licence="MIT, by its repository",
        source="https://github.com/chenshuang-zhang/imagenet_d",
        layout="background/, texture/, material/, each with one folder a name (alarm_clock/…)",
    ),
    origin=__name__,
)
