"""Which arrays of a file are measured: those that stand alone, or those that the entry names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.checkpoints.weights import read_weights
from bench.errors import BenchError

RAW = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2)}
EMA = {name: array + 1 for name, array in RAW.items()}
OPTIMISER = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]}
TOLD = {
    "deit": ({"model": RAW, "model_ema": EMA, "epoch": 3}, "model, model_ema"),
    "timm": (
        {"epoch": 3, "state_dict": RAW, "optimizer": OPTIMISER, "state_dict_ema": EMA},
        "state_dict, state_dict_ema",
    ),
    "two wrappers": ({"model": RAW, "state_dict": EMA}, "model, state_dict"),
    "deeper": ({"model": RAW, "ema": {"decay": 0.9, "module": EMA}}, "model, ema.module"),
    "in a list": ({"model": RAW, "callbacks": [{"ema_weights": list(EMA.values())}]}, "model, callbacks"),
    "prefixed": ({"model": {f"module.{name}": a for name, a in RAW.items()}, "ema": EMA}, "model, ema"),
    "of two networks": ({"student": RAW, "teacher": EMA}, "student, teacher"),
    "half precision": ({"model": RAW, "ema": {name: a.half() for name, a in EMA.items()}}, "model, ema"),
    "inside a wrapper": ({"state_dict": {"model": RAW, "ema": EMA}}, "state_dict.model, state_dict.ema"),
}


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", TOLD)
def test_arrays_that_would_go_unused_are_an_error_that_names_them_all(tmp_path: Path, kind: str) -> None:
    content, names = TOLD[kind]
    message = rf'holds several state dicts \({names}\); say in the entry which is meant, as in state_dict = "'
    with pytest.raises(BenchError, match=message):
        read_weights(written(tmp_path / "w.pth", content))


@pytest.mark.parametrize(
    "beside",
    [
        {"optimizer": OPTIMISER},
        {"optimizer_states": [OPTIMISER], "lr_schedulers": [{"last_epoch": 3, "_last_lr": [0.1]}]},
        {"amp_scaler": {"scale": torch.tensor(65536.0), "growth_factor": 2.0}, "best": torch.tensor(0.9)},
        {"rng": torch.get_rng_state(), "args": {"lr": 0.1}, "epoch": 7},
    ],
)
def test_what_is_no_weights_goes_unused(tmp_path: Path, beside: dict[str, object]) -> None:
    path = written(tmp_path / "w.pth", {"state_dict": RAW, **beside})
    assert read_weights(path).keys() == RAW.keys()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"model": RAW, "model_ema": EMA}, "model_ema"),
        ({"model": RAW, "ema": {"decay": 0.9, "module": EMA}}, "ema.module"),
        ({"net": EMA}, "net"),
        ({"state_dict": {f"{of}.{name}": a for of, arrays in (("m", RAW), ("ema", EMA)) for name, a in arrays.items()}},
         "state_dict.ema"),
        ({"n_averaged": torch.tensor(3), **{f"module.{name}": array for name, array in EMA.items()}}, "module"),
        ({"model": RAW, "a.b": EMA}, "a.b"),
    ],
)  # fmt: skip
def test_the_one_that_the_entry_names_is_taken(tmp_path: Path, content: object, name: str) -> None:
    found = read_weights(written(tmp_path / "w.pth", content), name)
    assert found.keys() == EMA.keys()
    assert all(torch.equal(found[key], EMA[key]) for key in EMA)


def test_safetensors_and_npz_are_cut_to_what_the_entry_names(tmp_path: Path) -> None:
    both = {f"{of}.{name}": a for of, arrays in (("raw", RAW), ("ema", EMA)) for name, a in arrays.items()}
    save_file(both, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **{f"{name.replace('.', '/')}": array.numpy() for name, array in both.items()})
    found, of_flax = read_weights(tmp_path / "w.safetensors", "ema"), read_weights(tmp_path / "w.npz", "ema")
    assert found.keys() == EMA.keys()
    assert of_flax.keys() == {name.replace(".", "/") for name in EMA}
    assert all(torch.equal(found[name], EMA[name]) for name in EMA)
    assert all(torch.equal(of_flax[name.replace(".", "/")], EMA[name]) for name in EMA)


def test_a_name_that_the_file_has_not_is_told_with_those_that_it_has(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"model": RAW, "model_ema": EMA})
    with pytest.raises(BenchError, match=r"has no state dict 'ema'; it has model, model_ema\. Correct the entry's"):
        read_weights(path, "ema")
    save_file(RAW, tmp_path / "w.safetensors")
    with pytest.raises(BenchError, match=r"has no state dict 'ema'; it has none\. Correct"):
        read_weights(tmp_path / "w.safetensors", "ema")


def test_a_lone_state_dict_under_another_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r'holds its arrays under a key \(net\); .* as in state_dict = "net"'):
        read_weights(written(tmp_path / "w.pth", {"net": RAW, "epoch": 3}))


def test_a_file_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {"model": RAW, "ema": EMA}
    content["self"] = content
    with pytest.raises(BenchError, match="holds several state dicts"):
        read_weights(written(tmp_path / "w.pth", content))
