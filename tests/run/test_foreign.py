"""Parts of a plug-in, whatever they give, raise or change: at most their own cell fails, and they are named."""

import os
import random
import signal
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import timm  # noqa: F401 - takes seconds, which are no test's
import torch

from bench import api
from bench.checkpoints import checkpoints
from bench.corruptions import Corruption, corruptions
from bench.errors import BenchWarning, RunError
from bench.foreign.faults import blamed, is_interrupt
from bench.foreign.state import undisturbed
from bench.measure import MeasureEntry, measures
from bench.measure.cells import versions
from bench.metrics import Metric
from bench.metrics.classification import TOP1
from bench.records import Condition, Data, Estimate, Images, Measurement, Perturbation, Protocol, Settings
from bench.run import local  # noqa: F401 - as timm
from bench.run.rows import columns_of
from bench.store import Store
from bench.suite import Score, Suite

LIGHTS = Data(dataset="lights")
PLAIN = Condition(data=LIGHTS)
NAN, BUFFER = float("nan"), torch.zeros(5)


def under(corruption):
    return Condition(data=LIGHTS, images=Images(perturbation=Perturbation(corruption=corruption, severity=1)))


def by(measure):
    return Condition(data=LIGHTS, measure=Measurement(name=measure))


@pytest.fixture
def run(lights, tmp_path, pictures):
    """A function that runs conditions, each of which has a column, and gives the result and the store."""
    settings = Settings(store=tmp_path / "runs", cache=None, places={"lights": pictures}, batch_size=5)

    def run(*conditions, metric=TOP1, checkpoint=None, **changed):
        scores = tuple(Score(metric=metric, conditions=(c,), column=str(i)) for i, c in enumerate(conditions))
        suite = Suite(
            name="mine", version=1, title="", paper="", track="mine", protocol=Protocol(terms=()), scores=scores
        )
        entry = checkpoint or checkpoints.get("lights-mean")
        return api.run([suite], [entry], replace(settings, **changed)), Store(settings.store)

    return run


# -- measures -------------------------------------------------------------------------------------------------

GIVEN = {
    "nothing": lambda n: {},
    "None": lambda n: None,
    "a list": lambda n: [1] * n,
    "one value": lambda n: {"correct": torch.tensor(1.0)},
    "a row too many": lambda n: {"correct": torch.ones(n + 1)},
    "objects": lambda n: {"correct": np.array([object()] * n)},
    "None in a column": lambda n: {"correct": None},
    "complex numbers": lambda n: {"correct": torch.ones(n, dtype=torch.complex64)},
    "dates": lambda n: {"correct": np.zeros(n, dtype="datetime64[s]")},
    "no values in a row": lambda n: {"correct": torch.ones(n, 0)},
    "a number for a name": lambda n: {1: torch.ones(n)},
    "a taken name": lambda n: {"label": torch.ones(n)},
    "rows of other lengths": lambda n: {"correct": [[1] * (i + 1) for i in range(n)]},
}


@pytest.mark.parametrize("what", GIVEN)
def test_odd_rows_are_refused_in_a_sentence_that_names_the_measure(what):
    with pytest.raises(RunError, match="measure 'odd' (gave|cannot)"):
        columns_of("odd", GIVEN[what](4), 4)


def test_rows_are_copies_of_numbers_truth_or_text():
    buffer, text = np.arange(3), np.array(["a", "b", "c"], dtype=object)
    given = {"a": buffer, "b": torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True), "c": [True] * 3, "d": text}
    columns = columns_of("fine", given, 3)
    buffer[:] = 9
    assert columns["a"].tolist() == [0, 1, 2]
    assert [columns[name].dtype.kind for name in "abcd"] == ["i", "f", "b", "O"]


class Raises:
    def rows(self, module, images_NCHW, labels_N):
        raise SystemExit(0)

    def run(self, module, loader, fit, seed, pace):
        raise SystemExit(0)


class Breaks:
    """It works, and changes all that it can reach."""

    def rows(self, module, images_NCHW, labels_N):
        rows = {"correct": module(images_NCHW).argmax(1) == labels_N}
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
        module.train()
        images_NCHW.zero_()
        labels_N.zero_()
        change_the_process()
        return rows


def change_the_process():
    os.chdir("/")
    os.environ["RTBENCH_TEST"] = "1"
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(True)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Buffered:
    """It gives the same buffer for every batch."""

    def rows(self, module, images_NCHW, labels_N):
        correct_N = BUFFER[: len(labels_N)]
        correct_N.copy_(module(images_NCHW).argmax(1) == labels_N)
        return {"correct": correct_N}


class Draws:
    def rows(self, module, images_NCHW, labels_N):
        return {"correct": torch.rand(len(labels_N)) < 0.5}

    def run(self, module, loader, fit, seed, pace):
        return {"correct": torch.rand(len(loader.ids)).numpy() < 0.5}


def measure(cls, interface="batch"):
    entry = MeasureEntry(name=cls.__name__, version=1, interface=interface, factory=f"{__name__}:{cls.__name__}")
    return by(measures.register(entry).name)


@pytest.mark.parametrize("interface", ["batch", "checkpoint"])
def test_a_measure_that_ends_the_program_fails_its_cell_alone(run, interface):
    result, store = run(measure(Raises, interface), PLAIN)
    [failure] = result.failures
    assert "Raises" in failure.message
    assert "it calls sys.exit(0)" in failure.message
    assert len(store.keys()) == 1


def test_what_a_measure_changes_reaches_nobody_else(run, tmp_path):
    def state():
        modes = torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()
        drawn = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
        return os.getcwd(), dict(os.environ), modes, drawn, np.geterr(), signal.getsignal(signal.SIGTERM)

    alone = run(PLAIN, store=tmp_path / "alone")[0].boards[0].rows[0].estimate
    before = state()
    result, _ = run(measure(Breaks), PLAIN)
    assert state() == before
    assert result.ok
    assert result.boards[0].rows[1].estimate == alone


def test_a_buffer_that_is_filled_anew_changes_no_earlier_row(run):
    result, store = run(measure(Buffered), PLAIN)
    columns = [store.read(cell.key).columns["correct"].astype(bool).tolist() for cell in result.plan.cells]
    assert columns[0] == columns[1]


# -- corruptions ----------------------------------------------------------------------------------------------


def exits(images_NCHW, severity, draws):
    raise SystemExit(0)


def gives_floats(images_NCHW, severity, draws):
    return images_NCHW.float() / 255


def gives_nothing(images_NCHW, severity, draws):
    return None


def other_size(images_NCHW, severity, draws):
    return images_NCHW[:, :, 1:]


def raises_interrupt(images_NCHW, severity, draws):
    raise KeyboardInterrupt


def corruption(function, **changed):
    record = Corruption(name=function.__name__, version=1, load=lambda: function, **changed)
    return under(corruptions.register(record).name)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("function", [exits, gives_floats, gives_nothing, other_size, raises_interrupt])
def test_a_faulty_corruption_fails_its_condition_alone(run, function, batched):
    result, store = run(corruption(function, batched=batched), PLAIN)
    [failure] = result.failures
    assert function.__name__ in failure.message
    assert len(store.keys()) == 1


def works_in_place(images_NCHW, severity, draws):
    change_the_process()
    return images_NCHW.zero_()


def test_a_corruption_that_works_in_place_leaves_its_images_and_the_process_alone(run):
    result, _ = run(corruption(works_in_place), PLAIN)
    assert result.ok
    assert torch.get_default_dtype() == torch.float32


def test_the_draws_of_a_corruption_that_is_not_seeded_do_not_depend_on_the_seed(run):
    def noisy(images_NCHW, severity, draws):
        return (images_NCHW + draws.uniform(*images_NCHW.shape[1:]) * 99).clamp(0, 255).to(torch.uint8)

    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    record = Corruption(name="noisy", version=1, load=lambda: noisy, seeded=False)
    from bench.corruptions import corrupt

    made = [corrupt(record, images, 1, seed=seed, ids=["a", "b"]) for seed in (0, 1)]
    assert torch.equal(*made)


# -- what gives something else the second time ----------------------------------------------------------------


def global_noise(images_NCHW, severity, draws):
    noise = torch.from_numpy(np.random.randint(0, 99, images_NCHW.shape))
    return (images_NCHW + noise).clamp(0, 255).to(torch.uint8)


def by_the_batch(images_NCHW, severity, draws):
    return images_NCHW.float().mul(0).add(40 * len(images_NCHW)).to(torch.uint8)


def said(run, *conditions, **changed):
    """What a run warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(*conditions, **changed)[0].ok
    return [str(each.message) for each in caught if each.category is BenchWarning]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("function", "says"), [(global_noise, "other pictures of the same"), (by_the_batch, "another picture")]
)
def test_a_corruption_that_nobody_can_repeat_is_named_once(run, function, says, batched):
    [text] = said(run, corruption(function, batched=batched))
    assert f"corruption {function.__name__!r}" in text
    assert says in text


@pytest.mark.parametrize("interface", ["batch", "checkpoint"])
def test_a_measure_that_draws_by_itself_is_named_once(run, interface):
    drawing = measure(Draws, interface)
    [text] = said(run, drawing, replace(drawing, data=replace(LIGHTS, samples=5)))
    assert "measure 'Draws'" in text


class Restless(torch.nn.Sequential):
    """The checkpoint of lights with dropout that evaluation does not turn off."""

    def __init__(self, forward):
        super().__init__(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
        self.change = forward

    def forward(self, images_NCHW):
        return self.change(super().forward(images_NCHW))


def with_dropout():
    return Restless(lambda logits_NK: torch.nn.functional.dropout(logits_NK, 0.5, training=True))


def of_the_batch():
    return Restless(lambda logits_NK: logits_NK - logits_NK.mean(0))


def steady():
    return Restless(lambda logits_NK: logits_NK)


def exiting():
    return Restless(lambda logits_NK: raise_exit())


def exiting_at_once():
    raise SystemExit(0)


def raise_exit():
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("builder", "says"), [(with_dropout, "other logits when"), (of_the_batch, "among other images")]
)
def test_a_model_that_nobody_can_repeat_is_named_once(run, builder, says):
    entry = replace(checkpoints.get("lights-mean"), name="restless", builder=f"{__name__}:{builder.__name__}")
    [text] = said(run, PLAIN, under("dusk"), checkpoint=replace(entry, weights=entry.weights))
    assert "checkpoint 'restless'" in text
    assert says in text


@pytest.mark.parametrize("builder", [exiting, exiting_at_once])
def test_a_builder_or_model_that_ends_the_program_fails_its_cells(run, builder):
    entry = replace(checkpoints.get("lights-mean"), name="leaver", builder=f"{__name__}:{builder.__name__}")
    result, _ = run(PLAIN, checkpoint=entry)
    assert "it calls sys.exit(0)" in result.failures[0].message


def test_what_is_ours_and_steady_says_nothing(run):
    assert said(run, PLAIN, under("dusk")) == []


# -- metrics --------------------------------------------------------------------------------------------------

SCORES = {
    "NaN": lambda outcome: Estimate(value=NAN, n=outcome.n),
    "infinite": lambda outcome: Estimate(value=-np.inf, n=outcome.n),
    "of no image": lambda outcome: Estimate(value=0.5, n=0),
    "a number": lambda outcome: 0.5,
    "text": lambda outcome: Estimate(value="high", n=outcome.n),
    "outside its interval": lambda outcome: Estimate(value=0.5, n=outcome.n, ci_low=0.6, ci_high=0.7),
    "half an interval": lambda outcome: Estimate(value=0.5, n=outcome.n, ci_low=0.4),
    "raises": lambda outcome: 1 / 0,
    "ends": lambda outcome: raise_exit(),
}


@pytest.mark.parametrize("what", SCORES)
def test_a_score_that_is_no_number_is_none_and_its_checkpoint_ranks_last(run, what):
    result, _ = run(PLAIN, metric=Metric(name="odd", function=SCORES[what]))
    [board] = result.boards
    assert board.rows == ()
    assert not board.complete
    assert "odd" in " ".join(board.notes)


def test_numbers_of_numpy_are_scores_too(run):
    function = lambda outcome: Estimate(value=np.float32(0.5), n=np.int64(outcome.n))  # noqa: E731
    result, _ = run(PLAIN, metric=Metric(name="numpy", function=function))
    assert result.boards[0].rows[0].estimate == Estimate(value=0.5, n=12)


# -- keys -----------------------------------------------------------------------------------------------------


def test_the_source_of_what_is_not_ours_is_in_the_key_and_ours_is_as_it_was(run):
    assert versions(PLAIN).keys() == {"images", "measure"}
    assert versions(under("contrast")).keys() == {"images", "measure", "corruption"}
    assert versions(under("dusk")).keys() == {"images", "measure", "corruption", "corruption_source"}
    assert versions(by("drift")).keys() == {"images", "measure", "engine", "measure_source"}


# -- faults and Ctrl-C ----------------------------------------------------------------------------------------


def test_ctrl_c_is_nobodys_fault():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest's own workers ignore it
    try:
        with pytest.raises(KeyboardInterrupt), blamed("the part fails"):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_code_raises_is_its_fault():
    with pytest.raises(RunError, match="the part fails: KeyboardInterrupt"), blamed("the part fails"):
        raise KeyboardInterrupt
    assert not is_interrupt(SystemExit(0))


def test_state_is_put_back_after_a_fault_too():
    before = os.getcwd()

    def fail():
        change_the_process()
        raise SystemExit(1)

    with pytest.raises(RunError), blamed("x"), undisturbed():
        fail()
    assert os.getcwd() == before
    assert torch.get_default_dtype() == torch.float32
