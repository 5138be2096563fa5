"""Handwritten digits: the clean test of the embedded track.

Data: UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998), 500 images at 32×32.
"""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import classification

suites.register(
    Suite(
        name="digits",
        version=1,
        title="Handwritten digits",
        paper="Alpaydin & Kaynak 1998, UCI Machine Learning Repository",
        track="digits",
        protocol=Protocol(terms=("10-way",)),
        scores=classification(Condition(data=Data(dataset="digits"))),
    )
)
