"""The batched logistic regression against scikit-learn, one problem after another."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bench.transfer import logistic
from bench.transfer.features import standardisation


def features(n: int = 600, d: int = 24, classes: int = 5, *, apart: float = 0.6, seed: int = 0):
    """Correlated features of overlapping classes, standardised; float64."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(0, apart, (classes, d))
    mixing = rng.normal(0, 1, (d, d)) * np.geomspace(1, 0.01, d)
    x = torch.from_numpy((rng.normal(0, 1, (n, d)) + centres[labels]) @ mixing)
    mean, std = standardisation(x)
    return (x - mean) / std, torch.from_numpy(labels)


def theirs(x, labels, l2: float) -> LogisticRegression:
    model = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=100_000)
    return model.fit(x.numpy(), labels.numpy())


L2 = torch.logspace(-3, 6, 7, dtype=torch.float64)


@pytest.mark.parametrize("apart", [0.3, 1.0])
def test_weights_of_every_strength_are_scikit_learns(apart):
    x, labels = features(apart=apart)
    found = logistic.fit(x, labels, 5, L2, tolerance=1e-9)
    assert found.converged_L.all()
    for problem, l2 in enumerate(L2):
        model = theirs(x, labels, float(l2))
        # Both are unique but for a shift of the bias that is the same for all classes.
        weights = found.weights_LDK[problem].T.numpy()
        bias = found.bias_LK[problem].numpy()
        np.testing.assert_allclose(weights, model.coef_, rtol=1e-3, atol=2e-4 * np.abs(model.coef_).max())
        np.testing.assert_allclose(bias - bias.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-3)


def test_converged_problems_give_scikit_learns_predictions():
    x, labels = features(n=2000)
    train, test = slice(0, 1000), slice(1000, None)
    found = logistic.fit(x[train], labels[train], 5, L2, tolerance=1e-8)
    for problem, l2 in enumerate(L2):
        predicted = found.logits(x[test], problem).argmax(1).numpy()
        wanted = theirs(x[train], labels[train], float(l2)).predict(x[test].numpy())
        assert abs(np.mean(predicted == labels[test].numpy()) - np.mean(wanted == labels[test].numpy())) < 0.001
        assert np.mean(predicted == wanted) >= 0.999


def test_separable_classes_with_hardly_any_regularisation_converge():
    x, labels = features(n=200, d=40, apart=4.0)
    found = logistic.fit(x, labels, 5, torch.tensor([1e-6, 1e-3], dtype=torch.float64))
    assert found.converged_L.all()
    assert (found.logits(x, 0).argmax(1) == labels).all()


def test_a_problem_has_the_same_solution_alone_and_among_others(monkeypatch):
    x, labels = features()
    together = logistic.fit(x, labels, 5, L2, tolerance=1e-8)
    alone = logistic.fit(x, labels, 5, L2[3:4], tolerance=1e-8)
    torch.testing.assert_close(together.weights_LDK[3], alone.weights_LDK[0], rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(logistic, "_STATE_BYTES", 1)
    one_by_one = logistic.fit(x, labels, 5, L2, tolerance=1e-8)
    torch.testing.assert_close(together.weights_LDK, one_by_one.weights_LDK, rtol=1e-3, atol=1e-5)


def test_blocks_of_rows_change_nothing_but_rounding(monkeypatch):
    x, labels = features()
    whole = logistic.fit(x, labels, 5, L2, tolerance=1e-8)
    monkeypatch.setattr(logistic, "_BLOCK_BYTES", 5000)
    blocks = logistic.fit(x, labels, 5, L2, tolerance=1e-8)
    torch.testing.assert_close(whole.weights_LDK, blocks.weights_LDK, rtol=1e-4, atol=1e-6)


def test_constant_and_repeated_features_are_borne():
    x, labels = features()
    x = torch.cat([x, torch.zeros(len(x), 2, dtype=x.dtype), x[:, :3]], dim=1)
    found = logistic.fit(x, labels, 5, L2, tolerance=1e-8)
    assert found.converged_L.all()
    assert (found.logits(x, 2).argmax(1).numpy() == theirs(x, labels, float(L2[2])).predict(x.numpy())).mean() > 0.998


def test_a_class_without_samples_is_never_predicted():
    x, labels = features()
    found = logistic.fit(x, labels, 7, L2)
    assert found.converged_L.all()
    assert found.logits(x, 0).argmax(1).max() < 5


def test_a_problem_that_is_not_solved_says_so(monkeypatch):
    x, labels = features()
    monkeypatch.setattr(logistic, "_MOST_STEPS", 2)
    found = logistic.fit(x, labels, 5, L2, tolerance=1e-12)
    assert not found.converged_L.any()


def test_more_features_than_samples_are_solved_in_their_span():
    x, labels = features(n=60, d=150, apart=0.5)
    found = logistic.fit(x, labels, 5, L2, tolerance=1e-9)
    assert found.converged_L.all()
    for problem, l2 in enumerate(L2):
        model = theirs(x, labels, float(l2))
        weights = found.weights_LDK[problem].T.numpy()
        np.testing.assert_allclose(weights, model.coef_, rtol=1e-3, atol=2e-4 * np.abs(model.coef_).max())
