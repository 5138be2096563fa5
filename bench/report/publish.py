"""A folder of published results: tables of each suite, what is to be known of them, a README, model cards.

All of it follows from the store, and from what the folder holds of other suites: no clock, no path of a machine.
"""

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench import __version__
from bench.board.index import metric_sources
from bench.board.leaderboard import IMPORTED, Board, data_of
from bench.board.published_outcomes import file_digest, outcomes_file, outcomes_of
from bench.board.tables import (
    board_of,
    display_names,
    long_table,
    metadata_of,
    read_csv,
    read_published,
    sealed,
    to_csv,
    wide_table,
    without_constants,
)
from bench.errors import BenchError
from bench.names import check_text, file_name
from bench.records import digest
from bench.report.hub import SPACE, dataset_of, eval_results, space_head
from bench.store import Store
from bench.store.log import read_log

BEGIN, END = "<!-- bench publish -->", "<!-- /bench publish -->"
"""Around what is ours in a README."""
_SECTION = re.compile(r"<!-- table (?P<name>\S+) -->\n(?P<text>.*?)(?=<!-- table |\Z)", re.DOTALL)
_NUMBERS = ("version", "protocol", "value", "ci_low", "ci_high", "n", "warnings")
"""Columns that may change of a published row; by the others it is known again."""
_NOT_ABOUT = ("level", *_NUMBERS)
"""What a row is not known by: beside the numbers the level, which follows from the rest, and older tables lack."""
_META = ".meta.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A published row that would say something else."""

    file: str
    row: str
    """Checkpoint and score."""
    old: str
    new: str
    """Empty where the row would be gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """What publishing would write, and what it would change."""

    files: Mapping[str, bytes]
    """Path below the folder to what it holds."""
    changes: tuple[Change, ...]


def publication(
    folder: Path, boards: Sequence[Board], store: Store, *, sections: Mapping[str, str], selection: Sequence[str] = (),
    source: str = "", space: str = "", page: str = "",
) -> Publication:  # fmt: skip
    """Make all files, without writing any.

    Args:
        folder: where they will be; what it holds of other suites stays, and stands in its README and cards too.
        boards: one a suite.
        store: where their outcomes are.
        sections: suite's name to its table in Markdown.
        selection: options of `bench run` beside suite, limit, seed and numerics that belong to the boards' protocol.
        source: an address where the results can be read, for the model cards.
        space: OWNER/NAME of a static Space, whose folder is made too; empty for none.
        page: what it shows.

    Raises:
        BenchError: a file of the folder cannot be read, or is not what was published.
    """
    tables = _published(folder, besides={_stem(board) for board in boards})
    changes: list[Change] = []
    files: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    for board in boards:
        name = _stem(board)
        frame, meta = long_table([board]), _meta(board, store, selection, source)
        if (folder / f"{name}.csv").exists():
            # Whatever was edited shows as a change, and is made anew; so is what was left when only some files were.
            changes += _changes(f"{name}.csv", read_published(folder / f"{name}.csv", check=False).frame, frame)
        tables[name] = (frame, meta)
        written = _table_files(board, frame, meta, outcomes_file(board, store))
        texts[name] = f"{sections[board.suite.name]}\n\n{', '.join(f'[{file}]({file})' for file in written)}\n"
        files |= written
    if space:
        readme = _readme(folder / SPACE / "README.md", texts, new=space_head(space))
        shown = {**files, "index.html": page.encode(), "README.md": readme.encode()}
        files |= {f"{SPACE}/{name}": file for name, file in shown.items()}
    files["README.md"] = _readme(folder / "README.md", texts).encode()
    for checkpoint in sorted({str(name) for frame, _ in tables.values() for name in frame["checkpoint"]}):
        check_text("checkpoint", checkpoint)  # a store that was merged in may have come with any
        files[f"cards/{file_name(checkpoint)}.yaml"] = card(checkpoint, tables).encode()
        for name, (frame, meta) in tables.items():
            headline = _headline(frame, checkpoint, str(meta.get("headline", "")))
            if meta.get("hub") and len(headline):
                files[f"cards/{file_name(checkpoint)}/.eval_results/{name}.yaml"] = eval_results(name, headline, meta)
    return Publication(files=files, changes=tuple(changes))


def table_files(board: Board, store: Store, selection: Sequence[str] = ()) -> dict[str, bytes]:
    """The tables of a suite and what is to be known of them: name of a file to what it holds.

    The outcomes are not among them: they are in the store.

    Args:
        board: the scores.
        store: where their outcomes are.
        selection: as `publication` takes it.

    Returns:
        NAME.csv, a row a score, without the columns that say the same in every row; NAME.board.csv, a row a checkpoint;
        NAME.meta.json, which has those columns.
    """
    return _table_files(board, long_table([board]), _meta(board, store, selection, source=""), outcomes=None)


def _table_files(
    board: Board, frame: pd.DataFrame, meta: Mapping[str, Any], outcomes: bytes | None
) -> dict[str, bytes]:
    """As `table_files`; and NAME.outcomes.parquet, where there are outcomes."""
    name = Path(f"{_stem(board)}.csv")
    rows, constants = without_constants(frame)
    leaderboard = to_csv(wide_table(frame, board.suite))
    known = {**meta, "columns": constants}
    if outcomes is not None:
        known["outcomes"] = file_digest(outcomes)
    files = {
        name.name: to_csv(rows).encode(),
        board_of(name).name: leaderboard.encode(),
        metadata_of(name).name: (
            json.dumps(sealed(known, frame, leaderboard), indent=1, ensure_ascii=False) + "\n"
        ).encode(),
    }
    return files if outcomes is None else {outcomes_of(name).name: outcomes, **files}


def _stem(board: Board) -> str:
    """The name of a board's files."""
    return f"{file_name(board.suite.name)}{board.choice.suffix}"


def _published(folder: Path, besides: Collection[str]) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """What the folder holds: tables with what is known of them, by name, besides those that are made anew."""
    tables = {}
    for path in sorted(folder.glob(f"*{_META}")):
        name = path.name.removesuffix(_META)
        if name in besides:
            continue
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            known = {key: str(meta[key]) for key in ("suite", "title", "protocol")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{path} is not as `bench publish` wrote it ({error!r}); remove it or mend it.") from error
        if (folder / f"{name}.csv").exists():
            tables[name] = (read_csv(folder / f"{name}.csv"), {**meta, **known})
    return tables


# -- what is known of a table -------------------------------------------------------------------------------------


def _meta(board: Board, store: Store, selection: Sequence[str], source: str) -> dict[str, Any]:
    """How the numbers of a board came to be; dates, versions and devices are those of the store's log."""
    log, choice = read_log(store), board.choice
    lines = [log[cell.key] for cell in board.cells.values() if cell.key in log]
    dates = sorted(str(entry["when"]) for entry in lines if "when" in entry)
    names = display_names(board.checkpoints)
    return {
        "suite": board.suite.name,
        "version": board.suite.version,
        "title": board.suite.title,
        "paper": board.suite.paper,
        "track": board.suite.track,
        "headline": board.suite.headline.column,
        "protocol": board.protocol,
        "command": _command(board, selection),
        "rtbench": __version__,
        "device": choice.device,
        "precision": choice.precision,
        "seed": choice.seed,
        "limit": choice.limit,
        "measured": {"first": dates[0] if dates else None, "last": dates[-1] if dates else None},
        "hardware": sorted({str(entry["device"]) for entry in lines if "device" in entry}),
        "versions": _distinct([entry["versions"] for entry in lines if "versions" in entry]),
        "fingerprints": _fingerprints(board),
        "source": source,
        **({"hub": hub} if (hub := dataset_of(board.suite)) else {}),
        **({"metric_sources": sources} if (sources := metric_sources(board.suite)) else {}),
        "checkpoints": {
            names[checkpoint]: {
                "model": checkpoint.model,
                "family": checkpoint.family,
                "sam": checkpoint.sam,
                **({"recipe": checkpoint.recipe, "seed": checkpoint.seed} if checkpoint.seed is not None else {}),
                "cells": board.present(checkpoint),
                # One digest for the keys of all cells: a suite has up to a hundred of them.
                "cells_digest": digest(sorted(c.key for (m, _), c in board.cells.items() if m == checkpoint.model)),
            }
            for checkpoint in board.checkpoints
        },
        "cells_of_the_suite": len(board.suite.conditions),
        "notes": list(board.notes),
    }


def _command(board: Board, selection: Sequence[str]) -> str:
    """What measures these numbers anew, or took them in."""
    choice = board.choice
    if choice.device == IMPORTED:
        return shlex.join(["bench", "import", "ROWS", "--suite", board.suite.name, "--checkpoint", "NAME"])
    words = ["bench", "run", *(selection or ("--suite", board.suite.name))]
    words += ["--limit", str(choice.limit)] if choice.limit is not None else []
    words += ["--seed", str(choice.seed)] if choice.seed else []
    words += ["--device", choice.device, "--precision", choice.precision]
    return shlex.join(words)


def _distinct(values: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Each once, in a fixed order: cells of one table may have been measured by several versions."""
    return [json.loads(text) for text in sorted({json.dumps(value, sort_keys=True) for value in values})]


def _fingerprints(board: Board) -> dict[str, str]:
    """Of all the data, those that were learnt from too, by data set and split."""
    every = [data for (_, condition), cell in board.cells.items() for data in data_of(condition, cell)]
    return dict(sorted((data.name, data.fingerprint) for data in every))


# -- what would change --------------------------------------------------------------------------------------------


def _changes(file: str, old: pd.DataFrame, new: pd.DataFrame) -> list[Change]:
    """Rows of the old table that the new one lacks, or has with other numbers. New rows change none."""
    before, after = _by_row(old), _by_row(new)
    return [
        Change(file=file, row=_label(row), old=_numbers(numbers, after.get(row)), new=_numbers(after.get(row), numbers))
        for row, numbers in before.items()
        if numbers != after.get(row)
    ]


def _by_row(frame: pd.DataFrame) -> dict[tuple[tuple[str, str], ...], dict[str, str]]:
    """What a row is about to its numbers, both as the CSV has them."""
    texts = frame.astype("string").fillna("")
    for name in ("value", "ci_low", "ci_high"):
        texts[name] = frame[name].map(lambda value: "" if pd.isna(value) else f"{value:.6f}")
    rows = {}
    for row in texts.to_dict("records"):
        about = tuple((str(name), str(text)) for name, text in row.items() if name not in _NOT_ABOUT and text != "")
        rows[about] = {name: str(row.get(name, "")) for name in _NUMBERS}
    return rows


def _label(row: tuple[tuple[str, str], ...]) -> str:
    columns = dict(row)
    named = ("checkpoint", "score", "corruption", "severity", "metric", "dataset", "split")
    return ", ".join(columns[name] for name in named if name in columns)


def _numbers(numbers: Mapping[str, str] | None, other: Mapping[str, str] | None) -> str:
    """What differs, the value first."""
    if numbers is None:
        return ""
    differ = [name for name in _NUMBERS if other is None or numbers[name] != other[name]]
    named = ["value", *(name for name in differ if name not in ("value", "ci_low", "ci_high"))]
    if set(differ) & {"ci_low", "ci_high"} and "value" not in differ:
        named += ["ci_low", "ci_high"]
    return ", ".join(numbers[name] if name == "value" else f"{name} {numbers[name] or 'none'}" for name in named)


# -- the README ---------------------------------------------------------------------------------------------------


def _readme(path: Path, texts: Mapping[str, str], new: str = "# Results\n") -> str:
    """A README with these tables in its block; other tables of the block, and all around it, stay.

    Args:
        path: where it is, if it is.
        texts: name of a table to its section.
        new: what a new one begins with.
    """
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else new
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is no text in UTF-8 ({error}); save it as such, or move it away.") from error
    counts = old.count(BEGIN), old.count(END)
    if counts not in ((0, 0), (1, 1)) or (counts == (1, 1) and old.index(END) < old.index(BEGIN)):
        raise BenchError(
            f"{path} has {counts[0]} lines {BEGIN} and {counts[1]} lines {END}; leave one of each, in this order, or "
            "none."
        )
    if counts == (0, 0):
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, rest = old.split(BEGIN)
    block, tail = rest.split(END)
    sections = {match["name"]: match["text"] for match in _SECTION.finditer(block)} | dict(texts)
    body = "\n".join(f"<!-- table {name} -->\n{text.strip()}\n" for name, text in sorted(sections.items()))
    return f"{head}{BEGIN}\n{body}{END}{tail}"


# -- model cards --------------------------------------------------------------------------------------------------


def _finished(frame: pd.DataFrame, checkpoint: str, headline: str) -> pd.DataFrame:
    """The leaderboard scores of a checkpoint in a table; none of a suite whose headline it lacks."""
    rows = frame[(frame["checkpoint"] == checkpoint) & frame["score"].notna()]
    return rows if len(_headline(frame, checkpoint, headline)) else rows.iloc[:0]


def _headline(frame: pd.DataFrame, checkpoint: str, headline: str) -> pd.DataFrame:
    """The row of a checkpoint's headline score in a table; none where it lacks it."""
    return frame[(frame["checkpoint"] == checkpoint) & (frame["score"] == headline)]


def card(checkpoint: str, tables: Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]]) -> str:
    """YAML for the head of a model card on the Hugging Face hub: `model-index` with a checkpoint's leaderboard scores.

    The fields are those of https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Values are as in the CSV,
    fractions and not percent. Nothing is `verified`: only the hub's own evaluations are.
    """
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=str(meta["suite"]),
            dataset_name=str(meta["title"]),
            dataset_config=name,
            dataset_split=None if pd.isna(row["split"]) else str(row["split"]),
            dataset_args={"protocol": str(meta["protocol"]), "version": int(row["version"])},
            # Beside a headline there are others' accuracies, such as the clean one, which are not this suite's.
            metric_type="accuracy"
            if (row["metric"], row["score"]) == ("top1", meta.get("headline"))
            else row["metric"],
            metric_name=str(row["score"]),
            metric_value=float(row["value"]),
            metric_args={"n": int(row["n"])}
            | {end: float(row[end]) for end in ("ci_low", "ci_high") if not pd.isna(row[end])},
            verified=False,
            source_name=f"rtbench {meta['rtbench']}" if meta.get("source") else None,
            source_url=str(meta["source"]) if meta.get("source") else None,
        )
        for name, (frame, meta) in sorted(tables.items())
        for _, row in _finished(frame, checkpoint, str(meta.get("headline", ""))).iterrows()
    ]
    if not results:
        return f"# {file_name(checkpoint)} has no leaderboard score yet.\nmodel-index: []\n"
    head = ModelCardData(model_name=checkpoint, eval_results=results).to_yaml(line_break="\n")
    return f"{head}\n"
