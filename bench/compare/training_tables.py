"""Recipes, and pairs of them by seed, as tables: sections for people, records (fractions) for files."""

from collections.abc import Iterable, Sequence

from bench.board.leaderboard import Board
from bench.compare.by_seed import BY_SEED, TWO_SAMPLES, ComparedBySeed, RecipePair, SeedRow
from bench.compare.tables import Record, Section, as_stored, p_as_stored
from bench.compare.texts import amount, change, p_value, tested, value
from bench.compare.trainings import OVER_BOTH, ByRecipe, RecipeRow
from bench.metrics.trainings import FEWEST
from bench.records import Estimate
from bench.store import StoredCheckpoint
from bench.suite import Score
from bench.suite.words import where

TOO_FEW = f"A recipe of fewer than {FEWEST} trainings has no interval over trainings: its seeds say too little."
OVER = "[95% interval] over trainings, the images nested: of other trainings and other images"

_SHOWN = 6
"""Changes that stand in a table, one a seed."""


# -- recipes -----------------------------------------------------------------------------------------------------------


def recipe_sections(boards: Sequence[Board], found: ByRecipe, *, every: bool = False) -> list[Section]:
    """A table a suite, a row a recipe and score.

    Args:
        boards: of the rows.
        found: the rows.
        every: whether all scores of the leaderboard are shown, and not the headline and the accuracies alone.
    """
    sections = []
    for board in boards:
        shown = board.suite.board if every else main_scores(board)
        columns = [score.column for score in shown]
        rows = [row for row in found.rows if row.suite == board.suite.name and row.score.column in columns]
        if rows:
            sections.append(_recipes_of(board, rows))
    return _with_notes(sections, found.notes)


def main_scores(board: Board) -> list[Score]:
    """The headline, the first accuracy and the clean one; the whole leaderboard of a suite without accuracies."""
    suite = board.suite
    if suite.accuracy is None:
        return list(suite.board)
    main = [score.column for score in (suite.headline, suite.accuracy, suite.clean) if score is not None]
    return [score for score in suite.board if score.column in main]


def _recipes_of(board: Board, rows: Sequence[RecipeRow]) -> Section:
    too_few = any(len(row.values) < FEWEST for row in rows)
    return Section(
        title=f"{board.suite.name} v{board.suite.version}: by recipe, {_images(rows[0].estimates[0][1])}",
        about=[
            board.protocol,
            "fractions in percent; mean and standard deviation (sd) over trainings",
            OVER,
            *_lower(row.score for row in rows),
        ],
        headings=("score", "recipe", "family", "sam", "trainings", "mean", "sd", "95% interval"),
        rows=[
            [where(row.score), row.recipe.name, row.recipe.family, row.recipe.sam, str(len(row.values)), *numbers(row)]
            for row in rows
        ],
        notes=[*_over_trainings_alone(rows), *([TOO_FEW] if too_few else [])],
    )


def numbers(row: RecipeRow) -> tuple[str, str, str]:
    """Mean, standard deviation and interval over trainings."""
    ends = (amount(row, row.ci_low), amount(row, row.ci_high))
    return value(row, row.value), amount(row, row.spread), "–" if row.ci_low is None else f"[{ends[0]}, {ends[1]}]"


def recipe_records(found: ByRecipe) -> list[Record]:
    """A row a suite, recipe and score."""
    return [
        {
            "suite": row.suite,
            "recipe": row.recipe.name,
            "family": row.recipe.family,
            "sam": row.recipe.sam,
            "score": where(row.score),
            "metric": row.score.metric.name,
            "trainings": len(row.values),
            "seeds": _seeds(training for training, _ in row.estimates),
            "mean": as_stored(row.value),
            "sd": as_stored(row.spread),
            "ci_low": as_stored(row.ci_low),
            "ci_high": as_stored(row.ci_high),
            "interval_over": row.over or None,
            "lowest": as_stored(min(row.values)),
            "highest": as_stored(max(row.values)),
            "n": row.estimates[0][1].n,
        }
        for row in found.rows
    ]


# -- pairs by seed -----------------------------------------------------------------------------------------------------


def seed_sections(boards: Sequence[Board], found: ComparedBySeed) -> list[Section]:
    """A table a suite, a row a pair of recipes and score."""
    sections = []
    for board in boards:
        rows = [row for row in found.rows if row.suite == board.suite.name]
        if rows:
            sections.append(_pairs_of(board, rows))
    return _with_notes(sections, [*_beyond_sam(row.pair for row in found.rows), *found.notes])


def _pairs_of(board: Board, rows: Sequence[SeedRow]) -> Section:
    too_few = any(min(len(row.before), len(row.after)) < FEWEST for row in rows)
    return Section(
        title=f"{board.suite.name} v{board.suite.version}: SAM against none by seed, {_images(rows[0].after[0])}",
        about=[
            board.protocol,
            "fractions in percent, differences in points; means and standard deviation (sd) over trainings",
            OVER,
            "better: pairs in which SAM is; p of these by an exact sign test; p (Holm) is adjusted for all rows",
            *_lower(row.score for row in rows),
        ],
        headings=(
            "score", "with SAM", "without", "with", "by seed", "difference", "sd", "95% interval", "p", "p (Holm)",
            "better", "p (sign)",
        ),
        rows=[_pair_texts(row) for row in rows],
        notes=[*_not_paired(rows), *_over_trainings_alone(rows), *([TOO_FEW] if too_few else [])],
    )  # fmt: skip


def _pair_texts(row: SeedRow) -> list[str]:
    difference, interval, p, p_adjusted = tested(row)
    return [
        where(row.score),
        f"{row.pair.after.name} ({row.pair.after.sam})",
        value(row, row.value_before),
        value(row, row.value_after),
        _by_seed(row),
        difference,
        amount(row, row.spread),
        interval,
        p,
        p_adjusted,
        f"{row.better} of {len(row.changes)}" if row.changes else "–",
        p_value(row.p_sign),
    ]


def _by_seed(row: SeedRow) -> str:
    """The changes, or of many the smallest and the largest; files have all."""
    if len(row.changes) > _SHOWN:
        return f"{change(row, min(row.changes))} to {change(row, max(row.changes))}"
    return " ".join(change(row, each) for each in row.changes) or "–"


def seed_records(found: ComparedBySeed) -> list[Record]:
    """For each pair of recipes and score, a row a seed and one of the mean over seeds, whose seed is empty."""
    records: list[Record] = []
    for row in found.rows:
        about = {
            "suite": row.suite,
            "before": row.pair.before.name,
            "after": row.pair.after.name,
            "family": row.pair.after.family,
            "sam": row.pair.after.sam,
            "score": where(row.score),
            "metric": row.score.metric.name,
        }
        if row.pair.paired:
            sides = zip(row.pair.after_trainings, row.before, row.after, strict=True)
            records += [{**about, **_of_seed(training, *estimates)} for training, *estimates in sides]
        records.append({**about, **_of_mean(row)})
    return records


def _of_seed(training: StoredCheckpoint, before: Estimate, after: Estimate) -> Record:
    return {
        "seed": training.seed,
        "trainings_before": 1,
        "trainings_after": 1,
        "value_before": as_stored(before.value),
        "value_after": as_stored(after.value),
        "difference": as_stored(after.value - before.value),
        "n": after.n,
    }


def _of_mean(row: SeedRow) -> Record:
    return {
        "seed": None,
        "trainings_before": len(row.before),
        "trainings_after": len(row.after),
        "value_before": as_stored(row.value_before),
        "value_after": as_stored(row.value_after),
        "difference": as_stored(row.value),
        "sd": as_stored(row.spread),
        "ci_low": as_stored(row.ci_low),
        "ci_high": as_stored(row.ci_high),
        "p": p_as_stored(row.p),
        "p_holm": p_as_stored(row.p_adjusted),
        "better": row.better if row.changes else None,
        "worse": row.worse if row.changes else None,
        "p_sign": p_as_stored(row.p_sign),
        "n": row.after[0].n,
        "test": BY_SEED if row.pair.paired else TWO_SAMPLES,
        "interval_over": row.over or None,
        "differs": row.pair.differs or None,
    }


# -- words -------------------------------------------------------------------------------------------------------------


def _images(estimate: Estimate) -> str:
    return f"{estimate.n:,} images"


def _seeds(trainings: Iterable[StoredCheckpoint]) -> str | None:
    """`0+1+2`; None where none is known."""
    return "+".join(str(one.seed) for one in trainings if one.seed is not None) or None


def _lower(scores: Iterable[Score]) -> list[str]:
    lower = dict.fromkeys(where(score) for score in scores if not score.metric.higher_is_better)
    return [f"lower is better: {', '.join(lower)}"] if lower else []


def _over_trainings_alone(rows: Iterable[RecipeRow | SeedRow]) -> list[str]:
    """Which intervals are over trainings alone, by the reason."""
    scores: dict[str, list[str]] = {}
    for row in rows:
        if row.over and row.over != OVER_BOTH:
            scores.setdefault(row.alone, []).append(where(row.score))
    return [
        f"Over trainings alone, for these images, is the interval of {', '.join(dict.fromkeys(names))}: {why}."
        for why, names in scores.items()
    ]


def _not_paired(rows: Iterable[SeedRow]) -> list[str]:
    pairs = dict.fromkeys(row.pair for row in rows if not row.pair.paired)
    return [
        f"{pair.after.name} and {pair.before.name} share fewer than {FEWEST} seeds, and are compared as two samples of "
        "trainings, by Welch's t."
        for pair in pairs
    ]


def _beyond_sam(pairs: Iterable[RecipePair]) -> list[str]:
    return [
        f"{pair.after.name} differs from {pair.before.name} in more than SAM: {pair.differs}."
        for pair in dict.fromkeys(pairs)
        if pair.differs
    ]


def _with_notes(sections: Sequence[Section], notes: Sequence[str]) -> list[Section]:
    """The sections, the last with notes on all of them."""
    *others, last = sections
    about = Section(
        title=last.title, about=last.about, headings=last.headings, rows=last.rows, notes=[*last.notes, *notes]
    )
    return [*others, about]
