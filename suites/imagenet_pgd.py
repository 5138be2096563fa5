"""ImageNet under FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018, arXiv 1706.06083).

The headline's eps are those of RobustBench (Croce et al. 2021, arXiv 2010.09670): Linf 4/255 and L2 3.
"""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, pgd_suite

suites.register(
    pgd_suite(
        Attacked(
            name="imagenet-pgd",
            version=1,
            title="ImageNet-1k, validation set, attacked by FGSM and PGD",
            track="imagenet-attacks",
            data=Data(dataset="imagenet"),
            classes=1000,
            linf="4/255",
            l2="3",
        ),
        l2_grid="0.5+1+2+3",
    )
)
