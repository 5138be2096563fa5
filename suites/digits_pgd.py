"""Handwritten digits under FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018, arXiv 1706.06083)."""

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, pgd_suite

suites.register(
    pgd_suite(
        Attacked(
            name="digits-pgd",
            version=1,
            title="Handwritten digits, attacked by FGSM and PGD",
            track="digits-attacks",
            data=Data(dataset="digits"),
            classes=10,
            linf="8/255",
            l2="1",
        ),
        l2_grid="0.25+0.5+1+2",  # at 2 the six shipped checkpoints are nearly all fooled
    )
)
