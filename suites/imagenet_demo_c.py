"""The 20 photographs of `imagenet-demo` under 19 corruptions at three severities, as `imagenet-c-generated` makes them.

Hendrycks & Dietterich 2019, arXiv 1903.12261. Severities 2 and 4 are left out, for a run of five
minutes. No mCE: its denominators are AlexNet's errors on all of ImageNet.
"""

import functools

from bench.metrics.classification import MEAN_ACCURACY
from bench.records import Data, Generated, Protocol
from bench.suite import Score, Suite, suites
from bench.suite.scores import CORRUPTIONS, corrupted

from .imagenet_c_generated import generated
from .imagenet_demo import CLEAN, LITE

SEVERITIES = (1, 3, 5)
severities_of = functools.partial(generated, data=Data(dataset="imagenet-demo"), at=SEVERITIES)

suites.register(
    Suite(
        name="imagenet-demo-c",
        version=2,
        title="ImageNet, 20 photographs, corrupted",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="imagenet-demo",
        protocol=Protocol(
            terms=(
                "1000-way",
                "20 photographs",
                f"severities {'+'.join(map(str, SEVERITIES))}",
                Generated("at 224 with JPEG quality 85"),
                "resized (Pillow, bicubic) for other sizes",
            )
        ),
        scores=(
            *corrupted(CLEAN, severities_of, CORRUPTIONS),
            Score(
                metric=MEAN_ACCURACY,
                conditions=tuple(condition for name in CORRUPTIONS for condition in severities_of(name)),
                column="mean of 19",
            ),
        ),
        checkpoints=LITE,
    )
)
