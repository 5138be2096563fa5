"""The gate's judgement: what is a regression, what cannot be compared, and that neither is ever a pass."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from _outcomes import write_outcome
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from bench import api
from bench.board.leaderboard import Want
from bench.board.tables import long_table, to_csv
from bench.compare import gate
from bench.compare.gate import Report, common, judge
from bench.compare.gate_texts import as_text, verdict
from bench.compare.numbers import published, stored
from bench.metrics import Metric
from bench.metrics.by_image import mean_by_image
from bench.metrics.classification import MEAN_ACCURACY, TOP1
from bench.metrics.paired import holm, paired_drop_p
from bench.metrics.shift import MCE
from bench.metrics.stats import share_interval
from bench.records import Condition, Data, Estimate, Images, Perturbation, Protocol
from bench.store import Store
from bench.suite import Score, Suite, suites

DIGITS = suites.get("digits")
N = 500
CLEAN = DIGITS.headline.conditions[0]
SHIFTED = [
    Condition(data=Data(dataset="digits"), images=Images(perturbation=Perturbation(corruption=name, severity=severity)))
    for name in ("fog", "snow")
    for severity in (1, 2)
]


def corrupted(name: str, headline: Metric) -> Suite:
    """Digits under fog and snow."""
    scores = (
        Score(metric=headline, conditions=tuple(SHIFTED), column="mean"),
        Score(metric=TOP1, conditions=(CLEAN,), column="clean", clean=True),
        *(Score(metric=TOP1, conditions=(condition,)) for condition in SHIFTED),
    )
    protocol = Protocol(terms=("10-way",))
    return Suite(name=name, version=1, title=name, paper="none", track=name, protocol=protocol, scores=scores)


CORRUPTED = corrupted("small-c", MEAN_ACCURACY)
ERRORS = corrupted(
    "small-mce",
    MCE.given(reference=((0.8, 0.9), (0.7, 0.9))),
)


def first(count: int, n: int = N) -> np.ndarray:
    """The first images are right."""
    return np.arange(n) < count


class Sides:
    """A baseline and a candidate with made-up outcomes."""

    def __init__(self, root):
        self.root = root
        self.before, self.after = Store(root / "before"), Store(root / "after")

    def put(self, name, before, after, condition=CLEAN, **how):
        for store, correct in ((self.before, before), (self.after, after)):
            if correct is not None:
                write_outcome(store, name, condition, correct, **how)
        return self

    def numbers(self, store, suites=(DIGITS,), **want):
        return stored(api.boards(suites, store, want=Want(**want)), store)

    def csv(self, suites=(DIGITS,), edit=lambda text: text, **want):
        text = to_csv(long_table(api.boards(suites, self.before, want=Want(**want))))
        path = self.root / "baseline.csv"
        path.write_text(edit(text))
        return published([path])

    def judge(self, suites=(DIGITS,), before=None, names=(), **how):
        before = before or self.numbers(self.before, suites)
        after = self.numbers(self.after, suites)
        pairs, notes = common(before, after, names, None)
        return judge(before, after, suites, pairs, notes=notes, **how)


@pytest.fixture
def sides(tmp_path):
    return Sides(tmp_path)


def verdicts(report: Report) -> dict[str, str]:
    return {row.checkpoint: row.verdict for row in report.rows}


# -- what is a regression -------------------------------------------------------------------------------------


def test_the_same_outcomes_pass(sides):
    report = sides.put("a", first(400), first(400)).judge()
    assert (report.exit_status, verdicts(report)) == (0, {"a": "no worse"})


def test_a_sure_and_large_drop_is_a_regression(sides):
    report = sides.put("a", first(400), first(390)).judge()
    assert (report.exit_status, verdicts(report)) == (1, {"a": "GOT WORSE"})
    [row] = report.rows
    assert (row.difference.lost, row.difference.gained, row.difference.value) == (10, 0, pytest.approx(-0.02))


def test_the_test_asks_whether_the_drop_is_beyond_the_tolerance(sides):
    # 10 lost, 2 gained: one-sided.
    before, after = first(400), first(400)
    after[:10], after[400:402] = False, True
    [row] = sides.put("a", before, after).judge().rows
    assert row.difference.p == paired_drop_p(10, 2, 500, 0.003)
    assert sides.judge(tolerance=0.01).rows[0].difference.p == paired_drop_p(10, 2, 500, 0.01)
    better = Sides(sides.root / "better").put("a", after, before).judge()
    assert better.rows[0].difference.p > 0.5
    assert better.exit_status == 0


def test_a_share_of_errors_gets_worse_by_what_rises(sides):
    wrong = Metric(
        name="wrong",
        function=lambda outcome: Estimate(value=float(np.mean(~outcome.columns["correct"])), n=outcome.n),
        by_image=lambda outcome: mean_by_image(outcome, ~outcome.columns["correct"]),
        higher_is_better=False,
    )
    suite = corrupted("small-wrong", wrong)
    suite = replace(suite, scores=(replace(suite.scores[0], conditions=(CLEAN,)), *suite.scores[1:]))
    report = sides.put("a", first(400), first(390)).judge([suite])
    assert (report.exit_status, verdicts(report)) == (1, {"a": "GOT WORSE"})
    [row] = report.rows
    assert (row.difference.lost, row.difference.gained) == (10, 0)
    better = Sides(sides.root / "better").put("a", first(390), first(400)).judge([suite])
    assert verdicts(better) == {"a": "no worse"}


def test_nothing_falls_by_more_than_a_tolerance_of_everything(sides):
    report = sides.put("a", first(500), first(0)).judge(tolerance=1.5)
    assert (report.exit_status, verdicts(report)) == (0, {"a": "within tolerance"})
    assert report.rows[0].difference.p == 1


def test_a_drop_hardly_larger_than_the_tolerance_passes(sides):
    sides.put("a", first(400), first(380))  # surely a drop, and not surely one of more than 3 points
    assert verdicts(sides.judge(tolerance=0.04)) == {"a": "within tolerance"}
    assert verdicts(sides.judge(tolerance=0.03)) == {"a": "not significant"}
    assert verdicts(sides.judge(tolerance=0.02)) == {"a": "GOT WORSE"}


def test_a_large_drop_that_may_be_chance_passes(sides):
    # 3 of 500 lost, where the tolerance is 1.5: p = 0.19.
    assert verdicts(sides.put("a", first(400), first(397)).judge()) == {"a": "not significant"}
    assert verdicts(sides.judge(alpha=0.2)) == {"a": "GOT WORSE"}


def test_a_regression_is_found_by_the_mean_over_conditions_too(sides):
    rng = np.random.default_rng(0)
    for condition in CORRUPTED.conditions:
        before = rng.random(N) < 0.8
        sides.put("a", before, before & (rng.random(N) > 0.05), condition)  # 4 points on average
    assert verdicts(sides.judge([CORRUPTED])) == {"a": "GOT WORSE"}
    [row] = sides.judge([CORRUPTED], tolerance=0.035).rows
    assert (row.verdict, row.difference.lost) == ("not significant", None)
    assert row.difference.p < 0.5


def test_many_rows_ask_for_more_certainty(sides):
    sides.put("a", first(400), first(393))  # p = 0.02
    assert verdicts(sides.judge()) == {"a": "GOT WORSE"}
    for name in "bcde":
        sides.put(name, first(400), first(400))
    report = sides.judge()
    assert verdicts(report)["a"] == "not significant"
    found = [row.difference for row in report.rows]
    assert [d.p_adjusted for d in found] == pytest.approx(holm([d.p for d in found]).tolist())


def test_a_suite_states_its_own_tolerance(sides):
    sides.put("a", first(400), first(390))
    assert [row.tolerance for row in sides.judge().rows] == [DIGITS.tolerance]
    # As docs/gate.md says.
    loose = {suite.name for suite in suites if suite.tolerance == 0.01}
    in_nats = {suite.name for suite in suites if suite.name.endswith("-landscape")}
    assert {suite.tolerance for suite in suites if suite.name in in_nats} == {0.1}
    assert {suite.tolerance for suite in suites if suite.name not in loose | in_nats} == {0.003}
    assert loose == {s.name for s in suites if s.name == "fine-tune" or s.name.endswith(("-pgd", "-autoattack"))}


@pytest.mark.parametrize(("before", "after", "expected"), [(450, 250, "GOT WORSE"), (250, 450, "no worse")])
@pytest.mark.parametrize("by_value", [False, True])
def test_errors_get_worse_upwards(sides, before, after, expected, by_value):
    for condition in ERRORS.conditions:
        sides.put("a", first(before), first(after), condition)
    report = sides.judge([ERRORS], before=sides.csv([ERRORS]) if by_value else None)
    assert verdicts(report) == {"a": expected}


# -- by value -------------------------------------------------------------------------------------------------


def test_published_numbers_are_compared_as_two_samples(sides):
    sides.put("a", first(400), first(390))
    [row] = sides.judge(before=sides.csv()).rows
    found = row.difference
    assert (found.how, found.lost) == ("two samples", None)
    # Newcombe's square-and-add, of the exact intervals that statsmodels has.
    (l1, u1), (l2, u2) = (proportion_confint(right, 500, method="beta") for right in (400, 390))
    low, high = -0.02 - math.hypot(u1 - 0.8, 0.78 - l2), -0.02 + math.hypot(0.8 - l1, u2 - 0.78)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))
    z = (0.02 - DIGITS.tolerance) * 1.959964 / (found.ci_high - found.value)
    assert found.p == pytest.approx(scipy_stats.norm.sf(z), abs=1e-4)
    assert row.verdict == "not significant"  # by image it is a regression


def test_what_could_not_have_been_seen_is_said_where_nothing_was(sides):
    sides.put("a", first(400), first(390))
    report = sides.judge(before=sides.csv())
    [row] = report.rows
    standard_error = (row.difference.ci_high - row.difference.value) / 1.959964
    assert row.detectable == pytest.approx(0.003 + (1.644854 + 0.841621) * standard_error, abs=1e-5)
    said = f"a drop under {100 * row.detectable:.2g} points could not have been seen"
    assert said in verdict(report)
    assert verdict(report).startswith("no significant drop; scores compared: 1")
    assert f"digits, a: tested as two separate samples; {said}" in as_text(report)
    assert verdict(sides.put("b", first(400), first(400)).judge(names=["b"])) == "nothing got worse; scores compared: 1"


def test_an_interval_that_was_widened_by_hand_hides_no_drop(sides):
    sides.put("a", first(450), first(350))
    low, high = (f"{bound:.6f}" for bound in share_interval(450, 500))
    before = sides.csv(edit=lambda text: text.replace(f"{low},{high}", "0.100000,1.000000"))
    assert before.score(DIGITS, "a", DIGITS.headline).ci_low == 0.1
    report = sides.judge(before=before)
    assert report.exit_status == 1
    assert "carries no digest" in as_text(report)


def test_a_value_that_no_number_of_images_makes_is_no_pass(sides):
    sides.put("a", first(450), first(350))
    before = sides.csv(edit=lambda text: text.replace(",0.900000,", ",0.899500,"))
    assert "no share of 500 images" in refused(sides.judge(before=before))


def test_published_numbers_show_a_large_drop(sides):
    sides.put("a", first(450), first(350))
    report = sides.judge(before=sides.csv())
    assert report.exit_status == 1
    assert report.rows[0].flips == ()


def test_what_is_published_of_the_candidate_itself_is_no_drop(sides):
    sides.put("a", first(400), first(400)).put("b", first(300), first(300))
    assert sides.judge(before=sides.csv()).exit_status == 0


# -- what got worse, and where --------------------------------------------------------------------------------


@pytest.fixture
def fogged(sides):
    """A checkpoint that lost 40 images under fog, at all severities, and nothing elsewhere."""
    for condition in CORRUPTED.conditions:
        perturbation = condition.images.perturbation
        fog = perturbation is not None and perturbation.corruption == "fog"
        sides.put("a", first(400), first(360 if fog else 400), condition)
    return sides


@pytest.mark.parametrize("by_value", [False, True])
def test_the_worst_conditions_are_named(fogged, by_value):
    report = fogged.judge([CORRUPTED], before=fogged.csv([CORRUPTED]) if by_value else None, alpha=0.5)
    [row] = report.rows
    assert row.verdict == "GOT WORSE"
    assert {change.condition for change in row.worst} == {f"fog {severity}" for severity in (1, 2)}
    assert (row.worst[0].before, row.worst[0].after) == (0.8, 0.72)
    assert "fog 1: 80.0 → 72.0 (-8.0 points)" in as_text(report)


def test_flipped_images_are_shown_with_label_and_predictions(fogged):
    [row] = fogged.judge([CORRUPTED]).rows
    assert len(row.flips) == gate.SHOWN
    flip = row.flips[0]
    assert (flip.id, flip.label, flip.before, flip.after, flip.lost) == ("00360", "0", "0", "1", 2)


def test_a_regression_is_told_though_its_details_cannot_be_read(fogged):
    before, after = fogged.numbers(fogged.before, [CORRUPTED]), fogged.numbers(fogged.after, [CORRUPTED])
    board = after.boards["small-c"]
    clean = next(cell.key for (_, condition), cell in board.cells.items() if condition == CLEAN)
    fogged.after.remove(clean)
    report = judge(before, after, [CORRUPTED], [("a", "a")])
    assert report.exit_status == 1
    assert report.rows[0].flips == ()


# -- what cannot be compared is no pass -----------------------------------------------------------------------


def refused(report: Report) -> str:
    """The one reason."""
    assert report.exit_status == 3
    [reason] = {row.reason for row in report.rows} - {""}
    assert reason.count("\n") == 0
    return reason


def test_a_missing_cell_cannot_be_compared(sides):
    for condition in CORRUPTED.conditions:
        sides.put("a", first(400), first(400), condition)
    key = api.boards([CORRUPTED], sides.after)[0].cells
    fog = next(cell.key for (_, c), cell in key.items() if c in CORRUPTED.headline.conditions)
    sides.after.remove(fog)
    assert "a lacks 1 of 4 cells of small-c" in refused(sides.judge([CORRUPTED]))
    assert "a lacks 1 of 4 cells of small-c" in refused(sides.judge([CORRUPTED], before=sides.csv([CORRUPTED])))
    sides.before, sides.after = sides.after, sides.before
    assert "a lacks 1 of 4 cells of small-c" in refused(sides.judge([CORRUPTED]))
    assert "half-finished" in refused(sides.judge([CORRUPTED], before=sides.csv([CORRUPTED])))


def test_a_regression_is_told_though_another_row_cannot_be_compared(sides):
    sides.put("a", first(400), first(300)).put("b", first(400), None)
    report = sides.judge(names=["a", "b"])
    assert verdicts(report) == {"a": "GOT WORSE", "b": "cannot compare"}
    assert report.exit_status == 1
    sides = Sides(sides.root / "other").put("a", first(400), first(400)).put("b", first(400), None)
    assert sides.judge(names=["a", "b"]).exit_status == 3


def test_another_protocol_cannot_be_compared(sides):
    sides.put("a", first(400), None).put("a", None, first(80, 100), limit=100)
    assert "measured in two ways" in refused(sides.judge())
    assert "limit 100 in" in refused(sides.judge(before=sides.csv()))


def test_another_seed_cannot_be_compared(sides):
    for condition in CORRUPTED.conditions:
        sides.put("a", first(400), None, condition, seed=0).put("a", None, first(400), condition, seed=1)
    assert "seed 1" in refused(sides.judge([CORRUPTED]))


def test_other_data_cannot_be_compared(sides):
    sides.put("a", first(400), None).put("a", None, first(400), fingerprint="other")
    assert "other contents" in refused(sides.judge())


def test_other_data_than_published_cannot_be_compared(sides):
    sides.put("a", first(400), first(400))
    for seen, status in (("made up", 0), ("other", 3)):
        meta = {"suite": "digits", "fingerprints": {"digits/test": seen}}
        (sides.root / "baseline.meta.json").write_text(json.dumps(meta))
        report = sides.judge(before=sides.csv())
        assert report.exit_status == status
    assert "digits/test has other contents" in refused(report)
    (sides.root / "baseline.meta.json").write_text('{"suite": "digits"}')
    with pytest.raises(gate.CannotCompareError, match=r"baseline\.meta\.json is damaged"):
        sides.csv()


def test_another_number_of_images_cannot_be_compared_by_value(sides):
    sides.put("a", first(400, 600), first(400, 700))
    assert "of 600 images" in refused(sides.judge(before=sides.csv()))


def test_two_models_under_one_name_cannot_be_compared(sides):
    sides.put("a", first(400), first(400)).put("a", None, first(300), model="retrained")
    assert "2 models under the name a" in refused(sides.judge())


def test_a_suite_that_a_side_lacks_cannot_be_compared(sides):
    sides.put("a", first(400), first(400))
    assert "lacks 4 of 4 cells" in refused(sides.judge([DIGITS, CORRUPTED]))


def test_a_damaged_cell_is_no_pass(sides):
    sides.put("a", first(400), first(400))
    before, after = sides.numbers(sides.before), sides.numbers(sides.after)
    [cell] = after.boards["digits"].cells.values()
    path = sides.after.root / "cells" / cell.key[:2] / f"{cell.key}.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert "damaged" in refused(judge(before, after, [DIGITS], [("a", "a")]))


def test_nothing_in_common_is_no_pass(sides):
    sides.put("a", first(400), None).put("b", None, first(400))
    with pytest.raises(gate.CannotCompareError, match="no checkpoint is in both"):
        sides.judge()
    numbers = sides.numbers(sides.before), sides.numbers(sides.after)
    assert judge(*numbers, [], []).exit_status == 3


def test_a_checkpoint_that_the_candidate_alone_has_is_named(sides):
    sides.put("a", first(400), first(400)).put("new", None, first(400))
    report = sides.judge()
    assert [note.split(": ")[1] for note in report.notes] == ["new"]
    assert report.exit_status == 0


def test_a_checkpoint_that_the_candidate_lacks_is_no_pass(sides):
    sides.put("a", first(400), first(400)).put("old", first(400), None)
    report = sides.judge()
    assert {row.checkpoint: row.verdict for row in report.rows} == {"a": "no worse", "old": "cannot compare"}
    assert report.exit_status == 3
    assert sides.judge(before=sides.csv()).exit_status == 3


@pytest.mark.parametrize(
    ("find", "replacement", "message"),
    [
        ("digits,1,", "digits,2,", "digits v2, and this rtbench measures v1"),
        (",0.800000,", ",,", "no value"),
        (",0.800000,", ",inf,", "no value"),
        (",0.800000,", ",0.999000,", "interval"),
        (",top-1,", ",top 1,", "lacks the score 'top-1'"),
        ("digits,test,", "digits,train,", "lacks the score 'top-1'"),
        ("10-way", "5-way", "5-way in"),
    ],
)
def test_a_table_edited_by_hand_is_no_pass(sides, find, replacement, message):
    sides.put("a", first(400), first(400))
    before = sides.csv(edit=lambda text: text.replace(find, replacement))
    assert message in refused(sides.judge(before=before))


def test_a_row_that_comes_twice_is_no_pass(sides):
    sides.put("a", first(400), first(400))
    before = sides.csv(edit=lambda text: text + text.splitlines()[1] + "\n")
    assert "two rows of digits, a, top-1" in refused(sides.judge(before=before))


def test_a_column_of_ones_own_is_no_pass(sides):
    sides.put("a", first(400), first(400))
    before = sides.csv(edit=lambda text: "mine," + text.strip().replace("\n", "\nx,") + "\n")
    assert "a column 'mine'" in refused(sides.judge(before=before))


# -- which checkpoints ----------------------------------------------------------------------------------------


def test_a_candidate_may_bear_another_name(sides):
    sides.put("old", first(400), None).put("new", None, first(380))
    before, after = sides.numbers(sides.before), sides.numbers(sides.after)
    pairs, _ = common(before, after, [], "old")
    report = judge(before, after, [DIGITS], pairs)
    assert report.exit_status == 1
    assert "new (was old)" in as_text(report)


def test_one_name_is_for_one_candidate(sides):
    sides.put("old", first(400), None).put("x", None, first(1)).put("y", None, first(1))
    before, after = sides.numbers(sides.before), sides.numbers(sides.after)
    with pytest.raises(gate.BenchError, match="for one candidate, not 2"):
        common(before, after, [], "old")
