"""The shipped checkpoints of digits give the outcomes that they gave when they were published, sample by sample."""

import importlib.util
from pathlib import Path

import pytest

from bench.checkpoints import checkpoints
from bench.checkpoints.weights import weights_digest

SCRIPT = Path(__file__).parent / "golden" / "make.py"
CHANGED_AT_MOST = 0.002  # of all samples; what floating-point kernels of other machines may flip
LOGIT_TOLERANCE = 0.05  # of the largest logit, which is about 10: other kernels move it by 1e-5
SHOWN = 10  # samples in the message


def load():
    spec = importlib.util.spec_from_file_location("golden_make", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load()
NAMES = [entry.name for entry in golden.shipped()]


@pytest.fixture(scope="module")
def measured():
    return golden.measure()


def changes(expected, got):
    """One line for every sample whose prediction, or largest logit, is another."""
    return [
        f"{was.condition}, {was.id}: expected class {was.prediction} (logit {was.top_logit:.3f}), "
        f"got class {now.prediction} (logit {now.top_logit:.3f})"
        for was, now in zip(expected, got, strict=True)
        if was.prediction != now.prediction or abs(was.top_logit - now.top_logit) > LOGIT_TOLERANCE
    ]


def message(lines, total):
    shown = "\n  ".join(lines[:SHOWN])
    return f"{len(lines)} of {total} samples changed, at most {int(CHANGED_AT_MOST * total)} may; the first:\n  {shown}"


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_those_that_the_golden_outcomes_are_of(name):
    digest, _ = golden.read(name)
    assert weights_digest(Path(checkpoints.get(name).weights)) == digest, (
        f"the weights of {name} are not those of tests/golden/{name}.csv; if they were meant to change, run "
        "`python tests/golden/make.py` and read the diff"
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_conditions_are_the_golden_ones(name, measured):
    _, expected = golden.read(name)
    assert [row[:2] for row in measured[name]] == [row[:2] for row in expected]
    assert len(expected) == golden.LIMIT * len(golden.conditions())


def test_outcomes_are_the_golden_ones(measured):
    lines, total = [], 0
    for name in NAMES:
        _, expected = golden.read(name)
        total += len(expected)
        lines += [f"{name}, {line}" for line in changes(expected, measured[name])]
    assert len(lines) <= CHANGED_AT_MOST * total, message(lines, total)


def test_a_changed_sample_is_shown_by_name():
    _, rows = golden.read(NAMES[0])
    other = [rows[0]._replace(prediction=(rows[0].prediction + 1) % 10), *rows[1:-1]]
    other.append(rows[-1]._replace(top_logit=rows[-1].top_logit + 1))
    lines = changes(rows, other)
    assert len(lines) == 2
    for part in (rows[0].id, f"expected class {rows[0].prediction}", f"got class {other[0].prediction}"):
        assert part in message(lines, len(rows))
