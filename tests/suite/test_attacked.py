"""Suites of attacks: what `--set` makes of them, their columns of eps, and warnings from the store to every table."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import api
from bench.attacks.epsilon import parse_grid
from bench.board.tables import read_csv
from bench.cli import main
from bench.errors import BenchError, UnknownNameError
from bench.records import Cell, Params
from bench.store import Store
from bench.suite import Suite, suites

QUICK = "--device cpu --workers 0 --cache off"
PGD, AUTOATTACK = suites.get("digits-pgd"), suites.get("digits-autoattack")


def measured(suite: Suite, measure: str) -> list[Params]:
    """Parameters of the conditions under a measure."""
    return [c.measure.params for c in suite.conditions if c.measure.name == measure]


# -- what --set makes of a suite ---------------------------------------------------------------------------------


def test_a_setting_changes_conditions_name_and_protocol() -> None:
    suite = PGD.changed({"steps": "100", "restarts": "5"})
    assert suite.name == "digits-pgd-restarts-5-steps-100"
    assert "PGD of 100 steps of 2.5 eps / steps from 5 random starts" in suite.protocol.name
    assert {(p["steps"], p["restarts"], p["step_size"]) for p in measured(suite, "pgd")} == {(100, 5, 2.5)}
    assert (suite.version, suite.track) == (PGD.version, PGD.track)


def test_values_are_of_the_type_of_the_default() -> None:
    [params, *_] = measured(PGD.changed({"steps": "7", "step_size": "1"}), "pgd")
    assert (params["steps"], type(params["steps"])) == (7, int)
    assert (params["step_size"], type(params["step_size"])) == (1.0, float)


def test_what_is_set_to_the_default_changes_nothing() -> None:
    assert PGD.changed({}) is PGD
    assert PGD.changed({"steps": "20", "step_size": "2.50"}) is PGD
    one, other = PGD.changed({"steps": "20", "restarts": "2"}), PGD.changed({"restarts": "2"})
    assert (one.name, one.protocol, one.conditions) == (other.name, other.protocol, other.conditions)


def test_the_order_of_settings_makes_no_other_suite() -> None:
    values = {"steps": "3", "restarts": "2"}
    assert PGD.changed(values).name == PGD.changed(dict(reversed(values.items()))).name


def test_a_name_can_be_a_files_whatever_was_set() -> None:
    suite = PGD.changed({"eps": "1/255, 2/255", "eps_l2": "0.5+1"})
    assert suite.name == "digits-pgd-eps-1_255__2_255-eps_l2-0.5+1"


def test_steps_are_none_of_fgsms_business() -> None:
    changed = PGD.changed({"steps": "100"})
    assert measured(changed, "fgsm") == measured(PGD, "fgsm")
    assert not set(measured(changed, "pgd")) & set(measured(PGD, "pgd"))


def test_a_grid_that_is_set_reaches_conditions_curves_area_and_headings() -> None:
    suite = PGD.changed({"eps": "2/255,8/255", "eps_l2": "3"})
    assert {p["grid"] for p in measured(suite, "pgd") if p["norm"] == "linf"} == {"2/255+8/255"}
    assert {p["grid"] for p in measured(suite, "pgd") if p["norm"] == "l2"} == {"3"}
    assert [p["grid"] for p in measured(suite, "fgsm")] == ["2/255+8/255"]
    shown = {score.column: score for score in suite.board}
    assert list(shown) == [
        *("Linf 8/255", "Linf area", "Linf median/255", "FGSM 8/255", "L2 3", "L2 area", "L2 median", "clean")
    ]
    assert shown["Linf area"].metric.function.keywords["grid"] == parse_grid("2/255+8/255", "linf").values
    assert {s.at["eps"] for s in suite.scores if s.metric.name == "robust_accuracy"} == {"2/255", "8/255", "3"}
    assert "Linf 2/255+8/255 and L2 3 in pixels of [0, 1]" in suite.protocol.name


def test_without_the_headlines_eps_the_largest_of_the_grid_stands_there() -> None:
    suite = PGD.changed({"eps": "1/255+16/255"})
    assert suite.headline.column == "Linf 16/255"
    assert suite.headline.at["eps"] == "16/255"


def test_autoattack_takes_one_eps_a_norm() -> None:
    suite = AUTOATTACK.changed({"eps": "4/255", "eps_l2": "0.5"})
    assert [(p["norm"], p["eps"]) for p in measured(suite, "autoattack")] == [("linf", "4/255"), ("l2", "0.5")]
    assert [score.column for score in suite.board] == ["Linf 4/255", "L2 0.5", "clean"]
    assert "AutoAttack standard at Linf 4/255 and L2 0.5" in suite.protocol.name
    with pytest.raises(BenchError, match=r"eps must be a number such as 4/255 or 0.0157, not '1/255\+2/255'"):
        AUTOATTACK.changed({"eps": "1/255+2/255"})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("steps", "many", "steps of suite 'digits-pgd' must be a whole number, not 'many'"),
        ("steps", "2.5", "steps of suite 'digits-pgd' must be a whole number, not '2.5'"),
        ("steps", "0", "steps of suite 'digits-pgd' must be more than 0, not 0"),
        ("restarts", "-1", "restarts of suite 'digits-pgd' must be more than 0, not -1"),
        ("step_size", "wide", "step_size of suite 'digits-pgd' must be a number, not 'wide'"),
        ("step_size", "nan", "step_size of suite 'digits-pgd' must be more than 0, not nan"),
        ("step_size", "inf", "step_size of suite 'digits-pgd' must be more than 0, not inf"),
        ("eps", "4", "eps 4 under linf could mean 4/255 or 4 times the range"),
        ("eps", "4/255+2/255", "must be ascending"),
        ("eps_l2", "far", "eps must be a number such as 4/255"),
        ("eps_l2", "0", "eps must be more than 0"),
    ],
)
def test_a_value_that_is_not_possible_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(BenchError) as caught:
        PGD.changed({name: value})
    assert says in str(caught.value)


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no setting of suite 'digits-pgd' 'step'. Did you mean 'steps'"):
        PGD.changed({"step": "3"})
    with pytest.raises(UnknownNameError, match="no setting of digits, digits-pgd 'restart'. Did you mean 'restarts'"):
        api.select_suites(["digits", "digits-pgd"], settings={"restart": "3"})
    with pytest.raises(UnknownNameError, match="no setting of digits 'steps'. There is none"):
        api.select_suites(["digits"], settings={"steps": "3"})


def test_a_setting_applies_to_the_suites_that_have_it() -> None:
    names = ["digits", "digits-autoattack", "digits-pgd"]
    steps, eps = ({s.name for s in api.select_suites(names, settings=x)} for x in ({"steps": "3"}, {"eps": "1/255"}))
    assert steps == {"digits", "digits-autoattack", "digits-pgd-steps-3"}
    assert eps == {"digits", "digits-autoattack-eps-1_255", "digits-pgd-eps-1_255"}


# -- from the command line ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Ended]:
    """A function that runs a command line in this process."""

    def _call(command: str) -> Ended:
        status = main(shlex.split(command))
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return _call


@pytest.mark.parametrize("command", ["run", "plan", "table", "outcomes --out rows.csv"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--set steps", "--set wants NAME=VALUE, such as steps=100, not 'steps'."),
        ("--set =3", "--set wants NAME=VALUE, such as steps=100, not '=3'."),
        ("--set steps=", "--set wants NAME=VALUE, such as steps=100, not 'steps='."),
        ("--set steps=3 --set steps=4", "--set says steps twice, 3 and 4; leave one of them out."),
        ("--set stepz=3", "no setting of digits-pgd 'stepz'. Did you mean 'steps'"),
        ("--set steps=x", "steps of suite 'digits-pgd' must be a whole number, not 'x'."),
    ],
)
def test_every_command_that_takes_suites_refuses_what_cannot_be_set(
    call: Callable[[str], Ended], command: str, options: str, says: str
) -> None:
    ended = call(f"{command} --suite digits-pgd {options}")
    assert (ended.status, ended.out) == (2, "")
    [line] = ended.err.splitlines()
    assert says in line


def test_a_changed_suite_is_measured_and_stored_beside_the_default(call: Callable[[str], Ended]) -> None:
    grids = "--set eps=128/255 --set eps_l2=16"  # all fall at once
    command = f"--suite digits-pgd {grids} --checkpoint digits-resnet --limit 2"
    assert call(f"run {command} --set steps=2 {QUICK}").status == 0
    keys = Store(Path("runs")).keys()
    assert len(keys) == 5
    assert call(f"run {command} --set steps=3 {QUICK}").status == 0
    assert len(Store(Path("runs")).keys() - keys) == 4  # FGSM takes no such steps: its cell is shared
    for steps in (2, 3):
        name = f"digits-pgd-eps-128_255-eps_l2-16-steps-{steps}"
        table = call(f"table {command} --set steps={steps}")
        assert f"{name} v1: " in table.out
        assert f"PGD of {steps} steps" in table.out
        frame = read_csv(Path(f"runs/tables/{name}-limit-2.csv"))
        assert set(frame.suite) == {name}
        assert set(frame.steps.dropna()) == {str(steps)}
    assert "nothing of digits-pgd as asked" in call("table --suite digits-pgd").err


# -- warnings ----------------------------------------------------------------------------------------------------

HONEST, MASKED = "digits-resnet", "digits-vit"
SHOWN = {
    ("pgd", "linf", "ce"): {"flat": 0.5, "stuck": 0.4},
    ("pgd", "linf", "dlr"): {"flat": 0.1},
    ("pgd", "l2", "ce"): {"square": 0.2},
}
"""Of the masked checkpoint: condition to columns, and the share of images that show the sign."""


def rows_of(cell: Cell, shown: dict[str, float]) -> dict[str, np.ndarray]:
    """What an attack gives of a checkpoint that has all images right: a quarter falls at the first eps, none later."""
    n, grid = (
        cell.n,
        parse_grid(str(cell.condition.measure.params["grid"]), str(cell.condition.measure.params["norm"])).values,
    )
    falls = np.arange(n) % 4 == 0
    columns = {
        "correct": np.ones(n, bool),
        "smallest_eps": np.where(falls, grid[0], np.inf).astype(np.float32),
        "unsteady": np.zeros(n, np.float32),
        "fresh": np.repeat(falls[:, None], len(grid), axis=1).astype(np.int8),
        "unbounded": np.ones(n, np.int8),
        "change": np.zeros(n, np.float32),
        "clean_loss": np.zeros(n, np.float32),
        "gradients": np.ones(n, np.int32),
    }
    signs = {name: np.arange(n) < shown.get(name, 0) * n for name in ("flat", "stuck", "longer", "square")}
    return columns | {name: sign.astype(np.int8) for name, sign in signs.items()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with made-up outcomes of `digits-pgd` at limit 40, and true ones of `digits` for both checkpoints."""
    folder = tmp_path_factory.mktemp("stored") / "runs"
    names = f"--checkpoint {HONEST} --checkpoint {MASKED}"
    assert main(shlex.split(f"run --suite digits {names} --limit 40 --store {folder} {QUICK}")) == 0
    settings = replace(api.configure(store=str(folder), device="cpu").settings, limit=40)
    chosen, checkpoints = api.select(["digits-pgd"], checkpoints=[HONEST, MASKED])
    store = Store(folder)
    [clean, *_] = store.keys()
    samples = store.read(clean)
    for cell in api.plan(chosen, checkpoints, settings).cells:
        params = cell.condition.measure.params
        place = (cell.condition.measure.name, params["norm"], params["loss"])
        shown = SHOWN.get(place, {}) if cell.checkpoint.name == MASKED else {}  # type: ignore[call-overload]
        store.record_checkpoint(cell.model_digest, cell.checkpoint)
        store.write(cell, samples.ids, samples.labels, rows_of(cell, shown))
    return folder


def test_a_leaderboard_names_the_warnings_of_each_checkpoint(stored: Path) -> None:
    from bench.board.tables import leaderboard

    [board] = api.boards([PGD], Store(stored))
    frame = leaderboard(board).set_index("checkpoint")
    assert frame.warnings.to_dict() == {
        HONEST: "none",
        MASKED: "zero_gradients, loss_not_raised, square_beats_white_box",
    }
    assert list(frame.columns).index("warnings") == list(frame.columns).index("n") + 1


def unbroken(text: str) -> str:
    """The lines as they were before they were broken to fit the terminal."""
    return text.replace("\n  ", " ")


@pytest.mark.parametrize(("style", "begins"), [("text", ""), ("md", "- ")])
def test_below_a_leaderboard_a_sentence_says_where_how_much_and_what_it_means(
    call: Callable[[str], Ended], stored: Path, style: str, begins: str
) -> None:
    out = call(f"table --suite digits-pgd --store {stored} --format {style}").out
    lines = [line for line in unbroken(out).splitlines() if "WARNING" in line]
    signs = {sign.metric.name: sign.metric.alarm for sign in PGD.alarms}
    assert lines == [
        f"{begins}WARNING {MASKED}, zero_gradients (pgd linf ce; pgd linf dlr): 50% {signs['zero_gradients'].says}",
        f"{begins}WARNING {MASKED}, loss_not_raised (pgd linf ce): 40% {signs['loss_not_raised'].says}",
        f"{begins}WARNING {MASKED}, square_beats_white_box (pgd l2 ce): 20% {signs['square_beats_white_box'].says}",
    ]


def test_a_median_that_is_not_defined_is_noted_and_empty(call: Callable[[str], Ended], stored: Path) -> None:
    out = call(f"table --suite digits-pgd --store {stored} --columns all").out
    assert unbroken(out).count("not defined: more than half of the images withstand") == 1  # it is said once
    [note] = [line for line in unbroken(out).splitlines() if "not defined" in line]
    assert HONEST in note
    assert "Linf median/255, L2 median (4 scores): not defined: more than half" in note  # two of each checkpoint
    row = next(line for line in out.splitlines() if HONEST in line)
    assert row.split().count("–") == 2


def test_every_row_of_the_csv_carries_the_warnings_and_reads_back(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    assert main(shlex.split(f"table --suite digits-pgd --store {stored} --out {out}")) == 0
    frame = read_csv(out)
    pd.testing.assert_frame_equal(frame, api.table(api.boards([PGD], Store(stored))))
    warned = frame[frame.checkpoint == MASKED].warnings
    assert set(warned) == {"zero_gradients, loss_not_raised, square_beats_white_box"}
    assert len(warned) == len(PGD.scores) - 2  # the medians
    assert (frame[frame.checkpoint == HONEST].warnings == "none").all()


def test_each_eps_is_a_row_of_the_csv(stored: Path) -> None:
    frame = api.table(api.boards([PGD], Store(stored)))
    mine = frame[(frame.metric == "robust_accuracy") & (frame.checkpoint == HONEST)]
    union = mine[mine.measure.isna() & (mine.norm == "linf") & mine.score.isna()]
    assert union.eps.tolist() == ["0.5/255", "1/255", "2/255", "4/255", "8/255"]
    assert set(mine[mine.measure == "fgsm"].eps) == set(union.eps)
    assert union.value.astype(float).tolist() == [0.75] * 5


def test_suites_without_alarms_have_no_such_column(call: Callable[[str], Ended], stored: Path) -> None:
    assert "warnings" not in api.table(api.boards([suites.get("digits")], Store(stored))).columns
    assert "warnings" not in call(f"table --suite digits --store {stored}").out


def test_beside_suites_of_attacks_the_others_leave_that_column_empty(stored: Path) -> None:
    frame = api.table(api.boards([suites.get("digits"), PGD], Store(stored)))
    assert frame[frame.suite == "digits"].warnings.isna().all()
    assert frame[(frame.suite == PGD.name) & (frame.checkpoint == MASKED)].warnings.notna().all()


def test_a_run_prints_the_warnings_that_are_stored(call: Callable[[str], Ended], stored: Path) -> None:
    ended = call(f"run --suite digits-pgd --checkpoint {MASKED} --limit 40 --store {stored} {QUICK}")
    assert ended.status == 0
    assert f"WARNING {MASKED}, zero_gradients" in ended.out


def test_outcomes_of_attacks_are_rows_with_the_settings_beside(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    assert main(shlex.split(f"outcomes --suite digits-pgd --checkpoint {HONEST} --store {stored} --out {out}")) == 0
    frame = pd.read_parquet(out)
    assert {"norm", "steps", "change", "gradients", "smallest_eps", "fresh"} <= set(frame.columns)
    assert set(frame.norm) == {"linf", "l2"}


def test_another_attack_takes_the_place_of_pgd() -> None:
    suite = PGD.changed({"attack": "fgsm"})
    assert suite.name == "digits-pgd-attack-fgsm"
    assert not measured(suite, "pgd")
    assert "FGSM and FGSM of 20 steps" in suite.protocol.name
    with pytest.raises(UnknownNameError, match="no attack 'pdg'. Did you mean 'pgd'"):
        PGD.changed({"attack": "pdg"})


def test_the_name_of_a_changed_suite_says_how_to_ask_for_it() -> None:
    with pytest.raises(BenchError, match="no suite 'digits-pgd-steps-5': write --suite digits-pgd --set NAME=VALUE"):
        api.select_suites(["digits-pgd-steps-5"])


def test_a_limit_larger_than_the_data_is_said(call: Callable[[str], Ended]) -> None:
    ended = call("plan --suite digits-pgd --checkpoint digits-resnet --limit 5000 --device cpu")
    assert "digits has 500 samples here, fewer than the limit of 5,000: all are measured." in ended.err
    assert "as if every image withstood all attacks" in ended.out
