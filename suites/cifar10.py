"""CIFAR-10's test set (Krizhevsky 2009, "Learning multiple layers of features from tiny images")."""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import classification

CLEAN = Condition(data=Data(dataset="cifar10"))

suites.register(
    Suite(
        name="cifar10",
        version=1,
        title="CIFAR-10",
        paper="Krizhevsky 2009",
        track="cifar10",
        protocol=Protocol(terms=("10-way", "each checkpoint's own crop")),
        scores=classification(CLEAN),
    )
)
