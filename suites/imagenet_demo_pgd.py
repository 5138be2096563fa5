"""Five photographs of `imagenet-demo` under FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018).

As `imagenet-pgd` attacks the validation set, but in one norm with one loss, at two eps and in half the steps: what
takes minutes on a laptop. The signs of false security take most of them.
"""

from bench.attacks.epsilon import parse_eps
from bench.metrics.classification import TOP1
from bench.metrics.robustness import ROBUST_ACCURACY
from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite, suites
from bench.suite.attacked import SIGNS, TOLERANCE

from .imagenet_demo import LITE

FIVE = Data(dataset="imagenet-demo", samples=5)
GRID = ("1/255", "4/255")
STEPS = 10
COMMON = Params(norm="linf", grid="+".join(GRID), loss="ce")
FGSM = Condition(data=FIVE, measure=Measurement(name="fgsm", params=COMMON))
PGD = Condition(
    data=FIVE,
    measure=Measurement(name="pgd", params=Params(COMMON, steps=STEPS, restarts=1, step_size=2.5)),
)


def _withstand(conditions: tuple[Condition, ...], eps: str, column: str) -> Score:
    metric = ROBUST_ACCURACY.given(eps=parse_eps(eps, "linf"))
    return Score(metric=metric, conditions=conditions, column=column, at=Params(eps=eps))


suites.register(
    Suite(
        name="imagenet-demo-pgd",
        version=3,
        title="ImageNet, 5 photographs, attacked by FGSM and PGD",
        tolerance=TOLERANCE,
        paper="Madry et al. 2018, arXiv 1706.06083; Goodfellow et al. 2015, arXiv 1412.6572",
        track="imagenet-demo",
        protocol=Protocol(
            terms=(
                "1000-way",
                "5 photographs",
                f"Linf {'+'.join(GRID)} in pixels of [0, 1]",
                f"FGSM and PGD of {STEPS} steps of 2.5 eps / steps from 1 random start",
                "loss ce",
                "fooled once counts at every larger eps",
                "perturbed images not rounded",
            )
        ),
        scores=(
            *(_withstand((FGSM, PGD), eps, f"Linf {eps}") for eps in GRID),
            _withstand((FGSM,), GRID[0], f"FGSM {GRID[0]}"),
            Score(metric=TOP1, conditions=(PGD,), column="clean", clean=True),
            *(Score(metric=sign, conditions=(PGD,)) for sign in SIGNS),
        ),
        checkpoints=LITE,
    )
)
