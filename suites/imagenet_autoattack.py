"""ImageNet under AutoAttack (Croce & Hein 2020, arXiv 2003.01690), at the eps of RobustBench (arXiv 2010.09670)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, autoattack_suite

suites.register(
    autoattack_suite(
        Attacked(
            name="imagenet-autoattack",
            version=1,
            title="ImageNet-1k, validation set, under AutoAttack",
            track="imagenet-attacks",
            data=Data(dataset="imagenet"),
            classes=1000,
            linf="4/255",
            l2="3",
        )
    )
)
