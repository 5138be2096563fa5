"""Errors by what sets an image apart: ImageNet-X (Idrissi et al. 2022, arXiv 2211.01866). Needs no pass of its own.

The error ratio of a factor is the error among the images whose top factor it is over that among all annotated images;
the 3,000 prototypes of the classes are left out.
"""

from bench.datasets.imagenet_x import ANNOTATED, FACTOR, top_factors
from bench.metrics.attributes import ERROR_RATIO, among
from bench.metrics.classification import TOP1
from bench.records import Params, Protocol
from bench.suite import Score, Suite, suites

from .imagenet import CLEAN

suites.register(
    Suite(
        name="imagenet-x",
        version=1,
        title="ImageNet-X, errors by factor",
        paper="Idrissi et al. 2022, arXiv 2211.01866",
        track="imagenet",
        requires=top_factors,
        also_in=("imagenet-all",),
        protocol=Protocol(terms=("1000-way", "top factor, without prototypes", "each checkpoint's own crop")),
        scores=(
            Score(metric=among(TOP1, ANNOTATED, "yes"), conditions=(CLEAN,), column="top-1"),
            *(
                Score(
                    metric=among(ERROR_RATIO.given(attribute=FACTOR, value=factor), ANNOTATED, "yes"),
                    conditions=(CLEAN,),
                    column=factor,
                    at=Params(factor=factor),
                )
                for factor in FACTOR.values
            ),
        ),
    )
)
