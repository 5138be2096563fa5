"""Handwritten digits under AutoAttack (Croce & Hein 2020, arXiv 2003.01690): 100 of them take minutes a checkpoint."""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, autoattack_suite

suites.register(
    autoattack_suite(
        Attacked(
            name="digits-autoattack",
            version=1,
            title="Handwritten digits under AutoAttack",
            track="digits-attacks",
            data=Data(dataset="digits", samples=100),
            classes=10,
            linf="8/255",
            l2="1",
        )
    )
)
