"""The measures that the project registers."""

from bench.measure import MeasureEntry, measures

measures.register(
    MeasureEntry(
        name="classify",
        version=1,
        interface="batch",
        factory="bench.measure.classify:Classify",
        about="one forward pass: prediction, ten largest logits, loss, rank of the label",
    )
)
