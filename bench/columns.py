"""The columns of the long table, in their order: what every row says of its suite, its condition and its score."""

from collections.abc import Iterable

HEAD = ("suite", "version", "protocol", "checkpoint", "family", "sam")
CONDITION = (
    "dataset", "split", "fit", "crop_size", "crop_ratio", "interpolation", "corruption", "severity", "jpeg_quality",
    "input_size", "measure",
)  # fmt: skip
"""What every condition has; a measure's parameters follow, as columns of their own."""
TAIL = ("score", "metric", "value", "ci_low", "ci_high", "n")
SOMETIMES = ("level", "maker", "samples", "fit_samples", "warnings", "training_recipe", "training_seed")
"""Columns of some suites only, among those of the parameters; tables of older versions lack `level`."""
RESERVED = frozenset((*HEAD, *CONDITION, *TAIL, *SOMETIMES, "id", "label"))
"""What a measure's parameter cannot be called: columns of the long table, and of a table of outcomes."""
TYPES = {
    "version": "Int64", "severity": "Int64", "crop_size": "Int64", "input_size": "Int64", "n": "Int64",
    "training_seed": "Int64",
    "crop_ratio": "Float64", "value": "Float64", "ci_low": "Float64", "ci_high": "Float64",
}  # fmt: skip
"""Columns that are numbers, with pandas' type; all others are text."""
KEPT = ("checkpoint", *TAIL)
"""What a published table always has; any other column that says the same in every row stands in its metadata alone."""


def in_order(names: Iterable[str]) -> list[str]:
    """Columns of a long table in their order: the parameters of measures, by name, between condition and score.

    >>> in_order(["n", "steps", "suite", "eps", "measure"])
    ['suite', 'measure', 'eps', 'steps', 'n']
    """
    given = set(names)
    parameters = sorted(given.difference(HEAD, CONDITION, TAIL))
    return [name for name in (*HEAD, *CONDITION, *parameters, *TAIL) if name in given]
