"""Predictions that were made elsewhere, taken in as cells: matched to the data by id, and scored like our own.

Nothing is known of how they came to be, so they never share a table with what was measured here: their device is
`imported`, and the protocol of their tables says so.

Shapes: N samples, K classes.
"""

import datetime
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bench
from bench.board.index import Index
from bench.board.leaderboard import IMPORTED
from bench.checkpoints import checkpoints
from bench.datasets import Library, subset
from bench.datasets.readers.columns import classes_of
from bench.errors import AbsentError, BenchError, one_line
from bench.machine.files import ending
from bench.measure import measures
from bench.measure.cells import resolve
from bench.names import check_name, check_text
from bench.records import Array, Cell, Checkpoint, ClassSpace, Condition, Settings, digest
from bench.store import Store
from bench.store.columns import columns_digest
from bench.suite import Suite
from bench.text import some
from bench.tools.images import importable

_LOGIT = re.compile(r"logit_(\d+)")
_TOP = [f"top_{place}" for place in range(1, 6)]
"""Columns of the five likeliest classes, the likeliest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import stored."""

    cell: Cell
    columns: tuple[str, ...]
    fresh: bool
    """False where the same rows were stored already."""


def import_rows(
    path: Path,
    suite: Suite,
    name: str,
    settings: Settings,
    *,
    family: str = "",
    corruption: str = "",
    severity: int = 0,
) -> Imported:
    """Take in the rows of a file as the outcome of a condition of a suite.

    Args:
        path: CSV or Parquet, a row a sample: `id`; `prediction`, a class by name or index; or `top_1` to `top_5`; or
            `logits`, a list, or `logit_0` to the last class.
        suite: whose condition it is; only those of the measure `classify` can be imported.
        name: of the checkpoint; a registered one gives its family and pair too.
        settings: where the data and the store are.
        family: of the checkpoint, where it is not registered.
        corruption: and severity of the condition; empty for the images as they are.
        severity: 1 to 5.

    Raises:
        AbsentError: the data of the condition are not here.
        BenchError: the file is not such a file, or its samples are not those of the data, each once.
        RunError: the store cannot be written.
    """
    frame = _read(path)
    library, store = Library(settings.places), Store(settings.store)
    condition = _condition(suite, corruption, severity, frame, library)
    opened = library.open(condition.image_set.dataset, condition.image_set.split)
    checkpoint = _checkpoint(name, opened.dataset.class_space, family)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    elsewhere = replace(settings, device=IMPORTED, precision="fp32", precision_asked=True, limit=None)
    cell = resolve(checkpoint, _model(store, name, sha256), condition, library, elsewhere)
    rows = subset(opened.samples.ids, cell.n)
    ids, labels = opened.samples.ids[rows], opened.samples.labels[rows]
    columns = _columns(_matched(frame, ids, path), labels, opened.dataset.class_space, condition)
    columns |= opened.columns(rows)
    if store.has(cell.key):
        _check_same(store, cell, columns)
        # An import of an older version that was killed may have stored the cell alone.
        store.record_checkpoint(cell.model_digest, checkpoint)
        return Imported(cell=cell, columns=tuple(columns), fresh=False)
    store.prepare()
    store.log(
        {
            "key": cell.key,
            "checkpoint": name,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "device": IMPORTED,
            "versions": {"rtbench": bench.__version__},
            "file": path.name,
            "sha256": sha256,
        }
    )
    # The cell last: killed in between, an import leaves a checkpoint without cells, which no table shows.
    store.record_checkpoint(cell.model_digest, checkpoint)
    fresh = store.write(cell, ids, labels, columns)
    return Imported(cell=cell, columns=tuple(columns), fresh=fresh)


# -- whose rows they are ------------------------------------------------------------------------------------------


def _checkpoint(name: str, space: ClassSpace, family: str) -> Checkpoint:
    """The registered entry, or one that says no more than is known; without weights, which nobody showed us."""
    check_name(checkpoints.kind, name, slashes=checkpoints.slashes)
    check_text("family", family)
    known = checkpoints.get(name) if name in checkpoints else Checkpoint(name=name, class_space=space)
    return replace(known, weights="", weights_digest="", family=family or known.family)


def _model(store: Store, name: str, sha256: str) -> str:
    """The model digest: of the name and the file; a checkpoint's later conditions belong to the model of its first."""
    models = {entry.model for entry in store.checkpoints() if entry.name == name}
    index = Index(store) if models else None
    try:
        cells = index.cells() if index else []
    finally:
        if index:
            index.close()
    theirs = sorted({c.identity["model"] for c in cells if c.identity["device"] == IMPORTED} & models)
    return theirs[0] if theirs else digest([IMPORTED, name, sha256])


def _condition(suite: Suite, corruption: str, severity: int, frame: pd.DataFrame, library: Library) -> Condition:
    """The condition that the rows are of: where several are possible, the one whose samples they are."""
    if bool(corruption) != bool(severity):
        raise BenchError("--corruption and --severity go together: one condition at a time is imported.")
    classified = importable(suite)
    fitting = [c for c in classified if _perturbed(c) == (corruption, severity)]
    if not fitting:
        words = f"{corruption} at severity {severity}" if corruption else "images as they are"
        raise BenchError(
            f"suite {suite.name!r} has no condition of {words} that predictions can be imported for; only those that "
            f"classify each checkpoint's own crop can ({len(classified)} of {len(suite.conditions)} here)."
        )
    # The headline's first: the clean images of a shifted suite have a suite of their own.
    fitting.sort(key=lambda condition: condition not in suite.headline.conditions)
    ids, faults = set(frame["id"]), []
    for condition in fitting:
        try:
            samples = library.open(condition.image_set.dataset, condition.image_set.split).samples
        except AbsentError as error:
            faults.append(error)
            continue
        if ids & set(map(str, samples.ids.tolist())):
            return condition
    if len(faults) == len(fitting):
        raise faults[0]
    here = next(c for c in fitting if not _is_absent(c, library))
    samples = library.open(here.image_set.dataset, here.image_set.split).samples
    raise BenchError(
        f"no id of the rows is one of {here.image_set.dataset!r}; they begin with {some(frame['id'])}, and the "
        f"data's with {some(samples.ids)}."
    )


def _is_absent(condition: Condition, library: Library) -> bool:
    try:
        library.open(condition.image_set.dataset, condition.image_set.split)
    except AbsentError:
        return True
    return False


def _perturbed(condition: Condition) -> tuple[str, int]:
    perturbation = condition.images.perturbation
    return (perturbation.corruption, perturbation.severity) if perturbation else ("", 0)


def _check_same(store: Store, cell: Cell, columns: dict[str, Array]) -> None:
    """What is stored is never overwritten."""
    stored = store.read(cell.key).columns
    if columns_digest(stored) != columns_digest(columns):
        raise BenchError(
            f"other predictions of {cell.checkpoint.name!r} were imported for this condition before; give these "
            f"another --checkpoint name, or remove the others with `bench store rm {cell.key} --store {store.root}`."
        )


# -- the file -----------------------------------------------------------------------------------------------------


def _read(path: Path) -> pd.DataFrame:
    """The rows, every value of CSV as text."""
    try:
        ending(path)
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except BenchError:
        raise
    except Exception as error:  # pandas and Arrow raise much: of damage, and of types that they do not convert
        raise BenchError(f"{path} cannot be read as CSV or Parquet ({one_line(error)}).") from error
    names = [str(name).strip() for name in frame.columns]
    # Which of two the file means by `prediction` and `Prediction` nobody can tell.
    alike = Counter(map(str.casefold, names))
    twice = dict.fromkeys(name for name in names if name and alike[name.casefold()] > 1)
    if twice:
        raise BenchError(f"{path} has the columns {', '.join(twice)} twice; leave one of each.")
    frame.columns = names
    if "id" not in frame or not {"prediction", "logits", "logit_0", "top_1"} & set(frame.columns):
        raise BenchError(
            f"{path} has the columns {', '.join(frame.columns) or '(none)'}; wanted are id, and prediction, or logits, "
            "or logit_0, logit_1, …, or top_1 to top_5."
        )
    if not len(frame):
        raise BenchError(f"{path} has no rows; every sample of the data needs one.")
    return frame.assign(id=frame["id"].astype("string"))


def _read_csv(path: Path) -> pd.DataFrame:
    """The rows, under the names of the first line as they stand there: pandas would give the second of two another."""
    every = pd.read_csv(path, dtype="string", keep_default_na=False, header=None)
    return every.iloc[1:].set_axis(every.iloc[0].tolist(), axis=1).reset_index(drop=True)


def _matched(frame: pd.DataFrame, ids: Array, path: Path) -> pd.DataFrame:
    """The rows in the order of the samples.

    Raises:
        BenchError: a sample has no row or several, or a row is of none.
    """
    wanted = [str(i) for i in ids.tolist()]
    twice = frame["id"][frame["id"].duplicated()].unique()
    if len(twice):
        raise BenchError(f"{path} has {len(twice):,} ids twice: {some(twice)}; every sample needs one row.")
    known, given = set(wanted), set(frame["id"])
    unknown = [i for i in frame["id"] if i not in known]
    if unknown:
        raise BenchError(
            f"{path} has {len(unknown):,} ids that the data lack: {some(unknown)}; the data's begin with "
            f"{some(wanted)}."
        )
    missing = [i for i in wanted if i not in given]
    if missing:
        raise BenchError(
            f"{path} lacks {len(missing):,} of {len(wanted):,} samples: {some(missing)}; no score comes from a part."
        )
    return frame.set_index("id").loc[wanted].reset_index()


# -- its columns --------------------------------------------------------------------------------------------------


def _columns(frame: pd.DataFrame, labels_N: Array, space: ClassSpace, condition: Condition) -> dict[str, Array]:
    """The columns of an outcome that can be had; with logits, all that the condition's measure gives."""
    _check_labels(frame, labels_N, space)
    logits_NK = _logits(frame, len(space.classes))
    top_NT = _tops(frame, space)
    columns: dict[str, Array] = {}
    if logits_NK is not None:
        columns = _classified(logits_NK, labels_N, condition)
    elif top_NT is not None:
        hits_NT = top_NT == labels_N[:, None]
        # 5 stands for every later place: the first five are all that is known.
        rank_N = np.where(hits_NT.any(axis=1), hits_NT.argmax(axis=1), top_NT.shape[1]).astype(np.int32)
        # As `classify` gives them, who has more than five: -1 stands for the class that is not known.
        classes_NT = np.pad(top_NT, ((0, 0), (0, 1)), constant_values=-1)
        first_N = np.ascontiguousarray(top_NT[:, 0])
        columns = {"prediction": first_N, "correct": first_N == labels_N, "rank": rank_N, "top_classes": classes_NT}
    if "prediction" not in frame:
        return columns
    prediction_N = _classes(frame["prediction"], frame["id"], space)
    if columns:
        differ = np.flatnonzero(columns["prediction"] != prediction_N)
        if len(differ):
            raise BenchError(
                f"{len(differ):,} rows predict another class than their largest logit or top_1: "
                f"{some(frame['id'].to_numpy()[differ])}; leave the column prediction out, or mend the "
                "order of classes."
            )
        return columns
    return {"prediction": prediction_N, "correct": prediction_N == labels_N}


def _check_labels(frame: pd.DataFrame, labels_N: Array, space: ClassSpace) -> None:
    """Labels beside the predictions show whether classes are in our order; those of other names are passed over."""
    if "label" not in frame:
        return
    try:
        given_N = _classes(frame["label"], frame["id"], space)
    except BenchError:
        return
    differ = np.flatnonzero(given_N != labels_N)
    if len(differ):
        raise BenchError(
            f"{len(differ):,} rows have another label than the data: {some(frame['id'].to_numpy()[differ])}; mend the "
            "order of classes, or leave the column label out if it means something else."
        )


def _classes(values: "pd.Series[Any]", ids: "pd.Series[Any]", space: ClassSpace) -> Array:
    """(N,) int32: classes given by name or by index."""
    texts = [str(value).strip() for value in values]
    places = classes_of(dict.fromkeys(texts), space, f"the column {values.name!r}")
    wrong = [(i, text) for i, text in zip(ids, texts, strict=True) if text not in places]
    if wrong:
        raise BenchError(
            f"{len(wrong):,} predictions are no class of {space.name!r}, whose {len(space.classes)} have "
            f"indices from 0 and names such as {space.classes[0]}: {wrong[0][1]!r} of {wrong[0][0]} is the first."
        )
    return np.array([places[text] for text in texts], dtype=np.int32)


def _tops(frame: pd.DataFrame, space: ClassSpace) -> Array | None:
    """(N, 5) int32, or None where they are not given."""
    given = [name for name in _TOP if name in frame]
    if not given:
        return None
    if given != _TOP or len(space.classes) <= len(_TOP):
        raise BenchError(f"{', '.join(_TOP)} go together, of more than five classes; the rows have {', '.join(given)}.")
    return np.stack([_classes(frame[name], frame["id"], space) for name in _TOP], axis=1)


def _logits(frame: pd.DataFrame, classes: int) -> Array | None:
    """(N, K) float32, or None where they are not given."""
    names = sorted((name for name in frame.columns if _LOGIT.fullmatch(name)), key=lambda name: int(name[6:]))
    if not names and "logits" not in frame:
        return None
    if names and names != [f"logit_{k}" for k in range(classes)]:
        raise BenchError(f"the rows have {len(names)} columns of logits, from {names[0]} to {names[-1]}; "
                         f"the data have {classes} classes: logit_0 to logit_{classes - 1}.")  # fmt: skip
    try:
        if names:
            # Row by row in memory, as a model gives them: sums are then taken in the same order.
            logits_NK = np.ascontiguousarray(frame[names].to_numpy(dtype=np.float32))
        else:
            logits_NK = np.array([_listed(value) for value in frame["logits"]], dtype=np.float32)
    except (ValueError, TypeError, RecursionError) as error:
        raise BenchError(f"the rows have logits that are no numbers ({one_line(error)}).") from error
    if logits_NK.shape != (len(frame), classes):
        raise BenchError(f"the lists of logits must have {classes} numbers each, one a class.")
    bad = np.flatnonzero(~np.isfinite(logits_NK).all(axis=1))
    if len(bad):
        raise BenchError(f"{len(bad):,} rows have NaN or infinite logits: {some(frame['id'].to_numpy()[bad])}.")
    return logits_NK


def _listed(value: Any) -> Any:
    """A list as CSV has it."""
    return json.loads(value) if isinstance(value, str) else value


def _classified(logits_NK: Array, labels_N: Array, condition: Condition) -> dict[str, Array]:
    """What the condition's measure makes of logits."""
    import torch

    measure = measures.get(condition.measure.name).make(condition.measure.params)
    logits, images = torch.from_numpy(logits_NK), torch.zeros(len(logits_NK), 1, 1, 1)
    rows = measure.rows(lambda _: logits, images, torch.from_numpy(np.array(labels_N, dtype=np.int64)))
    return {name: column.numpy() for name, column in rows.items()}
