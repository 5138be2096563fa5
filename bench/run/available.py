"""Which suites can be measured with the data that are here."""

from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import NamedTuple

from bench.datasets import Library
from bench.errors import AbsentError, BenchError
from bench.measure.cells import made_here
from bench.records import Condition
from bench.suite import Suite


class Available(NamedTuple):
    """What is left of suites that were asked for."""

    suites: list[Suite]
    """Those whose data are here, some in place of others."""
    left_out: Mapping[str, str]
    """Name of a suite that cannot be measured here to the reason."""
    notes: list[str]
    """What was replaced, which conditions lack data, which data sets are smaller than the limit."""


def with_data(
    suites: Iterable[Suite], library: Library, left_out: MutableMapping[str, str] | None = None
) -> tuple[list[Suite], list[str]]:
    """The suites that can be measured with the data that are here.

    A suite none of whose headline's data are here gives way to its fallback; one that takes any data sets is cut to
    those that are here.

    Args:
        suites: what was asked for.
        library: opens the data sets.
        left_out: takes the name of each suite that cannot be measured, with the reason; None makes that an error.

    Returns:
        The suites, and notes: which were replaced, and whose other conditions lack data.

    Raises:
        AbsentError: the data of a suite and of its fallback are not here.
    """
    here: dict[str, Suite] = {}
    notes: list[str] = []
    for suite in suites:
        try:
            if suite.requires is not None:
                suite.requires()
            chosen = _replaced(_over_sets_here(suite, library, notes), library, notes)
        except AbsentError as error:
            if left_out is None:
                raise
            left_out[suite.name] = str(error)
            continue
        here[chosen.name] = chosen
        notes += filter(None, [_uneven(chosen, library), _generated(chosen, library)])
        lacking = [reason for reason in (absent(condition, library) for condition in chosen.conditions) if reason]
        if lacking:
            notes.append(
                f"{chosen.name}: {len(lacking)} of {len(chosen.conditions)} conditions left out, and the scores that "
                f"need them: {lacking[0]}"
            )
    return list(here.values()), notes


def _over_sets_here(suite: Suite, library: Library, notes: list[str]) -> Suite:
    """Of a suite that takes any data sets, what can be measured; a set that the user placed is missed aloud."""
    if suite.covering is None:
        return suite
    faults = {name: _fault_of(name, suite, library) for name in suite.sets}
    here = [name for name, fault in faults.items() if fault is None]
    # That a set was never given is no news.
    missed = [
        str(fault)
        for name, fault in faults.items()
        if fault and (name in library.places or not isinstance(fault, AbsentError))
    ]
    if not here:
        if missed:
            raise AbsentError(f"suite {suite.name!r} cannot be measured: {missed[0]}")
        raise AbsentError(
            f"suite {suite.name!r} takes any of {', '.join(suite.sets)}, and none is on this machine as far as rtbench "
            f"knows; say where one is with --data NAME=FOLDER (`bench data list` says where to get them)."
        )
    notes += [f"{suite.name}: left out: {reason}" for reason in missed]
    return suite.over(here)


def _fault_of(name: str, suite: Suite, library: Library) -> BenchError | None:
    """Why a data set of the suite cannot be read here; the others need not wait for its repair."""
    data = dict.fromkeys(condition.data for condition in suite.conditions if condition.data.dataset == name)
    try:
        for split in dict.fromkeys(split for part in data for split in (part.split, *part.fit)):
            library.open(name, split)
    except BenchError as error:
        return error
    return None


def _replaced(suite: Suite, library: Library, notes: list[str]) -> Suite:
    """The suite, or its fallback where nothing of its headline's data sets is here."""
    reasons = _absent_of_headline(suite, library)
    if not all(reasons):
        return suite
    fallback = suite.stand_in
    if fallback is not None and not all(_absent_of_headline(fallback, library)):
        notes.append(f"{suite.name}: {reasons[0]} Until then {fallback.name} stands in: {fallback.title}.")
        return fallback
    raise AbsentError(f"suite {suite.name!r} cannot be measured: {reasons[0]}")


def _absent_of_headline(suite: Suite, library: Library) -> list[str]:
    """For each condition on a data set of the headline's, why its data are not here; empty where they are."""
    data = {condition.data.dataset for condition in suite.headline.conditions}
    return [absent(condition, library) for condition in suite.conditions if condition.data.dataset in data]


def _generated(suite: Suite, library: Library) -> str:
    """Whether what the suite takes as stored was made here; empty where it was not."""
    for name in {c.data.dataset for c in suite.conditions if c.image_set.stored}:
        if made_here(library, name):
            return (
                f"{suite.name}: {library.places[name]} was generated by `bench data make-c`. Quote the numbers as "
                "generated: the published files have other draws, and errors differ by about a point."
            )
    return ""


def _uneven(suite: Suite, library: Library) -> str:
    """Which of a suite's stored folders holds other images than the rest; empty where they are alike."""
    stored = {c.image_set for c in suite.conditions if c.image_set.stored and not absent(c, library)}
    ids = {images: library.open(images.dataset, images.split).samples.ids for images in stored}
    counts = Counter(id(array) for array in ids.values())  # the same ids are one array: see FolderSamples
    if len(counts) < 2:
        return ""
    usual = counts.most_common(1)[0][0]
    odd = sorted(f"{images.split} ({len(array):,})" for images, array in ids.items() if id(array) != usual)
    count = next(len(array) for array in ids.values() if id(array) == usual)
    return (
        f"{suite.name}: {', '.join(odd[:3])} hold other images than the rest ({count:,}): scores over several folders "
        "need the same ones; unpack these again."
    )


def absent(condition: Condition, library: Library) -> str:
    """Why the condition's data are not here; empty where they are."""
    images = condition.image_set
    try:
        for split in (images.split, *condition.data.fit):
            library.open(images.dataset, split)
    except AbsentError as error:
        return str(error)
    return ""


def suites_here(suites: Sequence[Suite], library: Library, *, needed: bool, limit: int | None = None) -> Available:
    """Those suites whose data are here.

    Args:
        suites: what is asked for.
        library: opens the data sets.
        needed: whether a suite without its data is an error.
        limit: of the run; sets that are smaller are named in the notes.

    Raises:
        AbsentError: nothing is left, or a suite that is needed lacks its data.
    """
    left_out: dict[str, str] = {}
    here, notes = with_data(suites, library, None if needed else left_out)
    notes += _smaller_than(limit, here, library)
    if left_out and not here:
        raise AbsentError(
            f"none of the suites {', '.join(left_out)} can be measured here; the first: {next(iter(left_out.values()))}"
        )
    return Available(here, left_out, notes)


def _smaller_than(limit: int | None, suites: Sequence[Suite], library: Library) -> list[str]:
    """A note on each data set that has no more samples than the limit asks for."""
    if limit is None:
        return []
    headlines = {condition for suite in suites for condition in suite.headline.conditions}
    shown = {condition.image_set.plain for condition in headlines if not absent(condition, library)}
    counts = {images.dataset: len(library.open(images.dataset, images.split).samples.ids) for images in shown}
    return [
        f"{name} has {count:,} samples here, fewer than the limit of {limit:,}: all are measured."
        for name, count in sorted(counts.items())
        if count < limit
    ]
