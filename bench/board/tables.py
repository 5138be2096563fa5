"""Boards as tables: the long one (a row a score) and the wide leaderboard, and the files they are written to.

What is written as CSV reads back equal.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.board.leaderboard import Board, ScoredRow
from bench.columns import CONDITION, HEAD, TAIL, TYPES
from bench.errors import BenchError, RunError, UnknownNameError, one_line
from bench.records import Estimate
from bench.store import StoredCheckpoint
from bench.store.log import Cost
from bench.suite import Score
from bench.suite.words import attack_in_words

DIGITS = 6
"""Decimals of values and intervals in the long table."""


def long_table(boards: Sequence[Board]) -> pd.DataFrame:
    """One row a score, in the order of suites, checkpoints by name, and the suite's scores.

    Returns:
        Columns suite, version, protocol, checkpoint, family, sam, each condition parameter (empty where a score's
        conditions differ in it), score (its heading in the leaderboard, empty where it has none), metric, value,
        ci_low, ci_high, n. Fractions, not percent.
    """
    rows = []
    for board in sorted(boards, key=lambda board: board.suite.name):
        names, warnings = display_names(board.checkpoints), _warnings(board)
        for row in sorted(board.rows, key=lambda row: (row.checkpoint.name, row.checkpoint.model)):
            estimate = row.estimate
            rows.append(
                {
                    "suite": board.suite.name,
                    "version": board.suite.version,
                    "protocol": board.protocol,
                    "checkpoint": names[row.checkpoint],
                    "family": row.checkpoint.family,
                    "sam": row.checkpoint.sam,
                    **row.score.columns(),
                    "score": row.score.column,
                    "metric": row.score.metric.name,
                    "value": estimate.value,
                    "ci_low": estimate.ci_low,
                    "ci_high": estimate.ci_high,
                    "n": estimate.n,
                    **({"warnings": warnings[row.checkpoint]} if board.suite.alarms else {}),
                }
            )
    extra = sorted({name for row in rows for name in row} - {*HEAD, *CONDITION, *TAIL})
    # Objects: beside a missing value a whole number would become a float, and its text another.
    return _typed(pd.DataFrame(rows, columns=[*HEAD, *CONDITION, *extra, *TAIL], dtype=object))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype({name: TYPES.get(name, "string") for name in frame.columns})
    for name in ("value", "ci_low", "ci_high"):
        frame[name] = frame[name].round(DIGITS)
    return frame.mask(frame == "")  # an empty text and a missing one are the same in CSV


def to_csv(frame: pd.DataFrame) -> str:
    """The long table as CSV."""
    return frame.to_csv(index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """A long table as `to_csv` wrote it.

    Raises:
        BenchError: the file is not one.
    """
    try:
        frame = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not a readable CSV ({error}).") from error
    for name in (*HEAD, *CONDITION, *TAIL):
        if name not in frame.columns:
            raise BenchError(f"{path} has no column {name!r}; `bench table --format csv` writes one that reads back.")
    try:
        return _typed(frame)
    except (ValueError, TypeError) as error:
        raise BenchError(f"{path} has text where a number belongs ({one_line(error)}); make it anew.") from error


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column by name.

    Raises:
        UnknownNameError: there is none; the nearest names are offered.
    """
    if name not in frame.columns:
        raise UnknownNameError("column", name, [str(c) for c in frame.columns])
    return frame[name]


def leaderboard(board: Board) -> pd.DataFrame:
    """One row a checkpoint, the best first; one column a score that the suite puts on its board.

    Fractions in percent, with half the 95% interval's width where one is defined. A suite with missing cells says
    how many there are, and has no score that needs the missing ones.
    """
    names = display_names(board.checkpoints)
    estimates = {(row.checkpoint, row.score.column): row.estimate for row in board.rows if row.score.column}
    total, warnings = len(board.suite.conditions), _warnings(board)
    rows = []
    for rank, checkpoint in enumerate(board.ranking, start=1):
        scored = (checkpoint, board.suite.headline.column) in estimates
        cells = board.present(checkpoint)
        rows.append(
            {
                "rank": str(rank) if scored else "–",
                "checkpoint": names[checkpoint],
                "family": checkpoint.family,
                "sam": checkpoint.sam,
                **{
                    score.column: shown(score, estimates.get((checkpoint, score.column))) for score in board.suite.board
                },
                "n": f"{estimates[checkpoint, board.suite.headline.column].n:,}" if scored else "–",
                **({"warnings": warnings[checkpoint]} if board.suite.alarms else {}),
                **_cost_columns(board.costs.get(checkpoint)),
                "cells": "all" if cells == total else f"{cells}/{total} cells",
            }
        )
    frame = pd.DataFrame(rows)
    # Columns that say the same of every row: all cells are there, a CPU tells of no peak, an old log of nothing.
    empty = [name for name in _cost_columns(None) if (frame[name] == "–").all()]
    return frame.drop(columns=[*empty, *(["cells"] if (frame["cells"] == "all").all() else [])])


_LATEX = str.maketrans(
    {
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "–": "--",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "≤": r"$\leq$",
    }
)
"""What LaTeX takes for something else, or its default encoding lacks."""
_NEGATIVE = re.compile(r"^-(?=\d)")
_WORDS = ("checkpoint", "family", "sam", "warnings")
"""Columns that are set to the left."""


def latex(frame: pd.DataFrame) -> str:
    r"""A leaderboard as a LaTeX tabular with the rules of booktabs; `±` is `\pm`.

    >>> print(latex(pd.DataFrame({"checkpoint": ["a_b"], "top-1": ["50.0 ±1.2"]})))
    \begin{tabular}{lr}
    \toprule
    checkpoint & top-1 \\
    \midrule
    a\_b & 50.0 $\pm$ 1.2 \\
    \bottomrule
    \end{tabular}
    """
    sides = "".join("l" if name in _WORDS else "r" for name in frame.columns)
    head, *rows = [
        " & ".join(_NEGATIVE.sub("−", text).replace("±", "± ").translate(_LATEX) for text in row) + r" \\"
        for row in (list(frame.columns), *frame.astype(str).values.tolist())
    ]
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)


def _warnings(board: Board) -> dict[StoredCheckpoint, str]:
    """What warns of each checkpoint: names, `none`, or `unknown` where not all that might has been looked at."""
    looked = Counter(row.checkpoint for row in board.rows if row.score.metric.alarm is not None)
    warned = board.warnings
    return {
        checkpoint: ", ".join(dict.fromkeys(row.score.metric.name for row in warned.get(checkpoint, ())))
        or ("none" if looked[checkpoint] == len(board.suite.alarms) else "unknown")
        for checkpoint in board.checkpoints
    }


def warnings_in_words(board: Board) -> list[str]:
    """A line for each warning of each checkpoint: under which conditions, how much, and what it means."""
    names, lines = display_names(board.checkpoints), []
    for checkpoint, rows in board.warnings.items():
        by_metric: dict[str, list[ScoredRow]] = {}
        for row in rows:
            by_metric.setdefault(row.score.metric.name, []).append(row)
        for name, some in by_metric.items():
            alarm = some[0].score.metric.alarm
            most = max(row.estimate.value for row in some)
            where = "; ".join(dict.fromkeys(attack_in_words(row.score) for row in some))
            share = f"{100 * most:.0f}%" if most >= 0.01 else f"{100 * most:.2g}%"
            lines.append(f"WARNING {names[checkpoint]}, {name} ({where}): {share} {alarm.says if alarm else ''}")
    return lines


def _cost_columns(cost: Cost | None) -> dict[str, str]:
    """Size, work, speed and memory, so that checkpoints can be compared at a like cost."""
    return {
        "Mparams": f"{cost.parameters / 1e6:.1f}" if cost else "–",
        "GMACs": f"{cost.macs / 1e9:.3g}" if cost else "–",
        "img/s": _speed(cost.images_per_second) if cost else "–",
        "peak GiB": f"{cost.peak_memory / 2**30:.2f}" if cost and cost.peak_memory else "–",
    }


def _speed(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"


def display_names(checkpoints: Sequence[StoredCheckpoint]) -> dict[StoredCheckpoint, str]:
    """Their names; where two models bear one name, with the first digits of the model digest."""
    counts = Counter(checkpoint.name for checkpoint in checkpoints)
    return {c: c.name if counts[c.name] == 1 else f"{c.name}@{c.model[:6]}" for c in checkpoints}


def shown(score: Score, estimate: Estimate | None) -> str:
    """A score as leaderboards show it: fractions in percent, with half the interval's width; `–` where it is not."""
    if estimate is None:
        return "–"
    if score.metric.unit == "pixels":
        return f"{estimate.value:.0f}"
    if score.metric.unit != "fraction":
        return f"{estimate.value:.3f}"
    text = f"{100 * estimate.value:.1f}"
    if estimate.ci_low is None or estimate.ci_high is None:
        return text
    half = (estimate.ci_high - estimate.ci_low) / 2
    # Near 0 or 1 the interval reaches far to one side only: a single half width would be read wrongly.
    if abs((estimate.ci_high + estimate.ci_low) / 2 - estimate.value) > half / 2:
        return f"{text} ({100 * estimate.ci_low:.0f}–{100 * estimate.ci_high:.0f})"
    return f"{text} ±{100 * half:.1f}"
