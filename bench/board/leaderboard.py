"""From the store to tables: which cells belong to one table, their scores, and what was left out.

A table holds one limit, one seed and one kind of numerics, the fullest first; nothing of another kind is mixed in.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.board.index import Index
from bench.datasets import datasets
from bench.errors import BenchError, DoesNotApplyError
from bench.measure import measures
from bench.measure.cells import versions
from bench.records import Condition, Estimate, Precision, Scalar, digest
from bench.store import Store, StoredCell, StoredCheckpoint
from bench.store.log import Cost, cost, read_log
from bench.suite import Score, Suite
from bench.text import some

IMPORTED = "imported"
"""The device of cells that were measured elsewhere; their tables are their own, and say so."""


class NothingStoredError(BenchError):
    """A table was asked for of which no cell is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What all cells of a table have in common."""

    limit: int | None
    seed: int
    device: str
    precision: Precision
    subset: str = ""
    """`100 of 50,000 images` where the data set is not whole, and whether it was made here; else empty."""

    @property
    def text(self) -> str:
        """What the cells have in common, in words."""
        limit = "all samples" if self.limit is None else f"limit {self.limit}"
        if self.subset:
            limit = self.subset if self.limit is None else f"{limit}; a copy that has {self.subset}"
        numerics = IMPORTED if self.device == IMPORTED else f"{self.device} {self.precision}"
        return f"{limit}, seed {self.seed}, {numerics}"

    @property
    def suffix(self) -> str:
        """For file names: what departs from all samples, seed 0, fp32, and being measured here."""
        parts = [f"limit-{self.limit}"] if self.limit is not None else []
        parts += [f"seed-{self.seed}"] if self.seed else []
        parts += [self.precision] if self.precision != "fp32" else []
        parts += [IMPORTED] if self.device == IMPORTED else []
        return "".join(f"-{part}" for part in parts)

    def admits(self, cell: StoredCell) -> bool:
        """Whether the cell may stand in this table."""
        i = cell.identity
        # A set no larger than the limit is measured whole; what is not random was measured under no seed.
        limit = i["limit"] == self.limit or (self.limit is not None and i["limit"] is None and i["n"] <= self.limit)
        seed = i["seed"] in (None, self.seed)
        return limit and seed and (i["device"], i["precision"]) == (self.device, self.precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """What a table is asked to hold; None leaves it open."""

    limit: int | None = None
    any_limit: bool = True
    """False: `limit` is meant as it stands, None for all samples."""
    seed: int | None = None
    device: str | None = None
    precision: Precision | None = None
    precision_asked: bool = True
    """Whether the user named it; if not, suites whose measures need fp32 are wanted in that."""
    fingerprints: frozenset[tuple[str, ...]] | None = None
    """Of the data as they are now; None takes those that most cells saw."""

    def admits(self, choice: Choice) -> bool:
        """Whether the choice is as asked."""
        return (
            (self.any_limit or choice.limit == self.limit)
            and self.seed in (None, choice.seed)
            and self.device in (None, choice.device)
            and self.precision in (None, choice.precision)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRow:
    """One score of one checkpoint."""

    checkpoint: StoredCheckpoint
    score: Score
    estimate: Estimate


@dataclass(frozen=True, kw_only=True, repr=False)
class Board:
    """The scores of a suite."""

    suite: Suite
    choice: Choice
    protocol: str
    rows: tuple[ScoredRow, ...]
    cells: Mapping[tuple[str, Condition], StoredCell]
    """By model digest and condition; the cells that the scores came from."""
    checkpoints: tuple[StoredCheckpoint, ...]
    """Those with at least one cell, by name."""
    notes: tuple[str, ...]
    """What was left out, and scores that are not defined."""
    costs: Mapping[StoredCheckpoint, Cost]
    """Of those checkpoints whose runs the store's log tells of."""

    def protocol_of(self, checkpoint: StoredCheckpoint) -> str:
        """The protocol of a checkpoint's scores, with the terms of its own."""
        return ", ".join(filter(None, (self.protocol, checkpoint.how)))

    def __repr__(self) -> str:
        """Short: what is on it, and of whom the best is."""
        best = f", {self.ranking[0].name} first" if self.headed else ""
        return f"<Board {self.suite.name} v{self.suite.version}: {len(self.checkpoints)} checkpoints{best}>"

    def present(self, checkpoint: StoredCheckpoint) -> int:
        """Cells of the checkpoint that are stored, of `len(suite.conditions)`."""
        return self._cells_of[checkpoint.model]

    @functools.cached_property
    def _cells_of(self) -> Counter[str]:
        return Counter(model for model, _ in self.cells)

    @property
    def complete(self) -> bool:
        """Whether every checkpoint has the headline's score."""
        return self._with_headline.issuperset(self.checkpoints)

    @property
    def headed(self) -> bool:
        """Whether some checkpoint has."""
        return bool(self._with_headline)

    @functools.cached_property
    def _with_headline(self) -> set[StoredCheckpoint]:
        return {row.checkpoint for row in self.rows if row.score is self.suite.headline}

    @property
    def warnings(self) -> "dict[StoredCheckpoint, list[ScoredRow]]":
        """Checkpoint to its scores that exceed what their metrics may, in the suite's order."""
        warned: dict[StoredCheckpoint, list[ScoredRow]] = {}
        for row in self.rows:
            alarm = row.score.metric.alarm
            if alarm is None or row.estimate.value <= alarm.above:
                continue
            if round(row.estimate.value * row.estimate.n) >= alarm.images:
                warned.setdefault(row.checkpoint, []).append(row)
        return warned

    @property
    def ranking(self) -> list[StoredCheckpoint]:
        """The checkpoints by the headline score, the best first; those without one at the end, then by name."""
        headline = self.suite.headline
        values = {row.checkpoint: row.estimate.value for row in self.rows if row.score is headline}
        sign = -1 if headline.metric.higher_is_better else 1
        return sorted(self.checkpoints, key=lambda c: (c not in values, sign * values.get(c, 0.0), c.name, c.model))


def make_board(
    suite: Suite,
    store: Store,
    index: Index,
    *,
    names: Collection[str] | None = None,
    models: Collection[str] | None = None,
    want: Want | None = None,
) -> Board:
    """The scores of a suite from what is stored.

    Args:
        suite: what to score.
        store: where the outcomes are.
        index: of the store.
        names: only these checkpoints.
        models: only these model digests.
        want: limit, seed and numerics, where they are to be certain ones.

    Raises:
        BenchError: nothing of the suite is stored, or not as asked.
        StoreFileError: a file that the scores need is damaged or cannot be read.
    """
    entries = [
        entry
        for entry in index.checkpoints()
        if (names is None or entry.name in names) and (models is None or entry.model in models)
    ]
    places = {place_of(condition): condition for condition in suite.conditions}
    wanted = {entry.model for entry in entries}
    stored = [(cell, index.place(cell)) for cell in index.cells() if cell.identity["model"] in wanted]
    cells = [cell for cell, place in stored if place in places]
    want = _as_measured(suite, want or Want())
    choice, left_out = _choose(suite, [cell for cell in cells if _of_todays_data(cell, want)], want)
    cells, other_data = _one_fingerprint([cell for cell in cells if choice.admits(cell)], want)
    chosen: dict[tuple[str, Condition], StoredCell] = {}
    for cell in sorted(cells, key=lambda cell: -cell.n):
        chosen.setdefault((cell.identity["model"], places[index.place(cell)]), cell)
    measured_sets = {condition.data.dataset for _, condition in chosen}
    suite = suite.over([name for name in suite.sets if name in measured_sets])
    choice = replace(_as_shown(choice, chosen.values()), subset=_subset(suite, chosen))
    rows, undefined = _score(suite, index, entries, chosen)
    measured = {model for model, _ in chosen}
    present = tuple(entry for entry in entries if entry.model in measured)
    protocol = suite.protocol.taken_with(
        limit=choice.limit,
        seed=choice.seed,
        precision=choice.precision,
        subset=choice.subset,
        origin=IMPORTED if choice.device == IMPORTED else "",
    )
    return Board(
        suite=suite,
        choice=choice,
        protocol=protocol.name,
        rows=tuple(rows),
        cells=chosen,
        checkpoints=present,
        notes=(*left_out, *other_data, *undefined, *(f"{entry.name}: {entry.how}" for entry in present if entry.how)),
        costs=_costs(store, present, chosen),
    )


def _as_measured(suite: Suite, want: Want) -> Want:
    """What is wanted, in the precision in which a run without a word on it measures the suite."""
    exact = all(measures.get(condition.measure.name).exact for condition in suite.conditions)
    return replace(want, precision="fp32") if want.precision and exact and not want.precision_asked else want


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenData:
    """A split of a data set as a cell saw it."""

    dataset: str
    split: str
    fingerprint: str
    images: int
    """How many there were, of which a limit may have taken some."""
    learnt: bool
    """Whether it was learnt from, and not measured."""

    @property
    def name(self) -> str:
        """Data set and split."""
        return f"{self.dataset}/{self.split}"


def data_of(condition: Condition, cell: StoredCell) -> list[SeenData]:
    """All the data behind a cell: what was measured, then what was learnt from.

    Args:
        condition: of the cell.
        cell: as stored.
    """
    splits = (condition.image_set.split, *condition.data.fit)
    counts = (cell.identity.get("of", cell.n), *cell.identity.get("fit_of", cell.identity.get("fit_n", ())))
    return [
        SeenData(dataset=condition.data.dataset, split=split, fingerprint=fingerprint, images=images, learnt=place > 0)
        for place, (split, fingerprint, images) in enumerate(
            zip(splits, cell.identity["fingerprints"], counts, strict=True)
        )
    ]


def _subset(suite: Suite, cells: Mapping[tuple[str, Condition], StoredCell]) -> str:
    """What sets the data apart from the whole published sets: copies made here, fewer images; else empty."""
    parts: dict[str, str] = {}
    if any(cell.identity.get("made_here") for cell in cells.values()):
        parts[""] = "of a copy generated by bench data make-c"
    headline = {condition.data.dataset for condition in suite.headline.conditions}
    for data in [seen for (_, condition), cell in cells.items() for seen in data_of(condition, cell)]:
        # What is measured is named once a data set: the conditions of ImageNet-C are splits of one size.
        place = data.name if data.learnt else data.dataset
        if place in parts or data.dataset not in datasets:
            continue
        whole = datasets.get(data.dataset).expected.get(data.split)
        if whole is not None and data.images < whole.images:
            if data.learnt:
                of = f" of {data.name} to learn from"
            else:
                of = "" if data.dataset in headline else f" of {data.dataset}"
            parts[place] = f"{data.images:,} of {whole.images:,} images{of}"
    return " and ".join(parts.values())


def _costs(
    store: Store, checkpoints: Iterable[StoredCheckpoint], cells: Mapping[tuple[str, Condition], StoredCell]
) -> dict[StoredCheckpoint, Cost]:
    log = read_log(store)
    keys: dict[str, list[str]] = defaultdict(list)
    for (model, condition), cell in cells.items():
        # At its own size: a suite of sizes would give the cost of any one of them.
        if condition.model.input_size is None:
            keys[model].append(cell.key)
    costs = {}
    for checkpoint in checkpoints:
        known = cost([log[key] for key in keys[checkpoint.model] if key in log])
        if known is not None:
            costs[checkpoint] = known
    return costs


def place_of(condition: Condition) -> str:
    """What a stored cell must have measured to stand for a condition, in today's versions; see `Index.place`."""
    return digest([{k: v for k, v in condition.columns().items() if v is not None}, dict(versions(condition))])


def _choose(suite: Suite, cells: Sequence[StoredCell], want: Want) -> tuple[Choice, list[str]]:
    """The fullest choice as asked, and a note on the others."""
    counts = _counts(cells, want)
    admitted = {choice: count for choice, count in counts.items() if want.admits(choice)}
    if not admitted:
        have = "; ".join(choice.text for choice in _ordered(counts)) or "nothing"
        raise NothingStoredError(
            f"the store holds nothing of suite {suite.name!r} as asked (it holds: {have}); "
            f"`bench run --suite {suite.name}` measures it."
        )
    best = _ordered(admitted)[0]
    in_table = {cell.key for cell in cells if best.admits(cell)}
    others = []
    for choice in _ordered(counts):
        hidden = sum(choice.admits(cell) and cell.key not in in_table for cell in cells)
        if hidden:
            others.append(f"left out: {hidden} cells with {choice.text}")
    return best, others


def choices_of(cells: Sequence[StoredCell]) -> list[Choice]:
    """What cells were measured with, what most have in common first."""
    return _ordered(_counts(cells, Want()))


def _counts(cells: Sequence[StoredCell], want: Want) -> dict[Choice, int]:
    """Choices to how many of the cells they admit, none where that is none."""
    counts = {choice: sum(map(choice.admits, cells)) for choice in _choices(cells, want)}
    return {choice: count for choice, count in counts.items() if count}


def _as_shown(choice: Choice, cells: Collection[StoredCell]) -> Choice:
    """Without a limit that left nothing out, and without a seed that nothing drew from: one protocol has one name."""
    limited = any(cell.identity["limit"] is not None for cell in cells)
    seeded = any(cell.identity["seed"] is not None for cell in cells)
    return replace(choice, limit=choice.limit if limited else None, seed=choice.seed if seeded else 0)


def _choices(cells: Iterable[StoredCell], want: Want) -> set[Choice]:
    cells = list(cells)
    seeds: set[int] = {s for s in (want.seed, *(cell.identity["seed"] for cell in cells)) if s is not None}
    limits = {cell.identity["limit"] for cell in cells} | (set() if want.any_limit else {want.limit})
    kinds = {(cell.identity["device"], cell.identity["precision"]) for cell in cells}
    return {
        Choice(limit=limit, seed=seed, device=device, precision=precision)
        for limit in limits
        for seed in seeds or {0}
        for device, precision in kinds
    }


def _ordered(counts: Mapping[Choice, int]) -> list[Choice]:
    """Most cells first; then all samples before a limit, a large limit before a small one, a low seed."""
    return sorted(
        counts,
        key=lambda c: (-counts[c], c.limit is not None, -(c.limit or 0), c.seed, c.device, c.precision),
    )


def _of_todays_data(cell: StoredCell, want: Want) -> bool:
    return want.fingerprints is None or tuple(cell.identity["fingerprints"]) in want.fingerprints


def _one_fingerprint(cells: Sequence[StoredCell], want: Want) -> tuple[list[StoredCell], list[str]]:
    """Keep, of each data set, only the version that is wanted, else the one that most cells saw, then the largest."""
    seen: dict[tuple[Scalar, Scalar, Scalar], Counter[tuple[str, ...]]] = defaultdict(Counter)
    sizes: dict[tuple[str, ...], int] = {}
    candidates = [cell for cell in cells if _of_todays_data(cell, want)]
    for cell in candidates:
        fingerprints = tuple(cell.identity["fingerprints"])
        seen[_data(cell)][fingerprints] += 1
        sizes[fingerprints] = cell.n
    best = {
        data: max(counts, key=lambda f, c=counts: (c[f], sizes[f], f))  # type: ignore[misc]
        for data, counts in seen.items()
    }
    kept = [cell for cell in candidates if tuple(cell.identity["fingerprints"]) == best[_data(cell)]]
    left_out = Counter(map(_data, cells)) - Counter(map(_data, kept))
    return kept, [f"left out: {n} cells with other contents of {dataset}" for (dataset, _, _), n in left_out.items()]


def _data(cell: StoredCell) -> tuple[Scalar, Scalar, Scalar]:
    condition = cell.identity["condition"]
    return condition["dataset"], condition["split"], condition.get("fit")


def _score(
    suite: Suite,
    index: Index,
    entries: Sequence[StoredCheckpoint],
    cells_of: Mapping[tuple[str, Condition], StoredCell],
) -> tuple[list[ScoredRow], list[str]]:
    # By number: to look a condition up takes longer than anything else here, and scores share them.
    numbers = {condition: number for number, condition in enumerate(suite.conditions)}
    needed = [(score, [numbers[condition] for condition in score.conditions]) for score in suite.scores]
    wanted: list[list[tuple[Score, list[str]]]] = []
    for entry in entries:
        cells = [cells_of.get((entry.model, condition)) for condition in numbers]
        keys = [cell.key if cell else "" for cell in cells]
        wanted.append([(score, [keys[i] for i in places]) for score, places in needed if all(keys[i] for i in places)])
    estimates = index.estimates(f"{suite.name}@{suite.version}", wanted)
    rows: list[ScoredRow] = []
    undefined: dict[str, list[tuple[str, str]]] = {}
    for entry, group, results in zip(entries, wanted, estimates, strict=True):
        for (score, _), result in zip(group, results, strict=True):
            if isinstance(result, DoesNotApplyError):
                continue
            if isinstance(result, BenchError):
                undefined.setdefault(str(result), []).append((entry.name, score.column or score.metric.name))
            else:
                rows.append(ScoredRow(checkpoint=entry, score=score, estimate=result))
    return rows, [f"{_of_what(scores)}: {reason}" for reason, scores in undefined.items()]


def _of_what(scores: Sequence[tuple[str, str]]) -> str:
    """The checkpoints and scores that one thing is said of, and how many these are where that is more than one."""
    checkpoints, names = (list(dict.fromkeys(part)) for part in zip(*scores, strict=True))
    count = f" ({len(scores)} scores)" if len(scores) > 1 else ""
    return f"{some(checkpoints)}, {some(names)}{count}"
