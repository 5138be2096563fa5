"""What a suite and its columns mean: from the suite itself, and from `docs/protocols.md`, which is installed too."""

import contextlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import bench
from bench.datasets import Library, datasets
from bench.errors import BenchError, UnknownNameError
from bench.records import Condition
from bench.suite import Score, Suite
from bench.suite.words import condition_in_words
from bench.text import render, some

_INSTALLED = "rtbench_docs"
"""What the folder docs/ is called where rtbench is installed."""


def explain(suite: Suite, column: str | None = None) -> str:
    """A suite in words, or one of its scores.

    Args:
        suite: which.
        column: the heading of a score in its leaderboard, or the name of a metric that stands in its CSV alone.

    Raises:
        UnknownNameError: the suite has no such score.
    """
    return _column(suite, column) if column is not None else _suite(suite)


def _suite(suite: Suite) -> str:
    rows = [
        [score.column, score.metric.name, _better(score), len(score.conditions), _over(suite, score)]
        for score in suite.board
    ]
    hidden = dict.fromkeys(score.metric.name for score in suite.scores if not score.column)
    parts = [
        f"{suite.name} v{suite.version}: {suite.title}\nprotocol: {suite.protocol.name}"
        + (f"\nsource: {suite.paper}" if suite.paper else "")
        + f"\nconditions: {len(suite.conditions):,}, of {some(_images(list(suite.conditions)))}",
        render(["column", "metric", "better", "conditions", "over"], rows),
    ]
    parts += [f"in the CSV alone: {', '.join(hidden)}"] if hidden else []
    parts += [_prose(_section(suite.name))] if _section(suite.name) else []
    return "\n\n".join(parts)


def _column(suite: Suite, name: str) -> str:
    scores = [score for score in suite.board if score.column == name]
    scores = scores or [score for score in suite.scores if score.metric.name == name]
    if not scores:
        known = [score.column or score.metric.name for score in suite.scores]
        raise UnknownNameError(f"column of {suite.name}", name, set(known), see=f"bench explain {suite.name}")
    score, every = scores[0], [condition for score in scores for condition in score.conditions]
    rule = _metric_row(score.metric.name)
    says = {
        "metric": score.metric.name,
        "definition": rule.get("definition", "") or _docstring(score),
        "unit": "fraction, shown in percent" if score.metric.unit == "fraction" else score.metric.unit,
        "better": rule.get("better", "") or _better(score),
        "interval": rule.get("interval", "") or ("by image" if score.metric.by_image else "none"),
        "over": _over(suite, score),
        "conditions": some(dict.fromkeys(map(condition_in_words, every)), 8),
        "images": some(_images(every)),
        "protocol": suite.protocol.name,
    }
    lines = [f"{key + ':':<12}{' '.join(value.split())}" for key, value in says.items() if value]
    return "\n".join([f"{name}, of {suite.name} v{suite.version}: {suite.title}", *lines])


def _better(score: Score) -> str:
    return "higher" if score.metric.higher_is_better else "lower"


def _docstring(score: Score) -> str:
    """What the metric's function says of itself, without what it takes."""
    function = score.metric.function
    return (inspect.getdoc(getattr(function, "func", function)) or "").partition("\n\n")[0]


def _images(conditions: list[Condition]) -> list[str]:
    """How many images are measured, a data set and split each."""
    counts: dict[str, str] = {}
    for condition in conditions:
        images = condition.image_set
        dataset = datasets.get(images.dataset)
        whole = dataset.expected.get(images.split)
        n = whole.images if whole else None
        if n is None and not dataset.source:  # it ships, or is a plug-in's, which may want a place
            with contextlib.suppress(BenchError):
                n = len(Library().open(images.dataset, images.split).samples.ids)
        name = images.dataset if images.stored else f"{images.dataset}/{images.split}"
        taken = n if n is None or images.samples is None else min(n, images.samples)
        counts.setdefault(name, name if taken is None else f"{taken:,} images of {name}")
    return list(counts.values())


# -- docs/protocols.md --------------------------------------------------------------------------------------------


@cache
def _page() -> str:
    """The page; empty where neither an installation nor a checkout has it."""
    # Not importlib.resources: it refuses the folders of an editable installation, one of which is only a name.
    spec = importlib.util.find_spec(_INSTALLED)
    installed = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    checkout = Path(bench.__file__).parents[1] / "docs"
    pages = [place / "protocols.md" for place in (*installed, checkout)]
    return next((page.read_text(encoding="utf-8") for page in pages if page.is_file()), "")


def _section(suite: str) -> str:
    """What the page says of a suite, without its heading."""
    found = re.search(rf"^## {re.escape(suite)}\n(.*?)(?=^## |\Z)", _page(), re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _prose(section: str) -> str:
    """A section without its tables, which are made of the suite itself."""
    paragraphs = [part for part in section.split("\n\n") if not part.startswith("|")]
    return "\n\n".join(paragraphs).replace("**", "")


def _over(suite: Suite, score: Score) -> str:
    """What the page says a score is over; of a suite that it does not know, how many conditions."""
    for row in _rows(_section(suite.name)):
        if score.column and row[-1] and (row[0] == score.column or score.column in row[0].split(", ")):
            return row[-1]
    return some(dict.fromkeys(map(condition_in_words, score.conditions)), 3)


def _metric_row(metric: str) -> dict[str, str]:
    """What the page says of a metric, by the headings of its table."""
    name = re.sub(r"\[.*\]$", "", metric)
    headings: list[str] = []
    for row in _rows(_page()):
        headings = row if row[0] == "metric" else headings
        if headings and row[0] == f"`{name}`" and len(row) == len(headings):
            return dict(zip(headings, row, strict=True))
    return {}


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of each line of a Markdown table."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
