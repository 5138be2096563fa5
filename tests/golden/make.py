"""Golden outcomes of the digits track: one CSV a shipped checkpoint of digits, beside this file.

Run `python tests/golden/make.py` after a change that is meant to change numbers (new weights, a corruption's
version), and read the diff: it is what users of the numbers will see.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import api
from bench.checkpoints import checkpoints
from bench.checkpoints.weights import weights_digest
from bench.datasets.spaces import DIGITS
from bench.metrics.classification import TOP1
from bench.records import Checkpoint, Condition, Data, Images, Perturbation, Protocol, Settings
from bench.store import Store
from bench.suite import Score, Suite

FOLDER = Path(__file__).parent
ZOO = "zoo"
LIMIT = 40  # samples of each condition
CLEAN = ("digits", "digits-v2", "digits-r")
CORRUPTED = (("gaussian_noise", 3), ("glass_blur", 2), ("fog", 4), ("jpeg_compression", 3))  # on digits


class Row(NamedTuple):
    """One sample under one condition."""

    condition: str
    id: str
    prediction: int
    top_logit: float
    """Rounded to a thousandth."""


def shipped() -> list[Checkpoint]:
    """The checkpoints of digits that come with the package."""
    return [e for e in checkpoints if Path(e.weights).parent.name == ZOO and e.class_space is DIGITS]


def conditions() -> dict[str, Condition]:
    """What is measured, by the name that it has in the files."""
    clean = {name: Condition(data=Data(dataset=name)) for name in CLEAN}
    corrupted = {
        f"{name} {severity}": Condition(
            data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption=name, severity=severity))
        )
        for name, severity in CORRUPTED
    }
    return {**clean, **corrupted}


def measure() -> dict[str, list[Row]]:
    """Checkpoint name to its rows, measured now through the engine: CPU, fp32, seed 0."""
    named = conditions()
    scores = tuple(Score(metric=TOP1, conditions=(c,), column=name) for name, c in named.items())
    suite = Suite(
        name="golden", version=1, title="", paper="", track="none", protocol=Protocol(terms=()), scores=scores
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=Path(folder), cache=None, batch_size=LIMIT, limit=LIMIT)
        result = api.run([suite], shipped(), settings)
        assert result.ok, result.failures
        store, names = Store(settings.store), {condition: name for name, condition in named.items()}
        rows: dict[str, list[Row]] = {}
        for cell in result.plan.cells:
            outcome = store.read(cell.key)
            top = outcome.columns["top_logits"][:, 0].astype(float).round(3).tolist()
            columns = (outcome.ids.tolist(), outcome.columns["prediction"].tolist(), top)
            rows.setdefault(cell.checkpoint.name, []).extend(
                Row(names[cell.condition], *values) for values in zip(*columns, strict=True)
            )
    return rows


def write(rows: dict[str, list[Row]]) -> None:
    """Write the files."""
    for name, table in rows.items():
        with (FOLDER / f"{name}.csv").open("w", newline="") as file:
            file.write(f"# weights: SHA-256 {weights_digest(Path(checkpoints.get(name).weights))}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Row._fields)
            writer.writerows(table)


def read(name: str) -> tuple[str, list[Row]]:
    """The weights digest and the rows of a checkpoint's file."""
    head, _, *lines = (FOLDER / f"{name}.csv").read_text().splitlines()
    return head.split()[-1], list(_rows(lines))


def _rows(lines: list[str]) -> Iterator[Row]:
    for condition, sample, prediction, top in csv.reader(lines):
        yield Row(condition, sample, int(prediction), float(top))


if __name__ == "__main__":
    write(measure())
