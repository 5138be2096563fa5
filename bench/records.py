"""The nouns of the project: frozen records that say what is measured, how, and what came out.

Nothing here imports torch: records are made, hashed, stored and listed without it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from bench.columns import RESERVED
from bench.crops import Crop as Crop
from bench.crops import CropMode
from bench.crops import Interpolation as Interpolation

Scalar: TypeAlias = str | int | float | bool | None
Array: TypeAlias = npt.NDArray[Any]
Sam = Literal["none", "sam", "gsam", "asam", "looksam"]
Precision = Literal["fp32", "bf16", "fp16"]


def digest(value: object) -> str:
    """SHA-256 of a JSON-able value in canonical form (sorted keys, no spaces); 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Params(Mapping[str, Scalar]):
    """Named parameters: an immutable, hashable mapping whose order is always that of the sorted names."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Scalar] | None = None, **named: Scalar) -> None:
        self._items: dict[str, Scalar] = dict(sorted({**(items or {}), **named}.items()))

    def __getitem__(self, name: str) -> Scalar:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return f"Params({', '.join(f'{k}={v!r}' for k, v in self._items.items())})"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassSpace:
    """The classes that labels and logits stand for, in order."""

    name: str
    """Short name, such as `digits` or `imagenet-1k`."""
    classes: tuple[str, ...]
    """One stable name a class (a wnid, a word); a label is an index into this."""
    part_of: "ClassSpace | None" = None
    """The larger space whose logits may be cut to these classes."""

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class space {self.name!r} names a class twice")
        if self.part_of is not None and not set(self.classes) <= set(self.part_of.classes):
            raise ValueError(f"class space {self.name!r} has classes that {self.part_of.name!r} lacks")

    @property
    def digest(self) -> str:
        """Two spaces are the same where this is: the name is not part of it."""
        return digest(list(self.classes))

    @property
    def indices(self) -> tuple[int, ...]:
        """Where each class stands in the larger space."""
        if self.part_of is None:
            raise ValueError(f"class space {self.name!r} is not part of another")
        place = {name: index for index, name in enumerate(self.part_of.classes)}
        return tuple(place[name] for name in self.classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One entry of the registry: an architecture, its weights, and what a reader must know of them."""

    name: str
    class_space: ClassSpace
    arch: str = ""
    """Architecture name in timm; empty where a builder makes the module."""
    builder: str = ""
    """`package.module:function` that returns the module (without weights); plug-ins only."""
    loader: str = ""
    """`package.module:function` from this record and its file to the module, where weights are no plain state dict."""
    arch_args: Params = field(default_factory=Params)
    """Keyword arguments for the architecture or the builder."""
    weights: str = ""
    """A file (safetensors, torch's state dict, Google's npz), `hf://OWNER/REPOSITORY/FILE`, or an https address."""
    state_dict: str = ""
    """Where in a file of several state dicts the weights stand, such as `model_ema`; empty where there is one."""
    rename: Params = field(default_factory=Params)
    """What names of arrays begin with in the file, to what they begin with in the module."""
    in_order: bool = False
    """Whether the arrays are the module's one after another, whatever they are called."""
    weights_digest: str = ""
    """SHA-256 of the weights; where given, other weights under this name are an error."""
    family: str = "other"
    """vit, mixer, resnet, … : the leaderboard's grouping."""
    sam: Sam = "none"
    """Sharpness-aware training."""
    recipe: str = ""
    """How it was trained, in a word that people know."""
    seed: int | None = None
    """Of the training, 0 or more: what trainings of one recipe differ in; None where nobody says."""
    pretraining: str = ""
    """Data seen before the class space's own; empty for none."""
    pairs_with: str = ""
    """The checkpoint that differs only (or mainly) in SAM."""
    pair_differs: str = ""
    """What else differs in the pair; empty where nothing does."""
    published: tuple[str, ...] = ()
    """Its names in the tables of `bench.reference`, as `timm:resnet50.tv_in1k`."""
    input_size: int = 224
    """Side of the square that the module takes, pixels."""
    crop_ratio: float = 0.875
    interpolation: Interpolation = "bicubic"
    crop_mode: CropMode = "center"
    transform: str = ""
    """Digest of the code that makes its images, where no crop recipe does; see `bench.images.transform`."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted per channel from images in [0, 1]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    head: ClassSpace | None = None
    """The classes that the module gives logits for, where they are more than `class_space` or in another order."""
    how: str = ""
    """Terms that its protocols have beside the suite's: `in memory`, `zero-shot with 80 templates`."""
    assumed: str = ""
    """What its entry left out, with the values that it got and where they are from, in words; else empty."""

    @property
    def crop(self) -> Crop:
        """The entry's own evaluation crop."""
        return Crop(
            size=self.input_size,
            ratio=self.crop_ratio,
            interpolation=self.interpolation,
            mode=self.crop_mode,
            fill=self.mean if self.crop_mode == "border" else (0.0, 0.0, 0.0),
            transform=self.transform,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The first part of a condition: which samples."""

    dataset: str
    split: str = "test"
    """The split whose samples are the rows of the outcome."""
    fit: tuple[str, ...] = ()
    """Splits that the measure may learn from (train, validation)."""
    samples: int | None = None
    """At most so many, the ones that a limit of this number would take; None takes all."""
    fit_samples: int | None = None
    """At most so many of each split in `fit`, every class in turn; None takes all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Perturbation:
    """What is done to the cropped images before any model sees them, or was done to them when they were stored."""

    corruption: str
    severity: int
    jpeg_quality: int | None = None
    """Saved as JPEG of this quality and read again, as the files of ImageNet-C were; None leaves the pixels alone."""
    stored: bool = False
    """Whether the data set holds the corrupted images, as split `CORRUPTION/SEVERITY`; nothing is then computed."""
    reference: bool = False
    """Whether imagecorruptions-imaug makes them, one image at a time."""

    def __post_init__(self) -> None:
        if self.severity not in (1, 2, 3, 4, 5):
            raise ValueError(f"severity of {self.corruption!r} must be 1 to 5, not {self.severity}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 95:
            raise ValueError(f"JPEG quality after {self.corruption!r} must be 1 to 95, not {self.jpeg_quality}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """The second part of a condition: the crop where the suite fixes it, and a perturbation of what is measured."""

    crop: Crop | None = None
    """None: each checkpoint's own crop."""
    perturbation: Perturbation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """The samples of a split, and what is to be done to their crops: what several checkpoints are shown alike."""

    dataset: str
    split: str
    perturbation: Perturbation | None = None
    """To be computed; None for plain crops, and for a split that is stored corrupted."""
    stored: bool = False
    """Whether the split is stored corrupted."""
    samples: int | None = None
    """At most so many, as in `Data`."""

    @property
    def plain(self) -> "ImageSet":
        """The samples of the split as they are."""
        return replace(self, perturbation=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSetting:
    """The third part of a condition: what the suite overrides of the checkpoint."""

    input_size: int | None = None
    crop_ratio: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The fourth part of a condition: a registered measure and its parameters."""

    name: str = "classify"
    params: Params = field(default_factory=Params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What a checkpoint is put through: samples, images, setting and measure, all of it data."""

    data: Data
    images: Images = Images()
    model: ModelSetting = ModelSetting()
    measure: Measurement = Measurement()

    def __post_init__(self) -> None:
        for name in sorted(self.measure.params.keys() & RESERVED):
            raise ValueError(f"measure {self.measure.name!r} cannot have this parameter: {name!r} is a column already")

    def columns(self) -> dict[str, Scalar]:
        """Every parameter under the name of its table column, None where the condition leaves it open."""
        crop, perturbation = self.images.crop, self.images.perturbation
        return {
            "dataset": self.data.dataset,
            "split": self.image_set.split,
            "fit": "+".join(self.data.fit) or None,
            **{name: count for name in ("samples", "fit_samples") if (count := getattr(self.data, name)) is not None},
            "crop_size": crop.size if crop else None,
            "crop_ratio": crop.ratio if crop else self.model.crop_ratio,
            "interpolation": crop.interpolation if crop else None,
            "corruption": perturbation.corruption if perturbation else None,
            "severity": perturbation.severity if perturbation else None,
            "jpeg_quality": perturbation.jpeg_quality if perturbation else None,
            **({"maker": "imagecorruptions-imaug"} if perturbation and perturbation.reference else {}),
            "input_size": self.model.input_size,
            "measure": self.measure.name,
            **self.measure.params,
        }

    @property
    def image_set(self) -> ImageSet:
        """The images that are measured."""
        data, perturbation = self.data, self.images.perturbation
        if perturbation is not None and perturbation.stored:
            split = f"{perturbation.corruption}/{perturbation.severity}"
            return ImageSet(dataset=data.dataset, split=split, stored=True, samples=data.samples)
        return ImageSet(dataset=data.dataset, split=data.split, perturbation=perturbation, samples=data.samples)

    def resolve_crop(self, checkpoint: Checkpoint) -> Crop:
        """The crop that `checkpoint` sees: the suite's, else its own with the suite's overrides."""
        if self.images.crop is not None:
            return self.images.crop
        own, size, ratio = checkpoint.crop, self.model.input_size, self.model.crop_ratio
        kept = own.transform if size is None and ratio is None else ""  # whose code makes squares of its own alone
        return replace(own, size=size or own.size, ratio=ratio or own.ratio, transform=kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """Where and in what precision the module runs."""

    device: str = "cpu"
    """Device type (`cpu`, `cuda`, `mps`), without an index."""
    precision: Precision = "fp32"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A checkpoint under a condition: the unit of storing, resuming, retrying and distributing.

    Suites are not part of it, so that several suites share one forward pass.
    """

    checkpoint: Checkpoint
    condition: Condition
    model_digest: str
    """Weights, architecture, preprocessing and class space of the checkpoint in one digest."""
    fingerprints: tuple[str, ...]
    """Of `condition.data.split`, then of each split in `fit`."""
    n: int
    """Samples to measure."""
    fit_n: tuple[int, ...] = ()
    """Samples of each split in `fit` that are learnt from; a run's limit leaves them alone."""
    fit_of: tuple[int, ...] = ()  # in each of these splits; empty where the condition takes all
    versions: Params
    """Of the measure and of the corruption: old outcomes never stand for new code."""
    seed: int | None
    """None where nothing in the condition is random."""
    limit: int | None
    """None where every sample that the condition takes is measured."""
    of: int
    """Samples in the split: a limit takes others from another part of a data set."""
    numerics: Numerics
    made_here: bool = False
    """Whether stored corrupted images are a copy that `bench data make-c` generated."""
    classes: int | None = None
    """Of the data: labels and predictions are less than this; None where nobody knows. No part of the key."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the outcome; JSON-able. The checkpoint's name is not in it."""
        return {
            "model": self.model_digest,
            "condition": {k: v for k, v in self.condition.columns().items() if v is not None},
            "versions": dict(self.versions),
            "fingerprints": list(self.fingerprints),
            "n": self.n,
            **{name: list(counts) for name in ("fit_n", "fit_of") if (counts := getattr(self, name))},
            "seed": self.seed,
            "limit": self.limit,
            **({"of": self.of} if self.n < self.of else {}),
            **({"made_here": True} if self.made_here else {}),
            "device": self.numerics.device,
            "precision": self.numerics.precision,
        }

    @property
    def key(self) -> str:
        """32 hexadecimal digits; the name of the cell's file."""
        return digest(self.identity)[:32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What measuring a cell gave: columns with one row a sample, in the order of the data set."""

    ids: Array
    """(n,) text."""
    labels: Array
    """(n,) int64, indices into the class space."""
    columns: Mapping[str, Array]
    """Each (n, …): `prediction`, `correct`, `top_logits`, … and what the measure adds."""

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.labels), *(len(c) for c in self.columns.values())}
        if len(lengths) != 1:
            raise ValueError(f"an outcome's columns must have one row a sample, not {sorted(lengths)} rows")

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A score's value, its 95% interval where one is defined, and the samples behind it."""

    value: float
    n: int
    """Distinct images (not image × condition pairs)."""
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """The term of a protocol that says who makes the corrupted images."""

    details: str = ""
    """At which size, as which file."""
    reference: bool = False
    """Whether imagecorruptions-imaug makes them, rather than our batched corruptions."""

    def __str__(self) -> str:
        how = "generated by imagecorruptions-imaug" if self.reference else "generated as imagecorruptions does"
        return f"{how} {self.details}".rstrip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How a score was taken, as short terms; two protocols never share a column."""

    terms: tuple[str | Generated, ...]

    @property
    def name(self) -> str:
        """Canonical name: the terms in order."""
        return ", ".join(map(str, self.terms))

    def by_reference(self) -> "Protocol":
        """The protocol of the same suite with corruptions made by imagecorruptions-imaug."""
        return Protocol(terms=tuple(replace(t, reference=True) if isinstance(t, Generated) else t for t in self.terms))

    def taken_with(
        self, *, limit: int | None, seed: int | None, precision: Precision, subset: str = "", origin: str = ""
    ) -> "Protocol":
        """The protocol of one table: the suite's terms and whatever departs from a full fp32 run here with seed 0."""
        extra = [subset, f"limit {limit}" if limit is not None else "", f"seed {seed}" if seed else ""]
        extra += [precision if precision != "fp32" else "", origin]
        return Protocol(terms=(*self.terms, *filter(None, extra)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a run is carried out; nothing here but seed, limit and numerics changes a number."""

    store: Path
    cache: Path | None
    """None: crops are not kept."""
    cache_budget: int = 20 * 2**30
    """Bytes of crops kept; the least recently used go first."""
    device: str = "cpu"
    """As torch names it, `cuda:1` for one."""
    precision: Precision = "fp32"
    precision_asked: bool = True
    """Whether the user named the precision; if not, measures that need fp32 take it."""
    batch_size: int | None = None
    """None: chosen for the device, halved when memory runs out."""
    workers: int = 0
    """Processes that decode, crop, and corrupt where that goes one image at a time, beside the one with the models."""
    seed: int = 0
    limit: int | None = None
    places: Mapping[str, Path] = field(default_factory=dict)
    """Data set name to the folder or file that holds it here."""
    on_error: Literal["skip", "stop"] = "skip"

    def numerics(self, *, exact: bool = False) -> Numerics:
        """The part of the settings that belongs to a cell; `exact` where a measure needs fp32 if nobody says else."""
        precision: Precision = "fp32" if exact and not self.precision_asked else self.precision
        return Numerics(device=self.device.split(":")[0], precision=precision)
