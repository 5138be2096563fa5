"""ImageNet's validation set and the sets that are labelled with its classes.

Sources of counts and layouts: each data set's own repository, named in its record.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench.corruptions.builtin import GROUPS
from bench.datasets import Archive, Dataset, Samples, Whole, datasets
from bench.datasets.copies import VAL_NAME, absent, folder_of, table_at, validation_files
from bench.datasets.imagenet_x import FACTOR
from bench.datasets.readers.folder import FolderSamples, Place, class_folders, folder_at
from bench.datasets.readers.tar_folder import SUFFIX, TarFolder
from bench.datasets.spaces import IMAGENET, IMAGENET_A, IMAGENET_R, timm_info
from bench.errors import AbsentError, BenchError
from bench.records import ClassSpace

V2_VARIANTS = ("matched-frequency", "threshold-0.7", "top-images")
"""Recht et al. 2019, arXiv 1902.10811, section 3."""
_REAL_NAME = "ILSVRC2012_val_00000001.JPEG"


@functools.cache
def real_labels() -> Mapping[str, tuple[int, ...]]:
    """The reassessed labels of Beyer et al. 2020 (arXiv 2006.07159), from timm's copy.

    Returns:
        Number of a validation file, eight digits as in its name, to the classes that its picture shows; some have
        none, and are not scored.
    """
    # The list is in the order of the file numbers, which begin with 1.
    sets = json.loads(timm_info("imagenet_real_labels.json").read_text(encoding="utf-8"))
    return {f"{number:08d}": tuple(labels) for number, labels in enumerate(sets, start=1)}


def real_labels_of(sample_id: str) -> tuple[int, ...] | None:
    """The reassessed labels of a sample, found by its file's name; None where that is not a validation file's."""
    match = VAL_NAME.search(sample_id)
    return real_labels().get(match[1]) if match else None


def _below(place: Place, names: Iterable[str]) -> Place:
    """The folder that archives unpack to, where the user named the one above."""
    return next((place / name for name in names if (place / name).is_dir()), place)


def _open_folders(
    name: str,
    space: ClassSpace,
    inner: tuple[str, ...],
    check: Callable[[FolderSamples], None] | None = None,
    archive: str = "",
    called: tuple[str, ...] = ("test", "validation", "train"),
) -> Callable[[str, Path | None], Samples]:
    """Opens any copy of a set: `archive` is the name of its tar file, `called` what tables may call its split."""

    def open_split(_: str, place: Path | None) -> Samples:
        if place is None:
            raise absent(name)
        table = table_at(place, called, space, name)
        if table is not None:
            return table
        root = folder_of(place, name, inner, (archive,) if archive else ())
        flat = validation_files(root, name) if name == "imagenet" else None
        if flat is not None:
            return flat
        samples = class_folders(root, IMAGENET, name, _label_within(space))
        if check is not None:
            check(samples)
        return samples

    return open_split


def _label_within(space: ClassSpace) -> Callable[[str], int | None]:
    """Labels among ImageNet's 1000 classes of folders that must be named after classes of `space`."""
    if space is IMAGENET:
        return {name: index for index, name in enumerate(IMAGENET.classes)}.get
    return dict(zip(space.classes, space.indices, strict=True)).get


def _check_validation_set(samples: FolderSamples) -> None:
    """Tell apart what has the same folders: the validation set's own file names settle it."""
    if not any(map(VAL_NAME.search, samples.ids.tolist())):
        _check_for_relatives(samples)


def _check_for_relatives(samples: FolderSamples) -> None:
    present = {str(sample_id).partition("/")[0] for sample_id in samples.ids}
    for space, name in ((IMAGENET_R, "imagenet-r"), (IMAGENET_A, "imagenet-a")):
        if present == set(space.classes):
            raise _mistaken(samples, f"the 200 classes of {name} and none of the validation set's files", name)
    if all(str(sample_id).partition("/")[2].startswith("sketch_") for sample_id in samples.ids):
        raise _mistaken(samples, "files named sketch_…", "imagenet-sketch")


def _mistaken(samples: FolderSamples, sign: str, name: str) -> BenchError:
    return BenchError(
        f"{samples.root} was given as imagenet, but holds {sign} ({_REAL_NAME} is how those are named); "
        f"give it as --data {name}={samples.root}."
    )


def _check_training_set(samples: FolderSamples) -> None:
    if any(map(VAL_NAME.search, samples.ids.tolist())):
        raise BenchError(
            f"{samples.root} was given as imagenet-train, but holds files of the validation set ({_REAL_NAME} is how "
            f"those are named); give it as --data imagenet={samples.root}."
        )


def _open_v2(split: str, place: Path | None) -> Samples:
    if place is None:
        raise absent("imagenet-v2")
    root = _variant_folder(folder_at(place, "imagenet-v2"), split)
    return class_folders(root, IMAGENET, "imagenet-v2", _v2_label)


def _variant_folder(place: Place, variant: str) -> Place:
    """The folder of a variant: the place itself where its name says so, or a folder in it; or what a tar file holds."""
    place = place.absolute()  # `.` has no name
    if _is_variant(place.name, variant):
        # Some archives unpack to a folder of the same name within.
        return _below(place, [inner.name for inner in place.iterdir() if _is_variant(inner.name, variant)])
    if isinstance(place, Path):
        packed = next((path for path in sorted(place.glob(f"*{SUFFIX}")) if _is_variant(path.name, variant)), None)
        if packed is not None:
            return _variant_folder(TarFolder(packed), variant)
    inside: list[Place] = [*place.iterdir()]
    inside.sort(key=str)
    folders = [inner for inner in inside if inner.is_dir() and _is_variant(inner.name, variant)]
    if folders:
        return _variant_folder(folders[0], variant)
    if not any(_is_variant(p.name, v) for p in (place, *place.iterdir()) for v in V2_VARIANTS):
        raise BenchError(
            f"imagenet-v2 was given as {place}, but neither its name nor that of a folder in it says which of "
            f"{', '.join(V2_VARIANTS)} it is; keep the name it was unpacked with, imagenetv2-{variant}…."
        )
    raise AbsentError(
        f"imagenet-v2 at {place} lacks the variant {variant}: put imagenetv2-{variant} there, from "
        f"{datasets.get('imagenet-v2').source}."
    )


def _is_variant(name: str, variant: str) -> bool:
    # The archives write `threshold0.7`.
    return variant.replace("-", "") in name.lower().replace("-", "").replace("_", "")


def _v2_label(name: str) -> int | None:
    """Folders are class numbers, in some copies wnids; sorted as text, numbers would give 12 right labels of 1000."""
    if name.isascii() and name.isdigit():
        return int(name) if int(name) < len(IMAGENET.classes) else None
    return _label_within(IMAGENET)(name)


MADE_HERE = "protocol.json"
"""Beside the folders of a copy that `bench data make-c` made."""


def _open_c(split: str, place: Path | None) -> Samples:
    if place is None:
        raise absent("imagenet-c")
    corruption, _, severity = split.partition("/")
    group = next(group for group, names in GROUPS.items() if corruption in names)
    root = folder_at(place, "imagenet-c")
    roots: list[Place] = [root]
    if isinstance(root, Path) and (root / f"{group}{SUFFIX}").is_file():
        roots.append(TarFolder(root / f"{group}{SUFFIX}"))
    candidates = [path for inside in roots for path in (inside / group / corruption, inside / corruption)]
    folders = [path for path in candidates if path.is_dir()]
    if not (folders and (folders[0] / severity).is_dir()) and (place / MADE_HERE).exists():
        raise AbsentError(
            f"imagenet-c at {root} lacks severity {severity} of {corruption}: it was generated, so make that too "
            f"(bench data make-c imagenet=… --out {root} --corruption {corruption} --severity {severity})."
        )
    if not folders:
        if isinstance(root, Path):
            _check_looks_like_c(root)
        raise AbsentError(
            f"imagenet-c at {root} lacks {corruption}: put {group}.tar of {datasets.get('imagenet-c').source} there."
        )
    if not (folders[0] / severity).is_dir():
        raise AbsentError(
            f"imagenet-c at {root} lacks severity {severity} of {corruption}: unpack {group}.tar of "
            f"{datasets.get('imagenet-c').source} there again."
        )
    return class_folders(folders[0] / severity, IMAGENET, "imagenet-c")


def _check_looks_like_c(root: Path) -> None:
    names = {name for names in GROUPS.values() for name in names}
    inner = {path.name for folder in (root, *(root / group for group in GROUPS)) for path in folder.glob("*")}
    if not inner & (names | {f"{group}{SUFFIX}" for group in GROUPS}):
        raise BenchError(
            f"{root} was given as imagenet-c, but holds no folder of a corruption, such as weather/fog/ or fog/; give "
            "the folder that holds noise.tar, blur.tar, weather.tar and digital.tar, or into which they were unpacked."
        )


def _register(dataset: Dataset) -> None:
    datasets.register(dataset, origin=__name__)


_MD5_OF_C = {
    "noise": "e80562d7f6c3f8834afb1ecf27252745",
    "blur": "2d8e81fdd8e07fef67b9334fa635e45c",
    "weather": "33ffea4db4d93fe4a428c40a6ce0c25d",
    "digital": "89157860d7b10d5797849337ca2e5c03",
    "extra": "d492dfba5fc162d8ec2c3cd8ee672984",
}
"""Of ImageNet-C's archives, as Zenodo publishes them."""
_WNID_FOLDERS = "one folder a wnid (n01440764/…), any subset of them"
_TABLES = "Parquet files, WebDataset's tar files, or hf://OWNER/NAME"

_register(
    Dataset(
        name="imagenet",
        class_space=IMAGENET,
        open=_open_folders(
            "imagenet",
            IMAGENET,
            ("val", "validation", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"),
            _check_validation_set,
            "ILSVRC2012_img_val.tar",
            ("validation", "test"),
        ),
        expected={"test": Whole(images=50_000, classes=1000)},
        about="ImageNet-1k's validation set (Russakovsky et al. 2015, arXiv 1409.0575), 50,000 photographs.",
        licence="image-net.org's terms of access: non-commercial research",
        source="https://image-net.org/challenges/LSVRC/2012/ (ILSVRC2012_img_val.tar)",
        size="6.3 GB",
        layout=f"{_WNID_FOLDERS}; or the archive as it is, or its files: labelled by their numbers; or {_TABLES}",
        hub="ILSVRC/imagenet-1k",
        attributes=(FACTOR,),
    )
)
_register(
    Dataset(
        name="imagenet-train",
        class_space=IMAGENET,
        open=_open_folders(
            "imagenet-train",
            IMAGENET,
            ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train"),
            _check_training_set,
            "ILSVRC2012_img_train.tar",
            ("train",),
        ),
        splits=("train",),
        expected={"train": Whole(images=1_281_167, classes=1000)},
        about="ImageNet-1k's training set (Russakovsky et al. 2015, arXiv 1409.0575), 1,281,167 photographs.",
        licence="image-net.org's terms of access: non-commercial research",
        source="https://image-net.org/challenges/LSVRC/2012/ (ILSVRC2012_img_train.tar)",
        size="138 GB",
        layout=f"{_WNID_FOLDERS}, as the archives in its archive are named; or the archive as it is; or {_TABLES}",
    )
)
_register(
    Dataset(
        name="imagenet-v2",
        class_space=IMAGENET,
        open=_open_v2,
        splits=V2_VARIANTS,
        expected=dict.fromkeys(V2_VARIANTS, Whole(images=10_000, classes=1000)),
        about="A new test set, made as ImageNet's was (Recht et al. 2019, arXiv 1902.10811), 3 × 10,000 photographs.",
        licence="MIT, by its repository; the photographs keep their owners' rights",
        source="https://huggingface.co/datasets/vaishaal/ImageNetV2",
        size="3 × 1.3 GB",
        layout="imagenetv2-VARIANT[-format-val]/ with a folder a class, named by number (0 … 999) or wnid",
        hub="vaishaal/ImageNetV2",
    )
)
_register(
    Dataset(
        name="imagenet-r",
        class_space=IMAGENET,
        open=_open_folders("imagenet-r", IMAGENET_R, ("imagenet-r",), archive="imagenet-r.tar"),
        expected={"test": Whole(images=30_000, classes=200)},
        about="Renditions of 200 classes (Hendrycks et al. 2021, arXiv 2006.16241), 30,000 pictures.",
        licence="MIT, by its repository; the pictures keep their owners' rights",
        source="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        size="2.2 GB",
        archives=(
            Archive("https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar", "a61312130a589d0ca1a8fca1f2bd3337"),
        ),
        layout=f"one folder a wnid, of its 200; or the archive as it is; or {_TABLES}",
        hub="axiong/imagenet-r",
    )
)
_register(
    Dataset(
        name="imagenet-a",
        class_space=IMAGENET,
        open=_open_folders("imagenet-a", IMAGENET_A, ("imagenet-a",), archive="imagenet-a.tar"),
        expected={"test": Whole(images=7_500, classes=200)},
        about="Photographs that a ResNet-50 got wrong, 200 classes (Hendrycks et al. 2021, arXiv 1907.07174), 7,500.",
        licence="MIT, by its repository; the photographs keep their owners' rights",
        source="https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar",
        size="0.7 GB",
        archives=(
            Archive("https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar", "c3e55429088dc681f30d81f4726b6595"),
        ),
        layout=f"one folder a wnid, of its 200; or the archive as it is; or {_TABLES}",
        hub="barkermrl/imagenet-a",
    )
)
_register(
    Dataset(
        name="imagenet-sketch",
        class_space=IMAGENET,
        open=_open_folders("imagenet-sketch", IMAGENET, ("sketch",)),
        expected={"test": Whole(images=50_889, classes=1000)},
        about="Sketches of the 1000 classes (Wang et al. 2019, arXiv 1905.13549), 50,889 pictures, some of them black.",
        licence="MIT, by its repository; the pictures keep their owners' rights",
        source="https://huggingface.co/datasets/songweig/imagenet_sketch",
        size="7.1 GB",
        layout=f"{_WNID_FOLDERS}; or {_TABLES}",
        hub="songweig/imagenet_sketch",
    )
)
_register(
    Dataset(
        name="imagenet-c",
        class_space=IMAGENET,
        open=_open_c,
        splits=tuple(f"{name}/{severity}" for names in GROUPS.values() for name in names for severity in range(1, 6)),
        expected={
            f"{name}/{severity}": Whole(images=50_000, classes=1000)
            for names in GROUPS.values()
            for name in names
            for severity in range(1, 6)
        },
        about="The validation set under 19 corruptions × 5 severities, stored at 224×224 (Hendrycks & Dietterich "
        "2019, arXiv 1903.12261).",
        licence="CC BY 4.0, by its repository; the photographs as ImageNet's",
        source="https://zenodo.org/records/2235448",
        size="76 GB",
        archives=tuple(
            Archive(f"https://zenodo.org/records/2235448/files/{group}.tar", md5) for group, md5 in _MD5_OF_C.items()
        ),
        layout="[GROUP/]CORRUPTION/SEVERITY/WNID/…, as its archives unpack, or these in one folder: noise, blur, "
        "weather, digital, extra",
    )
)
