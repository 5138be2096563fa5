"""Accuracy under a shift against clean accuracy: the line through many models, and what one has beyond it.

Over many models the logits of both accuracies lie near a line (Taori et al. 2020, arXiv 2007.00644; Miller et al.
2021, "Accuracy on the line", arXiv 2107.04649, with probits). Shapes: N models fitted, M models asked about.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.metrics.stats import Interval
from bench.records import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitLine:
    """The least-squares line logit(shifted accuracy) = intercept + slope logit(clean accuracy); see `fit_line`."""

    intercept: float
    slope: float
    slope_se: float
    """Standard error of the slope."""
    residual_se: float
    """Standard error of the regression, in logits: sqrt(residual sum of squares / (n - 2))."""
    r_squared: float
    """Share of the variance of the shifted logits that the line explains, in [0, 1]; 0 where these do not vary."""
    n: int
    """Models."""
    clean_mean: float
    """Mean of the clean logits."""
    clean_squares: float
    """Sum of squares of the clean logits around their mean."""
    clip: float
    """How near to 0 and 1 an accuracy may come."""

    def expected(self, clean: npt.ArrayLike) -> Array:
        """Shifted accuracy on the line, expit(intercept + slope logit(clean)): beta of Taori et al. 2020; fractions.

        >>> fit_line([0.2, 0.5, 0.8], [0.2, 0.5, 0.8], clip=0.001).expected([0.7]).round(6).tolist()
        [0.7]
        """
        return _expit(self.intercept + self.slope * _logit(clean, self.clip))

    def effective_robustness(self, clean: npt.ArrayLike, shifted: npt.ArrayLike) -> Array:
        """Shifted accuracy less that on the line at the same clean accuracy (Taori et al. 2020), in (-1, 1).

        >>> line = fit_line([0.2, 0.5, 0.8], [0.2, 0.5, 0.8], clip=0.001)
        >>> line.effective_robustness([0.7, 0.6], [0.75, 0.5]).round(6).tolist()
        [0.05, -0.1]
        """
        return np.asarray(shifted, np.float64) - self.expected(clean)

    def band(self, clean: npt.ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
        """Prediction band: where the shifted accuracy of one more model of the same kind lies; fractions, low and high.

        expit(intercept + slope x ± t residual_se sqrt(1 + 1/n + (x - mean)² / squares)), x = logit(clean), with t the
        quantile of Student's law with n - 2 degrees of freedom.

        >>> low, high = fit_line([0.2, 0.5, 0.8, 0.9], [0.1, 0.4, 0.6, 0.8], clip=0.001).band([0.5])
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.108], [0.66])
        """
        clean_M = _logit(clean, self.clip)
        leverage_M = 1 / self.n + np.square(clean_M - self.clean_mean) / self.clean_squares
        half_M = _t_quantile(confidence, self.n - 2) * self.residual_se * np.sqrt(1 + leverage_M)
        centre_M = self.intercept + self.slope * clean_M
        return _expit(centre_M - half_M), _expit(centre_M + half_M)

    def slope_interval(self, confidence: float = 0.95) -> Interval:
        """Interval of the slope, slope ± t slope_se; t as in `band`.

        >>> line = fit_line([0.2, 0.5, 0.8, 0.9], [0.1, 0.4, 0.6, 0.8], clip=0.001)
        >>> [round(bound, 3) for bound in line.slope_interval()]
        [0.504, 1.399]
        """
        half = _t_quantile(confidence, self.n - 2) * self.slope_se
        return self.slope - half, self.slope + half


def fit_line(clean: npt.ArrayLike, shifted: npt.ArrayLike, *, clip: float) -> LogitLine:
    """The line of Taori et al. 2020 (arXiv 2007.00644, section 3.1) through the logits of N models' accuracies.

    For effective robustness the models are those without any means for robustness: what they have is the baseline.

    Args:
        clean: (N,) accuracies without the shift, in [0, 1].
        shifted: (N,) accuracies of the same models under it, in [0, 1].
        clip: accuracies are kept this far from 0 and 1, whose logits are infinite: 1 / (2 images) is half of one.

    Raises:
        BenchError: fewer than three different clean accuracies.
        ValueError: an accuracy outside [0, 1], different lengths, or a clip outside (0, 1/2).

    >>> line = fit_line([0.2, 0.5, 0.8], [0.2, 0.5, 0.8], clip=0.001)
    >>> round(line.slope, 6), round(line.r_squared, 6)
    (1.0, 1.0)
    """
    clean_N, shifted_N = _logit(clean, clip), _logit(shifted, clip)
    if clean_N.shape != shifted_N.shape:
        raise ValueError(f"a line needs two accuracies a model, not {clean_N.size} clean and {shifted_N.size} shifted")
    different = len(np.unique(clean_N))
    if different < 3:
        raise BenchError(
            f"a line through accuracies needs at least three models of different clean accuracy, not {different}: "
            "take more checkpoints."
        )
    n, clean_mean, shifted_mean = len(clean_N), float(clean_N.mean()), float(shifted_N.mean())
    clean_squares = float(np.square(clean_N - clean_mean).sum())
    slope = float((clean_N - clean_mean) @ (shifted_N - shifted_mean)) / clean_squares
    intercept = shifted_mean - slope * clean_mean
    residual_squares = float(np.square(shifted_N - intercept - slope * clean_N).sum())
    residual_se = math.sqrt(residual_squares / (n - 2))
    varies = bool(np.ptp(shifted_N))
    return LogitLine(
        intercept=intercept,
        slope=slope,
        slope_se=residual_se / math.sqrt(clean_squares),
        residual_se=residual_se,
        r_squared=1 - residual_squares / float(np.square(shifted_N - shifted_mean).sum()) if varies else 0.0,
        n=n,
        clean_mean=clean_mean,
        clean_squares=clean_squares,
        clip=clip,
    )


def _logit(accuracies: npt.ArrayLike, clip: float) -> Array:
    values = np.asarray(accuracies, np.float64)
    if not 0 < clip < 0.5:
        raise ValueError(f"clip must lie in (0, 1/2), not {clip}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"accuracies are fractions in [0, 1], not {values.tolist()}")
    clipped: Array = values.clip(clip, 1 - clip)
    logits: Array = np.log(clipped) - np.log1p(-clipped)
    return logits


def _expit(logits: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # 1 / (1 + exp(-x)) overflows for a wide band


def _t_quantile(confidence: float, df: int) -> float:
    """The t that Student's law with df degrees of freedom stays below in size with this probability; by bisection."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # more halvings than float64 has bits
        middle = (low + high) / 2
        low, high = (middle, high) if _t_coverage(middle, df) < confidence else (low, middle)
    return math.sqrt(df) * math.tan(low)


def _t_coverage(angle: float, df: int) -> float:
    """P(|T| <= sqrt(df) tan(angle)): the finite series of Abramowitz & Stegun 1964, 26.7.3 and 26.7.4."""
    cosine, odd = math.cos(angle), df % 2
    total, term = 0.0, cosine if odd else 1.0
    for power in range(odd, df - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
