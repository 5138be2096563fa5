"""What the digits checkpoints' features are good for elsewhere: capital letters, drawn in other fonts, and CIFAR-10.

After the transfer of Chen, Hsieh & Gong 2022 (arXiv 2106.01548), at small scale. CIFAR-10 is measured where it is given
(`--data cifar10=…`), but is not fine-tuned to: that takes hours without a GPU.
"""

from bench.records import Data, Params, Protocol
from bench.suite import Suite, suites
from bench.suite.transfer import limit_in_words

from .few_shot import FEW_SHOT, SHOTS
from .fine_tune import FINE_TUNE
from .knn import KNN
from .linear_probe import LINEAR_PROBE

NAME = "digits-transfer"
LETTERS = Data(dataset="letters", fit=("train",))
CIFAR10 = Data(dataset="cifar10", fit=("train",))
LETTERS_RECIPE = Params(FINE_TUNE.settings, recipe="letters")

ON_FEATURES = [(name, way, way.settings) for name, way in (("linear", LINEAR_PROBE), ("k-NN", KNN), ("", FEW_SHOT))]
WAYS = {LETTERS: [*ON_FEATURES, ("fine-tuned", FINE_TUNE, LETTERS_RECIPE)], CIFAR10: ON_FEATURES}


def make(settings: Params) -> Suite:
    """The suite, learning from as many images, and in few-shot of as many a class, as its settings say."""
    every = [(data, name, way, Params(own, **settings)) for data, ways in WAYS.items() for name, way, own in ways]
    terms = dict.fromkeys(term for _, _, way, own in every for term in way.terms(own))
    return Suite(
        name=NAME,
        version=1,
        title="Digits checkpoints on letters and CIFAR-10",
        paper="after Chen, Hsieh & Gong 2022, arXiv 2106.01548, section 4.3",
        track="digits-transfer",
        protocol=Protocol(terms=(*terms, *limit_in_words(settings, NAME))),
        scores=tuple(
            score
            for data, heading, way, own in every
            for score in way.scores(data, "top1", own, prefix=f"{data.dataset} {heading}".strip(), brief=True)
        ),
        settings=settings,
        remake=make,
        predicts="digits",
    )


suites.register(make(Params(shots=SHOTS, train_limit=0)))
