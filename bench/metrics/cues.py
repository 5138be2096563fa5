"""What a model goes by where the shape of a picture says one category and its texture another.

Shapes: N images.
"""

from collections.abc import Callable

import numpy as np

from bench.errors import BenchError
from bench.metrics import stats
from bench.metrics.by_image import Parts, mean_by_image
from bench.metrics.metric import Metric
from bench.metrics.outcomes import around, classify_column, estimate, share
from bench.records import Array, Estimate, Outcome

TextureOf = Callable[[str], int | None]
"""From a sample's id to the category of its texture; None where that is not known."""


def shape_bias(outcome: Outcome, texture_of: TextureOf) -> Estimate:
    """Share of decisions for the shape among those for shape or texture (Geirhos et al. 2019, arXiv 1811.12231).

    shape / (shape + texture), in [0, 1], over the images whose shape and texture differ. The interval is that of a
    share of these decisions, taken as a ratio of means over all such images.

    Args:
        outcome: of the measure `classify`, labelled by shape.
        texture_of: see `TextureOf`.

    Raises:
        BenchError: a texture is unknown, no image has two categories, or no decision is for either.

    >>> columns = {"prediction": np.array([0, 1, 2, 1]), "correct": np.array([True, True, False, False])}
    >>> outcome = Outcome(ids=np.array(["a", "b", "c", "d"]), labels=np.array([0, 1, 1, 0]), columns=columns)
    >>> round(shape_bias(outcome, {"a": 3, "b": 3, "c": 2, "d": 3}.get).value, 4)  # c goes by texture, d by neither
    0.6667
    """
    shape_N, texture_N = _decisions(outcome, texture_of)
    confidence = stats.OfImages(
        numerators_U=shape_N.astype(np.float64),
        denominators_U=(shape_N | texture_N).astype(np.float64),
        counts_U=np.ones(len(shape_N)),
        highest=(1.0, 1.0),
        lowest=(0.0, 1.0),
    )
    return estimate(confidence.value, len(shape_N), around(confidence.value, confidence))


def _shape_bias_by_image(outcome: Outcome, texture_of: TextureOf) -> Parts:
    shape_N, texture_N = _decisions(outcome, texture_of)
    values_NC = np.stack([shape_N, shape_N | texture_N], axis=1).astype(np.float64)
    return Parts(
        images=_conflicts(outcome, texture_of)[0],
        values_NC=values_NC,
        ends=(0.0, 1.0),
        score=lambda means_RC: means_RC[:, 0] / means_RC[:, 1],
    )


SHAPE_BIAS = Metric(name="shape_bias", function=shape_bias, by_image=_shape_bias_by_image)
"""Wants `texture_of`, see `shape_bias`."""


def cue_accuracy(outcome: Outcome, texture_of: TextureOf) -> Estimate:
    """Share of images whose shape and texture differ that are decided for either, in [0, 1]; with an exact interval.

    Args:
        outcome: of the measure `classify`, labelled by shape.
        texture_of: see `TextureOf`.

    Raises:
        BenchError: as `shape_bias` raises it.

    >>> columns = {"prediction": np.array([0, 2]), "correct": np.array([True, False])}
    >>> outcome = Outcome(ids=np.array(["a", "b"]), labels=np.array([0, 1]), columns=columns)
    >>> cue_accuracy(outcome, {"a": 3, "b": 3}.get).value
    0.5
    """
    shape_N, texture_N = _decisions(outcome, texture_of)
    return share(shape_N | texture_N)


def _cue_accuracy_by_image(outcome: Outcome, texture_of: TextureOf) -> Parts:
    shape_N, texture_N = _decisions(outcome, texture_of)
    return mean_by_image(_conflicts(outcome, texture_of)[0], shape_N | texture_N)


CUE_ACCURACY = Metric(name="cue_accuracy", function=cue_accuracy, by_image=_cue_accuracy_by_image, right="")
"""Wants `texture_of`, see `cue_accuracy`."""


def _conflicts(outcome: Outcome, texture_of: TextureOf) -> tuple[Outcome, Array]:
    """The images whose shape and texture differ, with their predictions; and their textures, (N,) int64."""
    predictions = classify_column(outcome, "prediction", "shape bias")
    textures = [texture_of(str(sample_id)) for sample_id in outcome.ids]
    if None in textures:
        raise BenchError(
            f"shape bias goes by file name, as in cat1-airplane2.png, and {str(outcome.ids[textures.index(None)])!r} "
            "does not say its texture: keep the files' own names."
        )
    texture = np.array(textures, dtype=np.int64)
    rows = texture != outcome.labels
    if not rows.any():
        raise BenchError(
            "shape bias needs images whose shape and texture differ, but none of these has two categories."
        )
    images = Outcome(ids=outcome.ids[rows], labels=outcome.labels[rows], columns={"prediction": predictions[rows]})
    return images, texture[rows]


def _decisions(outcome: Outcome, texture_of: TextureOf) -> tuple[Array, Array]:
    """(N,) booleans: which images with two categories were decided for their shape, and which for their texture."""
    images, texture_N = _conflicts(outcome, texture_of)
    predictions_N = images.columns["prediction"]
    shape_N, by_texture_N = predictions_N == images.labels, predictions_N == texture_N
    if not (shape_N | by_texture_N).any():
        raise BenchError("shape bias is not defined where no image is decided for its shape or its texture.")
    return shape_N, by_texture_N
