"""The core as recipes use it: going on after a kill, several processes, micro-batches, half precision, stages."""

import dataclasses
import functools
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.checkpoints.zoo.architectures import resnet, vit
from bench.errors import BenchError
from bench.training import loop, unfinished
from bench.training.gradients import Batch, Gradients, OverflowFault
from bench.training.loop import Trained, train
from bench.training.recipe import Recipe
from bench.training.recipes import changed
from tests.processes import Warm
from tests.training.toys import toy_data

RECIPES = """
[defaults]
dataset = "some"
architecture = "vit"
epochs = 3
warmup_epochs = 1
batch_size = 16
clip_norm = 1.0
optimizer = "adamw"
learning_rate = 2e-3
weight_decay = 0.1
augment = ["rotate_shift"]
degrees = 5
shift = 1
[with.sam]
rho = 0.1
[with.gsam]
rho = 0.2
rho_min = 0.1
alpha = 0.3
[with.looksam]
rho = 0.1
alpha = 0.5
every = 3
[recipe.plain]
[recipe.all]
drop_path = 0.2
layer_scale = 1e-2
[[recipe.all.stages]]
size = 16
ema = 0.9
ascent = "looksam"
augment = ["simple_crop", "three_augment", "mixup_or_cutmix"]
objective = "bce"
optimizer = "lamb"
epochs = 2
[[recipe.all.stages]]
size = 32
ascent = "gsam"
attack_eps = 0.01
augment = ["rand_augment", "flip"]
epochs = 2
decay_norms = false
"""


def small(name: str = "plain", **changes: Any) -> Recipe:
    return changed(RECIPES, name, {key.replace("_at_", "."): value for key, value in changes.items()})


def build(given: Recipe) -> nn.Module:
    if given.architecture == "resnet":
        return resnet(drop_path=given.drop_path)
    return vit(layer_scale=given.layer_scale or None, drop_path=given.drop_path)


def trained(given: Recipe, **others: Any) -> Trained:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        make = functools.partial(build, given)
        return train(given, make, *toy_data(), mean=[0.5] * 3, std=[0.5] * 3, **others)
    finally:
        torch.set_num_threads(threads)


def assert_same(one: Trained, other: Trained) -> None:
    assert one.history == other.history
    assert one.state_dict.keys() == other.state_dict.keys()
    for name, tensor in one.state_dict.items():
        assert torch.equal(tensor, other.state_dict[name]), name


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], atol: float = 2e-5) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            tensor, other[name], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


# -- going on --------------------------------------------------------------------------------------------------------

SCRIPT = """
import importlib.util, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("told", {file!r})
told = importlib.util.module_from_spec(spec)
sys.modules["told"] = told
spec.loader.exec_module(told)
"""


def script(text: str) -> str:
    return SCRIPT.format(file=__file__) + text


SLOW = """
from bench.training import loop, unfinished
unfinished._SECONDS, unfinished._SHARE = 0.0, 1.0
every = loop._Training.done
def done(self, share):
    Path({steps!r}).write_text(str(self._number * 6 + self.core.step))
    time.sleep(0.05)
loop._Training.done = done
told.trained(told.small("all"), state=Path({state!r}))
"""


@pytest.fixture(scope="module")
def straight() -> Trained:
    return trained(small("all"))


def killed(folder: Path, warm: Warm, step: int) -> Path:
    """The state that a training leaves which is killed after a step, of the 12 of both stages."""
    state, steps = folder / "state.pt", folder / "steps"
    process = warm.fork(script(SLOW.format(steps=str(steps), state=str(state))))
    until = time.monotonic() + 60
    while time.monotonic() < until and (not steps.exists() or int(steps.read_text() or 0) < step):
        time.sleep(0.002)
    process.kill()
    assert process.wait().status == -signal.SIGKILL
    return state


@pytest.mark.parametrize("step", [2, 8])
def test_killed_it_goes_on_to_the_same_weights(tmp_path: Path, warm: Warm, straight: Trained, step: int) -> None:
    notes: list[str] = []
    resumed = trained(small("all"), state=killed(tmp_path, warm, step), note=notes.append)
    assert len(notes) == 1
    assert f"of stage {1 + step // 6}" in notes[0]
    assert_same(resumed, straight)


@pytest.mark.slow
def test_killed_at_any_of_20_moments_it_goes_on_to_the_same_weights(
    tmp_path: Path, warm: Warm, straight: Trained
) -> None:
    for moment in range(20):
        state, steps = tmp_path / f"{moment}.pt", tmp_path / f"{moment}.steps"
        process = warm.fork(script(SLOW.format(steps=str(steps), state=str(state))))
        while not steps.exists():
            time.sleep(0.001)
        time.sleep(0.06 * moment)  # at any place within a step, and while the state is written
        process.kill()
        process.wait()
        assert_same(trained(small("all"), state=state), straight)


class Stopped(Exception):
    """Of a test, in the middle of a training."""


@pytest.mark.parametrize("ascent", ["none", "sam", "gsam", "asam", "looksam"])
def test_stopped_within_an_epoch_every_ascent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ascent: str
) -> None:
    monkeypatch.setattr(unfinished, "_SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "_SHARE", 1.0)  # every step
    given = small(architecture="resnet", ascent=ascent, ema=0.5)
    straight = trained(given)

    def stop(self: Any, share: float) -> None:
        if self.core.step == 5:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "done", stop)
        with pytest.raises(Stopped):
            trained(given, state=tmp_path / "state.pt")
    assert_same(trained(given, state=tmp_path / "state.pt"), straight)


def test_a_state_of_other_settings_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "_SHARE", 1.0)
    trained(small(), state=tmp_path / "state.pt")
    notes: list[str] = []
    other = small(learning_rate=1e-3)
    assert_same(trained(other, state=tmp_path / "state.pt", note=notes.append), trained(other))
    assert "is of other settings; it begins anew" in notes[0]


# -- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """A folder with what each of two processes ended with, by perturbation."""
    folder = tmp_path_factory.mktemp("two")
    text = f"""
from bench.machine.distributed import joined, rank
with joined("cpu"):
    for how in ("synchronised", "device"):
        found = told.trained(told.small(ascent="gsam", perturbation=how))
        losses = [epoch.loss for epoch in found.history]
        torch.save([found.state_dict, losses], Path({str(folder)!r}) / f"{{how}}{{rank()}}")
"""
    assert [(done.status, done.err) for done in warm.fork_two(script(text))] == [(0, "")] * 2
    return folder


def test_two_processes_end_where_one_does(two: Path) -> None:
    alone = trained(small(ascent="gsam", perturbation="synchronised"))
    (first, losses), (second, _) = (torch.load(two / f"synchronised{rank}") for rank in range(2))
    assert losses == pytest.approx([epoch.loss for epoch in alone.history], abs=1e-5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_close(first, alone.state_dict)


def test_per_device_each_climbs_along_its_own_share_and_all_step_together(two: Path) -> None:
    (first, _), (second, _) = (torch.load(two / f"device{rank}") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    whole, _ = torch.load(two / "synchronised0")
    assert any(not torch.allclose(first[name], whole[name], rtol=0, atol=1e-4) for name in first)


# -- micro-batches and half precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("ascent", ["none", "sam", "gsam", "asam", "looksam"])
def test_micro_batches_give_the_gradients_of_the_whole_in_both_passes(ascent: str) -> None:
    # SGD: AdamW's first steps divide by gradients that may be rounding alone.
    given = {"ascent": ascent, "optimizer": "sgd", "learning_rate": 0.05}
    whole, cut = trained(small(**given)), trained(small(**given, micro_batch=5))
    assert_close(whole.state_dict, cut.state_dict)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("ascent", ["sam", "gsam"])
def test_half_precision_learns_as_well(ascent: str, precision: str) -> None:
    full, half = (trained(small(ascent=ascent, precision=how)) for how in ("fp32", precision))
    assert [epoch.loss for epoch in half.history] == pytest.approx([epoch.loss for epoch in full.history], abs=0.03)
    assert half.state_dict["head.weight"].dtype == torch.float32


def gradients_of(module: nn.Module) -> Gradients:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def loss_of(images_MCHW: Tensor, targets_M: Tensor) -> Tensor:
        return ((module(images_MCHW).float() - targets_M) ** 2).sum()

    return Gradients(
        module, loss_of, optimizer, device=torch.device("cpu"), micro=2, seed=0, label="test", advice="none"
    )


BATCH = Batch(images_BCHW=torch.ones(4, 3), targets_B=torch.arange(4.0)[:, None], count=4)


def test_both_passes_leave_gradients_without_the_scale() -> None:
    module = nn.Linear(3, 1)
    wanted = torch.autograd.grad(((module(BATCH.images_BCHW) - BATCH.targets_B) ** 2).mean(), module.weight)[0]
    with torch.autocast("cpu", dtype=torch.float16, cache_enabled=False):
        gradients = gradients_of(module)
        for scaler in (gradients.first_scaler, gradients.scaler):
            scaler.load_state_dict({**scaler.state_dict(), "scale": 128.0})
        for take in (lambda: gradients.first(BATCH, 0, own=False), lambda: gradients.last(BATCH, 0)):
            take()
            torch.testing.assert_close(module.weight.grad, wanted, rtol=1e-2, atol=1e-2)


def test_where_the_first_pass_overflows_the_step_is_left_out_and_its_own_scale_falls() -> None:
    module = nn.Linear(3, 1)
    batch = dataclasses.replace(BATCH, images_BCHW=torch.full((4, 3), 3e4))
    with torch.autocast("cpu", dtype=torch.float16, cache_enabled=False):
        gradients = gradients_of(module)
        scales = gradients.first_scaler.get_scale(), gradients.scaler.get_scale()
        with pytest.raises(OverflowFault):
            gradients.first(batch, 0, own=False)
    assert gradients.first_scaler.get_scale() == scales[0] / 2
    assert gradients.scaler.get_scale() == scales[1]


# -- stages ----------------------------------------------------------------------------------------------------------


def test_stages_go_on_from_each_others_weights_at_their_own_size(straight: Trained) -> None:
    assert [epoch.number for epoch in straight.history] == [1, 2, 3, 4]
    assert straight.state_dict["pos_embed"].shape[1] == 17  # 4 x 4 patches of 8 pixels, and the class token
    assert "blocks.0.ls1.gamma" in straight.state_dict


def test_weights_of_one_size_alone_are_refused_in_a_sentence() -> None:
    from bench.checkpoints.zoo.architectures import mixer

    with pytest.raises(BenchError, match=r"MlpMixer cannot be trained at 16 pixels .*; leave size out of its stages"):
        train(small(size=16), mixer, *toy_data(), mean=[0.5] * 3, std=[0.5] * 3)


def test_the_moving_average_is_what_is_saved() -> None:
    class Drift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, images_BCHW: Tensor) -> Tensor:
            return self.weight.expand(len(images_BCHW), 10)

    def weight(**changes: Any) -> Tensor:
        once = {"epochs": 1, "warmup_epochs": 0, "batch_size": 20}
        given = small(optimizer="sgd", learning_rate=1.0, weight_decay=0, **once, **changes)
        return train(given, Drift, *toy_data(), mean=[0.5] * 3, std=[0.5] * 3).state_dict["weight"]

    # Two steps from 0: an average of decay d is d (1 - d) of the first step's weights and 1 - d of the second's.
    averages = {decay: weight(ema=decay) for decay in (0.5, 0.75)}
    last = weight()
    first = 4 * (averages[0.5] - 0.5 * last)
    torch.testing.assert_close(averages[0.75], 0.75 * 0.25 * first + 0.25 * last)


def test_a_probe_learns_the_head_alone() -> None:
    text = RECIPES + '[recipe.probe]\n[[recipe.probe.stages]]\nobjective = "supcon"\nrepeats = 2\n'
    text += '[[recipe.probe.stages]]\nlearns = "head"\n'
    given = changed(text, "probe", {})
    only = dataclasses.replace(given, stages=given.stages[:1])
    both, contrasted = trained(given).state_dict, trained(only).state_dict
    assert both.keys() == contrasted.keys()
    assert {name for name in both if not torch.equal(both[name], contrasted[name])} == {"head.weight", "head.bias"}
