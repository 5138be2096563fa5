"""What a notebook has set in torch for all of its process changes no bit, and is as it was afterwards."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench import api
from bench.checkpoints import checkpoints
from bench.foreign.state import undisturbed
from bench.machine.torch_defaults import products_of_fp32, torch_defaults
from bench.measure.cells import resolve
from bench.progress import Silent
from bench.records import Condition, Data, Images, Measurement, Params, Perturbation
from bench.run.device import numerics
from bench.run.local import execute
from bench.run.plan import make_sweeps
from bench.store import Store

CORRUPTIONS = ("gaussian_noise", "elastic_transform")


@contextlib.contextmanager
def changed(setter: Callable[..., object], before: object, now: object) -> Iterator[None]:
    setter(now)
    try:
        yield
    finally:
        setter(before)


def float_of(dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    return changed(torch.set_default_dtype, torch.float32, dtype)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "float64": lambda: float_of(torch.float64),
    "float16": lambda: float_of(torch.float16),
    "device": lambda: changed(torch.set_default_device, None, "meta"),
    "device of a block": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: changed(torch.use_deterministic_algorithms, False, True),
    "products": lambda: changed(torch.set_float32_matmul_precision, "highest", "medium"),
    "cudnn": lambda: changed(lambda on: setattr(torch.backends.cudnn, "benchmark", on), False, True),
}


def state() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
    )  # fmt: skip


CLEAN = Condition(data=Data(dataset="digits"))
CONDITIONS = (
    CLEAN,
    *(replace(CLEAN, images=Images(perturbation=Perturbation(corruption=name, severity=3))) for name in CORRUPTIONS),
    replace(CLEAN, measure=Measurement(name="pgd", params=Params(norm="linf", grid="8/255", steps=2))),
)


def outcomes(folder) -> dict[str, dict[str, np.ndarray]]:
    """Every column of every cell, by key."""
    settings = api.configure(store=folder, cache="off", workers=0, device="cpu", limit=2).settings
    planned = api.plan(api.select_suites(["digits"]), [checkpoints.get("digits-vit")], settings)
    [cell] = planned.cells
    cells = [resolve(cell.checkpoint, cell.model_digest, one, planned.library, settings) for one in CONDITIONS]
    assert execute(make_sweeps(cells), settings, Silent(), planned.library) == []
    return {cell.key: dict(Store(folder).read(cell.key).columns) for cell in cells}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("plain"))


# A default device costs Python at each call, also within the block that sets it aside.
LONG = [pytest.param(name, marks=pytest.mark.slow) if "device" in name else name for name in SETTINGS]


@pytest.mark.parametrize("name", LONG)
def test_outcomes_are_the_same_to_the_bit(plain, tmp_path, name):
    with SETTINGS[name]():
        before = state()
        found = outcomes(tmp_path / "store")
        assert state() == before
    assert found.keys() == plain.keys()
    for key, columns in found.items():
        for column, values in columns.items():
            assert np.array_equal(values, plain[key][column], equal_nan=values.dtype.kind == "f"), column


@pytest.mark.parametrize("name", SETTINGS)
def test_a_block_has_torchs_own_settings_and_gives_back_the_callers(name):
    own = state()
    with SETTINGS[name]():
        before = state()
        assert before != own
        with torch_defaults():
            assert state()[:6] == own[:6]
            assert torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee")
            assert not torch.backends.cudnn.benchmark
        assert state() == before
    assert state() == own


# -- TF32, by older and newer settings -------------------------------------------------------------------------------

BACKENDS: Any = torch.backends
WITH_PRECISION = {
    "everywhere": BACKENDS, "cudnn": BACKENDS.cudnn, "conv": BACKENDS.cudnn.conv, "rnn": BACKENDS.cudnn.rnn,
    "matmul": BACKENDS.cuda.matmul, "cpu": BACKENDS.mkldnn.matmul,
} if hasattr(BACKENDS, "fp32_precision") else {}  # fmt: skip
OLDER: dict[str, Callable[[], object]] = {
    "older cudnn": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
    "older matmul": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
    "older products": lambda: torch.set_float32_matmul_precision("medium"),
}
NEWER: dict[str, Callable[[], object]] = {
    f"{name} {precision}": lambda setting=setting, precision=precision: setattr(setting, "fp32_precision", precision)
    for name, setting in WITH_PRECISION.items()
    for precision in ("ieee", "tf32" if name != "cpu" else "bf16")
}
MIXED = [*itertools.permutations({**OLDER, **NEWER}, 2), *[(name,) for name in {**OLDER, **NEWER}]]


def precisions() -> list[object]:
    """What torch says of all of them; an older setting raises where the newer ones have made it untrue."""
    found: list[object] = [setting.fp32_precision for setting in WITH_PRECISION.values()]
    for older in (
        lambda: BACKENDS.cudnn.allow_tf32, lambda: BACKENDS.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision,
    ):  # fmt: skip
        try:
            found.append(older())
        except RuntimeError:
            found.append("raises")
    return found


def test_fp32_is_fp32_whatever_mix_of_older_and_newer_settings_was_made():
    start = precisions()
    for names in MIXED:
        with products_of_fp32(tf32_convolutions=True):  # each mix begins as torch starts
            for name in names:
                {**OLDER, **NEWER}[name]()
            before = precisions()
            with torch_defaults(), numerics("cuda", "fp32"):
                *newer, cudnn, matmul, products = precisions()
                assert set(newer) <= {"none", "ieee"}, names
                assert (cudnn, matmul, products) == (False, False, "highest"), names
            assert precisions() == before, names
            with undisturbed():  # as around code of a plug-in
                torch.set_float32_matmul_precision("high")
                for setting in WITH_PRECISION.values():
                    setting.fp32_precision = "ieee"
            assert precisions() == before, names
        assert precisions() == start, names
