"""ImageNet and its shifts against the crop ratio at test time: the best ratio differs per data set.

After the ablation in DeiT III (Touvron et al. 2022, arXiv 2204.07118). Each checkpoint's own ratio is the cell of the
suite `imagenet`, stored once.
"""

from bench.records import Condition, Data
from bench.suite import suites
from bench.suite.sizes import Swept, crop_ratio_suite

from .imagenet import CLEAN
from .imagenet_v2 import VARIANTS

OWN = (CLEAN, VARIANTS["matched-frequency"], Condition(data=Data(dataset="imagenet-sketch")))
"""At each checkpoint's own setting."""

suites.register(
    crop_ratio_suite(
        Swept(
            name="crop-ratio",
            version=1,
            title="ImageNet and shifts, by crop ratio",
            track="imagenet-sizes",
            classes=1000,
            own=OWN,
        )
    )
)
