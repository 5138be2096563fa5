"""The plan that was shown is the plan that runs: what it takes is looked up once."""

import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from safetensors.numpy import load_file, save_file

from bench import api
from bench.checkpoints.fetch import locate
from bench.cli import main
from bench.errors import AbsentError
from bench.progress import Silent
from bench.run import available, plan

CHOICE = "--suite digits --suite digits-r --limit 5 --device cpu --store runs"


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """How often each function was called that looks something up."""
    monkeypatch.chdir(tmp_path)
    counted: Counter[str] = Counter()

    def count(module, name, label=lambda arguments: ""):
        function = getattr(module, name)

        def wrapper(*arguments, **named):
            counted[name + label(arguments)] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, wrapper)

    count(available, "with_data")
    count(plan, "model_digest", lambda arguments: f" {arguments[0].name}")
    count(plan, "make_plan")
    monkeypatch.setattr("bench.api.runs.make_plan", plan.make_plan)
    return counted


@pytest.mark.parametrize("command", ["plan", "run --workers 0 --cache off"])
def test_a_command_plans_once(calls, command):
    names = ["digits-resnet", "digits-vit"]
    chosen = " ".join(f"--checkpoint {name}" for name in names)
    assert main(f"{command} {CHOICE} {chosen}".split()) == 0
    assert calls == {"with_data": 1, "make_plan": 1, **{f"model_digest {name}": 1 for name in names}}


def test_after_weights_are_fetched_only_their_cells_are_looked_up(calls, monkeypatch):
    suites, checkpoints = api.select(["digits"], checkpoints=["digits-resnet", "digits-vit"])
    here, digest = [], plan.model_digest

    def absent_at_first(checkpoint):
        if checkpoint.name == "digits-vit" and not here:
            raise AbsentError("not here yet")
        return digest(checkpoint)

    monkeypatch.setattr(plan, "model_digest", absent_at_first)
    monkeypatch.setattr("bench.checkpoints.fetch.fetch", lambda checkpoint, note: here.append(checkpoint.name))
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=5).settings
    planned = api.plan(suites, checkpoints, settings)
    assert [checkpoint.name for checkpoint in planned.to_fetch] == ["digits-vit"]
    result = api.carry_out(planned)
    assert result.ok
    assert here == ["digits-vit"]
    assert calls == {"with_data": 1, "make_plan": 1, "model_digest digits-resnet": 1, "model_digest digits-vit": 1}
    assert [cell.key for cell in result.plan.cells] == [
        cell.key for cell in api.plan(suites, checkpoints, settings).cells
    ]


def test_weights_that_do_not_come_take_their_cells_along(calls, monkeypatch):
    suites, checkpoints = api.select(["digits"], checkpoints=["digits-resnet", "digits-vit"])
    gone = replace(checkpoints[1], name="gone", weights="https://weights.example/gone.safetensors")

    def fetch(checkpoint, note):
        raise AbsentError(f"no network for {checkpoint.name}")

    monkeypatch.setattr("bench.checkpoints.fetch.fetch", fetch)
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=5).settings
    result = api.run(suites, [*checkpoints, gone], settings)
    assert result.plan.unavailable == {"gone": "no network for gone"}
    assert {cell.checkpoint.name for cell in result.plan.cells} == {"digits-resnet", "digits-vit"}
    assert not result.failures


def test_a_part_of_a_plan_is_the_plan_of_one_suite(calls):
    suites, checkpoints = api.select(["digits", "digits-r"], checkpoints=["digits-vit"])
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=5).settings
    api.run(suites[:1], checkpoints, settings)
    whole = api.plan(suites, checkpoints, settings)
    for suite in suites:
        assert api.cost(whole.part(suite)) == api.cost(api.plan([suite], checkpoints, settings))


def test_weights_that_changed_after_the_plan_was_shown_are_not_measured(calls, tmp_path):
    suites, [entry] = api.select(["digits"], checkpoints=["digits-vit"])
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(locate(entry).read_bytes())
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=5).settings
    planned = api.plan(suites, [replace(entry, name="mine", weights=str(weights), weights_digest="")], settings)
    save_file({name: 2 * array for name, array in load_file(weights).items()}, weights)
    [failure] = api.carry_out(planned).failures
    assert "have changed since this run was planned" in failure.message
    assert not api.Store(settings.store).keys()


def overwrite(path, content, way):
    """Bring other bytes of the same number to a file so that its times tell nothing."""
    before = path.stat()
    assert len(content) == before.st_size
    if way == "in place":
        with path.open("r+b") as file:
            file.write(content)
    else:
        other = path.with_name("other")
        other.write_bytes(content)
        other.rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class Overwriting(Silent):
    """Overwrites weights as soon as the first images were shown."""

    def __init__(self, path, content, way):
        self.overwrite = lambda: overwrite(path, content, way)

    def advance(self, count, doing):
        if self.overwrite:
            self.overwrite()
        self.overwrite = None


@pytest.mark.parametrize("way", ["in place", "renamed"])
def test_weights_overwritten_while_a_run_goes_on_are_measured_under_no_key(calls, tmp_path, way):
    suites, [entry] = api.select(["digits-crop-ratio"], checkpoints=["digits-vit"])  # a sweep for each ratio
    weights, right = tmp_path / "mine.safetensors", locate(entry).read_bytes()
    entry = replace(entry, name="mine", weights=str(weights), weights_digest="")
    outcomes = {}
    for store in ("undisturbed", "disturbed"):
        weights.write_bytes(right)
        settings = api.configure(store=store, cache="off", workers=0, device="cpu", limit=5).settings
        planned = api.plan(suites, [entry], settings)
        save_file({name: 2 * array for name, array in load_file(weights).items()}, tmp_path / "wrong")
        wrong = (tmp_path / "wrong").read_bytes()
        result = api.carry_out(planned, Overwriting(weights, wrong, way) if store == "disturbed" else None)
        kept = api.Store(settings.store)
        outcomes[store] = {cell.key: kept.read(cell.key).columns for cell in planned.cells if kept.has(cell.key)}
    assert 0 < len(outcomes["disturbed"]) < len(outcomes["undisturbed"])
    assert len(result.failures) == len(outcomes["undisturbed"]) - len(outcomes["disturbed"])
    assert {"its weights have changed since this run was planned; run the same command again."} == {
        failure.message for failure in result.failures
    }
    for key, columns in outcomes["disturbed"].items():
        assert (columns["top_logits"] == outcomes["undisturbed"][key]["top_logits"]).all()


def test_after_weights_changed_the_same_call_measures_the_new_ones(calls, tmp_path):
    suites, [entry] = api.select(["digits"], checkpoints=["digits-vit"])
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(locate(entry).read_bytes())
    entry = replace(entry, name="mine", weights=str(weights), weights_digest="")
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=5).settings
    before = api.plan(suites, [entry], settings)
    save_file({name: 2 * array for name, array in load_file(weights).items()}, tmp_path / "wrong")
    overwrite(weights, (tmp_path / "wrong").read_bytes(), "in place")
    result = api.run(suites, [entry], settings)
    assert result.ok
    assert {cell.key for cell in before.cells}.isdisjoint(api.Store(settings.store).keys())


def test_a_limit_does_not_ask_for_data_that_are_not_here(calls, imagenet_family, tmp_path):
    shutil.copytree(imagenet_family["imagenet-c"], tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "weather" / "fog")
    places = {"imagenet": str(imagenet_family["imagenet"]), "imagenet-c": str(tmp_path / "c")}
    planned = api.plan(api.select_suites(["imagenet-c"]), [], api.configure(data=places, limit=100).settings)
    assert any("conditions left out" in note for note in planned.notes)
    assert any("imagenet-c has 8 samples here, fewer than the limit of 100" in note for note in planned.notes)
