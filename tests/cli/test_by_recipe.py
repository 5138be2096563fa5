"""`bench table --by recipe`, `bench compare --pair sam --by seed` and the page, of a store of several trainings."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from bench import api
from bench.cli import main
from bench.compare.tables import ONE_TRAINING, SEVERAL_TRAININGS
from bench.datasets import Library, subset
from bench.records import Checkpoint
from bench.report.page import render
from bench.store import Store

LIMIT = 120
SUITES = ("digits", "digits-r")
SEEDS = range(3)


def entry(space, sam, seed, **about):
    partner = {} if sam == "none" else {"pairs_with": f"vit-none-{seed}"}
    about = {"recipe": "my <recipe>", "family": "vit", "arch": "digits_vit", **partner, **about}
    return Checkpoint(name=f"vit-{sam}-{seed}", class_space=space, sam=sam, seed=seed, **about)


def fill(root, sams=("none", "sam"), seeds=SEEDS):
    """A store of made-up outcomes of trainings on the digits."""
    store, library = Store(root), Library()
    store.prepare()
    settings = api.configure(store=str(root), device="cpu", limit=LIMIT).settings
    suites, planned = api.select(list(SUITES), checkpoints=["digits-resnet"])
    cells = api.plan(suites, planned, settings, library).cells
    for sam, seed in [(sam, seed) for sam in sams for seed in seeds]:
        one = entry(planned[0].class_space, sam, seed)
        store.record_checkpoint(one.name * 6, one)
        for number, cell in enumerate(cells):
            cell = replace(cell, checkpoint=one, model_digest=one.name * 6)
            samples = library.open(cell.condition.data.dataset, cell.condition.image_set.plain.split).samples
            kept = subset(samples.ids, cell.n)
            labels = samples.labels[kept]
            ease = np.random.default_rng(number).random(cell.n)
            own = np.random.default_rng([number, seed, len(sam)]).random(cell.n)
            correct = 0.7 * ease + 0.3 * own < 0.6 + 0.03 * seed + 0.1 * (sam != "none")
            columns = {
                "prediction": np.where(correct, labels, (labels + 1) % 10).astype(np.int32),
                "correct": correct,
                "loss": np.where(correct, 0.2, 2.0).astype(np.float32),
            }
            store.write(cell, samples.ids[kept], labels, columns)
    return store


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("trainings") / "runs").root


@pytest.fixture
def bench(root, capsys, monkeypatch):
    """A function that runs a command on the store: exit status, output, errors."""
    monkeypatch.chdir(root.parent)

    def _bench(*arguments):
        code = main([*arguments, "--store", str(root)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return _bench


def test_a_table_by_recipe_has_a_row_a_recipe(bench):
    code, text, error = bench("table", "--by", "recipe", "--suite", "digits-r")
    assert (code, error) == (0, "")
    assert text.startswith("digits-r v1: by recipe, 120 images\n10-way, limit 120\n")
    rows = [line for line in text.splitlines() if line.startswith("top-1")]
    assert [row.split()[-6:-3] for row in rows] == [["none", "3", "69.2"], ["sam", "3", "83.9"]]
    assert max(map(len, text.splitlines())) <= 120
    assert "NLL" not in text
    assert "NLL" in bench("table", "--by", "recipe", "--suite", "digits-r", "--columns", "all")[1]


def test_files_by_recipe_hold_every_score(bench, root):
    assert bench("table", "--by", "recipe", "--out", "recipes.csv", "--track", "digits")[:2] == (0, "")
    rows = list(csv.DictReader(io.StringIO((root.parent / "recipes.csv").read_text())))
    assert {(row["suite"], row["sam"], row["trainings"]) for row in rows if row["score"] == "top-1"} >= {
        (suite, sam, "3") for suite in SUITES for sam in ("none", "sam")
    }
    top1 = rows[0]
    assert float(top1["ci_low"]) < float(top1["lowest"]) <= float(top1["mean"]) < float(top1["ci_high"])
    assert (top1["seeds"], top1["interval_over"]) == ("0+1+2", "trainings and images")
    written = json.loads(bench("table", "--by", "recipe", "--format", "json")[1])
    assert written["recipes"][0]["mean"] == float(top1["mean"])


def test_pairs_by_seed_are_shown_and_written(bench):
    code, text, error = bench("compare", "--pair", "sam", "--by", "seed", "--suite", "digits-r")
    assert (code, error) == (0, "")
    assert "digits-r v1: SAM against none by seed, 120 images" in text
    assert "3 of 3" in text
    assert ONE_TRAINING not in text
    rows = list(csv.DictReader(io.StringIO(bench("compare", "--pair", "sam", "--by", "seed", "--format", "csv")[1])))
    rows = [row for row in rows if row["suite"] == "digits-r"]
    assert [row["seed"] for row in rows] == ["0", "1", "2", ""]
    assert rows[-1]["test"] == "paired by seed"
    assert (
        "| top-1 | my &lt;recipe&gt; (sam) |" in bench("compare", "--pair", "sam", "--by", "seed", "--format", "md")[1]
    )
    written = json.loads(bench("compare", "--pair", "sam", "--by", "seed", "--format", "json")[1])
    assert written["pairs"][-1]["better"] == 3


def test_single_pairs_say_that_their_trainings_can_be_taken_together(bench):
    text = bench("compare", "--pair", "sam", "--suite", "digits-r")[1]
    assert SEVERAL_TRAININGS in text
    assert ONE_TRAINING not in text
    written = json.loads(bench("compare", "--pair", "sam", "--format", "json")[1])
    assert SEVERAL_TRAININGS in written["notes"]


def test_the_page_has_a_table_by_recipe(root):
    store = Store(root)
    page = render(api.boards(api.select_suites(["digits-r"]), store), store, Library())
    assert "By recipe: the training is the unit" in page
    assert "digits-r v1: SAM against none by seed" in page
    assert SEVERAL_TRAININGS in page.replace("&#39;", "'")
    assert ONE_TRAINING not in page
    assert "<recipe>" not in page


def test_a_page_of_single_trainings_has_none(tmp_path):
    store = fill(tmp_path / "runs", seeds=[0])
    page = render(api.boards(api.select_suites(["digits-r"]), store), store, Library())
    assert "By recipe" not in page
    assert ONE_TRAINING in page


def test_published_tables_have_recipe_and_seed(bench):
    rows = list(csv.DictReader(io.StringIO(bench("table", "--format", "csv")[1])))
    assert {(row["checkpoint"], row["training_recipe"], row["training_seed"]) for row in rows} == {
        (f"vit-{sam}-{seed}", "my <recipe>", str(seed)) for sam in ("none", "sam") for seed in SEEDS
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("compare vit-none-0 vit-sam-0 --by seed", "--by seed compares recipes in pairs: give --pair sam with it"),
        ("table --by recipe --summary", "--by recipe is a table of its own: leave out --summary and --published."),
        ("table --by recipe --published", "--by recipe is a table of its own: leave out --summary and --published."),
        ("table --by recipe --format latex", "--by recipe gives text, md, csv or json; of --columns it takes all"),
        ("table --by recipe --columns cost", "--by recipe gives text, md, csv or json; of --columns it takes all"),
        ("compare --pair sam --by seed --family mixer", "no pair of recipes of family 'mixer' that differs in SAM"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(bench, arguments, says):
    status, printed, error = bench(*arguments.split())
    assert (status, printed) == (2, "")
    assert says in error.splitlines()[-1]
    assert "Traceback" not in error
