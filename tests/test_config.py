"""Settings: flags over file over defaults."""

from pathlib import Path

import pytest

from bench.config import load_config
from bench.errors import BenchError
from bench.machine import hardware


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    return tmp_path


def test_without_a_file_the_defaults_hold():
    settings = load_config({}).settings
    assert (settings.store, settings.seed, settings.limit, settings.batch_size) == (Path("runs"), 0, None, None)


def test_flags_win_over_the_file(here):
    (here / "bench.toml").write_text('store = "kept"\nseed = 3\nlimit = 5\n[data]\n')
    settings = load_config({"seed": 4, "limit": None}).settings
    assert (settings.store, settings.seed, settings.limit) == (Path("kept"), 4, 5)


def test_the_environment_names_another_file(here, monkeypatch):
    (here / "other.toml").write_text("seed = 9\n")
    monkeypatch.setenv("BENCH_CONFIG", str(here / "other.toml"))
    assert load_config({}).settings.seed == 9


def test_places_of_data_sets_come_from_the_data_table(here):
    (here / "bench.toml").write_text('[data]\nimagenet = "/data/val"\n')
    assert load_config({}).settings.places == {"imagenet": Path("/data/val")}


def test_the_cache_can_be_off():
    assert load_config({"cache": "off"}).settings.cache is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("sed = 1\n", "line 1: no setting 'sed'. Did you mean 'seed'"),
        ("\n\nseed = 'x'\n", "line 3: seed must be int"),
        ("workers = true\n", "workers must be int"),
        ("[data]\nimagenet = 3\n", "line 2: the place of 'imagenet'"),
    ],
)
def test_mistakes_in_the_file_name_line_and_key(here, text, match):
    (here / "bench.toml").write_text(text)
    with pytest.raises(BenchError, match=match):
        load_config({})


@pytest.mark.parametrize(
    ("flag", "value", "match"),
    [
        ("limit", 0, "limit must be at least 1, not 0"),
        ("seed", -1, "seed must be at least 0"),
        ("workers", -2, "workers must be at least 0"),
        ("workers", 10**6, "workers must be at most 1,024"),
        ("seed", 2**63, "seed must be at most 9,223,"),
        ("limit", 10**30, "limit must be at most 9,223,"),
        ("batch_size", 10**9, "batch size must be at most"),
        ("batch_size", "9" * 5000, "or auto, not '999"),
        ("batch_size", "٣", "or auto, not '٣'"),
        ("store", "", "store must be a path"),
        ("registry", "a\0b", "registry must be a path"),
        ("batch_size", "many", "or auto, not 'many'"),
        ("batch_size", "0", "batch size must be at least 1"),
        ("device", "tpu", "unknown device 'tpu'"),
        ("precision", "fp8", "precision must be one of"),
        ("cache_budget_gb", float("inf"), "cache_budget_gb must be a number of at least 0, not inf"),
        ("cache_budget_gb", -1, "cache_budget_gb must be a number of at least 0, not -1"),
        ("batchsize", 4, "no setting 'batchsize'. Did you mean 'batch_size'"),
    ],
)
def test_impossible_values_are_one_sentence(flag, value, match):
    with pytest.raises(BenchError, match=match):
        load_config({flag: value})


@pytest.mark.parametrize(
    ("majors", "name", "device", "precision"),
    [((), "auto", "cpu", "fp32"), ((9, 7), "auto", "cuda", "bf16"), ((9, 7), "cuda:1", "cuda:1", "fp16")],
)
def test_auto_takes_the_accelerator_and_the_precision_it_has(monkeypatch, majors, name, device, precision):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: majors)
    assert hardware.resolve_device(name) == device
    assert hardware.resolve_precision("auto", device) == precision


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: (9,))
    with pytest.raises(BenchError, match="no device 'cuda:7'.*cuda:0"):
        hardware.resolve_device("cuda:7")
