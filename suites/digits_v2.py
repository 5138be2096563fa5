"""More handwritten digits from the same source: does the accuracy on `digits` hold on a new sample?

As ImageNet-V2 is to ImageNet (Recht et al. 2019, arXiv 1902.10811): the 700 images that neither the training set
nor `digits` took. The drop is relative to `digits`; the two sets share no image.
"""

from bench.records import Condition, Data, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import shift

suites.register(
    Suite(
        name="digits-v2",
        version=1,
        title="Handwritten digits, a second sample",
        paper="Recht et al. 2019, arXiv 1902.10811",
        track="digits",
        protocol=Protocol(terms=("10-way",)),
        scores=shift(Condition(data=Data(dataset="digits")), Condition(data=Data(dataset="digits-v2"))),
    )
)
