"""What holds for every registered suite; a new one of batch measures or attacks is tested with no new line here."""

import functools
import importlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rtbench_suites as package
from bench.attacks import STANDARD
from bench.attacks.epsilon import parse_eps, parse_grid
from bench.corruptions import corruptions
from bench.datasets import class_spaces, datasets, imagenet_x
from bench.datasets.cue_conflict import texture_of
from bench.datasets.groups import class_groups
from bench.datasets.imagenet import real_labels
from bench.measure import Batch, Pace, measures
from bench.measure.classify import describe
from bench.measure.signs import afresh_rows
from bench.metrics.stats import Confidence
from bench.records import Estimate, Outcome
from bench.suite import suites

FOLDER = Path(package.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
LONGEST = 120  # lines of a suite's file


@pytest.fixture(params=[suite.name for suite in suites])
def suite(request):
    return suites.get(request.param)


@functools.lru_cache(maxsize=12)  # as many tests want those of one suite in a row
def outcomes_of(suite, seed: int = 0) -> dict:
    """A made-up outcome for every condition: some 70 samples, the same ones throughout a data set."""
    return {c: outcome(c, seed + i) for i, c in enumerate(suite.conditions)}


def outcome(condition, seed: int) -> Outcome:
    """Random rows, as the condition's own measure gives them."""
    name = condition.data.dataset
    k = len(datasets.get(name).class_space.classes)
    ids, labels = samples(name, k)
    if name == "imagenet-d":  # whose parts share no image
        ids = np.array([f"{condition.data.split}/{sample_id}" for sample_id in ids])
    entry = measures.get(condition.measure.name)
    makes = learnt if entry.transfer else classified if entry.interface == "batch" else attacked
    makes = landscaped if condition.measure.name in LANDSCAPE else makes
    makes = segmented if condition.measure.name == "segment" else makes
    columns = makes(condition, ids, labels, k, np.random.default_rng(seed))
    if datasets.get(name).label_sets:  # of every third image a second class is right too
        columns["label_set"] = np.stack([labels, np.where(np.arange(len(ids)) % 3, -1, (labels + 1) % k)], axis=1)
    for column in columns.values():
        column.setflags(write=False)
    return Outcome(ids=ids, labels=labels, columns=columns)


def classified(condition, ids, labels, k, rng) -> dict:
    """What a batch measure makes of random logits that lean towards the labels."""
    logits = rng.normal(0, 2, (len(ids), k)) + 2 * np.sqrt(2 * np.log(k)) * np.eye(k)[labels]
    measure = measures.get(condition.measure.name).make(condition.measure.params)
    if "groups" in condition.measure.params:  # the model predicts finer classes, of which each group's first is shown
        groups = class_groups.get(condition.measure.params["groups"])
        firsts, logits_of_groups = [group[0] for group in groups.members], logits
        for row in range(0, len(ids), 3):  # of every third picture the texture is named
            logits_of_groups[row, texture_of(ids[row])] = 20
        logits = np.full((len(ids), len(groups.of.classes)), -20.0)
        logits[:, firsts] = logits_of_groups
    logits, images = torch.tensor(logits, dtype=torch.float32), torch.zeros(len(ids), 3, 1, 1)
    rows = measure.rows(lambda _: logits, images, torch.tensor(labels))
    return {name: column.numpy() for name, column in rows.items()}


NOTED = {
    "knn": ("chosen_k", "validation_accuracy"),
    "linear-probe": ("chosen_log10_l2", "validation_accuracy", "converged"),
    "few-shot": (),
    "fine-tune": ("best_epoch", "validation_accuracy"),
}
"""What each measure of transfer notes of all samples alike."""


def learnt(condition, ids, labels, k, rng) -> dict:
    """What a measure of transfer gives: the columns of logits, and what it chose."""
    k = min(k, len(ids))  # the labels of so few samples need no more classes, and some sets have thousands
    logits = rng.normal(0, 2, (len(ids), k)) + 2 * np.sqrt(2 * np.log(k)) * np.eye(k)[labels]
    rows = describe(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    noted = {name: np.full(len(ids), 0.5) for name in NOTED[condition.measure.name]}
    return {name: column.numpy() for name, column in rows.items()} | noted


def segmented(condition, ids, labels, k, rng) -> dict:
    """Pixels by class of some images of which two pixels in three are right; no image shows the last class."""
    target = rng.integers(0, 100, (len(ids), k)).astype(np.int32)
    target[:, -1] = 0
    right = 2 * target // 3
    return {"intersection": right, "target": target, "predicted": right + np.roll(target - right, 1, axis=1)}


LANDSCAPE = ("curvature", "flatness", "surface", "ntk", "neurons", "norms", "attention")


def landscaped(condition, ids, labels, k, rng) -> dict:
    """What a measure of the landscape gives of a module of a convolution and a head, and of one with one attention."""
    params, n = condition.measure.params, len(ids)

    def same(*values):
        return np.tile(np.array(values), (n, 1))

    def text(value):
        return np.full(n, value)

    match condition.measure.name:
        case "curvature":
            along = rng.exponential(1, n) ** 3
            top = np.sort(rng.uniform(0, along.mean(), 4))[::-1]
            columns = {
                "along_top": along,
                "eigenvalues": same(along.mean(), *top),
                "eigenvalue_bounds": same(*[1e-3] * 5),
                "smallest_eigenvalue": np.full(n, -0.1),
                "smallest_bound": np.full(n, 1e-3),
                "trace": np.full(n, 3 * along.mean()),
                "trace_error": np.full(n, 0.1),
            }
            if params["starts"]:
                columns |= {"density_values": same(-0.1, 0.0, 1.0), "density_shares": same(0.1, 0.8, 0.1)}
            if params["blocks"]:
                kinds = ("embedding", "attention", "tokens", "mlp", "channels", "stage", "head")
                every = same(*range(1, len(kinds) + 1)).astype(float)
                columns |= {"block_names": text(" ".join(kinds)), "block_kinds": text(" ".join(kinds))}
                for name in ("block_eigenvalues", "block_bounds", "block_traces", "block_trace_errors"):
                    columns[name] = every.copy()
            return columns
        case "flatness":
            clean = rng.exponential(0.1, n)
            sizes = {"noise_loss": params["sigma"], "relative_noise_loss": params["relative"]}
            rise = {name: rng.exponential(1, (n, grid.count("+") + 1)) for name, grid in sizes.items()}
            rise |= {name: rng.exponential(1, n) for name in ("ascent_loss", "group_ascent_loss")}
            return {"clean_loss": clean, **{name: (clean + more.T).T for name, more in rise.items()}}
        case "surface":
            axis = np.linspace(-1, 1, params["points"], dtype=np.float32)
            bowl = np.add.outer(axis**2, axis**2).reshape(1, -1) if params["dimensions"] == 2 else axis[None] ** 2
            return {"surface": (rng.uniform(0, 1, (n, 1)) * bowl).astype(np.float32), "surface_axis": same(*axis)}
        case "ntk":
            block = np.arange(n) // params["block"]
            largest, smallest = rng.uniform(10, 20, n), rng.uniform(1, 2, n)
            named = {"ntk_largest": largest[block], "ntk_smallest": smallest[block]}
            return {"ntk_norm": rng.uniform(1, 2, n), **named, "ntk_block": block.astype(np.int32)}
        case "neurons":
            active = rng.uniform(0, 1, (n, 2)).astype(np.float32)
            return {"active": active, "never_active": same(np.float32(0.1), 0), "active_layers": text("act1 act2")}
        case "norms":
            return {"weight_norm": np.full(n, 5.0), "layer_norms": same(3.0, 4.0), "norm_layers": text("conv head")}
        case _:
            heads = rng.uniform(0.1, 1, (2, n, 2)).astype(np.float32)
            names = {"attention_entropy": heads[0], "attention_distance": heads[1]}
            return {**names, "rollout": np.full((n, 4), 0.25, np.float32), "attention_heads": text("0.0 0.1")}


def otherwise(columns, n: int) -> dict:
    """The columns of a landscape, of another one: one image carries the largest eigenvalue, all else is half."""
    halves = ("eigenvalues", "smallest_eigenvalue", "trace", "trace_error", "clean_loss", "surface", "ntk_largest")
    halves += ("active", "never_active", "weight_norm", "attention_entropy", "attention_distance", "block_eigenvalues")
    losses = ("noise_loss", "relative_noise_loss", "ascent_loss", "group_ascent_loss", "block_traces")
    halved = {name: columns[name] / 2 for name in (*halves, *losses) if name in columns}
    halved |= {"intersection": columns["intersection"] // 2} if "intersection" in columns else {}
    return halved | ({"along_top": np.where(np.arange(n) == 0, 3.0, 0.0)} if "along_top" in columns else {})


def attacked(condition, ids, labels, k, rng) -> dict:
    """Rows of an attack by hand, without a sign of false security; some images withstand every attack there is."""
    params, n = condition.measure.params, len(ids)
    grid = grid_of(params)
    # The same images are hard for every attack; each falls to some at the eps before.
    first = np.clip(np.arange(n) % (len(grid) + 2) - rng.integers(0, 2, n), 0, len(grid))
    correct = np.arange(n) % 8 != 7
    fooled, other = correct & (first < len(grid)), (labels + 1) % k
    clean_loss = rng.uniform(0.01, 0.5, n) + 2 * ~correct
    change = np.where(fooled, np.append(grid, 0)[first], grid[-1]) * rng.uniform(0.5, 1, n)
    columns = {
        "prediction": np.where(correct, labels, other).astype(np.int32),
        "correct": correct,
        "smallest_eps": np.where(correct, np.append(grid, math.inf)[first], 0).astype(np.float32),
        "adversarial_prediction": np.where(fooled | ~correct, other, labels).astype(np.int32),
        "clean_loss": clean_loss.astype(np.float32),
        "adversarial_loss": (clean_loss + 2 * fooled + 0.3 * correct).astype(np.float32),
        "change": np.where(correct, change, 0).astype(np.float32),
    }
    if "eps" in params:
        by = rng.choice(np.array(STANDARD[:3], dtype=object), n)
        columns["queries"] = np.where(correct, rng.integers(100, 5000, n), 0).astype(np.int32)
        columns["fooled_by"] = np.where(fooled, by, "").astype(object)
        columns["flags"] = np.full(n, "", dtype=object)
        # Its signs are PGD's, at a quarter and half of eps and at eps.
        return columns | signs("autoattack", ids, correct, np.where(first < 1, rng.integers(0, 3, n), 3), 3, rng)
    columns["gradients"] = np.where(correct, 20 * np.minimum(first + 1, len(grid)), 0).astype(np.int32)
    return columns | signs(condition.measure.name, ids, correct, first, len(grid), rng)


def grid_of(params) -> list[float]:
    """The values of eps of an attack's condition."""
    if "eps" in params:
        return [parse_eps(params["eps"], params["norm"])]
    return list(parse_grid(params["grid"], params["norm"]).values)


def signs(measure: str, ids, correct, first, size: int, rng) -> dict:
    """What honest images show that are attacked afresh: an attack may miss at an eps what it found at a smaller one."""
    n, some = len(ids), np.isin(np.arange(len(ids)), afresh_rows(ids))
    tried = some & correct
    fresh = (np.arange(size) >= first[:, None]) & ~((np.arange(size) > first[:, None]) & (rng.random((n, size)) < 0.05))
    withstood = tried & ~fresh.all(1)
    iterative = measure != "fgsm"
    columns = {
        "unsteady": np.where(some, rng.uniform(0, 1e-6, n), np.nan).astype(np.float32),
        "flat": np.where(tried if measure == "autoattack" else correct, 0, -1).astype(np.int8),
        "stuck": np.where(tried, 0 if iterative else ~fresh[:, -1], -1).astype(np.int8),
        "longer": np.where(withstood & iterative, 0, -1).astype(np.int8),
        "unbounded": np.where(tried & iterative, 1, -1).astype(np.int8),
        "fresh": np.where(tried[:, None], fresh, -1).astype(np.int8),
    }
    return columns | ({"square": np.where(withstood, 0, -1).astype(np.int8)} if iterative else {})


PARTS = ("imagenet-r", "imagenet-a", "objectnet")
"""Sets that show a part of ImageNet's classes, which bears their name."""


@pytest.fixture(autouse=True)
def factors(monkeypatch):
    """Made-up annotations of ImageNet-X, whose package need not be here: of every tenth image none."""
    numbers = [str(sample_id)[15:23] for sample_id in samples("imagenet", 1000)[0]]
    factors = {number: imagenet_x.FACTORS[i % 16] for i, number in enumerate(numbers) if i % 10}
    monkeypatch.setattr(imagenet_x, "top_factors", lambda: factors)


@functools.cache
def samples(name: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels: ImageNet-C shows the validation set's images, and parts of ImageNet have their own classes."""
    n = 70  # of ImageNet fewer, as some are in both parts; more than are attacked afresh
    if name in ("imagenet", "imagenet-c"):
        parts = [set(class_spaces.get(part).indices) for part in ("imagenet-r", "imagenet-a")]
        sets = [[(i, s[0]) for i, s in real_labels().items() if s and s[0] in part][: n // 2] for part in parts]
        numbers, labels = zip(*dict(sets[0] + sets[1]).items(), strict=True)
        return np.array([f"ILSVRC2012_val_{i}.JPEG" for i in numbers]), np.array(labels)
    if name.startswith("cue-conflict"):  # whose names say shape and texture
        names = datasets.get(name).class_space.classes
        pairs = [(i % k, (i + 1 + i // k) % k) for i in range(n)]
        ids = [f"{names[s]}/{names[s]}{i}-{names[t]}{i}.png" for i, (s, t) in enumerate(pairs)]
        return np.array(ids), np.array([shape for shape, _ in pairs])
    part = class_spaces.get(name).indices if name in PARTS else range(k)
    return np.array([f"{name}-{i}" for i in range(n)]), np.array([part[i % len(part)] for i in range(n)])


def spoil(outcome: Outcome) -> Outcome:
    """The same samples, of which only the first is still right; whatever was tried of an attack shows every sign."""
    right = np.arange(outcome.n) == 0
    worse = {
        "prediction": np.where(right, outcome.labels, 999 - outcome.labels).astype(np.int32),
        "correct": right,
        "loss": np.where(right, 0.1, 9).astype(np.float32),
        "rank": np.where(right, 0, 9).astype(np.int32),
        "brier": np.where(right, 0.1, 2).astype(np.float32),
        "smallest_eps": np.where(right, math.inf, 0).astype(np.float32),
        "fooled_by": np.where(right, "", "square").astype(object),
        "flags": np.full(outcome.n, "randomised", dtype=object),
        **{name: np.full(outcome.n, 0.25) for names in NOTED.values() for name in names},
    }
    worse = {name: column for name, column in worse.items() if name in outcome.columns}
    parts = {name.rpartition("/")[0] for name in outcome.columns} - {""}
    cut = {f"{part}/{name}": column for part in parts for name, column in worse.items() if name != "rank"}
    for part in parts:
        cut[f"{part}/rank"] = np.where(outcome.columns[f"{part}/rank"] < 0, -1, worse["rank"])
    others = otherwise(outcome.columns, outcome.n) if outcome.columns.keys().isdisjoint({"correct"}) else {}
    return replace(outcome, columns={**outcome.columns, **worse, **cut, **shown(outcome.columns), **others})


def perfect(outcome: Outcome) -> Outcome:
    """The same samples, all of them right."""
    return replace(outcome, columns={**outcome.columns, "correct": np.ones(outcome.n, bool)})


def shown(columns) -> dict:
    """The signs of an attack's columns, each on all that was tried; none of another measure's."""
    if "fresh" not in columns:
        return {}
    fresh = columns["fresh"]
    tried = fresh[:, 0] >= 0
    falls = np.eye(1, fresh.shape[1], dtype=np.int8)  # at the smallest eps, and at no larger one
    signs = {
        "unsteady": np.where(np.isnan(columns["unsteady"]), np.nan, 0.1).astype(np.float32),
        "flat": np.where(columns["flat"] < 0, -1, 1),
        "stuck": np.where(tried, 1, -1),
        "longer": np.where(tried, 1, -1),
        "unbounded": np.where(tried, 0, -1),
        "fresh": np.where(tried[:, None], falls, -1),
        "square": np.where(tried, 1, -1),
    }
    return {name: column for name, column in signs.items() if name in columns}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_short_and_names_its_source(path):
    assert len(path.read_text().splitlines()) <= LONGEST
    doc = importlib.import_module(f"rtbench_suites.{path.stem}").__doc__
    assert re.search(r"\b(19|20)\d\d\b", doc), "the first lines must name the paper, with its year"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_registers_a_suite_of_its_name(path):
    assert [s.name for s in suites if suites.origin(s.name) == f"rtbench_suites.{path.stem}"] == [
        path.stem.replace("_", "-")
    ]


def test_it_says_what_it_is(suite):
    assert re.search(r"\b(19|20)\d\d\b", suite.paper)
    assert suite.title
    assert suite.track
    assert suite.version >= 1
    assert suite.protocol.terms


def test_headings_are_unique(suite):
    headings = [score.column for score in suite.board]
    assert headings
    assert len({heading.casefold() for heading in headings}) == len(headings)


def test_every_condition_can_be_resolved(suite):
    for condition in suite.conditions:
        dataset = datasets.get(condition.data.dataset)
        assert {condition.image_set.split, *condition.data.fit} <= set(dataset.splits)
        assert condition.measure.name in measures
        if condition.images.perturbation is not None:
            assert condition.images.perturbation.corruption in corruptions


def test_no_two_rows_of_the_long_table_are_about_the_same_thing(suite):
    rows = [(score.metric.name, tuple(score.columns().items()), score.column) for score in suite.scores]
    assert len(set(rows)) == len(rows)


def test_scores_are_pure_functions_of_the_outcomes(suite):
    outcomes = outcomes_of(suite)
    for score in suite.scores:
        first, second = (score.metric.function(*(outcomes[c] for c in score.conditions)) for _ in range(2))
        assert isinstance(first, Estimate)
        assert first == second, f"{score.metric.name} gave two values for one outcome"


def test_scores_are_finite_with_an_n_and_an_interval_around_them(suite):
    outcomes = outcomes_of(suite, seed=9)
    for score in suite.scores:
        estimate = score.metric.function(*(outcomes[c] for c in score.conditions))
        assert np.isfinite(estimate.value)
        images = {i for c in score.conditions for i in outcomes[c].ids.tolist()}
        # Metrics of some classes, of images with a label, or of those that were tried take a share of them.
        share = "[" in score.metric.name or score.metric.name == "real_accuracy" or score.metric.alarm is not None
        assert 0 < estimate.n <= len(images) if share else estimate.n == len(images)
        if estimate.ci_low is not None:
            assert estimate.ci_low <= estimate.value <= estimate.ci_high


def test_scores_take_note_of_every_condition_that_they_declare(suite, monkeypatch):
    monkeypatch.setattr(Confidence, "interval", lambda self: (self.value, self.value))  # thousands take a minute
    outcomes = outcomes_of(suite)
    for score in suite.scores:
        taken = [outcomes[c] for c in score.conditions]
        before = score.metric.function(*taken)
        for i, one in enumerate(taken):
            # The best of several takes no note of what gets worse, unless that was the best.
            others = (score.metric.function(*taken[:i], other(one), *taken[i + 1 :]) for other in (spoil, perfect))
            assert any(other != before for other in others), (
                f"{score.metric.name} is the same whatever {score.conditions[i]} gave"
            )


@pytest.mark.parametrize("name", [suite.name for suite in suites if suite.alarms])
def test_alarms_ring_for_what_they_are_about_and_not_for_honest_images(name):
    suite = suites.get(name)
    outcomes = outcomes_of(suite)
    for score in suite.alarms:
        taken = [outcomes[c] for c in score.conditions]
        assert score.metric.function(*taken).value <= score.metric.alarm.above
        assert score.metric.function(*map(spoil, taken)).value > score.metric.alarm.above


# -- made-up outcomes of attacks are like true ones -----------------------------------------------------------


class InMemory:
    """A loader of random images that a model has right, all in one batch; see `bench.measure.Loader`."""

    def __init__(self, ids, labels, images):
        self.ids, self.labels, self.images = ids, labels, images

    def __iter__(self):
        yield Batch(ids=self.ids.tolist(), labels_N=torch.tensor(self.labels), images_NCHW=self.images)

    def at(self, rows):
        return InMemory(self.ids[rows], self.labels[rows], self.images[torch.from_numpy(rows)])


CONDITIONS = {c.measure.name: c for name in ("digits-pgd", "digits-autoattack") for c in suites.get(name).conditions}
INSIDE = {f"{c.measure.name} {i}": c for i, c in enumerate(suites.get("digits-landscape").conditions)}


@pytest.mark.parametrize("name", CONDITIONS)
def test_made_up_columns_are_those_that_the_measure_gives(name):
    condition, generator = CONDITIONS[name], torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4)).requires_grad_(False)
    module[1].weight.copy_(torch.randn(4, 192, generator=generator))
    images = torch.rand((2 if name == "autoattack" else 4, 3, 8, 8), generator=generator)
    loader = InMemory(np.array([f"image-{i}" for i in range(len(images))]), module(images).argmax(1).numpy(), images)
    pace = Pace(batch_size=4, fixed=False, done=lambda count: None)
    rows = measures.get(name).make(condition.measure.params).run(module, loader, {}, 0, pace)
    made = outcome(condition, 0).columns
    like = {column: (values.dtype, values.shape[1:]) for column, values in rows.items()}
    assert {column: (values.dtype, values.shape[1:]) for column, values in made.items()} == like


@pytest.mark.parametrize("name", INSIDE)
def test_made_up_columns_of_a_landscape_are_those_that_the_measure_gives(name):
    condition, generator = INSIDE[name], torch.Generator().manual_seed(0)
    images = torch.rand((16, 3, 8, 8), generator=generator)
    loader = InMemory(np.array([f"image-{i}" for i in range(16)]), np.arange(16) % 4, images)
    pace = Pace(batch_size=8, fixed=False, done=lambda count: None)
    rows = measures.get(condition.measure.name).make(condition.measure.params).run(of_two_layers(), loader, {}, 0, pace)
    made = outcome(condition, 0).columns
    assert rows.keys() == made.keys()
    for column, values in rows.items():
        assert (values.dtype.kind, values.ndim) == (made[column].dtype.kind, made[column].ndim), column
        assert np.isfinite(values).all() if values.dtype.kind == "f" and "attention" not in name else True


def of_two_layers() -> torch.nn.Module:
    """Four logits by a convolution, BatchNorm and a smooth activation; it says how it is made, as checkpoints do."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(3, 4, 3, 2), torch.nn.BatchNorm2d(4), torch.nn.GELU(), torch.nn.Flatten()
        module = torch.nn.Sequential(*layers, torch.nn.Linear(36, 4)).eval().requires_grad_(False)
    module.untrained = of_two_layers
    return module


def test_no_column_of_an_outcome_bears_the_name_of_a_parameter(suite):
    for condition in suite.conditions:
        assert not outcome(condition, 0).columns.keys() & condition.columns().keys()
