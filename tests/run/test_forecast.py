"""What a plan would take is told soon, whatever is planned: each architecture is built once, and time is limited."""

from dataclasses import replace

import pytest

from bench import api
from bench.checkpoints import checkpoints
from bench.cli import main
from bench.run import forecast as module


@pytest.fixture
def built(monkeypatch):
    """The names of the checkpoints whose architectures are built."""
    names, load = [], module.load_untrained

    def load_untrained(checkpoint, *arguments):
        names.append(checkpoint.name)
        return load(checkpoint, *arguments)

    monkeypatch.setattr(module, "load_untrained", load_untrained)
    return names


def plan(folder, entries, suites=("digits", "digits-pgd")):
    settings = api.configure(store=folder, cache="off", workers=0, device="cpu", limit=3).settings
    return api.plan(api.select_suites(suites), entries, settings)


def noted(planned):
    notes = []
    return module.forecast(planned, notes.append), notes


VITS = [checkpoints.get("digits-vit"), checkpoints.get("digits-vit-sam")]


def test_an_architecture_is_built_once_for_all_checkpoints_and_measures(tmp_path, built):
    found, notes = noted(plan(tmp_path, VITS))
    assert built == ["digits-vit"]
    assert found.models.keys() == {"digits-vit", "digits-vit-sam"}
    assert found.models["digits-vit"] == found.models["digits-vit-sam"] > 0
    assert "timing architecture 1 of 1: digits-vit and 1 more at 32 pixels" in notes


def test_one_severity_is_timed_for_all(tmp_path, monkeypatch):
    timed, prepare = [], module._seconds_to_prepare

    def seconds_to_prepare(image_set, *arguments):
        timed.append(image_set.perturbation)
        return prepare(image_set, *arguments)

    monkeypatch.setattr(module, "_seconds_to_prepare", seconds_to_prepare)
    found, _ = noted(plan(tmp_path, VITS[:1], ["digits-c"]))
    assert len(timed) == len({one.corruption for one in timed}) == len(found.prepared)
    assert {one.severity for one in timed} == {3}


def test_when_the_time_is_up_the_rest_is_named(tmp_path, monkeypatch, built):
    monkeypatch.setattr(module, "_MOST_FOR_MODELS", -1.0)
    monkeypatch.setattr(module, "_MOST", -1.0)
    found, _ = noted(plan(tmp_path, VITS))
    assert not built
    assert {"digits-vit", "digits-vit-sam", "resizing of digits"} <= found.unknown.keys()
    assert all("timing stopped after a minute and a half" in reason for reason in found.unknown.values())


def test_a_long_round_is_the_only_one(monkeypatch):
    rounds = []
    monkeypatch.setattr(module, "_LONG", 0.0)
    assert module._fastest(lambda: rounds.append(1)) > 0
    assert len(rounds) == 1


def test_weights_to_fetch_are_counted_once_an_address(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    away = [
        replace(VITS[0], name=name, weights=f"https://weights.example/{file}", weights_digest="")
        for name, file in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    found, _ = noted(plan(tmp_path, [*away, VITS[1]], ["digits"]))
    arrays = module.load_untrained(VITS[0], "cpu").state_dict()
    assert found.fetch_bytes == 2 * sum(array.nbytes for array in arrays.values())


def test_the_plan_says_how_much_is_to_be_fetched(tmp_path, monkeypatch, capsys, scratch_registries):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fed = 'input_size = 32\ncrop_ratio = 1\ninterpolation = "bicubic"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
    (tmp_path / "mine.toml").write_text(
        f'[mine]\narch = "digits_vit"\nweights = "https://weights.example/w"\ndataset = "digits"\n{fed}'
    )
    words = "plan --suite digits --registry mine.toml --checkpoint mine --limit 3 --device cpu --store runs"
    assert main(words.split()) == 0
    assert "weights to fetch: about 7" in capsys.readouterr().out  # 0.72 MB
