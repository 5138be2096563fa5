"""ImageNet-A: photographs of 200 classes that a ResNet-50 got wrong (Hendrycks et al. 2021, arXiv 1907.07174).

The authors cut the logits to the 200 classes before the arg-max; that is the headline, with 1000-way beside it. The
images were chosen against a ResNet-50 trained as torchvision's: its own row cannot be compared with the others. The
clean control is the validation set's images of the same 200 classes, with the logits cut alike.
"""

from bench.records import Condition, Data, Measurement, Params, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import shift_within

from .imagenet import CLEAN

SHIFTED = Condition(
    data=Data(dataset="imagenet-a"), measure=Measurement(name="classify", params=Params(subsets="imagenet-a"))
)

suites.register(
    Suite(
        name="imagenet-a",
        version=1,
        title="ImageNet-A, natural adversarial examples",
        paper="Hendrycks et al. 2021, arXiv 1907.07174",
        track="imagenet",
        also_in=("imagenet-natural", "imagenet-all"),
        protocol=Protocol(terms=("logits cut to 200 classes but where 1000 are named", "each checkpoint's own crop")),
        scores=shift_within(CLEAN, SHIFTED, "imagenet-a"),
    )
)
