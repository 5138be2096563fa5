"""ObjectNet (Barbu et al. 2019), under the three protocols that are in print, each with its name.

One pass gives the first two: the logits cut to the 125 classes that the folders show, and all 1000. The third shows the
whole picture, both sides resized to 224. A prediction is right if it is one of the folder's classes.
"""

from bench.metrics.classification import LABEL_SET_ACCURACY
from bench.records import Condition, Crop, Data, Images, Measurement, Params, Protocol
from bench.suite import Score, Suite, suites

CROPPED = Condition(data=Data(dataset="objectnet"), measure=Measurement(params=Params(subsets="objectnet")))
RESIZED = Condition(
    data=Data(dataset="objectnet"), images=Images(crop=Crop(size=224, interpolation="bilinear", mode="squash"))
)

suites.register(
    Suite(
        name="objectnet",
        version=1,
        title="ObjectNet, the folders that show ImageNet's classes",
        paper="Barbu et al. 2019, NeurIPS",
        track="imagenet-natural",
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("border cut off", "right if in the folder's classes", "crop and classes by column")),
        scores=(
            Score(metric=LABEL_SET_ACCURACY.within("objectnet"), conditions=(CROPPED,), column="top-1 of 125"),
            Score(metric=LABEL_SET_ACCURACY, conditions=(CROPPED,), column="top-1 of 1000"),
            Score(metric=LABEL_SET_ACCURACY, conditions=(RESIZED,), column="top-1 of 1000, resized"),
        ),
    )
)
