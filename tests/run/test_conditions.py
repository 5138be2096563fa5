"""Every shape of condition passes through the engine: each part of one reaches the module, the key and the tables."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import v2

from bench import api
from bench.checkpoints import checkpoints
from bench.columns import RESERVED
from bench.corruptions import corruptions
from bench.datasets import Library
from bench.errors import BenchError
from bench.machine import hardware
from bench.measure import MeasureEntry, measures
from bench.metrics import Metric, shift
from bench.metrics.classification import TOP1
from bench.records import (
    Condition,
    Crop,
    Data,
    Estimate,
    Images,
    Measurement,
    ModelSetting,
    Params,
    Perturbation,
    Protocol,
    Settings,
)
from bench.store import Store
from bench.store.log import read_log
from bench.suite import Score, Suite

LIGHTS = Data(dataset="lights")
DUSK = Images(perturbation=Perturbation(corruption="dusk", severity=3))


# -- measures that a later issue might bring ------------------------------------------------------------------


class Pixels:
    """A batch measure: what the module is shown, as it is shown."""

    def rows(self, module, images_NCHW, labels_N):
        return {"pixels": images_NCHW.flatten(1).clone(), "correct": module(images_NCHW).argmax(1) == labels_N}


class NearestMean:
    """A checkpoint measure that learns: the class whose mean training picture is nearest."""

    def run(self, module, loader, fit, seed, pace):
        batches = list(fit["train"])
        again = [i for batch in fit["train"] for i in batch.ids]
        assert again == [i for batch in batches for i in batch.ids] == fit["train"].ids.tolist()
        images, labels = (
            torch.cat([b.images_NCHW for b in batches]).flatten(1),
            torch.cat([b.labels_N for b in batches]),
        )
        assert labels.tolist() == fit["train"].labels.tolist()
        means = torch.stack([images[labels == label].mean(0) for label in labels.unique()])
        near = torch.cat([torch.cdist(batch.images_NCHW.flatten(1), means).argmin(1) for batch in loader])
        return {
            "prediction": near.numpy(),
            "correct": near.numpy() == loader.labels,
            "learnt_from": np.full(len(near), len(images)),
        }


class OneStep:
    """A checkpoint measure that owns its loop: one step of size eps up the gradient of the loss, as FGSM."""

    def __init__(self, eps):
        self.eps = eps

    def run(self, module, loader, fit, seed, pace):
        rows = {"loss": [], "clean_loss": [], "largest_change": [], "lowest": [], "highest": [], "correct": []}
        for batch in loader:
            images = batch.images_NCHW.clone().requires_grad_()
            loss = F.cross_entropy(module(images), batch.labels_N, reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), images)
            moved = (images + self.eps * gradient.sign()).clamp(0, 1).detach()
            logits = module(moved)
            rows["clean_loss"].append(loss.detach())
            rows["loss"].append(F.cross_entropy(logits, batch.labels_N, reduction="none"))
            rows["correct"].append(logits.argmax(1) == batch.labels_N)
            rows["largest_change"].append((moved - images.detach()).abs().amax((1, 2, 3)))
            rows["lowest"].append(moved.amin((1, 2, 3)))
            rows["highest"].append(moved.amax((1, 2, 3)))
        return {name: torch.cat(parts).numpy() for name, parts in rows.items()}


class OneRowLess:
    """Faulty, in both interfaces: it loses a sample."""

    def rows(self, module, images_NCHW, labels_N):
        return {"correct": labels_N[1:] == 0}

    def run(self, module, loader, fit, seed, pace):
        return {"correct": loader.labels[1:] == 0}


class Lying:
    """Faulty, in both interfaces: it calls right what it predicts wrong."""

    def rows(self, module, images_NCHW, labels_N):
        return {"prediction": (labels_N + 1) % 3, "correct": labels_N >= 0}

    def run(self, module, loader, fit, seed, pace):
        return {"prediction": (loader.labels + 1) % 3, "correct": loader.labels >= 0}


class Fickle:
    """Faulty: every batch has another column."""

    def __init__(self):
        self.number = 0

    def rows(self, module, images_NCHW, labels_N):
        self.number += 1
        return {f"column{self.number}": labels_N}


class Draw:
    """A seeded measure."""

    def run(self, module, loader, fit, seed, pace):
        return {"correct": np.random.default_rng(seed).random(len(loader.ids)) < 0.5}


class Exact:
    """A checkpoint measure that wants fp32: whether the module runs in another precision."""

    def run(self, module, loader, fit, seed, pace):
        return {"correct": loader.labels == 0, "autocast": np.full(len(loader.ids), torch.is_autocast_enabled("cpu"))}


ENTRIES = (
    MeasureEntry(name="pixels", version=1, interface="batch", factory=f"{__name__}:Pixels"),
    MeasureEntry(name="exact", version=1, interface="checkpoint", factory=f"{__name__}:Exact", exact=True),
    MeasureEntry(name="nearest-mean", version=1, interface="checkpoint", factory=f"{__name__}:NearestMean"),
    MeasureEntry(name="one-step", version=1, interface="checkpoint", factory=f"{__name__}:OneStep"),
    MeasureEntry(name="draw", version=1, interface="checkpoint", factory=f"{__name__}:Draw", seeded=True),
    MeasureEntry(name="short-batch", version=1, interface="batch", factory=f"{__name__}:OneRowLess"),
    MeasureEntry(name="short-loop", version=1, interface="checkpoint", factory=f"{__name__}:OneRowLess"),
    MeasureEntry(name="lying-batch", version=1, interface="batch", factory=f"{__name__}:Lying"),
    MeasureEntry(name="lying-loop", version=1, interface="checkpoint", factory=f"{__name__}:Lying"),
)


# -- running them ---------------------------------------------------------------------------------------------


class Runner:
    """Runs conditions as suites of their own, over one store."""

    def __init__(self, folder: Path, pictures: Path) -> None:
        self.settings = Settings(store=folder / "runs", cache=None, places={"lights": pictures}, batch_size=5)
        self.store = Store(self.settings.store)
        self.model = checkpoints.get("lights-mean")

    def __call__(self, *conditions, checkpoint=None, **settings):
        scores = tuple(Score(metric=TOP1, conditions=(c,), column=str(i)) for i, c in enumerate(conditions))
        return self.suites(suite("mine", scores), checkpoint=checkpoint, **settings)

    def suites(self, *suites, checkpoint=None, **settings):
        return api.run(suites, [checkpoint or self.model], replace(self.settings, **settings))

    def outcome(self, condition, **settings):
        result = self(condition, **settings)
        assert result.ok, result.failures
        return self.store.read(result.plan.cells[0].key)

    def cell(self, condition, checkpoint=None, **settings):
        tried = suite("mine", (Score(metric=TOP1, conditions=(condition,), column="x"),))
        return api.plan([tried], [checkpoint or self.model], replace(self.settings, **settings)).cells[0]


def suite(name, scores):
    return Suite(
        name=name, version=1, title="", paper="", track="mine", protocol=Protocol(terms=("as told",)), scores=scores
    )


@pytest.fixture
def run(lights, tmp_path, pictures):
    for entry in ENTRIES:
        measures.register(entry)
    return Runner(tmp_path, pictures)


def condition(measure="pixels", data=LIGHTS, images=None, model=None, **params):
    return Condition(
        data=data,
        images=images or Images(),
        model=model or ModelSetting(),
        measure=Measurement(name=measure, params=Params(params)),
    )


def pictures_of(run):
    """The test pictures by id, as Pillow decodes them."""
    samples = Library(run.settings.places).open("lights", "test").samples
    return {str(i): Image.open(io.BytesIO(samples.read(index))) for index, i in enumerate(samples.ids)}


def shown(outcome, size):
    """The pixels of an outcome by id, (3, size, size) in [0, 1]."""
    return {
        str(i): torch.tensor(row.reshape(3, size, size))
        for i, row in zip(outcome.ids, outcome.columns["pixels"], strict=True)
    }


def centre(image, resize, size, interpolation):
    """torchvision's evaluation crop of a Pillow image, (3, size, size) in [0, 1]."""
    image = v2.functional.resize(image, [resize], interpolation)
    return v2.functional.pil_to_tensor(v2.functional.center_crop(image, [size])).float() / 255


def resized(crop, size):
    """A crop of one size for a model of another, by Pillow, bicubic; (3, size, size) in [0, 1]."""
    image = v2.functional.to_pil_image(crop).resize((size, size), Image.Resampling.BICUBIC)
    return v2.functional.pil_to_tensor(image).float() / 255


# -- images ---------------------------------------------------------------------------------------------------


def test_files_are_decoded_and_cropped_as_the_checkpoint_wants(run):
    images = shown(run.outcome(condition()), 24)
    assert len(images) == 12
    for name, picture in pictures_of(run).items():
        assert torch.equal(images[name], centre(picture, 27, 24, v2.InterpolationMode.BICUBIC))  # 24 / 0.875 = 27.4


def test_a_crop_that_the_suite_fixes_is_resized_to_the_checkpoints_own_input(run):
    fixed = Crop(size=20, ratio=0.8, interpolation="bilinear")
    images = shown(run.outcome(condition(images=Images(crop=fixed))), 24)
    for name, picture in pictures_of(run).items():
        crop = centre(picture, 25, 20, v2.InterpolationMode.BILINEAR)
        assert torch.equal(images[name], resized(crop, 24))


def test_a_perturbation_is_made_on_the_crop_that_the_suite_fixes(run):
    fixed, dusk = Crop(size=24), DUSK.perturbation
    clean = shown(run.outcome(condition(images=Images(crop=fixed))), 24)
    images = shown(run.outcome(condition(images=Images(crop=fixed, perturbation=dusk))), 24)
    for name, image in clean.items():
        torch.testing.assert_close(images[name], image * 0.55, atol=0.25, rtol=0)  # up to five sigma of noise
        assert not torch.equal(images[name], image * 0.55)


def test_input_size_and_crop_ratio_are_the_suites_where_it_sets_them(run):
    images = shown(run.outcome(condition(model=ModelSetting(input_size=32, crop_ratio=0.5))), 32)
    for name, picture in pictures_of(run).items():
        assert torch.equal(images[name], centre(picture, 64, 32, v2.InterpolationMode.BICUBIC))


def test_a_fixed_crop_and_a_set_input_size_go_together(run):
    setting = condition(images=Images(crop=Crop(size=16)), model=ModelSetting(input_size=32))
    images = shown(run.outcome(setting), 32)
    for name, picture in pictures_of(run).items():
        crop = centre(picture, 16, 16, v2.InterpolationMode.BICUBIC)
        assert torch.equal(images[name], resized(crop, 32))


@pytest.mark.parametrize("name", ["digits-vit", "digits-resnet"])
def test_position_embeddings_follow_the_input_size_that_a_suite_sets(run, name):
    data = Data(dataset="digits")
    larger = condition("classify", data, model=ModelSetting(input_size=48))
    result = run(condition("classify", data), larger, checkpoint=checkpoints.get(name), limit=30, batch_size=30)
    assert result.ok, result.failures
    native, resized = (run.store.read(cell.key) for cell in result.plan.cells)
    assert native.columns["loss"].tolist() != resized.columns["loss"].tolist()
    assert native.columns["correct"].mean() > 0.8


def test_a_size_that_a_checkpoint_cannot_take_fails_that_cell_alone(run):
    data = Data(dataset="digits")
    odd = condition("classify", data, model=ModelSetting(input_size=33))
    result = run(odd, condition("classify", data), checkpoint=checkpoints.get("digits-mixer"), limit=5)
    [failure] = result.failures
    assert "digits_mixer" in failure.message
    assert len(run.store.keys()) == 1


def test_a_file_that_is_no_image_fails_with_its_name(run, pictures, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(pictures, broken)
    (broken / "test" / "amber" / "test-2.jpg").write_bytes(b"<html>not found</html>")
    result = run(condition(), places={"lights": broken})
    [failure] = result.failures
    assert "amber/test-2 does not decode as an image" in failure.message
    assert not run.store.keys()


# -- measures -------------------------------------------------------------------------------------------------


def test_a_measure_may_learn_from_a_split_and_is_scored_on_another(run):
    outcome = run.outcome(condition("nearest-mean", Data(dataset="lights", split="test", fit=("train",))))
    assert outcome.columns["correct"].mean() > 0.9
    assert outcome.columns["learnt_from"].tolist() == [12] * 12
    assert {i.split("/")[1].split("-")[0] for i in outcome.ids} == {"test"}


def test_a_limit_cuts_the_split_that_is_scored_and_not_what_is_learnt_from(run):
    outcome = run.outcome(condition("nearest-mean", Data(dataset="lights", fit=("train",))), limit=5)
    assert outcome.columns["learnt_from"].tolist() == [12] * 5


def test_what_is_learnt_from_is_part_of_the_key(run, pictures, tmp_path):
    learning = condition("nearest-mean", Data(dataset="lights", fit=("train",)))
    fewer = tmp_path / "fewer"
    shutil.copytree(pictures, fewer)
    (fewer / "train" / "red" / "train-0.jpg").unlink()
    assert run.cell(learning).key != run.cell(learning, places={"lights": fewer}).key
    assert run.cell(condition()).key == run.cell(condition(), places={"lights": fewer}).key


def test_one_suite_may_learn_in_some_conditions_and_not_in_others(run):
    learning = condition("nearest-mean", Data(dataset="lights", fit=("train",)))
    [board] = run(condition(), condition(images=DUSK), learning).boards
    assert [row.score.conditions[0] for row in board.rows] == list(board.suite.conditions)
    assert not board.notes


def test_gradients_flow_to_the_pixels_for_a_measure_that_owns_its_loop(run):
    digits = checkpoints.get("digits-resnet")
    step = condition("one-step", Data(dataset="digits"), eps=8 / 255)
    outcome = run.outcome(step, checkpoint=digits, limit=40, batch_size=40)
    rows = outcome.columns
    assert rows["loss"].mean() > rows["clean_loss"].mean()
    assert rows["largest_change"] == pytest.approx([8 / 255] * 40, rel=1e-4)
    assert rows["lowest"].min() >= 0
    assert rows["highest"].max() <= 1
    clean = run.outcome(condition("classify", Data(dataset="digits")), checkpoint=digits, limit=40, batch_size=40)
    np.testing.assert_allclose(rows["clean_loss"], clean.columns["loss"], atol=1e-4)


def test_a_loop_of_its_own_sees_the_pixels_that_a_batch_measure_sees(run, monkeypatch):
    seen = {}

    class Watch:
        def run(self, module, loader, fit, seed, pace):
            for batch in loader:
                seen.update(zip(batch.ids, batch.images_NCHW, strict=True))
            return {"correct": loader.labels == 0}

    monkeypatch.setattr(f"{__name__}.Draw", Watch)
    setting = {"images": replace(DUSK, crop=Crop(size=20))}
    outcome = run.outcome(condition(**setting))
    run.outcome(condition("draw", **setting), batch_size=7)
    images = shown(outcome, 24)
    assert seen.keys() == images.keys()
    assert all(torch.equal(seen[name], images[name]) for name in images)


def test_parameters_of_a_measure_are_columns_of_the_tables(run):
    digits = Data(dataset="digits")
    steps = [condition("one-step", digits, eps=eps) for eps in (0.0, 0.05)]
    result = run(
        condition("classify", digits), *steps, checkpoint=checkpoints.get("digits-vit"), limit=30, batch_size=30
    )
    frame = api.table(result.boards)
    assert frame.measure.tolist() == ["classify", "one-step", "one-step"]
    assert frame.eps.isna().tolist() == [True, False, False]
    assert frame.eps.dropna().astype(float).tolist() == [0.0, 0.05]
    rows = api.outcomes(result.boards[0], run.store)
    assert rows.groupby("eps").size().to_dict() == {0.0: 30, 0.05: 30}


@pytest.mark.parametrize("name", [*sorted(RESERVED - {"id", "label"})])
def test_a_parameter_cannot_take_the_name_of_another_column(name):
    with pytest.raises(ValueError, match=f"{name!r} is a column already"):
        Condition(data=LIGHTS, measure=Measurement(params=Params({name: 3})))


def test_parameters_that_a_measure_does_not_know_fail_its_cell_alone(run):
    result = run(condition("one-step", radius=2), condition())
    [failure] = result.failures
    assert "radius" in failure.message
    assert len(run.store.keys()) == 1


def test_a_measure_whose_code_does_not_import_fails_its_cell_alone(run):
    measures.register(MeasureEntry(name="gone", version=1, interface="batch", factory="no_such_module:Measure"))
    result = run(condition("gone"), condition())
    [failure] = result.failures
    assert "ModuleNotFoundError" in failure.message
    assert len(run.store.keys()) == 1


def test_columns_that_change_from_batch_to_batch_fail_the_cell_alone(run):
    measures.register(MeasureEntry(name="fickle", version=1, interface="batch", factory=f"{__name__}:Fickle"))
    result = run(condition("fickle"), condition())
    [failure] = result.failures
    assert "differ from batch to batch" in failure.message
    assert len(run.store.keys()) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
def test_a_run_closes_the_crops_that_it_opened(run, tmp_path):
    def still_open():
        return [p for p in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(p.resolve())]

    learning = condition("nearest-mean", Data(dataset="lights", fit=("train",)))
    assert run(condition(), learning, cache=tmp_path / "crops").ok
    assert not still_open()


@pytest.mark.parametrize("name", ["lying-batch", "lying-loop"])
def test_rows_that_contradict_themselves_fail_their_own_cell_alone(run, name):
    result = run(condition(name), condition())
    [failure] = result.failures
    assert "contradicts the predictions and labels in 12 of 12 rows" in failure.message
    assert run.store.keys() == {run.cell(condition()).key}
    assert run.cell(condition(name)).key not in read_log(run.store)


@pytest.mark.parametrize("name", ["short-batch", "short-loop"])
def test_a_measure_that_loses_a_sample_fails_its_cell_alone(run, name):
    result = run(condition(name), condition())
    [failure] = result.failures
    assert f"measure {name!r} gave" in failure.message
    assert len(run.store.keys()) == 1


# -- conditions of some samples -------------------------------------------------------------------------------

SOME = Data(dataset="lights", samples=5)


@pytest.mark.parametrize("measure", ["pixels", "draw"])
def test_a_condition_of_some_samples_takes_those_that_a_limit_would(run, measure):
    limited = run.outcome(condition(measure), limit=5)
    some = run.outcome(condition(measure, data=SOME))
    assert some.ids.tolist() == limited.ids.tolist()
    for name, column in limited.columns.items():
        np.testing.assert_array_equal(some.columns[name], column)


@pytest.mark.parametrize(
    ("limit", "some", "all_"), [(None, 5, 12), (3, 3, 3), (5, 5, 5), (7, 5, 7), (12, 5, 12), (500, 5, 12)]
)
def test_some_samples_stand_on_one_board_with_all_under_any_limit(run, limit, some, all_):
    result = run(condition(data=SOME), condition(), limit=limit)
    assert result.ok, result.failures
    [board] = result.boards
    assert [row.estimate.n for row in board.rows] == [some, all_]
    assert not board.notes
    few, whole = (set(run.store.read(cell.key).ids.tolist()) for cell in result.plan.cells)
    assert few <= whole


def test_a_limit_that_leaves_a_condition_all_its_samples_is_no_other_cell(run):
    whole = run.cell(condition(data=SOME))
    assert {run.cell(condition(data=SOME), limit=limit).key for limit in (5, 7, 500)} == {whole.key}
    assert (whole.n, whole.limit, whole.of) == (5, None, 12)
    assert run.cell(condition(data=SOME), limit=3).key != whole.key


def test_a_condition_of_some_samples_is_no_limit_and_no_other_number_of_them(run):
    cells = [run.cell(condition(), limit=5), *(run.cell(condition(data=replace(SOME, samples=n))) for n in (5, 6))]
    assert len({cell.key for cell in cells}) == 3


def test_some_samples_of_another_part_of_a_data_set_are_another_cell(run):
    """A part with other images may hold the same ones among its first, and then only `of` tells of it."""
    assert run.cell(condition(data=SOME)).identity["of"] == 12
    assert run.cell(condition(data=SOME), limit=3).identity["of"] == 12
    assert "of" not in run.cell(condition(data=replace(SOME, samples=12))).identity
    assert "of" not in run.cell(condition(data=replace(SOME, samples=50))).identity


def test_more_samples_than_there_are_take_all(run):
    outcome = run.outcome(condition(data=replace(SOME, samples=50)))
    assert outcome.ids.tolist() == run.outcome(condition()).ids.tolist()


@pytest.mark.parametrize(
    ("limit", "alone", "beside"),
    [(None, "as told", "as told"), (7, "as told", "as told, limit 7"), (3, "as told, limit 3", "as told, limit 3")],
)
def test_a_limit_is_named_where_it_left_something_out(run, limit, alone, beside):
    assert run(condition(data=SOME), limit=limit).boards[0].protocol == alone
    assert run(condition(data=SOME), condition(), limit=limit).boards[0].protocol == beside


def test_a_run_of_some_samples_goes_on_where_it_ended(run):
    both = condition(data=SOME), condition("draw", data=SOME)
    first = run(*both)
    assert (len(first.plan.missing), first.plan.images) == (2, 10)
    assert not run(*both).plan.missing
    assert len(run(*both, condition()).plan.missing) == 1


def test_samples_of_a_condition_that_are_gone_from_the_store_are_written_again(run):
    cell = run(condition(data=SOME)).plan.cells[0]
    shutil.rmtree(run.store.root / "samples")
    run(condition(data=SOME))
    assert run.store.read(cell.key).n == 5


def test_the_number_of_samples_is_a_column_of_the_tables(run):
    frame = api.table(run(condition(data=SOME), condition()).boards)
    assert frame.samples.fillna("").tolist() == ["5", ""]
    assert "samples" not in api.table(run.suites(suite("all", run(condition()).boards[0].suite.scores)).boards).columns


# -- precision ------------------------------------------------------------------------------------------------

AUTO_BF16 = {"precision": "bf16", "precision_asked": False}
"""Settings of a device whose `auto` is bf16, of a user who says nothing of it."""


def test_a_measure_that_wants_fp32_runs_in_it_unless_a_precision_is_named(run):
    assert not run.outcome(condition("exact"), **AUTO_BF16).columns["autocast"].any()
    assert run.outcome(condition("exact"), precision="bf16").columns["autocast"].all()


def test_the_board_of_a_run_finds_what_was_measured_in_fp32(run):
    [board] = run(condition("exact"), **AUTO_BF16).boards
    assert (board.choice.precision, board.protocol) == ("fp32", "as told")
    assert len(board.rows) == 1


def test_a_precision_that_was_named_stands_in_the_protocol(run):
    run(condition("exact"), **AUTO_BF16)
    [board] = run(condition("exact"), precision="bf16").boards
    assert (board.choice.precision, board.protocol) == ("bf16", "as told, bf16")


def test_suites_of_both_kinds_are_measured_each_in_its_precision(run):
    exact, other = (
        suite(name, (Score(metric=TOP1, conditions=(condition(name),), column="x"),)) for name in ("exact", "pixels")
    )
    boards = run.suites(exact, other, **AUTO_BF16).boards
    assert {board.suite.name: board.choice.precision for board in boards} == {"exact": "fp32", "pixels": "bf16"}


def test_fp32_by_default_and_by_name_are_one_cell(run):
    assert run.cell(condition("exact"), **AUTO_BF16).key == run.cell(condition("exact"), precision="fp32").key


@pytest.mark.parametrize(
    ("flags", "written", "asked"),
    [({}, "", False), ({"precision": "auto"}, "", False), ({"precision": "bf16"}, "", True),
     ({}, 'precision = "bf16"', True), ({"precision": "auto"}, 'precision = "bf16"', False)],
)  # fmt: skip
def test_auto_is_no_precision_that_the_user_names(tmp_path, monkeypatch, flags, written, asked):
    (tmp_path / "bench.toml").write_text(written)
    monkeypatch.setenv("BENCH_CONFIG", str(tmp_path / "bench.toml"))
    monkeypatch.setattr(hardware, "cuda_devices", lambda: (9,))  # of a chip that has bf16
    settings = api.configure(device="cuda", **flags).settings
    assert settings.precision_asked is asked
    assert settings.numerics().precision == "bf16"
    assert settings.numerics(exact=True).precision == ("bf16" if asked else "fp32")


# -- what decides a cell --------------------------------------------------------------------------------------


def test_two_suites_share_one_clean_cell(run):
    clean, dusk = condition("classify"), condition("classify", images=DUSK)
    one = suite("one", (Score(metric=TOP1, conditions=(clean,), column="clean"),))
    drop = Metric(name="drop", function=shift.relative_drop)
    two = suite("two", (Score(metric=drop, conditions=(clean, dusk), column="drop"),))
    result = run.suites(one, two)
    assert len(result.plan.cells) == len(run.store.keys()) == 2
    assert [board.suite.name for board in result.boards if board.rows] == ["one", "two"]


def test_other_weights_are_another_cell_under_the_same_name(run, tmp_path):
    arrays = load_file(run.model.weights)
    arrays["2.bias"] += 1
    save_file(arrays, tmp_path / "other.safetensors")
    other = replace(run.model, weights=str(tmp_path / "other.safetensors"))
    assert run.cell(condition()).key != run.cell(condition(), other).key
    copy = shutil.copy(run.model.weights, tmp_path / "copy.safetensors")
    assert run.cell(condition()).key == run.cell(condition(), replace(run.model, weights=str(copy), name="alias")).key


def test_the_seed_is_part_of_a_key_only_where_something_is_random(run):
    contrast = Images(perturbation=Perturbation(corruption="contrast", severity=2))
    fixed = (condition(), condition(images=Images(crop=Crop(size=20))), condition(images=contrast))
    random = (condition("draw"), condition(images=DUSK), condition("draw", images=contrast))
    for each in fixed:
        assert run.cell(each, seed=0).key == run.cell(each, seed=1).key
    for each in random:
        assert run.cell(each, seed=0).key != run.cell(each, seed=1).key


def test_another_seed_is_another_draw_and_the_same_seed_the_same(run):
    draws = [run.outcome(condition(images=DUSK), seed=seed).columns["pixels"] for seed in (0, 1)]
    assert not np.array_equal(*draws)
    shutil.rmtree(run.store.root)
    assert np.array_equal(run.outcome(condition(images=DUSK), seed=0).columns["pixels"], draws[0])


def test_a_smaller_limit_is_part_of_a_larger(run):
    ids = [set(run.outcome(condition(), limit=limit).ids.tolist()) for limit in (3, 7, 12)]
    assert [len(found) for found in ids] == [3, 7, 12]
    assert ids[0] < ids[1] < ids[2]


def test_a_limit_that_keeps_everything_is_no_limit(run):
    assert run.cell(condition(), limit=12).key == run.cell(condition(), limit=500).key == run.cell(condition()).key


def test_versions_of_measure_and_corruption_are_in_the_keys_of_what_they_touch(run, monkeypatch):
    clean, dusk, digits = condition(), condition(images=DUSK), condition("classify")
    before = [run.cell(each).key for each in (clean, dusk, digits)]
    newer = {**corruptions._items, "dusk": replace(corruptions.get("dusk"), version=2)}
    monkeypatch.setattr(corruptions, "_items", newer)
    changed = [run.cell(each).key != key for each, key in zip((clean, dusk, digits), before, strict=True)]
    assert changed == [False, True, False]
    monkeypatch.setattr(measures, "_items", {**measures._items, "pixels": replace(measures.get("pixels"), version=2)})
    changed = [run.cell(each).key != key for each, key in zip((clean, dusk, digits), before, strict=True)]
    assert changed == [True, True, False]


def test_every_part_of_a_condition_is_in_its_key(run):
    variants = [
        condition(),
        condition("classify"),
        condition(data=Data(dataset="lights", split="train")),
        condition(images=Images(crop=Crop(size=24, ratio=0.875))),
        condition(images=Images(crop=Crop(size=24, ratio=0.875, interpolation="bilinear"))),
        condition(images=DUSK),
        condition(images=Images(perturbation=Perturbation(corruption="dusk", severity=4))),
        condition(model=ModelSetting(input_size=32)),
        condition(model=ModelSetting(crop_ratio=0.5)),
        condition("one-step", eps=0.1),
        condition("one-step", eps=0.2),
        condition(data=SOME),
    ]
    keys = [run.cell(each).key for each in variants]
    assert len(set(keys)) == len(variants)
    assert run.cell(condition(), precision="bf16").key not in keys


def test_the_version_of_shared_code_is_in_the_keys_of_those_measures_that_have_it(run, monkeypatch):
    attack, draw = condition("pgd", norm="linf", grid="8/255", steps=1), condition("draw")
    before = [run.cell(each).key for each in (attack, draw)]
    assert "engine" not in run.cell(draw).versions
    newer = {**measures._items, "pgd": replace(measures.get("pgd"), engine=measures.get("pgd").engine + 1)}
    monkeypatch.setattr(measures, "_items", newer)
    assert [run.cell(each).key != key for each, key in zip((attack, draw), before, strict=True)] == [True, False]


def test_classes_that_do_not_match_are_refused_before_anything_runs(run):
    with pytest.raises(BenchError, match="predicts the 3 classes of 'lights'"):
        run(condition(data=Data(dataset="digits")))


def test_a_score_of_a_users_own_reads_the_columns_of_a_users_own_measure(run):
    def brightness(outcome):
        return Estimate(value=float(outcome.columns["pixels"].mean()), n=outcome.n)

    bright = Metric(name="brightness", function=brightness, unit="of white")
    scores = [Score(metric=bright, conditions=(condition(images=i),), column=str(i)) for i in (Images(), DUSK)]
    [board] = run.suites(suite("bright", tuple(scores))).boards
    day, dusk = (row.estimate.value for row in board.rows)
    assert 0.1 < dusk < day < 0.9
