"""The page: everything that is stored of some suites, in one HTML file that asks for nothing else.

The same store gives the same bytes: the only dates are those of its log.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.board.leaderboard import Board
from bench.board.tables import display_names
from bench.compare.differences import Difference
from bench.compare.pairs import Compared, Contrast, Gains, Overall, Pair, compare_pairs, gains, pairs
from bench.compare.tables import GAINS, about_trainings
from bench.compare.texts import beyond_sam, interval, signed, tested, tested_overall, value
from bench.datasets import Library
from bench.errors import BenchError
from bench.report.flipped import Flipped, flipped
from bench.report.looks import Palette
from bench.report.matrix import matrix
from bench.report.recipes import recipe_views
from bench.report.thumbnails import Thumbnails
from bench.report.views import board_view
from bench.store import Store
from bench.store.log import Log, measured, read_log

PICTURES = 1_500_000
"""Bytes of thumbnails in a page."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRow:
    """A row of the table of pairs, as text."""

    before: str
    after: str
    family: str
    suite: str
    """Empty of a mean over suites, which a filter by suite leaves alone."""
    score: str
    values: tuple[str, ...]
    """Without, with, difference, interval, p, p adjusted, verdict, lost / gained, n, test."""
    about: str
    """Protocol, dates and versions."""


def render(boards: Sequence[Board], store: Store, library: Library, *, pictures: int = PICTURES) -> str:
    """The page of some boards.

    Args:
        boards: of one store.
        store: which.
        library: where pictures of flipped images are, if their data are here.
        pictures: bytes of thumbnails at most.

    Raises:
        StoreFileError: a file of the store is damaged or cannot be read.
    """
    log = read_log(store)
    checkpoints = {checkpoint for board in boards for checkpoint in board.checkpoints}
    palette = Palette(boards)
    cells = {cell.key for board in boards for cell in board.cells.values()}
    compared, missing = _compared(boards, store)
    thumbnails = Thumbnails(library, pictures)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        matrix=matrix(boards, palette),
        boards=[board_view(board, store, log, palette) for board in boards],
        families=sorted({checkpoint.family for checkpoint in checkpoints}),
        sams=sorted({checkpoint.sam for checkpoint in checkpoints}),
        checkpoints=len(checkpoints),
        cells=len(cells),
        measured=measured(log, sorted(cells)),
        recipes=recipe_views(boards, store),
        pairs=list(_pair_rows(boards, compared, log)) if compared else [],
        differing=beyond_sam(pair for pair, _ in compared.rows) if compared else [],
        pair_notes=[about_trainings(boards), *compared.notes] if compared else missing,
        gains=[_gains_row(gain) for gain in gains(boards, store)] if compared else [],
        gains_about=GAINS,
        flips=list(_flips(boards, store, thumbnails)),
        flip_notes=list(thumbnails.notes),
        pictures=embedded_json(thumbnails.pictures),
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )


def embedded_json(value: object) -> Markup:
    """JSON for a script element, which `</script>` or `<!--` within it would end or change."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


# -- pairs -------------------------------------------------------------------------------------------------------


def _compared(boards: Sequence[Board], store: Store) -> tuple[Compared | None, list[str]]:
    """What SAM changes; where there are pairs that cannot be compared, why."""
    paired = [board for board in boards if pairs(board)]
    if not paired:
        return None, []
    try:
        return compare_pairs(paired, store), []
    except BenchError as error:
        return None, [str(error)]


def _names(board: Board, pair: Pair) -> tuple[str, str]:
    names = display_names(board.checkpoints)
    return names[pair.before], names[pair.after]


def _pair_rows(boards: Sequence[Board], compared: Compared, log: Log) -> Iterator[PairRow]:
    by_suite = {board.suite.name: board for board in boards}
    for pair, difference in compared.rows:
        yield _pair_row(by_suite[difference.suite], pair, difference, log)
    for overall in compared.overall:
        yield _overall_row(overall)


def _pair_row(board: Board, pair: Pair, difference: Difference, log: Log) -> PairRow:
    before, after = _names(board, pair)
    models = (pair.before.model, pair.after.model)
    log_says = measured(
        log, [board.cells[model, condition].key for model in models for condition in difference.score.conditions]
    )
    return PairRow(
        before=before,
        after=after,
        family=pair.after.family,
        suite=board.suite.name,
        score=difference.score.column,
        values=(
            value(difference, difference.before.value),
            value(difference, difference.after.value),
            *tested(difference),
            _verdict(difference.p_adjusted, -difference.worse),
            "–" if difference.lost is None else f"{difference.lost} / {difference.gained}",
            f"{difference.after.n:,}",
            difference.how or "no paired test",
        ),
        about="".join(f"{sentence} " for sentence in beyond_sam([pair]))
        + (f"No interval and no p: {difference.untested.rstrip('.')}. " if difference.untested else "")
        + f"{board.suite.protocol.name}; {board.choice.text}; "
        f"suite {board.suite.name} version {board.suite.version}; "
        f"measured {log_says.dates or 'on a day that the log does not tell'}; "
        f"{log_says.versions or 'versions are not in the log'}",
    )


def _overall_row(mean: Overall) -> PairRow:
    return PairRow(
        before=mean.pair.before.name,
        after=mean.pair.after.name,
        family=mean.pair.after.family,
        suite="",
        score=f"mean of {mean.suites} suites",
        values=(
            "–",
            "–",
            *tested_overall(mean),
            _verdict(mean.p_adjusted, mean.value),
            "–",
            "–",
            "independent sum" if mean.p is not None else "–",
        ),
        about="the mean of the differences of each suite's first accuracy, under the protocols of the rows above; the "
        "suites are taken as independent, though some share images",
    )


def _verdict(p: float | None, better: float) -> str:
    """What a difference is, in a word, where chance alone is not to be thought of."""
    return "–" if p is None or p > 0.05 or not better else "better" if better > 0 else "worse"


def _gains_row(gain: Gains) -> dict[str, object]:
    contrasts = (gain.clean, gain.shifted, gain.more, gain.clean_beyond, gain.shifted_beyond)
    return {
        "suite": gain.suite,
        "family": gain.family,
        "pairs": gain.pairs,
        "values": list(map(_contrast, contrasts)),
    }


def _contrast(contrast: Contrast | None) -> tuple[str, str]:
    """A gain, and its interval."""
    return ("–", "") if contrast is None else (signed(contrast.value), interval(contrast.ci_low, contrast.ci_high))


def _flips(boards: Sequence[Board], store: Store, thumbnails: Thumbnails) -> Iterator[Flipped]:
    for board in boards:
        for pair in pairs(board):
            flips = flipped(board, pair, _names(board, pair), store, thumbnails)
            if flips is not None:
                yield flips
