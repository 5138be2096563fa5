"""The metrics that suites share, as they stand in tables, and the sets of scores that go together."""

from collections.abc import Callable, Sequence

from bench.corruptions.builtin import GROUPS
from bench.datasets import Dataset, class_spaces
from bench.metrics.attributes import WORST_GROUP, among
from bench.metrics.classification import (
    BRIER,
    ECE,
    LABEL_SET_ACCURACY,
    MEAN_ACCURACY,
    MEAN_PER_CLASS,
    NLL,
    TOP1,
    TOP5,
)
from bench.metrics.shift import RELATIVE_DROP
from bench.records import Condition, Crop, Data, Images, Measurement, Params, Perturbation, Protocol
from bench.suite import Score, Suite


def classification(condition: Condition, *, top5: str = "") -> tuple[Score, ...]:
    """Accuracy, likelihood and calibration under one condition, top-1 first.

    Args:
        condition: under which images are classified.
        top5: the heading of top-5 accuracy; empty keeps it to the long table.
    """
    return (
        Score(metric=TOP1, conditions=(condition,), column="top-1"),
        Score(metric=TOP5, conditions=(condition,), column=top5),
        Score(metric=MEAN_PER_CLASS, conditions=(condition,)),
        Score(metric=NLL, conditions=(condition,), column="NLL"),
        Score(metric=BRIER, conditions=(condition,), column="Brier"),
        Score(metric=ECE, conditions=(condition,), column="ECE"),
    )


def plain_suite(dataset: Dataset) -> Suite:
    """The suite of a user's data set: accuracy, likelihood and calibration, each checkpoint under its own crop.

    What is written beside the images comes first: the worst group where they are cut to groups, and accuracy in label
    sets where an image has several right labels; and accuracy by each value of each attribute is in the long table.
    """
    groups, classes = dataset.groups, len(dataset.class_space.classes)
    measurement = Measurement(params=Params(groups=groups.name)) if groups else Measurement()
    condition = Condition(data=Data(dataset=dataset.name, split=dataset.splits[0]), measure=measurement)
    terms = [f"{classes}-way", "each checkpoint's own crop"]
    if groups:
        terms[:1] = [f"{classes} groups by the mean of their classes' probabilities"]
    if dataset.label_sets:
        terms.insert(1, "right if in the set of labels")
        plain: tuple[Score, ...] = (
            Score(metric=LABEL_SET_ACCURACY, conditions=(condition,), column="top-1 in the set"),
            Score(metric=TOP1, conditions=(condition,), column="first label"),
        )
    else:
        # Of five classes or fewer, every model has the right one among its first five.
        plain = tuple(score for score in classification(condition) if score.metric is not TOP5 or classes > 5)
    return Suite(
        name=dataset.name,
        version=1,
        title=dataset.about or dataset.name,
        paper=dataset.source,
        track=dataset.name,
        protocol=Protocol(terms=tuple(terms)),
        scores=(*_worst_group(dataset, condition), *plain, *_by_attribute(dataset, condition)),
        predicts=groups.of.name if groups else "",
    )


def _worst_group(dataset: Dataset, condition: Condition) -> tuple[Score, ...]:
    if dataset.grouping is None:
        return ()
    metric = WORST_GROUP.given(grouping=dataset.grouping)
    return (Score(metric=metric, conditions=(condition,), column="worst group"),)


def _by_attribute(dataset: Dataset, condition: Condition) -> tuple[Score, ...]:
    metric = LABEL_SET_ACCURACY if dataset.label_sets else TOP1
    return tuple(
        Score(metric=among(metric, attribute, value), conditions=(condition,), at=Params({attribute.name: value}))
        for attribute in dataset.attributes
        for value in attribute.values
    )


def shift(clean: Condition, shifted: Condition) -> tuple[Score, ...]:
    """The scores of `classification` under a shift, with the clean accuracy and the drop from it beside.

    Args:
        clean: the condition without the shift.
        shifted: the one with it.
    """
    return (
        *classification(shifted),
        Score(metric=TOP1, conditions=(clean,), column="clean", clean=True),
        Score(metric=RELATIVE_DROP, conditions=(clean, shifted), column="rel. drop"),
    )


def shift_within(clean: Condition, shifted: Condition, part: str) -> tuple[Score, ...]:
    """Scores of a data set that has a part of the classes: logits cut to these, and over all classes beside.

    Args:
        clean: the condition without the shift, of the whole class space.
        shifted: the one with it.
        part: the name of the part, among the `subsets` of both conditions' measure.
    """
    cut = {metric: metric.within(part) for metric in (TOP1, TOP5, MEAN_PER_CLASS, NLL, BRIER, ECE, RELATIVE_DROP)}
    count = len(class_spaces.get(part).classes)
    return (
        Score(metric=cut[TOP1], conditions=(shifted,), column=f"top-1 of {count}"),
        Score(metric=TOP1, conditions=(shifted,), column="top-1 of 1000"),
        Score(metric=cut[TOP5], conditions=(shifted,)),
        Score(metric=cut[MEAN_PER_CLASS], conditions=(shifted,)),
        Score(metric=cut[NLL], conditions=(shifted,), column="NLL"),
        Score(metric=cut[BRIER], conditions=(shifted,)),
        Score(metric=cut[ECE], conditions=(shifted,), column="ECE"),
        Score(metric=cut[TOP1], conditions=(clean,), column=f"clean, same {count}", clean=True),
        Score(metric=cut[RELATIVE_DROP], conditions=(clean, shifted), column="rel. drop"),
    )


MCE_CORRUPTIONS = tuple(name for group, names in GROUPS.items() if group != "extra" for name in names)
"""The 15 that count in mCE and in the mean over 15 (Hendrycks & Dietterich 2019, arXiv 1903.12261)."""
CORRUPTIONS = tuple(name for names in GROUPS.values() for name in names)
"""All 19."""
SEVERITIES = range(1, 6)


def severities(
    corruption: str,
    *,
    data: Data,
    crop: Crop | None = None,
    jpeg_quality: int | None = None,
    stored: bool = False,
    at: Sequence[int] = SEVERITIES,
) -> tuple[Condition, ...]:
    """The conditions of a corruption, one a severity; the arguments are those of the records that they are made of."""
    return tuple(
        Condition(
            data=data,
            images=Images(
                crop=crop,
                perturbation=Perturbation(
                    corruption=corruption, severity=severity, jpeg_quality=jpeg_quality, stored=stored
                ),
            ),
        )
        for severity in at
    )


def corrupted(
    clean: Condition, severities_of: Callable[[str], tuple[Condition, ...]], names: Sequence[str]
) -> tuple[Score, ...]:
    """Accuracy under corruptions: means over all, each group and each corruption, every condition, the clean one.

    Args:
        clean: the condition without corruption.
        severities_of: the name of a corruption to its conditions, one a severity.
        names: the corruptions; where the 15 of `MCE_CORRUPTIONS` are among them, these alone make the mean, and groups.
    """
    conditions = {name: severities_of(name) for name in names}
    whole = set(MCE_CORRUPTIONS) <= set(names)
    averaged = MCE_CORRUPTIONS if whole else tuple(names)
    mean = tuple(condition for name in averaged for condition in conditions[name])
    every = tuple(condition for name in names for condition in conditions[name])
    groups = {group: members for group, members in GROUPS.items() if group != "extra" and whole}
    return (
        Score(metric=MEAN_ACCURACY, conditions=mean, column=f"mean of {len(averaged)}"),
        *(
            Score(
                metric=MEAN_ACCURACY,
                conditions=tuple(condition for name in members for condition in conditions[name]),
                column=group,
            )
            for group, members in groups.items()
        ),
        Score(metric=TOP1, conditions=(clean,), column="clean", clean=True),
        Score(metric=RELATIVE_DROP, conditions=(clean, *mean), column="rel. drop"),
        *(Score(metric=MEAN_ACCURACY, conditions=conditions[name]) for name in names),
        *(Score(metric=TOP1, conditions=(condition,)) for condition in every),
    )
