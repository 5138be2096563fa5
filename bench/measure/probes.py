"""What is learnt from features: k nearest neighbours, linear probe, few-shot ridge.

Legend: M test samples, N training samples, D features, K classes, L strengths of regularisation.
"""

import numpy as np
import torch

from bench.errors import BenchError
from bench.measure import Labelled, Predicted
from bench.text import whole_numbers
from bench.transfer import knn, logistic, ridge
from bench.transfer.features import standardisation
from bench.transfer.shots import shot_rows
from bench.transfer.split import check_held_out

_FINAL = 1e-8
"""Tolerance of the one logistic regression that predicts the test split: what chose it need not be so exact."""


class Knn:
    """The feature measure `knn`: weighted cosine neighbours, k chosen on validation.

    Args:
        ks: candidates, ascending, joined by `+`.
        token: which features.

    Raises:
        BenchError: a k is not a whole number of at least 1.
    """

    def __init__(self, ks: str, token: str = "pre_logits") -> None:
        self.ks = whole_numbers(ks, "ks")
        self.token = token

    def run(self, train: Labelled, validation: Labelled, test_ND: torch.Tensor, classes: int, seed: int) -> Predicted:
        """See `bench.measure.FeatureMeasure`: the k of the best validation accuracy, the smallest of equal ones.

        Test samples are then compared with training and validation samples together.
        """
        check_held_out(len(validation.ids))
        ks = [k for k in self.ks if k <= len(train.labels_N)] or [len(train.labels_N)]
        predicted = knn.predictions(*_neighbours(train, validation.features_ND, max(ks)), classes, ks)
        accuracies = {k: float((predicted[k] == validation.labels_N).double().mean()) for k in ks}
        best = max(ks, key=lambda k: (accuracies[k], -k))
        scores = knn.votes(*_neighbours(joined(train, validation), test_ND, best), classes, [best])[best]
        chosen = {"chosen_k": best, "validation_accuracy": accuracies[best]}
        return Predicted(scores_NK=scores, logits=False, chosen=chosen)


def _neighbours(bank: Labelled, queries_MD: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines (M, J) of the nearest, and their labels."""
    cosines_MJ, rows_MJ = knn.neighbours(bank.features_ND, queries_MD, count)
    return cosines_MJ, bank.labels_N[rows_MJ]


class LinearProbe:
    """The feature measure `linear-probe`: multinomial logistic regression, its regularisation chosen on validation.

    Args:
        values: strengths of L2 that are tried, evenly spaced in their logarithm.
        smallest: of them; scikit-learn's C is 1 / l2.
        largest: of them.
        token: which features.

    Raises:
        BenchError: the numbers give no such values.
    """

    def __init__(self, values: int, smallest: float, largest: float, token: str = "pre_logits") -> None:
        if values < 1 or not 0 < smallest <= largest < float("inf"):
            raise BenchError(
                "linear-probe tries at least one strength of L2, from more than 0 up, "
                f"not {values} from {smallest:g} to {largest:g}."
            )
        self.l2_L = np.geomspace(smallest, largest, values)
        self.token = token

    def run(self, train: Labelled, validation: Labelled, test_ND: torch.Tensor, classes: int, seed: int) -> Predicted:
        """See `bench.measure.FeatureMeasure`: all strengths at once, then the best on train and validation together.

        Of equal validation accuracies the largest strength counts. Features are standardised by those learnt from.
        """
        check_held_out(len(validation.ids))
        l2_L = torch.from_numpy(self.l2_L)
        probe = _Standardised(train, classes, l2_L)
        accuracies = [
            _accuracy(probe.logits(validation.features_ND, problem), validation.labels_N)
            for problem in range(len(self.l2_L))
        ]
        best = max(range(len(self.l2_L)), key=lambda problem: (accuracies[problem], problem))
        final = _Standardised(joined(train, validation), classes, l2_L[best : best + 1], tolerance=_FINAL)
        chosen = {
            "chosen_log10_l2": float(np.log10(self.l2_L[best])),
            "validation_accuracy": accuracies[best],
            "converged": float(bool(probe.solution.converged_L.all() and final.solution.converged_L.all())),
        }
        return Predicted(scores_NK=final.logits(test_ND, 0).float(), logits=True, chosen=chosen)


class _Standardised:
    """Logistic regressions of standardised features, in float64."""

    def __init__(
        self, samples: Labelled, classes: int, l2_L: torch.Tensor, tolerance: float = logistic.TOLERANCE
    ) -> None:
        features_ND = samples.features_ND.double()
        self._mean_D, self._std_D = standardisation(features_ND)
        features_ND.sub_(self._mean_D).div_(self._std_D)
        l2_L = l2_L.to(features_ND.device)
        self.solution = logistic.fit(features_ND, samples.labels_N, classes, l2_L, tolerance=tolerance)

    def logits(self, features_ND: torch.Tensor, problem: int) -> torch.Tensor:
        return self.solution.logits((features_ND.double() - self._mean_D) / self._std_D, problem)


class FewShot:
    """The feature measure `few-shot`: closed-form ridge on a few training samples of each class.

    Args:
        shots: samples a class.
        draw: which of several draws of these.
        l2: strength of the ridge.
        token: which features.

    Raises:
        BenchError: a number is not possible.
    """

    def __init__(self, shots: int, draw: int, l2: float = ridge.L2, token: str = "pre_logits") -> None:
        if shots < 1 or not 0 < l2 < float("inf"):
            raise BenchError(
                f"few-shot takes at least one sample a class and an L2 of more than 0, not {shots} and {l2}."
            )
        self.shots, self.draw, self.l2 = shots, draw, l2
        self.token = token

    def run(self, train: Labelled, validation: Labelled, test_ND: torch.Tensor, classes: int, seed: int) -> Predicted:
        """See `bench.measure.FeatureMeasure`. Nothing is chosen, so validation samples may be drawn too."""
        every = joined(train, validation)
        rows = shot_rows(every.ids, every.labels_N.cpu().numpy(), self.shots, seed=seed, draw=self.draw)
        shots = torch.from_numpy(rows).to(every.labels_N.device)
        probe = ridge.fit(every.features_ND[shots], every.labels_N[shots], classes, self.l2)
        return Predicted(scores_NK=probe.scores(test_ND), logits=False, chosen={})


def joined(train: Labelled, validation: Labelled) -> Labelled:
    """Both, in the order of their ids: whichever samples were held out, the same are learnt from in the same order."""
    theirs = validation.ids
    if len(np.intersect1d(train.ids, theirs)):  # the authors' splits may name different pictures alike
        theirs = np.char.add("validation/", theirs)
    ids = np.concatenate([train.ids, theirs])
    order = np.argsort(ids)
    rows = torch.from_numpy(order).to(train.labels_N.device)
    return Labelled(
        ids=ids[order],
        labels_N=torch.cat([train.labels_N, validation.labels_N])[rows],
        features_ND=torch.cat([train.features_ND, validation.features_ND])[rows],
    )


def _accuracy(scores_NK: torch.Tensor, labels_N: torch.Tensor) -> float:
    return float((scores_NK.argmax(dim=1) == labels_N).double().mean())
