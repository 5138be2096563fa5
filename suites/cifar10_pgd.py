"""CIFAR-10 under FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018, arXiv 1706.06083).

The headline's eps are those of RobustBench (Croce et al. 2021, arXiv 2010.09670): Linf 8/255 and L2 0.5.
"""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, pgd_suite

suites.register(
    pgd_suite(
        Attacked(
            name="cifar10-pgd",
            version=1,
            title="CIFAR-10, attacked by FGSM and PGD",
            track="cifar10-attacks",
            data=Data(dataset="cifar10"),
            classes=10,
            linf="8/255",
            l2="0.5",
        ),
        l2_grid="0.1+0.25+0.5+1",
    )
)
