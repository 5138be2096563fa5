"""Digits drawn in many fonts and looks: as ImageNet-R is to ImageNet (Hendrycks et al. 2021, arXiv 2006.16241).

1,000 images, 100 a class. The drop is relative to `digits`; the two sets share no image.
"""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import shift

suites.register(
    Suite(
        name="digits-r",
        version=1,
        title="Digits, renditions",
        paper="Hendrycks et al. 2021, arXiv 2006.16241",
        track="digits",
        protocol=Protocol(terms=("10-way",)),
        scores=shift(Condition(data=Data(dataset="digits")), Condition(data=Data(dataset="digits-r"))),
    )
)
