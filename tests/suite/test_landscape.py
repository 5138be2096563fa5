"""Suites of the landscape: their settings, and what tables say of what not every checkpoint has."""

import numpy as np
import pytest

from bench import api
from bench.board.leaderboard import Board
from bench.compare import tables
from bench.datasets import Library, subset
from bench.errors import BenchError
from bench.metrics import landscape
from bench.records import Outcome
from bench.store import Store
from bench.suite import suites
from tests.contracts.test_suites import landscaped

SUITE = suites.get("digits-landscape")


def params(suite, measure: str) -> list[dict]:
    return [dict(c.measure.params) for c in suite.conditions if c.measure.name == measure]


# -- what --set makes of a suite ---------------------------------------------------------------------------------------


def test_settings_change_conditions_name_and_protocol() -> None:
    suite = SUITE.changed({"images": "100", "batchnorm": "train", "rho": "0.5", "sigma": "0.1", "steps": "9"})
    assert suite.name == "digits-landscape-batchnorm-train-images-100-rho-0.5-sigma-0.1-steps-9"
    assert "100 training images, mean cross-entropy, BatchNorm in train mode" in suite.protocol.name
    assert {condition.data.samples for condition in suite.conditions} == {100}
    assert [p["steps"] for p in params(suite, "curvature")] == [9, 9]
    [flatness] = params(suite, "flatness")
    assert (flatness["rho"], flatness["sigma"], flatness["batchnorm"]) == (0.5, "0.1", "train")


def test_density_blocks_surface_and_kernels_are_of_some_images_alone() -> None:
    samples = {
        (c.measure.name, bool(c.measure.params.get("blocks"))): c.data.samples
        for c in suites.get("imagenet-landscape").conditions
    }
    assert samples["curvature", False] == samples["flatness", False] == 1000
    assert (samples["curvature", True], samples["surface", False], samples["ntk", False]) == (100, 100, 160)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"images": "-1"}, "images of suite 'digits-landscape' must be 0, for all, or more, not -1"),
        ({"steps": "1"}, "steps of suite 'digits-landscape' must be at least 2, not 1"),
        ({"probes": "0"}, "probes of suite 'digits-landscape' must be at least 2, not 0"),
        ({"rho": "nan"}, "rho of suite 'digits-landscape' must be more than 0, not nan"),
        ({"sigma": "0.2+0.1"}, "sigma of suite 'digits-landscape' must be ascending numbers above 0"),
        ({"relative": "inf"}, "relative of suite 'digits-landscape' must be ascending numbers above 0"),
        ({"batchnorm": "off"}, "batchnorm of suite 'digits-landscape' must be eval or train, not 'off'"),
        ({"loss": "mse"}, "loss of suite 'digits-landscape' must be ce or bce, not 'mse'"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(BenchError, match=says.replace("+", r"\+")):
        SUITE.changed(values)


# -- tables and comparisons --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Made-up outcomes of a pair on all images, the second's losses and curvature half of the first's."""
    root = tmp_path_factory.mktemp("landscape") / "runs"
    store, settings = Store(root), api.configure(store=str(root), device="cpu").settings
    store.prepare()
    chosen, entries = api.select([SUITE.name], None, ["digits-resnet", "digits-resnet-sam"])
    samples = Library().open("digits-train", "train").samples
    for cell in api.plan(chosen, entries, settings, Library()).cells:
        rows = subset(samples.ids, cell.n)
        ids, labels = samples.ids[rows], samples.labels[rows]
        columns = landscaped(cell.condition, ids, labels, 10, np.random.default_rng(1))
        if cell.condition.measure.name == "attention":
            columns = {**columns, "attention_entropy": np.full((cell.n, 1), np.nan)}
        halved = ("along_top", "eigenvalues", "trace", "clean_loss", "noise_loss", "ascent_loss", "relative_noise_loss")
        if cell.checkpoint.sam != "none":
            columns |= {name: columns[name] / 2 for name in halved if name in columns}
        store.record_checkpoint(cell.model_digest, cell.checkpoint)
        store.write(cell, ids, labels, columns)
    return store


@pytest.fixture(scope="module")
def board(store: Store) -> Board:
    [found] = api.boards([SUITE], store)
    return found


def test_what_a_model_does_not_have_is_left_out_without_a_word(board: Board) -> None:
    shown = {row.score.metric.name for row in board.rows}
    assert "attention_entropy" not in shown
    assert "attention_distance" in shown
    assert not [note for note in board.notes if "attention" in note]


def test_pairs_are_compared_by_the_whole_board(store: Store) -> None:
    pairs = api.compare_pairs([SUITE], store)
    rows = {row.score.column: row for _, row in pairs.compared.rows}
    assert list(rows) == [score.column for score in SUITE.board]
    for column in ("lambda max", "noise 0.05", "ascent 0.1", "filter noise 0.5"):
        row = rows[column]
        assert row.how == "by image"
        assert row.value == pytest.approx(-row.before.value / 2)
        assert row.ci_high < 0
        assert row.p < 0.01
    assert rows["trace"].p is None
    text = tables.to_text(tables.pair_sections(pairs.boards, pairs.compared, pairs.gains), "text")
    assert "digits-landscape v1, 597 images" in text
    assert "lower is better: lambda max, trace" in text
    assert not pairs.compared.overall  # there is no accuracy to take a mean of


def test_suites_with_an_accuracy_are_compared_by_their_headline_as_before() -> None:
    assert [score.column for score in suites.get("digits-c").paired] == ["mean of 15"]
    assert SUITE.paired == SUITE.board


# -- metrics -----------------------------------------------------------------------------------------------------------


def outcome(**columns) -> Outcome:
    n = len(next(iter(columns.values())))
    return Outcome(ids=np.arange(n), labels=np.zeros(n, int), columns=columns)


def test_the_largest_eigenvalue_has_an_interval_from_500_images_on() -> None:
    along = np.random.default_rng(0).exponential(1, 500)
    whole = landscape.LAMBDA_MAX.estimate([outcome(along_top=along)])
    assert whole.value == pytest.approx(along.mean())
    assert whole.ci_low < along.mean() < whole.ci_high
    assert landscape.LAMBDA_MAX.estimate([outcome(along_top=along[:499])]).ci_low is None
    error = landscape.LAMBDA_MAX_ERROR.estimate([outcome(along_top=along)]).value
    assert error == pytest.approx(along.std(ddof=1) / 500**0.5)


def test_a_kernel_without_a_smallest_eigenvalue_has_no_condition() -> None:
    columns = {"ntk_largest": np.ones(4), "ntk_smallest": np.zeros(4), "ntk_block": np.array([0, 0, 1, 1])}
    with pytest.raises(BenchError, match="two images or more of most blocks have nearly one gradient"):
        landscape.NTK_CONDITION.estimate([outcome(**columns)])


def test_images_that_carry_nothing_are_not_counted() -> None:
    with pytest.raises(BenchError, match="it is not above 0"):
        landscape.CARRYING.estimate([outcome(along_top=np.array([-1.0, 0.5]))])


def test_surfaces_rise_from_their_middle_to_their_rim() -> None:
    plane = np.add.outer(np.arange(-1, 2) ** 2, np.arange(-1, 2) ** 2).reshape(1, 9).astype(np.float32)
    axis = np.array([[-1, 0, 1]], np.float32)
    assert landscape.SURFACE_RISE.estimate([outcome(surface=plane, surface_axis=axis)]).value == pytest.approx(1.5)
    line = np.array([[4.0, 1.0, 2.0]], np.float32)
    assert landscape.SURFACE_RISE.estimate([outcome(surface=line, surface_axis=axis)]).value == pytest.approx(2.0)
