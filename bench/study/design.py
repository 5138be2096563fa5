"""A study's design: which trainings it is of, as data.

A study crosses its factors: every combination of a level of each is an arm. Each arm is trained at the same random
settings and seeds, so that arms are compared setting by setting. A TOML file has:

    title, claim, paper       texts: what is studied, what a paper says of it, and which
    draws, seeds              how many random settings, and trainings of each
    compare                   factors whose levels are held against their first one
    [suite.NAME]              what trained checkpoints are measured by: scores (headings of its leaderboard; the first
                              of the first suite is what the study is about), and, where wanted, set and limit
    [set]                     keys of recipes that every training sets
    [factor.NAME.LEVEL]       recipe, set and draw of a level: `draw` has ranges of keys, drawn evenly in their
                              logarithms
"""

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UnknownNameError, one_line
from bench.text import some
from bench.training.recipe import Recipe
from bench.training.recipes import Value, recipe

_KEYS = {"title", "claim", "paper", "suite", "draws", "seeds", "compare", "set", "factor"}
_OF_SUITE = {"scores", "set", "limit"}
_OF_LEVEL = {"recipe", "set", "draw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One value of a factor."""

    recipe: str = ""
    """That its arms train by; empty where another factor says it."""
    set: Mapping[str, Value] = field(default_factory=dict)
    draw: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Key to the ends of the range that it is drawn from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A suite that trained checkpoints are measured by."""

    suite: str
    scores: tuple[str, ...]
    """Headings of its leaderboard."""
    set: Mapping[str, Value]
    """Settings of the suite that are changed."""
    limit: int | None
    """Images; None takes all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of a study."""

    arm: Mapping[str, str]
    """Factor to level."""
    draw: int
    """Number of the random setting, from 0."""
    seed: int
    drawn: Mapping[str, float]
    """Key to what was drawn for it."""
    recipe: Recipe
    """With its seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A design; see the module."""

    name: str
    title: str
    claim: str
    paper: str
    suites: tuple[Measured, ...]
    draws: int
    seeds: int
    compare: tuple[str, ...]
    set: Mapping[str, Value]
    factors: Mapping[str, Mapping[str, Level]]

    @property
    def searches(self) -> bool:
        """Whether its trainings have random settings."""
        return any(level.draw for levels in self.factors.values() for level in levels.values())

    @property
    def arms(self) -> list[dict[str, str]]:
        """Every combination of levels, the last factor the fastest."""
        return [dict(zip(self.factors, levels, strict=True)) for levels in itertools.product(*self.factors.values())]

    def only(self, factor: str, levels: Sequence[str]) -> "Study":
        """The study of some levels of a factor alone, in the design's order.

        Raises:
            UnknownNameError: There is no such factor, or no such level of it.
        """
        if factor not in self.factors:
            raise UnknownNameError(f"factor of study {self.name!r}", factor, self.factors)
        for level in levels:
            if level not in self.factors[factor]:
                raise UnknownNameError(f"level of {factor}", level, self.factors[factor])
        kept = {level: each for level, each in self.factors[factor].items() if level in levels}
        return replace(self, factors={**self.factors, factor: kept})

    def trials(self) -> Iterator[Trial]:
        """Yield every training, arm by arm.

        Raises:
            UnknownNameError: A recipe or a key of one is unknown.
            BenchError: An arm has no recipe or several, or a value is not possible.
        """
        for arm in self.arms:
            levels = [self.factors[factor][level] for factor, level in arm.items()]
            named = {level.recipe for level in levels if level.recipe}
            if len(named) != 1:
                told = ", ".join(f"{factor} {level}" for factor, level in arm.items())
                came = some(sorted(named)) or "no recipe"
                raise BenchError(f"study {self.name!r}: the arm {told} has {came}, not one recipe.")
            every = (self.set, *(level.set for level in levels))
            fixed = {key: value for changes in every for key, value in changes.items()}
            ranges = {key: ends for level in levels for key, ends in level.draw.items()}
            for draw in range(self.draws):
                drawn = {key: self._drawn(key, ends, draw) for key, ends in ranges.items()}
                made = recipe(next(iter(named)), {**fixed, **drawn})
                for seed in range(self.seeds):
                    yield Trial(arm=arm, draw=draw, seed=seed, drawn=drawn, recipe=replace(made, seed=seed))

    def _drawn(self, key: str, ends: tuple[float, float], draw: int) -> float:
        """Draw a key's value: by key and number alone, so that every arm has the same place in its range."""
        from bench.rng import Draws, keys  # imports torch

        share = float(Draws(keys(0, f"study {self.name}", [f"{key} {draw}"])).uniform(1)[0][0])
        low, high = map(math.log, ends)
        return float(f"{math.exp(low + share * (high - low)):.4g}")


def own_studies() -> list[str]:
    """Return the names of the project's own studies."""
    return sorted(
        path.name.removesuffix(".toml") for path in files("bench.study").iterdir() if path.name.endswith(".toml")
    )


def load_study(name: str) -> Study:
    """Return one of the project's studies, or that of a file.

    Args:
        name: One of `own_studies`, or a path that ends in .toml.

    Raises:
        UnknownNameError: There is no such study.
        BenchError: The file cannot be read, or is none of a study.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            return parse_study(path.stem, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BenchError(f"{path} cannot be read: {one_line(error)}.") from error
    if name not in own_studies():
        raise UnknownNameError("study", name, own_studies(), see="bench study --help")
    return parse_study(name, files("bench.study").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def parse_study(name: str, text: str) -> Study:
    """Return the study of a TOML text.

    Raises:
        BenchError: It is none.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"study {name!r} is no TOML: {error}.") from error
    reader = _Reader(name)
    reader.only(table, _KEYS, "the study")
    factors = reader.factors(reader.table(table, "factor"))
    suites = tuple(reader.suite(name, table) for name, table in reader.table(table, "suite").items())
    if not suites:
        raise reader.wrong("it needs at least one suite: [suite.NAME]")
    compare = tuple(reader.texts(table, "compare"))
    if set(compare) - set(factors):
        raise reader.wrong(f"compare must name some of its factors ({', '.join(factors)})")
    return Study(
        name=name,
        title=reader.text(table, "title"),
        claim=reader.text(table, "claim"),
        paper=reader.text(table, "paper"),
        suites=suites,
        draws=reader.count(table, "draws"),
        seeds=reader.count(table, "seeds"),
        compare=compare,
        set=reader.table(table, "set"),
        factors=factors,
    )


@dataclass(frozen=True)
class _Reader:
    """Takes values out of a study's tables."""

    name: str

    def wrong(self, what: str) -> BenchError:
        return BenchError(f"study {self.name!r}: {what}.")

    def only(self, table: Mapping[str, Any], keys: set[str], where: str) -> None:
        if strange := sorted(table.keys() - keys):
            raise self.wrong(f"{where} has no key {strange[0]!r}; there are {', '.join(sorted(keys))}")

    def text(self, table: Mapping[str, Any], key: str) -> str:
        if not isinstance(table.get(key, ""), str):
            raise self.wrong(f"{key} must be a text")
        return str(table.get(key, ""))

    def texts(self, table: Mapping[str, Any], key: str) -> Sequence[str]:
        found = table.get(key, [])
        if not (isinstance(found, list) and all(isinstance(one, str) for one in found)):
            raise self.wrong(f"{key} must be a list of texts")
        return found

    def count(self, table: Mapping[str, Any], key: str) -> int:
        found = table.get(key, 1)
        if type(found) is not int or found < 1:
            raise self.wrong(f"{key} must be a whole number of at least 1, not {found!r}")
        return found

    def table(self, table: Mapping[str, Any], key: str) -> dict[str, Any]:
        found = table.get(key, {})
        if not isinstance(found, dict):
            raise self.wrong(f"{key} must be a table")
        return found

    def factors(self, tables: Mapping[str, Any]) -> dict[str, dict[str, Level]]:
        found = {
            factor: {
                level: self.level(table, f"{factor}.{level}") for level, table in self.table(tables, factor).items()
            }
            for factor in tables
        }
        if not found or not all(found.values()):
            raise self.wrong("it needs at least one factor with a level: [factor.NAME.LEVEL]")
        return found

    def suite(self, name: str, table: Any) -> Measured:
        if not isinstance(table, dict):
            raise self.wrong(f"suite.{name} must be a table")
        self.only(table, _OF_SUITE, f"suite.{name}")
        scores = tuple(self.texts(table, "scores"))
        if not scores:
            raise self.wrong(f"scores of suite.{name} must name headings of its leaderboard")
        limit = self.count(table, "limit") if "limit" in table else None
        return Measured(suite=name, scores=scores, set=self.table(table, "set"), limit=limit)

    def level(self, table: Any, where: str) -> Level:
        if not isinstance(table, dict):
            raise self.wrong(f"factor.{where} must be a table")
        self.only(table, _OF_LEVEL, f"factor.{where}")
        return Level(
            recipe=self.text(table, "recipe"),
            set=self.table(table, "set"),
            draw={
                key: self.ends(ends, f"draw.{key} of factor.{where}") for key, ends in self.table(table, "draw").items()
            },
        )

    def ends(self, ends: Any, where: str) -> tuple[float, float]:
        numbers = isinstance(ends, list) and all(
            isinstance(end, int | float) and not isinstance(end, bool) for end in ends
        )
        if not numbers or len(ends) != 2 or not 0 < ends[0] <= ends[1] < math.inf:
            raise self.wrong(f"{where} must be a range [LOW, HIGH] above 0, not {ends!r}")
        return float(ends[0]), float(ends[1])
