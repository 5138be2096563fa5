"""Studies: their trainings carried out, measured like any checkpoint, and held against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.runs import run
from bench.compare.tables import Section
from bench.datasets import datasets
from bench.errors import BenchError, RunError
from bench.machine.files import make_folder, write, writing
from bench.progress import Progress
from bench.records import Checkpoint, Settings
from bench.run.choice import select_suites

if TYPE_CHECKING:
    from bench.checkpoints.train import Done
    from bench.study.analysis import Column, Trained
    from bench.study.design import Measured, Study, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """What a study gave."""

    study: "Study"
    trained: "tuple[Trained, ...]"
    tables: tuple[Section, ...]
    page: Path


def study(
    name: str,
    out: Path,
    settings: Settings,
    *,
    draws: int | None = None,
    seeds: int | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    workers: int | None = None,
    note: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
    command: str = "",
) -> StudyResult:
    """Carry out a study: what is trained and measured already is not done again.

    Args:
        name: one of the project's studies, or a TOML file; see `bench.study.design`.
        out: a folder for trainings (zoo/), outcomes (runs/), tables (CSV), figures (PNG) and the page.
        settings: device, precision, seed and places of data; the store is the study's own.
        draws: random settings of each arm; None as the study says. The first ones stay the same.
        seeds: trainings of each setting; None as the study says.
        only: factor to the levels of it that are taken; all of those that are not named.
        workers: trainings at the same time; None takes one a core.
        note: told of each training.
        progress: told of the measuring.
        command: what the page says that it was made by.

    Raises:
        BenchError: the study is none, its data are not here, or the folder cannot be written.
        RunError: a checkpoint could not be measured; what was is kept.
    """
    from bench.checkpoints.train import Training, train_all
    from bench.study.design import load_study

    design = load_study(name)
    for factor, levels in (only or {}).items():
        design = design.only(factor, levels)
    for what, count in (("draws", draws), ("seeds", seeds)):
        if count is not None and count < 1:
            raise BenchError(f"{what} of a study must be at least 1, not {count}.")
    if draws is not None and not design.searches:
        raise BenchError(f"study {design.name!r} draws no settings, so there is no number of them.")
    design = replace(design, draws=draws or design.draws, seeds=seeds or design.seeds)
    trials = list(design.trials())
    make_folder(out)
    trainings = [
        Training(recipe=trial.recipe, out=out / "zoo", device=settings.device, places=settings.places)
        for trial in trials
    ]
    done = []
    for number, each in enumerate(train_all(trainings, workers=workers), 1):
        done.append(each)
        became = "it diverged" if each.record.diverged else "trained" if each.anew else "was trained before"
        note(f"{number}/{len(trials)} {each.record.name}: {became}")
    scores = _measure(design, done, replace(settings, store=out / "runs"), progress)
    return _write(design, trials, done, scores, out, command)


def _measure(
    design: "Study", done: "Sequence[Done]", settings: Settings, progress: Progress | None
) -> "dict[str, dict[Column, float]]":
    """The scores of the trained checkpoints, by name."""
    from bench.checkpoints.toml_file import read_registry

    trained = {each.record.name: each.registry for each in done if not each.record.diverged}
    # They are not registered: another study of this process may have trainings of the same names.
    read = [read_registry(path, lambda name: datasets.get(name).class_space) for path in set(trained.values())]
    entries = {entry.name: entry for some in read for entry in some}
    scores: dict[str, dict[Column, float]] = {name: {} for name in trained}
    for measured in design.suites:
        if trained:
            _by_suite(measured, [entries[name] for name in trained], settings, progress, scores)
    return scores


def _by_suite(
    measured: "Measured",
    entries: Sequence[Checkpoint],
    settings: Settings,
    progress: Progress | None,
    scores: "dict[str, dict[Column, float]]",
) -> None:
    from bench.study.analysis import Column

    changes = {key: str(value) for key, value in measured.set.items()}
    chosen = select_suites([measured.suite], settings=changes)
    known = {score.column: score for suite in chosen for score in suite.scores if score.column}
    if strange := [heading for heading in measured.scores if heading not in known]:
        raise BenchError(f"{measured.suite} has no heading {strange[0]!r}; there are {', '.join(known)}.")
    result = run(chosen, entries, replace(settings, limit=measured.limit), progress)
    if result.failures or result.plan.unavailable:
        first = next((f"{failure.checkpoint}: {failure.message}" for failure in result.failures), "")
        raise RunError(
            f"{measured.suite} could not be measured: {first or next(iter(result.plan.unavailable.values()))}"
        )
    for row in (row for board in result.boards for row in board.rows):
        if row.score.column in measured.scores:
            metric = row.score.metric
            column = Column(
                suite=measured.suite,
                heading=row.score.column,
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
            )
            scores[row.checkpoint.name][column] = row.estimate.value


def _write(
    design: "Study",
    trials: "Sequence[Trial]",
    done: "Sequence[Done]",
    scores: "dict[str, dict[Column, float]]",
    out: Path,
    command: str,
) -> StudyResult:
    """Hold the trainings against each other; write tables, figures and the page."""
    from bench.compare.tables import to_csv
    from bench.report.curves import save
    from bench.study.analysis import Trained, arm_rows, contrast_rows
    from bench.study.page import render
    from bench.study.plots import figures
    from bench.study.tables import arm_records, contrast_records, sections, trial_records

    trained = tuple(
        Trained(
            trial=trial,
            checkpoint=each.record.name,
            diverged=each.record.diverged,
            scores=scores.get(each.record.name, {}),
        )
        for trial, each in zip(trials, done, strict=True)
    )
    arms, contrasts = list(arm_rows(design, trained)), list(contrast_rows(design, trained))
    tables = tuple(sections(design, arms, contrasts))
    drawn = list(figures(design, trained, contrasts))
    for name, records in (
        ("trainings", trial_records(trained)),
        ("arms", arm_records(arms)),
        ("contrasts", contrast_records(contrasts)),
    ):
        write(out / f"{name}.csv", to_csv(records))
    for name, figure in drawn:
        with writing(out / f"{name}.png") as whole:
            save(figure, whole, "png")
    page = out / "index.html"
    write(page, render(design, trained, tables, drawn, command))
    return StudyResult(study=design, trained=trained, tables=tables, page=page)
