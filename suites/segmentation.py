"""Segmentation by a linear head on frozen patch tokens, after DINOv2 (Oquab et al. 2023, arXiv 2304.07193).

The head learns the class of each pixel from crops of the training pictures; test pictures are seen whole, in windows.
"""

from bench.records import Measurement, Params
from bench.suite import suites
from bench.suite.transfer import Learning

SETTINGS = Params(steps=40_000, batch_size=16, learning_rate=1e-3)

SEGMENTATION = Learning(
    name="segmentation",
    version=1,
    title="Segmentation by a linear head on frozen patch tokens",
    paper="Oquab et al. 2023, arXiv 2304.07193, section 7.4",
    settings=SETTINGS,
    metrics=("mean_iou",),
    crops=False,
    measurements=lambda s: {"": (Measurement(name="segment", params=Params({k: s[k] for k in SETTINGS})),)},
    terms=lambda s: (
        f"batch norm and a 1x1 convolution on the last patch tokens, {s['steps']:,} steps of {s['batch_size']} crops, "
        f"AdamW at {s['learning_rate']:g}",
        "windows of the model's input along the short side, logits upsampled to the mask",
    ),
    chosen=(),
)

suites.register(SEGMENTATION.suite(track="segmentation", predicts="imagenet-1k"))
