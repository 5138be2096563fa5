"""The page that explains the numbers says what the suites are: names, headings, metrics, papers, counts."""

import re
from pathlib import Path

import pytest

from bench.attacks import STANDARD, attacks, autoattack, course
from bench.board.reference_check import SMALLEST_FAULT, TOLERANCE
from bench.corruptions import corruptions
from bench.corruptions.builtin import GROUPS
from bench.datasets import datasets
from bench.datasets.imagenet import real_labels
from bench.measure import probes
from bench.measure.signs import AFRESH, QUERIES
from bench.metrics import robustness
from bench.metrics.classification import ECE_BINS
from bench.reference import ALEXNET_CLEAN_ERROR
from bench.suite import Suite, suites
from bench.suite.scores import CORRUPTIONS, MCE_CORRUPTIONS
from bench.transfer import knn, logistic, ridge
from bench.transfer.recipes import recipe_for
from bench.transfer.split import VALIDATION_SHARE
from rtbench_suites.imagenet_c_generated import JPEG_QUALITY

PAGE = (Path(__file__).parents[1] / "docs" / "protocols.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)}
COMMON = SECTIONS["Common rules"]
HIDDEN = "*CSV only*"
# What the project registers: others' suites have pages of their own.
OURS = [suite for suite in suites if suites.origin(suite.name).startswith("rtbench_suites.")]


@pytest.fixture(params=OURS, ids=lambda suite: suite.name)
def suite(request: pytest.FixtureRequest) -> Suite:
    found: Suite = request.param
    return found


UNSEEDED = {name for names in GROUPS.values() for name in names if not corruptions.get(name).seeded}


def rows(text: str) -> list[list[str]]:
    """The cells of each line of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def words(text: str) -> str:
    """One line, however the page is wrapped."""
    return " ".join(text.split())


def test_every_suite_has_a_section_and_every_section_a_suite() -> None:
    others = {"", "Common rules", "Which published numbers go with which column"}
    assert {name for name in SECTIONS if not name.startswith("# ")} - others == {suite.name for suite in OURS}


def test_every_heading_of_the_leaderboard_stands_in_the_table_with_its_metric(suite: Suite) -> None:
    shown = [pair for row in rows(SECTIONS[suite.name])[2:] if row[0] != HIDDEN for pair in _pairs(row, suite)]
    assert shown == [(score.column, score.metric.name) for score in suite.board]


def _pairs(row: list[str], suite: Suite) -> list[tuple[str, str]]:
    """A row may stand for several columns, of one metric or of as many; the heading `clean, same 200` is one."""
    headings = [row[0]] if any(score.column == row[0] for score in suite.board) else row[0].split(", ")
    metrics = re.findall(r"`([^`]+)`", row[1])
    return list(zip(headings, metrics * len(headings) if len(metrics) == 1 else metrics, strict=True))


def test_every_metric_without_a_heading_is_named(suite: Suite) -> None:
    hidden = {score.metric.name for score in suite.scores if not score.column}
    text = "".join(" ".join(row) for row in rows(SECTIONS[suite.name]) if row[0] == HIDDEN)
    assert set(re.findall(r"`([^`]+)`", text)) == hidden


def test_paper_protocol_track_and_conditions_are_the_suites(suite: Suite) -> None:
    text = words(SECTIONS[suite.name])
    n = len(suite.conditions)
    assert f"**Paper**: {suite.paper}" in text
    assert f"`{suite.protocol.name}`" in text
    assert f"**Track**: `{suite.track}`; {n} condition{'s' * (n > 1)}" in text


def test_counts_and_sources_are_the_data_sets(suite: Suite) -> None:
    text = SECTIONS[suite.name]
    record = datasets.get(suite.headline.conditions[0].data.dataset)
    split = suite.headline.conditions[0].image_set.split
    if record.expected:
        whole = record.expected[split]
        assert f"{whole.images:,} " in text
        assert re.search(rf"\b{whole.classes:,} (of the 1,000 )?classes", words(text))
    elif record.source.startswith("http"):  # a set whose size changed, or of whose parts it is not published
        assert f"<{record.source}>" in text
        assert all(count in text for count in re.findall(r"\d+,\d{3}", record.about))
    else:
        assert f"{len(record.open(split, None).ids):,} " in text


@pytest.mark.parametrize(
    ("suite_name", "dataset"),
    [
        (name, name)
        for name in ("imagenet", "imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "imagenet-c", "cifar10")
    ],
)
def test_the_page_says_where_to_obtain_the_data(suite_name: str, dataset: str) -> None:
    addresses = re.findall(r"https?://[^\s,)]+", datasets.get(dataset).source)
    assert addresses
    assert all(f"<{address}>" in SECTIONS[suite_name] for address in addresses)


def test_every_metric_is_defined_with_its_unit_and_direction() -> None:
    defined = {
        (row[0].strip("`"), unit, row[3]) for row in rows(COMMON) if len(row) == 5 for unit in row[2].split(" or ")
    }
    metrics = [score.metric for suite in OURS for score in suite.scores]
    used = {(m.name.partition("[")[0], m.unit, "higher" if m.higher_is_better else "lower") for m in metrics}
    assert {how for how in defined if how[0] != "metric" and not how[0].startswith("-")} == used


def test_every_warning_is_explained_with_its_threshold() -> None:
    explained = {row[0].strip("`"): row[1] for row in rows(COMMON) if len(row) == 4 and row[0].startswith("`")}
    metrics = [score.metric for suite in OURS for score in suite.alarms]
    thresholds = {m.name: m.alarm for m in metrics if m.alarm is not None}
    assert explained == {
        name: f"{100 * alarm.above:g}%" + f", {alarm.images} images" * (alarm.images > 1)
        for name, alarm in thresholds.items()
    }


def test_the_groups_of_corruptions_are_those_registered() -> None:
    table = {row[0]: re.findall(r"`(\w+)`", row[2]) for row in rows(SECTIONS["imagenet-c"])}
    table["extra"] = re.findall(r"`(\w+)`", re.search(r"four extra corruptions \((.*?)\)", SECTIONS["imagenet-c"])[1])
    assert {group: tuple(table[group]) for group in GROUPS} == GROUPS


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    sets = real_labels().values()
    real, stored = SECTIONS["imagenet-real"], SECTIONS["imagenet-c"]
    assert f"{sum(not labels for labels in sets):,} have no label" in words(real)
    assert f"leaving {sum(map(bool, sets)):,}; {sum(len(labels) > 1 for labels in sets):,} have more" in words(real)
    assert f"{len(CORRUPTIONS)} corruptions × 5 severities" in stored
    assert f"the {len(MCE_CORRUPTIONS)} corruptions" in stored
    assert f"the {5 * len(MCE_CORRUPTIONS)} conditions" in stored
    assert f"all {5 * len(CORRUPTIONS)} conditions" in stored
    assert f"clean error {ALEXNET_CLEAN_ERROR}" in stored
    assert f"AlexNet's error_s − {ALEXNET_CLEAN_ERROR})" in COMMON
    assert f"{ECE_BINS} equal bins" in COMMON
    assert f"give or take {TOLERANCE} points" in COMMON
    assert f"wider than {SMALLEST_FAULT} points" in COMMON
    assert f"JPEG of quality {JPEG_QUALITY}" in words(SECTIONS["imagenet-c-generated"])
    assert f"{len(CORRUPTIONS) - len(UNSEEDED)} of the {len(CORRUPTIONS)} are random" in words(
        SECTIONS["imagenet-c-generated"]
    )


def test_numbers_of_the_attacks_are_those_of_the_code() -> None:
    pgd, text = attacks.get("pgd"), words(COMMON)
    assert f"**PGD** takes {pgd.steps} steps of {pgd.step_size:g} eps / steps" in text
    assert f"{AFRESH} images, those that `--limit {AFRESH}` would take, are *attacked afresh*" in text
    assert f"{QUERIES} queries of Square" in text
    assert text.count(f"{course._LONGER} times the steps") == 2
    assert f"apgd-t and fab-t take min({autoattack._TARGETS}, K − 1) targets" in text
    assert f"below {autoattack._FEWEST_FOR_TARGETED} classes there is no apgd-t" in text
    assert f"{', '.join(STANDARD)} in turn" in text
    assert f"p ≥ {robustness._CHANCE}" in text
    [block] = {c.measure.params["block"] for c in suites.get("imagenet-autoattack").conditions}
    assert f"blocks of {block} ids" in text
    for suite in OURS:
        assert all(f"`{name}`" in text for name in suite.settings)


def test_corruptions_that_draw_nothing_are_named() -> None:
    sentence = re.search(r"draw nothing: (.*?)\.\n", COMMON, flags=re.DOTALL)
    assert sentence
    assert set(re.findall(r"`(\w+)`", sentence[1])) == UNSEEDED


def test_numbers_of_transfer_are_those_of_the_code() -> None:
    text = words(COMMON)
    assert f"votes with exp(s / {knn.TEMPERATURE})" in text
    assert f"a largest gradient of {logistic.TOLERANCE:g}".replace("0.0001", "1e-4") in text
    assert f"to {probes._FINAL:g}, and predicts".replace("e-08", "e-8") in text
    assert f"a constant feature of {ridge.BIAS:g} for the bias, L2 {ridge.L2:g}" in text
    assert {0.1: "a tenth"}[VALIDATION_SHARE] in text
    assert f"{suites.get('linear-probe').settings['values']} values of L2" in text
    assert f"{suites.get('few-shot').settings['draws']} draws" in text
    recipes = {name: recipe_for("default", images) for name, images in (("short", 100), ("mid", 50_000), ("l", 10**6))}
    steps = [recipe.steps for recipe in recipes.values()]
    assert f"({steps[0]:,} below 20,000, {steps[1]:,} below 500,000, else {steps[2]:,})" in text
    assert {(r.batch_size, r.learning_rate, r.momentum, r.clip_norm) for r in recipes.values()} == {(512, 0.01, 0.9, 1)}
