"""CIFAR-10 under AutoAttack (Croce & Hein 2020, arXiv 2003.01690), at the eps of RobustBench (arXiv 2010.09670)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, autoattack_suite

suites.register(
    autoattack_suite(
        Attacked(
            name="cifar10-autoattack",
            version=1,
            title="CIFAR-10 under AutoAttack",
            track="cifar10-attacks",
            data=Data(dataset="cifar10"),
            classes=10,
            linf="8/255",
            l2="0.5",
        )
    )
)
