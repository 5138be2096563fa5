"""ImageNet-R: paintings, toys, sketches and other renditions of 200 classes (Hendrycks et al. 2021, arXiv 2006.16241).

The authors cut the logits to the 200 classes before the arg-max; that is the headline. Numbers over all 1000 classes
are also published (the SAM papers' look so) and stand beside it. The clean control is the validation set's images of
the same 200 classes, with the logits cut alike.
"""

from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import shift_within

from .imagenet import CLEAN

SHIFTED = Condition(
    data=Data(dataset="imagenet-r"), measure=Measurement(name="classify", params=Params(subsets="imagenet-r"))
)

suites.register(
    Suite(
        name="imagenet-r",
        version=1,
        title="ImageNet-R, renditions",
        paper="Hendrycks et al. 2021, arXiv 2006.16241",
        track="imagenet",
        also_in=("imagenet-natural", "imagenet-all"),
        protocol=Protocol(terms=("logits cut to 200 classes but where 1000 are named", "each checkpoint's own crop")),
        scores=shift_within(CLEAN, SHIFTED, "imagenet-r"),
    )
)
