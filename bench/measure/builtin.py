"""The measures that the project registers."""

from bench.attacks import ENGINE_VERSION
from bench.attacks.builtin import FGSM, PGD
from bench.measure import MeasureEntry, measures, register_attack

measures.register(
    MeasureEntry(
        name="classify",
        version=1,
        interface="batch",
        factory="bench.measure.classify:Classify",
        about="one forward pass: prediction, ten largest logits, loss, rank of the label",
    )
)
register_attack(FGSM)
register_attack(PGD)
measures.register(
    MeasureEntry(
        name="autoattack",
        version=1,
        interface="checkpoint",
        factory="bench.measure.autoattacked:AutoAttacked",
        engine=ENGINE_VERSION,
        seeded=True,
        exact=True,
        # 100 steps, 9 times 100, 9 times 100 of three passes and a gradient's, 5,000 queries.
        passes=lambda params: 3 * 100 + 9 * 3 * 100 + 9 * 5 * 100 + 5000,
        about="AutoAttack standard, by its authors' code, in blocks of 100 images",
    )
)
