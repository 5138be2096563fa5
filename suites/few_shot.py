"""Few-shot transfer: closed-form ridge on some training samples of each class, as BiT and ViT report it.

Kolesnikov et al. 2020, arXiv 1912.11370; Dosovitskiy et al. 2021, arXiv 2010.11929, section 4.1.
"""

from bench.errors import BenchError
from bench.records import Measurement, Params
from bench.suite import suites
from bench.suite.transfer import Learning
from bench.text import whole_numbers

SHOTS = "1+2+5+10+25"
HEADLINE = 5
"""Shots of the headline, where they are among those asked for."""


def measurements(settings: Params) -> dict[str, tuple[Measurement, ...]]:
    """Several draws of each number of shots, the headline first."""
    shots, draws = whole_numbers(str(settings["shots"]), "shots"), int(settings["draws"] or 0)
    if draws < 1:
        raise BenchError(f"draws of suite 'few-shot' must be at least 1, not {draws}.")
    first = HEADLINE if HEADLINE in shots else shots[0]
    return {
        f"{count}-shot": tuple(
            Measurement(name="few-shot", params=Params(shots=count, draw=draw, token=settings["token"]))
            for draw in range(draws)
        )
        for count in [first, *(count for count in shots if count != first)]
    }


FEW_SHOT = Learning(
    name="few-shot",
    version=1,
    title="Few-shot transfer",
    paper="Kolesnikov et al. 2020, arXiv 1912.11370; Dosovitskiy et al. 2021, arXiv 2010.11929",
    settings=Params(shots=SHOTS, draws=5, token="pre_logits"),
    measurements=measurements,
    terms=lambda s: (
        f"ridge on standardised features of {s['shots']} samples a class, L2 1024, mean of {s['draws']} draws",
        f"{s['token']} features",
    ),
    chosen=(),
)

suites.register(FEW_SHOT.suite(track="transfer", predicts="imagenet-1k"))
