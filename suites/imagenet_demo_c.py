"""Ten photographs of `imagenet-demo` under 19 corruptions at three severities, as `imagenet-c-generated` makes them.

Hendrycks & Dietterich 2019, arXiv 1903.12261. Severities 2 and 4 and ten photographs are left
out, for a run of minutes. No mCE: its denominators are AlexNet's errors on all of ImageNet.
"""

import functools

from bench.metrics.classification import MEAN_ACCURACY
from bench.records import Condition, Data, Generated, Protocol
from bench.suite import Score, Suite, suites
from bench.suite.scores import CORRUPTIONS, corrupted

from .imagenet_c_generated import generated
from .imagenet_demo import LITE

SEVERITIES = (1, 3, 5)
TEN = Data(dataset="imagenet-demo", samples=10)
severities_of = functools.partial(generated, data=TEN, at=SEVERITIES)

suites.register(
    Suite(
        name="imagenet-demo-c",
        version=2,
        title="ImageNet, 10 photographs, corrupted",
        paper="Hendrycks & Dietterich 2019, arXiv 1903.12261",
        track="imagenet-demo",
        protocol=Protocol(
            terms=(
                "1000-way",
                "10 photographs",
                f"severities {'+'.join(map(str, SEVERITIES))}",
                Generated("at 224 with JPEG quality 85"),
                "resized (Pillow, bicubic) for other sizes",
            )
        ),
        scores=(
            *corrupted(Condition(data=TEN), severities_of, CORRUPTIONS),
            Score(
                metric=MEAN_ACCURACY,
                conditions=tuple(condition for name in CORRUPTIONS for condition in severities_of(name)),
                column="mean of 19",
            ),
        ),
        checkpoints=LITE,
    )
)
