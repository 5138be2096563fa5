"""A board as the page shows it: rows with intervals and provenance, heat maps, charts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.board.leaderboard import Board
from bench.board.tables import display_names, leaderboard, warnings_in_words
from bench.errors import BenchError
from bench.records import Estimate
from bench.report import charts
from bench.report.curves import METRICS, panels
from bench.report.landscape_columns import Column, columns
from bench.report.looks import Palette
from bench.report.marks import key
from bench.report.scatter import Scatter, scatters
from bench.store import Store, StoredCheckpoint
from bench.store.log import Log, Measured, measured
from bench.suite import Score
from bench.tools.explain import explain

_TEXTS = ("checkpoint", "family", "sam", "warnings", "cells")
"""Columns of a leaderboard that are not numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A column of a leaderboard."""

    text: str
    best: str
    """`high`, `low`, or `text` where the alphabet orders it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A field of a leaderboard."""

    text: str
    value: str = ""
    """To sort by; empty takes the text."""
    whisker: str = ""
    """Where the interval lies between the column's lowest and highest bound, as properties of the style sheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """One score of a checkpoint with all that stands behind it."""

    score: str
    value: str
    interval: str
    n: str
    cells: int
    dates: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A checkpoint in a leaderboard."""

    name: str
    family: str
    sam: str
    model: str
    numbers: tuple[Number, ...]
    """Of the columns but the checkpoint's."""
    details: tuple[Detail, ...]
    measured: Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatMap:
    """Accuracy of one checkpoint by corruption and severity."""

    name: str
    family: str
    sam: str
    severities: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Estimate | None, ...]], ...]
    """Corruption, and its estimates by severity."""
    n: int
    half: float
    """Half the widest interval, fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A drawing with its legend."""

    title: str
    drawing: Markup
    legend: tuple[tuple[str, str, str, Markup], ...]
    """Name, family, SAM and sign; family and SAM are empty where a filter leaves the entry alone."""
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardView:
    """A suite."""

    name: str
    version: int
    title: str
    paper: str
    protocol: str
    choice: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    unfinished: str
    """What is missing, in words; empty where nothing is."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    heat_maps: tuple[HeatMap, ...]
    charts: tuple[Chart, ...]
    landscapes: tuple[Column, ...]
    meaning: str
    """What the suite measures, and its columns mean."""


def board_view(board: Board, store: Store, log: Log, palette: Palette) -> BoardView:
    """A board as the page shows it.

    Args:
        board: the scores.
        store: where its outcomes are.
        log: of the store.
        palette: of the page, so that a family has one colour throughout.
    """
    names = display_names(board.checkpoints)
    headings, rows = _leaderboard(board, names, log)
    return BoardView(
        name=board.suite.name,
        version=board.suite.version,
        title=board.suite.title,
        paper=board.suite.paper,
        protocol=board.suite.protocol.name,
        choice=board.choice.text,
        headings=headings,
        rows=rows,
        unfinished=_unfinished(board),
        notes=board.notes,
        warnings=tuple(warnings_in_words(board)),
        heat_maps=tuple(_heat_maps(board, names)),
        charts=(
            *_curves(board, names, palette),
            *(_scatter(scatter, board, names, palette) for scatter in scatters(board, store)),
        ),
        landscapes=tuple(columns(board, store)),
        meaning=explain(board.suite),
    )


def _unfinished(board: Board) -> str:
    """How many checkpoints lack cells, and how many the headline."""
    total = len(board.suite.conditions)
    part = [checkpoint for checkpoint in board.checkpoints if board.present(checkpoint) < total]
    if not part:
        return ""
    most = max(map(board.present, part))
    return (
        f"{len(part)} of {len(board.checkpoints)} checkpoints lack cells (at most {most} of {total} are stored): "
        "scores that need them are not shown"
        + ("." if board.headed else f", and nothing has the headline score, {board.suite.headline.column}, yet.")
    )


# -- leaderboards ------------------------------------------------------------------------------------------------


def _leaderboard(
    board: Board, names: Mapping[StoredCheckpoint, str], log: Log
) -> tuple[tuple[Heading, ...], tuple[Row, ...]]:
    frame = leaderboard(board)
    scores = {score.column: score for score in board.suite.board}
    estimates = {(row.checkpoint, row.score.column): row.estimate for row in board.rows if row.score.column}
    spans = {column: _span([e for (_, c), e in estimates.items() if c == column]) for column in scores}
    # Scores before what describes the checkpoint: on a phone two columns are seen beside the name.
    first = ["rank", *scores, "n"]
    columns = [*first, *(str(column) for column in frame.columns if column not in ("checkpoint", *first))]
    rows = []
    for checkpoint, texts in zip(board.ranking, frame.astype(str).to_dict("records"), strict=True):
        keys = {c: cell.key for (model, c), cell in board.cells.items() if model == checkpoint.model}
        rows.append(
            Row(
                name=names[checkpoint],
                family=checkpoint.family,
                sam=checkpoint.sam,
                model=checkpoint.model,
                numbers=tuple(
                    _number(texts[column], estimates.get((checkpoint, column)), spans.get(column)) for column in columns
                ),
                details=tuple(
                    _detail(score, estimates[checkpoint, column], [keys[c] for c in score.conditions], log)
                    for column, score in scores.items()
                    if (checkpoint, column) in estimates
                ),
                measured=measured(log, keys.values()),
            )
        )
    return tuple(Heading(text=column, best=_best(column, scores.get(column))) for column in columns), tuple(rows)


def _best(column: str, score: Score | None) -> str:
    if score is not None:
        return "high" if score.metric.higher_is_better else "low"
    return "text" if column in _TEXTS else "low" if column in ("rank", "Mparams", "GMACs", "peak GiB") else "high"


def _span(estimates: Sequence[Estimate]) -> tuple[float, float] | None:
    """The lowest and the highest bound of a column; None where none of its scores has an interval."""
    bounds = [bound for e in estimates for bound in (e.ci_low, e.ci_high) if bound is not None]
    return (min(bounds), max(bounds)) if bounds and max(bounds) > min(bounds) else None


def _number(text: str, estimate: Estimate | None, span: tuple[float, float] | None) -> Number:
    if estimate is None:
        return Number(text=text)
    if span is None or estimate.ci_low is None or estimate.ci_high is None:
        return Number(text=text, value=f"{estimate.value:.6g}")
    low, value, high = (
        (x - span[0]) / (span[1] - span[0]) for x in (estimate.ci_low, estimate.value, estimate.ci_high)
    )
    return Number(text=text, value=f"{estimate.value:.6g}", whisker=f"--l:{low:.3f};--v:{value:.3f};--h:{high:.3f}")


def _detail(score: Score, estimate: Estimate, keys: Sequence[str], log: Log) -> Detail:
    times, digits, unit = (100, 2, "%") if score.metric.unit == "fraction" else (1, 4, f" {score.metric.unit}")
    known = estimate.ci_low is not None and estimate.ci_high is not None
    return Detail(
        score=f"{score.column} ({score.metric.name})",
        value=f"{times * estimate.value:.{digits}f}{unit}",
        interval=f"{times * (estimate.ci_low or 0):.{digits}f} to {times * (estimate.ci_high or 0):.{digits}f}"
        if known
        else "–",
        n=f"{estimate.n:,}",
        cells=len(keys),
        dates=measured(log, keys).dates,
    )


# -- charts ------------------------------------------------------------------------------------------------------


def heat(board: Board) -> dict[StoredCheckpoint, dict[str, dict[int, Estimate]]]:
    """Checkpoint to corruption to severity to accuracy, in the suite's order; empty for a suite without."""
    grids: dict[StoredCheckpoint, dict[str, dict[int, Estimate]]] = defaultdict(lambda: defaultdict(dict))
    for row in board.rows:
        columns = row.score.columns()
        corruption, severity = columns["corruption"], columns["severity"]
        if row.score.metric.name == "top1" and isinstance(corruption, str) and isinstance(severity, int):
            grids[row.checkpoint][corruption][severity] = row.estimate
    return {checkpoint: grids[checkpoint] for checkpoint in board.ranking if checkpoint in grids}


def _heat_maps(board: Board, names: Mapping[StoredCheckpoint, str]) -> list[HeatMap]:
    maps = []
    for checkpoint, by_corruption in heat(board).items():
        every = [estimate for estimates in by_corruption.values() for estimate in estimates.values()]
        severities = tuple(sorted({severity for estimates in by_corruption.values() for severity in estimates}))
        maps.append(
            HeatMap(
                name=names[checkpoint],
                family=checkpoint.family,
                sam=checkpoint.sam,
                severities=severities,
                rows=tuple((name, tuple(es.get(s) for s in severities)) for name, es in by_corruption.items()),
                n=min(estimate.n for estimate in every),
                half=max(((e.ci_high or e.value) - (e.ci_low or e.value)) / 2 for e in every),
            )
        )
    return maps


def _curves(board: Board, names: Mapping[StoredCheckpoint, str], palette: Palette) -> list[Chart]:
    if not board.suite.curve:
        return []
    try:
        drawn = panels(board)
    except BenchError:  # no point is stored yet
        return []
    looks = palette.of_each(board.ranking)
    metric = METRICS.get(board.suite.headline.metric.name, board.suite.headline.metric.name)
    ringed = any(line.own for panel in drawn for line in panel.lines)
    return [
        Chart(
            title=f"{metric[0].upper()}{metric[1:]} against {panel.axis}: {panel.title}",
            drawing=charts.curve(panel, metric, names, looks),
            legend=tuple(
                (
                    names[line.checkpoint],
                    line.checkpoint.family,
                    line.checkpoint.sam,
                    key(looks[line.checkpoint], line=True),
                )
                for line in panel.lines
            ),
            caption=f"{board.suite.protocol.name}; {board.choice.text}. Shaded: 95% intervals."
            + " A ring: at the checkpoint's own setting." * ringed,
        )
        for panel in drawn
    ]


def _scatter(scatter: Scatter, board: Board, names: Mapping[StoredCheckpoint, str], palette: Palette) -> Chart:
    looks = palette.of_families(dot.checkpoint for dot in scatter.dots)
    seen = {(dot.checkpoint.family, dot.checkpoint.sam): looks[dot.checkpoint] for dot in scatter.dots}
    return Chart(
        title=f"{scatter.shifted} against {scatter.clean}",
        drawing=charts.dots(scatter, names, looks),
        legend=tuple(
            (f"{family}, {'no SAM' if sam == 'none' else sam}", family, sam, key(seen[family, sam], line=False))
            for family, sam in sorted(seen)
        ),
        caption=f"{scatter.about} {board.suite.protocol.name}; {board.choice.text}. Whiskers: 95% intervals.",
    )
