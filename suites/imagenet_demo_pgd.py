"""Five photographs of `imagenet-demo` under FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018, arXiv 1706.06083).

As `imagenet-pgd` attacks the validation set, at fewer eps and in half the steps: what takes minutes on a laptop.
"""

from dataclasses import replace

from bench.records import Data
from bench.suite import suites
from bench.suite.attacked import Attacked, pgd_suite

from .imagenet_demo import LITE

suites.register(
    replace(
        pgd_suite(
            Attacked(
                name="imagenet-demo-pgd",
                version=2,
                title="ImageNet, 5 photographs, attacked by FGSM and PGD",
                track="imagenet-demo",
                data=Data(dataset="imagenet-demo", samples=5),
                classes=1000,
                linf="1/255",
                l2="0.5",
            ),
            linf_grid="1/255+4/255",
            l2_grid="0.5+3",
            steps=10,
        ),
        checkpoints=LITE,
    )
)
