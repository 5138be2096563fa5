"""ImageNet-C made anew from the validation set, for those without the stored files.

As the original was made: Resize(256) bilinear, CenterCrop(224), corrupt, save as JPEG of quality 85 (Hendrycks &
Dietterich 2019, arXiv 1903.12261). The corruptions are as the package imagecorruptions defines them, which differs
from the original code in places, and draw other random numbers: errors differ from the stored set's by about a point
(hendrycks/robustness#14), so the two never share a table.
"""

import functools

from bench.records import Crop, Data, Generated, Protocol
from bench.suite import Suite, suites
from bench.suite.scores import severities

from .imagenet_c import scores

JPEG_QUALITY = 85  # of the stored files: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py

generated = functools.partial(
    severities,
    data=Data(dataset="imagenet"),
    crop=Crop(size=224, ratio=224 / 256, interpolation="bilinear"),
    jpeg_quality=JPEG_QUALITY,
)
"""The five severities of a corruption, to be computed."""

suites.register(
    Suite(
        name="imagenet-c-generated",
        version=2,
        title="ImageNet-C, generated",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="imagenet-generated",
        protocol=Protocol(
            terms=(
                "1000-way",
                Generated("at 224 with JPEG quality 85"),
                "resized (Pillow, bicubic) for other sizes",
            )
        ),
        scores=scores(generated),
    )
)
