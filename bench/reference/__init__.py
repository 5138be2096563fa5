"""Numbers that others published, each with its source: never results of this project, and never mixed with them.

The files beside this one are described in their README.md.
"""

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, UnknownNameError
from bench.records import Crop

_HERE = Path(__file__).parent
_FILES = {"timm": "timm.csv", "gsam": "gsam_table1.csv", "robustbench": "robustbench.csv"}
"""The tables by the word before the colon of a name."""
_PER_UNIT = {"percent": 100.0, "fraction": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One number of one checkpoint, as others measured it."""

    suite: str
    """The suite of ours that measures the same."""
    score: str
    """Heading of that suite's score, or its metric where it has no heading."""
    value: float
    """In [0, 1]."""
    images: int
    """Images that it was measured on."""
    source: str
    sample: bool = False
    """Whether these are some of a set's images, chosen by others: as many of ours are not the same ones."""
    crop: Crop | None = None
    """Where the source says how its images were cropped: another crop gives another number."""
    note: str = ""
    """What to mind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Meaning:
    """Which score of ours a table's data set and metric are."""

    suite: str
    score: str
    images: int
    sample: bool = False
    note: str = ""


_CUT = "logits cut to the 200 classes"
_TIMM = {
    ("imagenet", "top1"): _Meaning(suite="imagenet", score="top-1", images=50_000),
    ("imagenet", "top5"): _Meaning(suite="imagenet", score="top-5", images=50_000),
    ("imagenet-real", "top1"): _Meaning(suite="imagenet-real", score="top-1", images=46_837),
    ("imagenet-v2-matched-frequency", "top1"): _Meaning(suite="imagenet-v2", score="matched-frequency", images=10_000),
    ("imagenet-r", "top1"): _Meaning(suite="imagenet-r", score="top-1 of 200", images=30_000, note=_CUT),
    ("imagenet-a", "top1"): _Meaning(suite="imagenet-a", score="top-1 of 200", images=7_500, note=_CUT),
    ("imagenet-sketch", "top1"): _Meaning(suite="imagenet-sketch", score="top-1", images=50_889),
}
_GSAM = {
    ("imagenet", "top1"): _Meaning(suite="imagenet", score="top-1", images=50_000),
    ("imagenet-real", "top1"): _Meaning(suite="imagenet-real", score="top-1", images=46_837),
    ("imagenet-v2", "top1"): _Meaning(
        suite="imagenet-v2",
        score="matched-frequency",
        images=10_000,
        note="the paper does not say which variant; matched-frequency is the usual one",
    ),
    ("imagenet-r", "top1"): _Meaning(
        suite="imagenet-r",
        score="top-1 of 1000",
        images=30_000,
        note="the paper does not say so, but the numbers look uncut",
    ),
    ("imagenet-c", "mean_accuracy"): _Meaning(
        suite="imagenet-c", score="mean of 19", images=50_000, note="accuracy over 19 corruptions, not mCE"
    ),
}
_ROBUSTBENCH = {
    # Its mCE is left out: the AlexNet in it was measured on the same 5,000 images, ours on all.
    ("imagenet-c(5000 imgs)", "corruptions_acc"): _Meaning(
        suite="imagenet-c", score="mean of 15", images=5_000, sample=True, note="a fixed list of 5,000 images"
    ),
}
_MEANINGS: Mapping[str, Mapping[tuple[str, str], _Meaning]] = {
    "timm": _TIMM,
    "gsam": _GSAM,
    "robustbench": _ROBUSTBENCH,
}
"""What a table has beyond these is measured by no suite, or otherwise than by ours."""


def published(name: str) -> tuple[Published, ...]:
    """The published numbers of a checkpoint that a suite of ours measures too.

    Args:
        name: table and checkpoint, as `timm:resnet50.tv_in1k`, `gsam:ViT-B/16 [SAM]` or
            `robustbench:Standard_R50`. A checkpoint of timm's at several sizes has the numbers of each; their crops
            tell them apart.

    Returns:
        In the order of the table.

    Raises:
        UnknownNameError: there is no such table, or no such checkpoint in it.

    >>> [(p.suite, p.score, p.value) for p in published("timm:resnet50.tv_in1k")][0]
    ('imagenet', 'top-1', 0.76156)
    """
    table, _, checkpoint = name.partition(":")
    if table not in _FILES:
        raise UnknownNameError("table of published numbers", table, _FILES)
    rows = _by_checkpoint(_FILES[table])
    if checkpoint not in rows:
        raise UnknownNameError(f"checkpoint in the published numbers of {table}", checkpoint, rows)
    meanings = _MEANINGS[table]
    return tuple(_read(row, meanings) for row in rows[checkpoint] if _key(row) in meanings and not _is_padded(row))


def _key(row: Mapping[str, str]) -> tuple[str, str]:
    return row["dataset"], row["metric"]


def _read(row: Mapping[str, str], meanings: Mapping[tuple[str, str], _Meaning]) -> Published:
    meaning = meanings[_key(row)]
    return Published(
        suite=meaning.suite,
        score=meaning.score,
        value=round(float(row["value"]) / _PER_UNIT[row["unit"]], 9),  # 76.156 / 100 is not 0.76156
        images=meaning.images,
        sample=meaning.sample,
        source=row["source"],
        crop=_crop(row["source"]),
        note=meaning.note,
    )


_CROP = re.compile(r"\[img_size=(\d+);crop_pct=([\d.]+);interp=(\w+)\]$")
"""At the end of timm's sources."""


def _crop(source: str) -> Crop | None:
    match = _CROP.search(source)
    if match is None:
        return None
    return Crop(size=int(match[1]), ratio=float(match[2]), interpolation=match[3])  # type: ignore[arg-type]


def _is_padded(row: Mapping[str, str]) -> bool:
    """Whether the crop was larger than the resized image (volo_d4_448 and volo_d5_448), as ours never are."""
    match = _CROP.search(row["source"])
    return match is not None and float(match[2]) > 1


@functools.cache
def _by_checkpoint(file: str) -> dict[str, list[dict[str, str]]]:
    rows_of: dict[str, list[dict[str, str]]] = {}
    for row in _rows(file):
        rows_of.setdefault(row["checkpoint"], []).append(row)
    return rows_of


def _rows(file: str) -> Iterator[dict[str, str]]:
    with (_HERE / file).open(encoding="utf-8", newline="") as opened:
        yield from csv.DictReader(opened)


# -- AlexNet, the measure of ImageNet-C ---------------------------------------------------------------------------

ALEXNET_CLEAN_ERROR = 0.4348
"""Fraction; what relative mCE subtracts (google-research/robustness_metrics, imagenet_variants.py)."""


def alexnet_error(corruption: str, severity: int) -> float:
    """AlexNet's top-1 error under a corruption of ImageNet-C, the denominator of mCE; a fraction.

    Hendrycks & Dietterich 2019 (arXiv 1903.12261), as in the README of hendrycks/robustness.

    Args:
        corruption: one of the 15, or of the 4 extra ones, which mCE leaves out.
        severity: 1 to 5.

    Raises:
        BenchError: nothing was published for it.

    >>> alexnet_error("gaussian_noise", 1)
    0.69528
    """
    errors = _alexnet()
    if (corruption, severity) not in errors:
        known = sorted({name for name, _ in errors})
        raise BenchError(
            f"no AlexNet error was published for {corruption!r} at severity {severity}; there are severities 1 to 5 of "
            f"{', '.join(known)}."
        )
    return errors[corruption, severity]


@functools.cache
def _alexnet() -> dict[tuple[str, int], float]:
    errors = {}
    for row in _rows("alexnet_imagenet_c.csv"):
        if row["metric"] == "top1_error" and row["dataset"].count("/") == 2:
            _, corruption, severity = row["dataset"].split("/")
            errors[corruption, int(severity)] = float(row["value"])
    return errors


# -- who stands beside a leaderboard ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The published scores of somebody, or of a network, that no checkpoint of the registry is: shown, never ranked."""

    who: str
    scores: Mapping[str, float]
    """Heading of the suite's score to its value, in the score's unit."""
    images: int
    """Of the first score."""
    source: str


def standings(suite: str) -> tuple[Standing, ...]:
    """Who has published scores of a suite, in the order of the table.

    >>> [one.who for one in standings("cue-conflict")][:2], len(standings("cue-conflict"))
    (['person 9', 'person 6'], 26)
    """
    rows_of: dict[str, list[dict[str, str]]] = {}
    for row in _rows("standings.csv"):
        if row["suite"] == suite:
            rows_of.setdefault(row["who"], []).append(row)
    return tuple(
        Standing(
            who=who,
            scores={row["score"]: float(row["value"]) for row in rows},
            images=int(rows[0]["images"]),
            source=rows[0]["source"],
        )
        for who, rows in rows_of.items()
    )
