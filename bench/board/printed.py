"""Leaderboards and summaries for people: text that fits a width, Markdown, LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import pandas as pd

from bench.board.leaderboard import Board
from bench.board.summary import summarise
from bench.board.tables import COSTS, leaderboard, warnings_in_words, with_published
from bench.text import fitting, markdown, plain, render, render_markdown, wrap

_SHOW_ALL = "`bench table --columns all`"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """A table of texts and what is said of it."""

    above: tuple[str, ...]
    """Lines; the first is the title."""
    frame: pd.DataFrame
    below: tuple[str, ...]

    @property
    def headings(self) -> list[str]:
        """Of the columns."""
        return list(map(str, self.frame.columns))

    @property
    def rows(self) -> list[list[str]]:
        """The texts, row by row."""
        return [list(map(str, row)) for row in self.frame.to_numpy()]


def board_text(board: Board, style: str, columns: str | None = None, width: int | None = None) -> str:
    """A leaderboard with its protocol and notes.

    Args:
        board: the scores.
        style: `text`, `md` or `latex`.
        columns: `cost` for the headline and what the checkpoints cost, `all` for every column; without, all but the
            costs.
        width: characters that text has room for: it leaves out columns, unless these are named, and breaks other
            lines; None is room for all.
    """
    suite = board.suite
    lower = [score.column for score in suite.board if not score.metric.higher_is_better]
    above = [
        f"{suite.name} v{suite.version}: {suite.title}",
        board.protocol,
        f"{board.choice.text}; fractions in percent, ± half the 95% interval",
        *([f"lower is better: {', '.join(lower)}"] if lower else []),
    ]
    frame, notes = leaderboard(board), [*warnings_in_words(board), *board.notes]
    costs = [name for name in COSTS if name in frame]
    if columns == "cost":
        frame = frame[["rank", "checkpoint", suite.headline.column, *costs]]
        notes += [] if costs else ["the store's log tells of no cost of these checkpoints"]
    elif columns is None:
        frame = frame.drop(columns=costs)
    frame, published = with_published(board, frame)
    notes += published
    sheet = _Sheet(above=tuple(above), frame=frame, below=tuple(notes))
    others = _others(board) if columns is None else None
    return _laid_out(sheet, style, width, ["checkpoint", suite.headline.column], others)


def board_html(board: Board) -> str:
    """A leaderboard with its protocol and notes, as HTML."""
    above = f"<p><b>{escape(board.suite.name)} v{board.suite.version}: {escape(board.suite.title)}</b><br>"
    about = f"{escape(board.protocol)}; {escape(board.choice.text)}</p>"
    frame, published = with_published(board, leaderboard(board))
    below = "".join(f"<br>{escape(note)}" for note in (*warnings_in_words(board), *board.notes, *published))
    return f"{above}{about}{frame.to_html(index=False)}" + (f"<p>{below[4:]}</p>" if below else "")


def summary_text(boards: Sequence[Board], style: str, columns: str | None = None, width: int | None = None) -> str:
    """One table of several suites; the arguments are those of `board_text`, but for the costs, which it lacks."""
    summary = summarise(boards)
    above = (
        f"{len(boards)} suites, {len(summary.frame)} checkpoints",
        "headline scores in percent, ± half the 95% interval; gap: to the clean score, in points; by mean rank",
    )
    suites = [board.suite.name for board in boards]
    others = [*suites, *(f"{name} gap" for name in suites), "sam", "family"] if columns is None else None
    sheet = _Sheet(above=above, frame=summary.frame, below=summary.notes)
    return _laid_out(sheet, style, width, ["checkpoint", "mean rank"], others)


def _others(board: Board) -> list[str]:
    """The columns of a leaderboard beside checkpoint and headline, the most important first.

    Scores are left out from the right, the clean one last; before them family and SAM, which a checkpoint's name
    mostly tells.
    """
    clean = [board.suite.clean.column] if board.suite.clean else []
    scores = [score.column for score in board.suite.board]
    return ["rank", "n", "cells", *clean, "warnings", *scores, "sam", "family"]


def _laid_out(sheet: _Sheet, style: str, width: int | None, always: Sequence[str], others: Sequence[str] | None) -> str:
    """The sheet in a style; without `others`, text has every column, whatever the width."""
    if style == "latex":
        above, below = ([f"% {' '.join(line.split())}" for line in lines] for lines in (sheet.above, sheet.below))
        return "\n".join([*above, latex(sheet.frame), *below])
    if style == "md":
        title, *about = sheet.above
        above = [f"### {markdown(title)}", "; ".join(map(markdown, about))]  # Markdown would run two lines together
        below, table = [f"- {markdown(line)}" for line in sheet.below], render_markdown(sheet.headings, sheet.rows)
    else:
        names = [*sheet.headings, *sheet.frame["checkpoint"], _SHOW_ALL]
        sheet = _fitted(sheet, width, always, others) if width is not None and others is not None else sheet
        above, below = ([wrap(plain(line), width, names) for line in lines] for lines in (sheet.above, sheet.below))
        table = render(sheet.headings, sheet.rows)
    return "\n\n".join(["\n".join(above), table, *(["\n".join(below)] if below else [])])


def _fitted(sheet: _Sheet, width: int, always: Sequence[str], others: Sequence[str]) -> _Sheet:
    """A sheet without the columns that there is no room for, and a first line below it that names them."""
    kept = fitting(sheet.headings, sheet.rows, width, always=always, others=others)
    left_out = ", ".join(name for name in sheet.headings if name not in kept)
    if not left_out:
        return sheet
    line = f"left out to fit {width} characters: {left_out}; {_SHOW_ALL} shows them"
    return replace(sheet, frame=sheet.frame[kept], below=(line, *sheet.below))


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
        " & ".join(_NEGATIVE.sub("−", plain(text)).replace("±", "± ").translate(_LATEX) for text in row) + r" \\"
        for row in (list(frame.columns), *frame.astype(str).values.tolist())
    ]
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)
