"""A user's mistake gets one sentence that says what came and what to do, an exit code, and never a traceback."""

import io
import os
import pickle
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import bench
from bench.cli import main

ZOO = Path(bench.__file__).parent / "checkpoints" / "zoo"
QUICK = "--suite digits --limit 3 --device cpu --workers 0 --cache off"


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch_registries: None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    (tmp_path / "file").write_text("not a folder")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Ended]:
    """A function that runs a command line in this process."""

    def _call(command: str) -> Ended:
        try:
            status = main(shlex.split(command))
        except SystemExit as end:  # argparse's own complaints
            status = int(end.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ended(status, captured.out, captured.err)

    return _call


@pytest.fixture
def refused(call: Callable[[str], Ended]) -> Callable[..., str]:
    """A function that runs a command that must fail, and returns its one sentence."""

    def _refused(command: str, status: int = 2) -> str:
        ended = call(command)
        assert ended.status == status, ended
        assert ended.out == ""
        lines = ended.err.splitlines()
        assert len(lines) == 1, ended.err
        assert lines[0].startswith("bench: ")
        return lines[0]

    return _refused


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two cells of the digits suite at limit 5."""
    folder = tmp_path_factory.mktemp("stored") / "runs"
    names = "--checkpoint digits-vit --checkpoint digits-resnet"
    assert main(shlex.split(f"run {QUICK} --limit 5 {names} --store {folder}")) == 0
    return folder


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "nearest", "see"),
    [
        ("run --suite digit-c", "no suite 'digit-c'. Did you mean 'digits-c'", "bench list suites"),
        ("run --suite zzz", "no suite 'zzz'.", "bench list suites"),
        ("run --checkpoint digits-vitt", "Did you mean 'digits-vit'", "bench list checkpoints"),
        ("run --track digit", "no track 'digit'. Did you mean 'digits'", "bench list tracks"),
        ("run --family vitt", "no family 'vitt'. Did you mean 'vit'", ""),
        ("plan --suite digit-c", "Did you mean 'digits-c'", "bench list suites"),
        ("table --suite digit-c", "Did you mean 'digits-c'", "bench list suites"),
        ("outcomes --out rows.csv --suite digit-c", "Did you mean 'digits-c'", "bench list suites"),
        ("train digits-vt --out made", "no recipe 'digits-vt'. Did you mean 'digits-vit'", "bench list recipes"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(refused, command, nearest, see):
    sentence = refused(command)
    assert nearest in sentence
    assert see in sentence


def test_a_data_set_unknown_to_bench_toml_is_answered_with_the_nearest(refused, tmp_path):
    (tmp_path / "bench.toml").write_text('[data]\ndigit-v2 = "here"\n')
    assert "no dataset 'digit-v2'. Did you mean 'digits-v2'" in refused(f"run {QUICK}")


def test_names_that_the_store_does_not_hold_are_answered_from_it(refused, stored):
    table = f"table --store {stored} --suite digits"
    assert "Did you mean 'digits-vit'" in refused(f"{table} --checkpoint digits-vt")
    assert "no column 'valu'. Did you mean 'value'?" in refused(f"{table} --format csv --columns metric,valu")
    assert "There is none" in refused("table --store nowhere --checkpoint digits-vit")


# -- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--limit 0", "limit must be at least 1, not 0"),
        ("--limit -3", "limit must be at least 1, not -3"),
        ("--seed -1", "seed must be at least 0, not -1"),
        ("--batch-size 0", "batch size must be at least 1, not 0"),
        ("--batch-size -2", "at least 1, or auto, not '-2'"),
        ("--batch-size x", "at least 1, or auto, not 'x'"),
        ("--workers -1", "workers must be at least 0, not -1"),
        ("--device nonsense", "unknown device 'nonsense'; use auto, cpu"),
        ("--device cuda:77", "there is no device 'cuda:77'"),
        (
            "--checkpoint digits-vit --family resnet",
            "digits-vit: none of these is of the family resnet; leave one of them out.",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_anything_runs(refused, tmp_path, options, says):
    assert says in refused(f"run {options}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("run --precision fp8", "choose from 'auto', 'fp32', 'bf16', 'fp16'"),
        ("run --on-error maybe", "choose from 'skip', 'stop'"),
        ("run --limit many", "invalid int value: 'many'"),
        ("run --no-such-option", "`bench run` does not take --no-such-option; suites go by --suite NAME"),
        ("table --format yaml", "choose from 'text', 'csv', 'md', 'json'"),
        ("outcomes", "required: --out"),
        ("list nonsense", "choose from 'suites'"),
        ("store mend", "choose from 'ls', 'verify', 'merge', 'rm'"),
        ("nonsense", "choose from 'list', 'plan', 'run'"),
        ("", "required: COMMAND"),
    ],
)
def test_a_command_line_that_does_not_parse_shows_what_there_is(call, command, says):
    ended = call(command)
    assert ended.status == 2
    assert says in ended.err.splitlines()[-1]


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="mps is there")
def test_a_device_that_only_torch_can_deny_is_refused(refused):
    sentence = refused(f"run {QUICK} --checkpoint digits-vit --device mps")
    assert "torch cannot use the device 'mps'" in sentence
    assert "--device cpu" in sentence
    assert len(sentence) < 300


def test_a_long_run_without_a_terminal_wants_yes(refused, monkeypatch):
    monkeypatch.setattr("bench.cli.run.LONG_PLAN", 2)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "add --yes, or name fewer with --checkpoint, or give --limit N" in refused(f"run {QUICK}")


# -- bench.toml -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('store = "s"\nstor = "t"\n', "bench.toml, line 2: no setting 'stor'. Did you mean 'store'"),
        ("\nworkers = true\n", "bench.toml, line 2: workers must be int, not True"),
        ('limit = "ten"\n', "bench.toml, line 1: limit must be int, not 'ten'"),
        ("store = 3\n", "bench.toml, line 1: store must be str, not 3"),
        ('precision = "fp8"\n', "precision must be one of auto, fp32, bf16, fp16, not 'fp8'"),
        ('on_error = "maybe"\n', "on error must be one of skip, stop, not 'maybe'"),
        ("limit = 0\n", "limit must be at least 1, not 0"),
        ('seed = 1\nstore = "runs\n', "bench.toml, line 2: not valid TOML"),
        ("[data]\ndigits-v2 = 3\n", "bench.toml, line 2: the place of 'digits-v2' must be a path, not 3"),
        ('[data]\ndigits = "here"\n', "'digits' ships with rtbench; leave its place here out of [data] in bench.toml"),
        ('registry = "gone.toml"\n', "there is no file gone.toml"),
    ],
)
def test_a_mistake_in_bench_toml_names_where_it_is(refused, tmp_path, text, says):
    (tmp_path / "bench.toml").write_text(text)
    assert says in refused("run --suite digits --checkpoint digits-vit")


def test_a_configuration_that_is_not_there_is_named(refused, monkeypatch):
    monkeypatch.setenv("BENCH_CONFIG", "elsewhere/bench.toml")
    assert "there is no file elsewhere/bench.toml" in refused("run --suite digits")


# -- checkpoints of one's own -----------------------------------------------------------------------------------

ENTRY = """\
[mine]
arch = "digits_vit"
weights = "mine.safetensors"
dataset = "digits"
input_size = 32
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("weights", "wieghts", "line 3: [mine] no key 'wieghts'. Did you mean 'weights'"),
        ("input_size = 32", "input_size = 0", "line 5: [mine] input_size must be a whole number of pixels"),
        (
            "input_size = 32",
            'sam = "yes"',
            "line 5: [mine] sam must be one of none, sam, gsam, asam, looksam, in quotes, not 'yes'",
        ),
        (
            'dataset = "digits"',
            'dataset = "digit"',
            "line 4: [mine] dataset: no dataset 'digit'. Did you mean 'digits'",
        ),
        ('dataset = "digits"\n', "", "line 1: [mine] does not say its classes"),
        ('arch = "digits_vit"', 'builder = "os:system"', "line 2: [mine] builder names code"),
        ('arch = "digits_vit"', "arch = digits_vit", "line 2: not valid TOML"),
        ("[mine]\n", "", "line 1: 'arch' stands outside a checkpoint's table"),
        (ENTRY, "", "has no checkpoint and no data set; begin one"),
    ],
)
def test_a_mistake_in_a_registry_file_names_file_line_and_key(refused, tmp_path, old, new, says):
    (tmp_path / "mine.toml").write_text(ENTRY.replace(old, new))
    sentence = refused("run --registry mine.toml --checkpoint mine")
    assert "mine.toml" in sentence
    assert says in sentence


def test_a_name_that_is_taken_names_both_places(refused, tmp_path):
    (tmp_path / "mine.toml").write_text(ENTRY.replace("[mine]", "[digits-vit]"))
    sentence = refused("run --registry mine.toml")
    assert "checkpoint 'digits-vit' is registered twice, by registry.toml and by mine.toml; rename one" in sentence


def no_file(path: Path) -> None:
    pass


def a_folder(path: Path) -> None:
    path.mkdir()


def an_empty_file(path: Path) -> None:
    path.touch()


def a_web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404</body></html>")


def a_pickle_with_code(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch ran",)

    torch.save({"head": Evil()}, path)


def a_bare_pickle_with_code(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch ran",)

    path.write_bytes(pickle.dumps(Evil()))


def a_file_cut_short(path: Path) -> None:
    path.write_bytes((ZOO / "digits-vit.safetensors").read_bytes()[:-1000])


def a_text(path: Path) -> None:
    path.write_text("these are no weights at all")


def arrays() -> dict[str, torch.Tensor]:
    return load_file(ZOO / "digits-vit.safetensors")


def an_array_missing(path: Path) -> None:
    save_file({name: array for name, array in arrays().items() if name != "head.bias"}, path)


def an_array_too_many(path: Path) -> None:
    save_file({**arrays(), "surplus": torch.zeros(1)}, path)


def a_wrong_shape(path: Path) -> None:
    wrong = arrays()
    name = next(name for name in wrong if wrong[name].dim() == 2 and "head" not in name)
    save_file({**wrong, name: torch.zeros(2, 2)}, path)


def other_classes(path: Path) -> None:
    wrong = arrays()
    heads = {name: array[:7].clone() for name, array in wrong.items() if name.startswith("head.")}
    assert heads
    save_file({**wrong, **heads}, path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_file, "there is no weights file {weights}; check the path"),
        (a_folder, "{weights} is a folder; name the file in it"),
        (an_empty_file, "weights file {weights} is empty; download or copy it again"),
        (a_web_page, "{weights} is a web page, likely the error page of a failed download"),
        (a_pickle_with_code, "loading {weights} would run code"),
        (a_bare_pickle_with_code, "{weights} is a pickle, but not one of plain arrays"),
        (a_file_cut_short, "weights file {weights} is damaged or cut short"),
        (a_text, "{weights} is neither safetensors nor a file of torch.save"),
        (an_array_missing, "{weights} does not fit digits_vit: it lacks head.bias"),
        (an_array_too_many, "{weights} does not fit digits_vit: it has unused surplus"),
        (a_wrong_shape, "of 2 x 2 instead of"),
        (other_classes, "the head in {weights} has 7 outputs, but class space 'digits' has 10"),
    ],
)
def test_weights_that_cannot_be_used_are_named_and_the_others_still_measured(call, tmp_path, make, says):
    weights = tmp_path / "mine.pth"
    make(weights)
    (tmp_path / "mine.toml").write_text(ENTRY.replace("mine.safetensors", "mine.pth"))
    ended = call(f"run {QUICK} --registry mine.toml --checkpoint mine --checkpoint digits-vit")
    assert ended.status == 1
    *_, head, reason = ended.err.splitlines()
    assert re.fullmatch(r"bench: 1 (cell failed|checkpoint could not be evaluated); everything else is stored:", head)
    assert reason.startswith("  mine")
    assert says.format(weights=weights) in reason
    assert "digits-vit" in ended.out
    assert not (tmp_path / "ran").exists()
    assert len(list(tmp_path.glob("runs/cells/*/*.parquet"))) == 1


def test_a_checkpoint_of_other_classes_is_refused_before_anything_runs(refused, tmp_path):
    entry = ENTRY.replace('dataset = "digits"', 'classes = ["cat", "dog"]')
    (tmp_path / "mine.toml").write_text(entry)
    (tmp_path / "mine.safetensors").write_bytes((ZOO / "digits-vit.safetensors").read_bytes())
    sentence = refused(f"run {QUICK} --registry mine.toml --checkpoint mine --checkpoint digits-vit")
    assert "'mine' predicts the 2 classes of 'mine'" in sentence
    assert "leave one of them out" in sentence
    assert not (tmp_path / "runs").exists()


# -- stores, tables, caches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("table --store nowhere", "nowhere holds nothing as asked of any suite; `bench run` measures it."),
        ("table --store {stored} --suite digits --limit 4", "holds nothing of digits as asked"),
        ("table --store {stored} --suite digits --device cuda", "holds nothing of digits as asked"),
        ("table --store {stored} --suite digits --limit 0", "limit must be at least 1, not 0"),
        ("table --store {stored} --suite digits --seed -4", "seed must be at least 0, not -4"),
        ("table --store {stored} --suite digits --columns value", "give --format csv or json"),
        ("table --store {stored} --suite digits --out .", "cannot be written: Is a directory; name another place"),
        ("table --store {stored} --suite digits --out file/x.md", "file is not a folder; name another place"),
        ("outcomes --store {stored} --suite digits --out x.xlsx", "--out must end in .parquet or .csv, not 'x.xlsx'"),
        ("outcomes --store {stored} --suite digits --out file/x.csv", "file is not a folder; name another place"),
        (
            "table --store {stored} --suite digits --limit 4",
            "It holds digits, of digits-resnet, digits-vit, with limit 5, seed 0, cpu fp32.",
        ),
        ("table --store {stored} --suite digits-pgd", "It holds digits, of digits-resnet, digits-vit, with limit 5"),
        ("table --store {stored} --limit 4", "It holds digits, of digits-resnet, digits-vit, with limit 5"),
        ("outcomes --store nowhere --out x.csv", "nowhere holds nothing as asked"),
        ("publish --store nowhere --out x", "nowhere holds nothing as asked"),
        ("store ls --store nowhere", "there is no store at nowhere; give its folder with --store DIR"),
        ("store verify --store nowhere", "there is no store at nowhere; give its folder with --store DIR"),
        ("store rm --store nowhere --damaged", "there is no store at nowhere; give its folder with --store DIR"),
        (
            "store rm --store {stored}",
            "name the cells to remove by KEY (`bench store ls` shows them), or give --damaged",
        ),
        ("store rm --store {stored} zz", "0 stored cells begin with 'zz'; give the key of one, as `bench store ls`"),
        ("store rm --store {stored} ''", "0 stored cells begin with ''; give the key of one"),
        ("store merge --store runs nowhere", "there is no store at nowhere; give the folder"),
        ("store merge --store runs .", ". is no store; give the folder"),
        ("cache ls --cache off", "the cache is off; name its folder with --cache DIR"),
        (
            "train digits-vit --out file/made",
            "nothing can be written to file/made: it is not a folder; name another place.",
        ),
    ],
)
def test_a_place_that_holds_nothing_or_takes_nothing_is_named(refused, stored, tmp_path, command, says):
    before = sorted(stored.rglob("*"))
    assert says in refused(command.format(stored=stored))
    assert sorted(stored.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--store file/runs", "the store file/runs cannot be written: Not a directory"),
        ("--store runs --cache file/cache", "give another folder with --cache DIR, or --cache off"),
    ],
)
def test_a_folder_that_cannot_be_made_stops_the_run(refused, options, says):
    run = "run --suite digits --checkpoint digits-vit --limit 3 --device cpu --workers 0"
    assert says in refused(f"{run} {options}", status=1)
