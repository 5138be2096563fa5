"""What the columns of an outcome mean, whoever made them: those that contradict themselves give no score.

A name that stands here means the same in every outcome, also behind the `PART/` of a part of the class space. Columns
of other names are their measure's own. What a measure gives is held against this before it is stored, and what is
stored whenever a column is read.

Shapes: N samples, T of their classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from bench.records import Array

LABEL_SET = "label_set"
"""The column with all right labels of each sample, where data give several: its label first, then -1; (N, S) int64."""

_CLASSES = -1
"""Stands for the number of classes where a rule names a bound."""
_ABSOLUTE, _RELATIVE = 1e-3, 1e-5
"""Of the rounding of numbers that come from float32 logits; the second to the size of these."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What every value of a column is."""

    kinds: str
    """Kinds of NumPy types that it may have."""
    low: float = -inf
    below: float = inf
    """Values are less than this; infinity bounds nothing."""
    infinite: bool = False
    """Whether values may be infinite."""
    dimensions: int = 1
    words: str = "finite numbers"


def _whole(low: int, below: float, words: str, dimensions: int = 1) -> _Rule:
    return _Rule("iu", low, below, dimensions=dimensions, words=words)


_A_CLASS = _whole(0, _CLASSES, "indices of classes")
_A_SIGN = _whole(-1, 2, "-1, 0 or 1")
_A_SHARE = _Rule("f", 0, np.nextafter(1, 2), words="from 0 to 1")
_A_LOSS = _Rule("f", -_ABSOLUTE, words="finite and not negative")
_RULES = {
    "prediction": _A_CLASS,
    "correct": _Rule("biuf", 0, 2, words="true or false"),
    "rank": _whole(0, _CLASSES, "places among the classes, from 0"),
    # Imported rows have -1 where the class is not known.
    "top_classes": _whole(-1, _CLASSES, "indices of classes, or -1", dimensions=2),
    LABEL_SET: _whole(-1, _CLASSES, "indices of classes, or -1", dimensions=2),
    "top_logits": _Rule("f", dimensions=2),
    "log_sum_exp": _Rule("f"),
    "loss": _A_LOSS,
    "brier": _A_LOSS,
    "smallest_eps": _Rule("f", 0, infinite=True, words="0, an eps, or infinite"),
    "adversarial_prediction": _A_CLASS,
    "clean_loss": _A_LOSS,
    "gradients": _whole(0, inf, "counts"),
    "queries": _whole(0, inf, "counts"),
    **dict.fromkeys(("flat", "stuck", "longer", "unbounded", "square"), _A_SIGN),
    "fresh": _whole(-1, 2, "-1, 0 or 1", dimensions=2),
    **dict.fromkeys(("intersection", "target", "predicted"), _whole(0, inf, "counts", dimensions=2)),
    "validation_accuracy": _A_SHARE,
    "best_epoch": _whole(1, inf, "counts from 1"),
}


def check(columns: Mapping[str, Array], labels_N: Array, classes: int | None) -> None:
    """Hold all columns of an outcome against what their names mean.

    Args:
        columns: name to (N, …).
        labels_N: int64.
        classes: labels and predictions are less than this; None where nobody knows.

    Raises:
        ValueError: a column is not what its name says, or contradicts another or the labels; the message goes on from
            "because".
    """
    for name in columns:
        check_column(name, columns, labels_N, classes)


def check_column(name: str, columns: Mapping[str, Array], labels_N: Array, classes: int | None) -> None:
    """Hold one column against what its name means, and against those that it follows from.

    Args:
        name: of the column.
        columns: all of the outcome; only those are asked for that the check needs.
        labels_N: int64.
        classes: labels and predictions are less than this; None where nobody knows.

    Raises:
        ValueError: as `check` raises it.
    """
    prefix, slash, plain = name.rpartition("/")
    column = columns[name]
    if column.dtype.kind not in "biufUO":
        raise ValueError(f"its column {name!r} holds {column.dtype}, which no column may")
    if plain not in _RULES:
        return
    part = _Part(prefix + slash, columns, labels_N, classes)
    _check_values(name, column, _RULES[plain], part)
    for relation in _RELATIONS.get(plain, ()):
        with np.errstate(all="ignore"):
            kept_N = np.asarray(relation.holds(part))
        if not np.all(kept_N):
            raise ValueError(
                f"its column {name!r} contradicts {relation.words} in {np.count_nonzero(~kept_N):,} of "
                f"{kept_N.size:,} rows, the first of them row {int(np.argmin(kept_N))}"
            )


def check_samples(ids: Array, labels_N: Array, classes: int | None) -> None:
    """Hold samples against what they must be: each once, and of one of the classes.

    Args:
        ids: (N,) text.
        labels_N: int64.
        classes: labels are less than this; None where nobody knows.

    Raises:
        ValueError: as `check` raises it.
    """
    if len(set(ids.tolist())) != len(ids):
        raise ValueError("an id of its samples comes twice")
    if len(labels_N) and not (labels_N.dtype.kind in "iu" and labels_N.min() >= 0):
        raise ValueError("its labels are no indices of classes")
    check_labels(labels_N, classes)


def check_labels(labels_N: Array, classes: int | None) -> None:
    """Hold labels against the number of classes.

    Raises:
        ValueError: one is beyond the last class.
    """
    if classes is not None and len(labels_N) and labels_N.max() >= classes:
        raise ValueError(f"its labels go to {labels_N.max()}, beyond the last of {classes} classes")


@dataclass(frozen=True, slots=True)
class _Part:
    """The columns of an outcome, or of a part of the class space in it."""

    prefix: str
    columns: Mapping[str, Array]
    labels_N: Array
    classes: int | None

    def get(self, name: str) -> Array | None:
        """A column that another is held against, itself as its name says; None where the outcome lacks it."""
        full = self.prefix + name
        if full not in self.columns:
            return None
        _check_values(full, self.columns[full], _RULES[name], self)
        return self.columns[full]

    def rounding_N(self) -> Array | float:
        """By how much a number made of float32 logits may be off."""
        log_sum_exp_N = self.get("log_sum_exp")
        return _ABSOLUTE if log_sum_exp_N is None else _ABSOLUTE + _RELATIVE * np.abs(log_sum_exp_N)


def _check_values(name: str, column: Array, rule: _Rule, part: _Part) -> None:
    below = rule.below
    if below == _CLASSES:
        below = inf if part.classes is None else part.classes
    if column.dtype.kind not in rule.kinds or column.ndim != rule.dimensions or 0 in column.shape[1:]:
        raise ValueError(f"its column {name!r} must hold {rule.words}, not {column.dtype} of shape {column.shape[1:]}")
    if not column.size:
        return
    # NaN is neither; the smallest and the largest show it, and are faster than a comparison of every value.
    low, high = column.min(), column.max()
    if low >= rule.low and (high < below or rule.infinite):
        return
    right = (column >= rule.low) & ((column < below) | rule.infinite) | _has_none(name, column, part)
    if not right.all():
        wrong = column[~right]
        raise ValueError(
            f"its column {name!r} must hold {rule.words}, but {len(wrong):,} of {column.size:,} values are not, the "
            f"first of them {wrong[0]}"
        )


def _has_none(name: str, column: Array, part: _Part) -> Array | bool:
    """(N,) rows without a value, as the label is none of the part's classes."""
    plain, rank_N = name.removeprefix(part.prefix), part.columns.get(part.prefix + "rank") if part.prefix else None
    if rank_N is None or plain not in ("rank", "loss", "brier"):
        return False
    none_N: Array = (rank_N == -1) & ((column == -1) if plain == "rank" else np.isnan(column))
    return none_N


# -- what follows from what ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Relation:
    words: str
    """What a column follows from."""
    holds: Callable[[_Part], Any]
    """(N,) bool, the rows that agree; True alone where the other column is not there."""


def _zero_or_one(part: _Part) -> Any:
    correct_N = part.columns[part.prefix + "correct"]
    return correct_N.dtype.kind == "b" or (correct_N == 0) | (correct_N == 1)


def _as_predicted(part: _Part) -> Any:
    prediction_N = part.get("prediction")
    return prediction_N is None or part.columns[part.prefix + "correct"] == (prediction_N == part.labels_N)


def _first_where_correct(part: _Part) -> Any:
    correct_N = part.get("correct")
    return correct_N is None or (part.columns[part.prefix + "rank"] == 0) == correct_N


def _begins_with_the_prediction(part: _Part) -> Any:
    prediction_N = part.get("prediction")
    return prediction_N is None or part.columns[part.prefix + "top_classes"][:, 0] == prediction_N


def _label_at_its_rank(part: _Part) -> Any:
    """Also that no other class of the row is the label."""
    rank_N, classes_NT = part.get("rank"), part.columns[part.prefix + "top_classes"]
    if rank_N is None:
        return True
    places_T = np.arange(classes_NT.shape[1])
    hits_NT = classes_NT == part.labels_N[:, None]
    here_NT = (rank_N[:, None] == places_T) & (classes_NT >= 0)  # of imported rows the last places are not known
    return (hits_NT == here_NT).all(axis=1) | (rank_N < 0)


def _label_first(part: _Part) -> Any:
    """Also that no label follows where there is no more."""
    sets_NS = part.columns[part.prefix + LABEL_SET]
    ends_N = ((sets_NS[:, :-1] >= 0) | (sets_NS[:, 1:] < 0)).all(axis=1)
    return ends_N & (sets_NS[:, 0] == part.labels_N)


def _falling(part: _Part) -> Any:
    logits_NT, log_sum_exp_N = part.columns[part.prefix + "top_logits"], part.get("log_sum_exp")
    falls_N = (logits_NT[:, 1:] <= logits_NT[:, :-1]).all(axis=1)
    if log_sum_exp_N is None:
        return falls_N
    return falls_N & (logits_NT[:, 0] <= log_sum_exp_N + part.rounding_N())


def _loss_at_its_rank(part: _Part) -> Any:
    logits_NT = part.columns[part.prefix + "top_logits"]
    rank_N, loss_N, log_sum_exp_N = part.get("rank"), part.get("loss"), part.get("log_sum_exp")
    if rank_N is None or loss_N is None or log_sum_exp_N is None:
        return True
    known_N = (rank_N >= 0) & (rank_N < logits_NT.shape[1])
    label_N = np.take_along_axis(logits_NT, np.where(known_N, rank_N, 0)[:, None], axis=1)[:, 0]
    return ~known_N | (np.abs(log_sum_exp_N - label_N - loss_N) <= part.rounding_N())


def _as_likely_as_its_rank(part: _Part) -> Any:
    """The class at place r is at most as likely as 1 / (r + 1), and the first at least as 1 / K."""
    loss_N, rank_N = part.columns[part.prefix + "loss"], part.get("rank")
    if rank_N is None:
        return True
    most_N = np.where((rank_N == 0) & (part.classes is not None), np.log(part.classes or 1), inf)
    slack_N = part.rounding_N()
    likely_N = (loss_N >= np.log1p(np.maximum(rank_N, 0)) - slack_N) & (loss_N <= most_N + slack_N)
    return likely_N | (rank_N < 0)


def _within_its_loss(part: _Part) -> Any:
    """With p of the label: (1 - p)² of it, and of the others together as much at most."""
    brier_N, loss_N = part.columns[part.prefix + "brier"], part.get("loss")
    if loss_N is None:
        return True
    least_N, slack_N = np.square(1 - np.exp(-loss_N)), part.rounding_N()
    return (brier_N >= least_N - slack_N) & (brier_N <= 2 * least_N + slack_N) | np.isnan(loss_N)


def _zero_where_wrong(part: _Part) -> Any:
    correct_N = part.get("correct")
    return correct_N is None or (part.columns[part.prefix + "smallest_eps"] == 0) == (correct_N == 0)


def _within_both(part: _Part) -> Any:
    intersection_NK, others = part.columns[part.prefix + "intersection"], map(part.get, ("target", "predicted"))
    return np.all([(intersection_NK <= other).all(axis=1) for other in others if other is not None], axis=0)


def _as_many_as_shown(part: _Part) -> Any:
    target_NK = part.get("target")
    predicted_NK = part.columns[part.prefix + "predicted"]
    return target_NK is None or predicted_NK.sum(axis=1) == target_NK.sum(axis=1)


_RELATIONS = {
    "intersection": (_Relation("'target' or 'predicted'", _within_both),),
    "predicted": (_Relation("as many pixels in 'target'", _as_many_as_shown),),
    "correct": (
        _Relation("being 0 or 1", _zero_or_one),
        _Relation("the predictions and labels", _as_predicted),
    ),
    "rank": (_Relation("'correct'", _first_where_correct),),
    "top_classes": (
        _Relation("the predictions", _begins_with_the_prediction),
        _Relation("the labels and their ranks", _label_at_its_rank),
    ),
    LABEL_SET: (_Relation("the labels, which come first in it", _label_first),),
    "top_logits": (
        _Relation("their order or 'log_sum_exp'", _falling),
        _Relation("'loss' and 'log_sum_exp'", _loss_at_its_rank),
    ),
    "loss": (_Relation("'rank'", _as_likely_as_its_rank),),
    "brier": (_Relation("'loss'", _within_its_loss),),
    "smallest_eps": (_Relation("'correct'", _zero_where_wrong),),
}
