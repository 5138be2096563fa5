"""Fine-tuning of every weight, as the ViT paper (arXiv 2010.11929, appendix B.1.1) and the SAM paper (2106.01548) do.

SGD with momentum, cosine, warm-up, clipped gradients, no decay; recipes in bench/transfer/recipes.toml. The best epoch
on the validation split is shown the test split once.
"""

from bench.records import Measurement, Params
from bench.suite import suites
from bench.suite.transfer import VALIDATION, Learning, noted

ASKED = ("recipe", "epochs", "learning_rate", "batch_size")

FINE_TUNE = Learning(
    name="fine-tune",
    version=1,
    title="Transfer by fine-tuning",
    paper="Dosovitskiy et al. 2021, arXiv 2010.11929; Chen, Hsieh & Gong 2022, arXiv 2106.01548",
    # 0 takes what the recipe says.
    settings=Params(recipe="default", epochs=0, learning_rate=0.0, batch_size=0),
    measurements=lambda s: {"": (Measurement(name="fine-tune", params=asked(s)),)},
    terms=lambda s: ("fine-tuned, " + ", ".join(f"{name} {value}" for name, value in asked(s).items()),),
    chosen=(VALIDATION, noted("best_epoch", "epochs")),
    tolerance=0.01,  # what another machine rounds differently grows over thousands of steps
)


def asked(settings: Params) -> Params:
    """The recipe, and what departs from it."""
    return Params({name: value for name, value in settings.items() if name in ASKED and value})


suites.register(FINE_TUNE.suite(track="transfer", predicts="imagenet-1k"))
