"""Comparisons as tables: sections for people, and records (a row a dictionary, fractions) for files."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.board.leaderboard import Board
from bench.board.tables import DIGITS, display_names
from bench.compare.differences import Difference
from bench.compare.flips import Flip
from bench.compare.lines import Lined
from bench.compare.pairs import Compared, Contrast, Gains, Pair
from bench.compare.texts import beyond_sam, interval, signed, tested, tested_overall, value
from bench.compare.trainings import several
from bench.records import Scalar
from bench.suite.words import where
from bench.text import markdown, plain, render, render_markdown

Record = Mapping[str, Scalar]

ONE_TRAINING = (
    "Each side is one training with one seed: intervals and p are over images, and say nothing of another training."
)
SEVERAL_TRAININGS = (
    "Each row is of single trainings, with interval and p over images; `bench compare --pair sam --by seed` takes the "
    "trainings of each recipe together."
)
GAINS = "gain by SAM in points of accuracy, [95% interval] over images; a family's is the mean over its pairs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table with what is said above and below it."""

    title: str
    about: Sequence[str]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def to_text(sections: Sequence[Section], style: str) -> str:
    """The sections, `text` or `md`."""
    return "\n\n".join(_section(section, style) for section in sections)


def _section(section: Section, style: str) -> str:
    if style == "md":
        notes = "".join(f"\n- {markdown(note)}" for note in section.notes)
        table = render_markdown(section.headings, section.rows)
        return f"### {markdown(section.title)}\n{markdown('; '.join(section.about))}\n\n{table}" + (
            f"\n{notes}" if notes else ""
        )
    columns = [_aligned(column) for column in zip(*section.rows, strict=True)]
    table = render(section.headings, list(zip(*columns, strict=True)))
    above, below = ([plain(line) for line in lines] for lines in ((section.title, *section.about), section.notes))
    return "\n".join([*above, "", table, *([""] if below else []), *below])


def _aligned(column: Sequence[str]) -> list[str]:
    """Numbers with signs set to the right; all else as it is."""
    signed = all(text[:1] in "+-–<[01" for text in column)
    width = max(map(len, column), default=0)
    return [text.rjust(width) if signed else text for text in column]


def to_csv(records: Sequence[Record]) -> str:
    """The records as CSV, empty where there is no value."""
    file = io.StringIO()
    writer = csv.DictWriter(
        file, list(dict.fromkeys(name for record in records for name in record)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().rstrip("\n")


# -- two checkpoints -------------------------------------------------------------------------------------------------


def between(board: Board, rows: Sequence[Difference], before: str, after: str) -> Section:
    """What differs between two checkpoints in a suite."""
    lower = [where(row.score) for row in rows if not row.score.metric.higher_is_better]
    about = [
        board.protocol,
        "fractions in percent, differences in points, [95% interval] over images; p (Holm) is adjusted for all rows",
        *([f"lower is better: {', '.join(lower)}"] if lower else []),
    ]
    cells = [
        [
            where(row.score),
            value(row, row.before.value),
            value(row, row.after.value),
            *tested(row),
            *("–" if count is None else str(count) for count in (row.lost, row.gained)),
        ]
        for row in rows
    ]
    return Section(
        title=f"{board.suite.name} v{board.suite.version}: from {before} to {after}, {rows[0].after.n:,} images",
        about=about,
        headings=("score", "before", "after", "difference", "95% interval", "p", "p (Holm)", "lost", "gained"),
        rows=cells,
        notes=_untested(rows),
    )


def _untested(rows: Iterable[Difference]) -> list[str]:
    """Which scores have no paired test, by the reason."""
    scores: dict[str, list[str]] = {}
    for row in rows:
        if row.untested:
            scores.setdefault(row.untested.rstrip("."), []).append(where(row.score))
    return [f"No interval and no p of {', '.join(dict.fromkeys(untested))}: {why}." for why, untested in scores.items()]


def flipped(flips: Sequence[Flip], before: str, after: str) -> Section:
    """Images that were lost."""
    return Section(
        title="Images lost under most conditions",
        about=[f"right with {before} and wrong with {after}; gained: the other way round"],
        headings=("suite", "image", "label", "lost", "gained", "under", "before", "after"),
        rows=[
            [f.suite, f.id, f.label, f"{f.lost} of {f.conditions}", str(f.gained), f.where, f.before, f.after]
            for f in flips
        ],
    )


def difference_records(rows: Iterable[Difference], before: str, after: str) -> list[Record]:
    """A row a score."""
    return [_record(row, before, after) for row in rows]


def flip_records(flips: Iterable[Flip], before: str, after: str) -> list[Record]:
    """A row an image."""
    return [
        {
            "suite": f.suite,
            "before": before,
            "after": after,
            "dataset": f.dataset,
            "id": f.id,
            "label": f.label,
            "lost": f.lost,
            "gained": f.gained,
            "conditions": f.conditions,
            "under": f.where,
            "prediction_before": f.before,
            "prediction_after": f.after,
        }
        for f in flips
    ]


def _record(row: Difference, before: str, after: str) -> Record:
    return {
        "suite": row.suite,
        "before": before,
        "after": after,
        "score": where(row.score),
        "metric": row.score.metric.name,
        "value_before": as_stored(row.before.value),
        "value_after": as_stored(row.after.value),
        "difference": as_stored(row.value),
        "ci_low": as_stored(row.ci_low),
        "ci_high": as_stored(row.ci_high),
        "p": p_as_stored(row.p),
        "p_holm": p_as_stored(row.p_adjusted),
        "lost": row.lost,
        "gained": row.gained,
        "n": row.after.n,
        "test": row.how or f"none: {row.untested}",
    }


# -- pairs -------------------------------------------------------------------------------------------------------------


def pair_sections(boards: Sequence[Board], compared: Compared, gains: Sequence[Gains]) -> list[Section]:
    """A table a suite, one over the suites, and the question of the SAM paper."""
    sections = []
    for board in boards:
        rows = [(pair, row) for pair, row in compared.rows if row.suite == board.suite.name]
        if rows:
            sections.append(_pairs_of(board, rows))
    if compared.overall:
        sections.append(_overall(compared))
    by_suite: dict[str, list[Gains]] = {}
    for gain in gains:
        by_suite.setdefault(gain.suite, []).append(gain)
    sections += [_question(suite, rows) for suite, rows in by_suite.items()]
    notes = [*beyond_sam(pair for pair, _ in compared.rows), *compared.notes, about_trainings(boards)]
    last = sections[-1]
    sections[-1] = Section(
        title=last.title, about=last.about, headings=last.headings, rows=last.rows, notes=[*last.notes, *notes]
    )
    return sections


def about_trainings(boards: Sequence[Board]) -> str:
    """What comparing single checkpoints leaves open, in a sentence."""
    return SEVERAL_TRAININGS if several(boards) else ONE_TRAINING


def _pairs_of(board: Board, rows: Sequence[tuple[Pair, Difference]]) -> Section:
    names, scores = display_names(board.checkpoints), dict.fromkeys(row.score for _, row in rows)
    marked = any(pair.differs for pair, _ in rows)  # whether a column must tell pairs apart
    several = len(scores) > 1
    lower = [where(score) for score in scores if not score.metric.higher_is_better]
    title = f"{board.suite.name} v{board.suite.version}"
    if not several:
        title += f": {where(board.suite.headline)}{', lower is better' if lower else ''}"
    unit = "fractions in percent, differences in points" if several else "in percent"
    return Section(
        title=f"{title}, {rows[0][1].after.n:,} images",
        about=[
            board.protocol,
            f"{unit}, [95% interval] over images; p (Holm) is adjusted for all rows of all tables",
            *([f"lower is better: {', '.join(lower)}"] if several and lower else []),
        ],
        headings=(
            *("score",)[:several],
            "with SAM",
            "family",
            "without",
            "with",
            "difference",
            "95% interval",
            "p",
            "p (Holm)",
            *_MARK[:marked],
        ),
        rows=[
            [
                *(where(row.score),)[:several],
                names[pair.after],
                pair.after.family,
                value(row, row.before.value),
                value(row, row.after.value),
                *tested(row),
                *_mark(pair)[:marked],
            ]
            for pair, row in rows
        ],
        notes=_untested(row for _, row in rows),
    )


def _overall(compared: Compared) -> Section:
    marked = any(mean.pair.differs for mean in compared.overall)
    return Section(
        title="Over the suites: mean gain of each one's first accuracy",
        about=["in points, [95% interval]; the suites are taken as independent, though some share images"],
        headings=("with SAM", "family", "suites", "difference", "95% interval", "p", "p (Holm)", *_MARK[:marked]),
        rows=[
            [
                mean.pair.after.name,
                mean.pair.after.family,
                str(mean.suites),
                *tested_overall(mean),
                *_mark(mean.pair)[:marked],
            ]
            for mean in compared.overall
        ],
    )


_MARK = ("differ in",)


def _mark(pair: Pair) -> tuple[str]:
    return ("more than SAM" if pair.differs else "SAM",)


def _question(suite: str, gains: Sequence[Gains]) -> Section:
    baseline = any(gain.clean_beyond for gain in gains)
    headings = ["family", "pairs", "clean", "shifted", "shifted - clean"]
    headings += ["clean - ResNet's", "shifted - ResNet's"] if baseline else []
    rows = [
        [
            gain.family,
            str(gain.pairs),
            *map(_shown, (gain.clean, gain.shifted, gain.more)),
            *(map(_shown, (gain.clean_beyond, gain.shifted_beyond)) if baseline else ()),
        ]
        for gain in gains
    ]
    return Section(
        title=f"{suite}: do ViT and Mixer gain more by SAM than ResNet, and more on shifted than on clean images?",
        about=[GAINS],
        headings=headings,
        rows=rows,
        notes=[] if baseline else ["No pair of ResNets is stored here to hold these gains against."],
    )


def _shown(contrast: Contrast | None) -> str:
    if contrast is None:
        return "–"
    if contrast.ci_low is None or contrast.ci_high is None:
        return signed(contrast.value)
    return f"{signed(contrast.value)} {interval(contrast.ci_low, contrast.ci_high)}"


def pair_records(compared: Compared) -> list[Record]:
    """A row a suite and pair, then those over the suites, whose suite is empty."""
    rows = [
        {
            **_record(row, pair.before.name, pair.after.name),
            "family": pair.after.family,
            "differs": pair.differs or None,
        }
        for pair, row in compared.rows
    ]
    overall = [
        {
            "before": mean.pair.before.name,
            "after": mean.pair.after.name,
            "score": f"mean of {mean.suites} suites",
            "difference": as_stored(mean.value),
            "ci_low": as_stored(mean.ci_low),
            "ci_high": as_stored(mean.ci_high),
            "p": p_as_stored(mean.p),
            "p_holm": p_as_stored(mean.p_adjusted),
            "test": "independent sum" if mean.p is not None else None,
            "family": mean.pair.after.family,
            "differs": mean.pair.differs or None,
        }
        for mean in compared.overall
    ]
    return [*rows, *overall]


def gain_records(gains: Iterable[Gains]) -> list[Record]:
    """A row a suite and family."""
    return [
        {
            "suite": gain.suite,
            "family": gain.family,
            "pairs": gain.pairs,
            **_contrast("gain_clean", gain.clean),
            **_contrast("gain_shifted", gain.shifted),
            **_contrast("shifted_less_clean", gain.more),
            **_contrast("gain_clean_less_resnet", gain.clean_beyond),
            **_contrast("gain_shifted_less_resnet", gain.shifted_beyond),
        }
        for gain in gains
    ]


def _contrast(name: str, contrast: Contrast | None) -> Record:
    low, high = (contrast.ci_low, contrast.ci_high) if contrast else (None, None)
    value = contrast.value if contrast else None
    return {name: as_stored(value), f"{name}_ci_low": as_stored(low), f"{name}_ci_high": as_stored(high)}


# -- lines -------------------------------------------------------------------------------------------------------------


def line_section(board: Board, lined: Lined) -> Section:
    """The checkpoints beside a line."""
    names, line = display_names(board.checkpoints), lined.fit.line
    low, high = line.slope_interval()
    return Section(
        title=f"{board.suite.name} v{board.suite.version}: effective robustness, line through {lined.fit.name}",
        about=[
            f"{board.protocol}; {lined.shifted} against {lined.clean}",
            f"the line: n = {line.n}, slope {line.slope:.2f} [{low:.2f}, {high:.2f}], R² = {line.r_squared:.2f}",
            "in percent; effective: the accuracy less that on the line, points; band: of one more such model, 95%",
        ],
        headings=("checkpoint", "family", "sam", "clean", "shifted", "on the line", "band", "effective"),
        rows=[
            [
                names[point.checkpoint],
                point.checkpoint.family,
                point.checkpoint.sam,
                f"{100 * point.clean.value:.1f}",
                f"{100 * point.shifted.value:.1f}",
                f"{100 * point.expected:.1f}",
                f"{100 * point.low:.1f} to {100 * point.high:.1f}",
                signed(point.effective_robustness),
            ]
            for point in lined.points
        ],
    )


def line_records(board: Board, every: Sequence[Lined]) -> list[Record]:
    """A row a checkpoint and line."""
    names = display_names(board.checkpoints)
    return [
        {
            "suite": board.suite.name,
            "line": lined.fit.name,
            "line_n": lined.fit.line.n,
            "slope": as_stored(lined.fit.line.slope),
            "intercept": as_stored(lined.fit.line.intercept),
            "r_squared": as_stored(lined.fit.line.r_squared),
            "checkpoint": names[point.checkpoint],
            "family": point.checkpoint.family,
            "sam": point.checkpoint.sam,
            "clean": as_stored(point.clean.value),
            "shifted": as_stored(point.shifted.value),
            "expected": as_stored(point.expected),
            "band_low": as_stored(point.low),
            "band_high": as_stored(point.high),
            "effective_robustness": as_stored(point.effective_robustness),
        }
        for lined in every
        for point in lined.points
    ]


# -- numbers -----------------------------------------------------------------------------------------------------------


def as_stored(value: float | None) -> float | None:
    """A number as files have it; None where there is none."""
    return None if value is None else round(value, DIGITS)


def p_as_stored(p: float | None) -> float | None:
    """Three significant digits: a p of 10^-9 is not 0."""
    return None if p is None or math.isnan(p) else float(f"{p:.3g}")
