"""Corrupted digits: 15 corruptions × 5 severities, as ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261).

The score is the mean accuracy over the 75 conditions. There is no mCE: its denominators are AlexNet's errors on
ImageNet, which mean nothing here. The corruptions are as the package imagecorruptions defines them, which differs from
the original code in places. They are made at each checkpoint's own size (32×32 for those that ship), and not saved as
JPEG in between.
"""

import functools

from bench.records import Condition, Data, Generated, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import MCE_CORRUPTIONS, corrupted, severities

DATA = Data(dataset="digits")
severities_of = functools.partial(severities, data=DATA)
"""Under each checkpoint's own crop."""


suites.register(
    Suite(
        name="digits-c",
        version=2,
        title="Handwritten digits, corrupted",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="digits",
        protocol=Protocol(terms=("10-way", Generated())),
        scores=corrupted(Condition(data=DATA), severities_of, MCE_CORRUPTIONS),
    )
)
