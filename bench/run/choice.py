"""Which suites and checkpoints are meant: by name, track, family and settings, and by the data that are here."""

from collections.abc import Mapping, Sequence

from bench.checkpoints import checkpoints as checkpoint_registry
from bench.checkpoints.naming import checkpoints_called
from bench.datasets import class_spaces
from bench.datasets import datasets as dataset_registry
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint, ClassSpace
from bench.suite import Suite, tracks
from bench.suite import suites as suite_registry
from bench.text import some

DEFAULT_TRACK = "digits"
"""Ships with the package: what `bench run` does when nothing is asked for."""


def select(
    suites: Sequence[str] = (),
    track: str | None = None,
    checkpoints: Sequence[str] = (),
    family: str | None = None,
    *,
    reference: bool = False,
    settings: Mapping[str, str] | None = None,
) -> tuple[list[Suite], list[Checkpoint]]:
    """Suites and checkpoints by name or pattern. Without checkpoints: the suites' own, or all of their classes.

    Raises:
        BenchError: a name is unknown, or nothing is left.
    """
    chosen = select_suites(suites, track, reference=reference, settings=settings)
    if checkpoints:
        entries = checkpoints_called(checkpoints)
    elif all(suite.checkpoints for suite in chosen):
        entries = checkpoints_called([name for suite in chosen for name in suite.checkpoints])
    else:
        spaces = {space.digest for suite in chosen for space in predicted_by(suite)}
        entries = [entry for entry in checkpoint_registry if {entry.class_space.digest} == spaces]
    if family is not None:
        families = {entry.family for entry in (*checkpoint_registry, *entries)}
        if family not in families:
            raise UnknownNameError("family", family, families)
        entries = [entry for entry in entries if entry.family == family]
    if not entries:
        raise BenchError(_none_left(chosen, checkpoints, family))
    return chosen, entries


def _none_left(suites: Sequence[Suite], named: Sequence[str], family: str | None) -> str:
    """Which classes were wanted, and which checkpoints have which."""
    of_family = [entry for entry in checkpoint_registry if family in (None, entry.family)]
    if named:
        return f"{some(named)}: none of these is of the family {family}; leave one of them out."
    wanted = {suite.name: some(sorted({space.name for space in predicted_by(suite)})) for suite in suites}
    suites_of: dict[str, list[str]] = {}
    for name, classes in wanted.items():
        suites_of.setdefault(classes, []).append(name)
    wants = "; ".join(f"{some(names)}: {classes}" for classes, names in suites_of.items())
    names_of: dict[str, list[str]] = {}
    for entry in of_family:
        names_of.setdefault(entry.class_space.name, []).append(entry.name)
    have = "; ".join(f"{classes}: {some(names, 2)}" for classes, names in names_of.items()) or "none"
    of = "" if family is None else f" of the family {family}"
    advice = "name suites of one kind of classes" if len(suites_of) > 1 else "name the checkpoints with --checkpoint"
    return (
        f"no checkpoint{of} predicts the classes of these suites ({wants}), only others ({have}); {advice}, or give "
        "yours with --registry."
    )


def predicted_by(suite: Suite) -> list[ClassSpace]:
    """The class spaces that the checkpoints of a suite predict; of several data sets, one may stand twice."""
    if suite.predicts:
        return [class_spaces.get(suite.predicts)]
    return [dataset_registry.get(name).class_space for name in suite.sets]


def select_suites(
    names: Sequence[str] = (),
    track: str | None = None,
    *,
    every: bool = False,
    reference: bool = False,
    settings: Mapping[str, str] | None = None,
) -> list[Suite]:
    """Suites by name, or those of a track.

    Args:
        names: of the suites.
        track: instead of names.
        every: whether all suites are meant where there is neither; if not, the track that ships is.
        reference: their corruptions are those of imagecorruptions-imaug; see `Suite.by_reference`.
        settings: changes of those suites that have such settings; see `Suite.changed`.

    Raises:
        BenchError: a name is unknown, or both are given, or no suite has a setting.
    """
    if names and track is not None:
        raise BenchError(f"give suites ({', '.join(names)}) or a track ({track}), not both.")
    for name in names:
        _refuse_changed(name)
    chosen = [suite_registry.get(name) for name in dict.fromkeys(names)]
    if not chosen:
        chosen = list(suite_registry) if every and track is None else _of_track(track or DEFAULT_TRACK)
    # Data sets of the user's own are registered after the suites.
    transfer = [dataset.name for dataset in dataset_registry if dataset.fit]
    chosen = [suite.over(transfer) if suite.predicts and suite.covering else suite for suite in chosen]
    for name in settings or {}:
        if not any(name in suite.settings for suite in chosen):
            known = sorted({known for suite in chosen for known in suite.settings})
            raise UnknownNameError(f"setting of {some(suite.name for suite in chosen)}", name, known)
    chosen = [suite.changed({k: v for k, v in (settings or {}).items() if k in suite.settings}) for suite in chosen]
    return [suite.by_reference() for suite in chosen] if reference else chosen


def _of_track(track: str) -> list[Suite]:
    every = tracks()
    if track not in every:
        raise UnknownNameError("track", track, every, see="bench list tracks")
    return every[track]


def _refuse_changed(name: str) -> None:
    """The name that a suite bears in tables after `--set` is none to ask for it by."""
    for suite in suite_registry:
        if suite.settings and name not in suite_registry and name.startswith(f"{suite.name}-"):
            raise BenchError(f"no suite {name!r}: write --suite {suite.name} --set NAME=VALUE, as its name says.")
