"""What rounds to nothing is shown without a sign, wherever a number is."""

import re

import pytest

from bench.board.tables import shown
from bench.compare.texts import interval, signed, value
from bench.metrics import Metric
from bench.records import Condition, Data, Estimate
from bench.report.marks import percent
from bench.suite import Score

NOTHING = -0.00001


def score(unit):
    metric = Metric(name="fall", function=lambda *_: 0.0, unit=unit)
    return Score(metric=metric, conditions=(Condition(data=Data(dataset="digits")),), column="fall")


class Row:
    def __init__(self, unit):
        self.score = score(unit)


@pytest.mark.parametrize("unit", ["fraction", "epochs", "nats"])
@pytest.mark.parametrize("ends", [(None, None), (NOTHING, -NOTHING), (NOTHING, 0.4)])
def test_no_number_is_minus_zero(unit, ends):
    estimate = Estimate(value=NOTHING, n=10, ci_low=ends[0], ci_high=ends[1])
    texts = [shown(score(unit), estimate), value(Row(unit), NOTHING), signed(NOTHING), interval(NOTHING, 0.1)]
    texts += [percent(estimate)] if ends[0] is not None else []
    for text in texts:
        assert not re.search(r"-0(\.0+)?(?![\d.])", text), text
