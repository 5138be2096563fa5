"""Ridge regression against the normal equations, dense and in float64, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as TheirRidge

from bench.transfer import ridge


def case(n: int, d: int = 30, classes: int = 4):
    rng = np.random.default_rng(n)
    return torch.from_numpy(rng.normal(2, 3, (n, d))).float(), torch.from_numpy(rng.integers(0, classes, n))


@pytest.mark.parametrize("n", [8, 30, 31, 200], ids=lambda n: f"{n} samples of 30 features")
def test_weights_solve_the_normal_equations(n):
    x, labels = case(n)
    found = ridge.fit(x, labels, 4, l2=3.0)
    z = (x.double().numpy() - x.double().numpy().mean(0)) / x.double().numpy().std(0)
    z = np.hstack([z, np.full((n, 1), ridge.BIAS)])
    y = 2 * np.eye(4)[labels.numpy()] - 1
    wanted = np.linalg.solve(z.T @ z + 3.0 * np.eye(31), z.T @ y)
    np.testing.assert_allclose(found.weights_PK, wanted, atol=1e-9)


def test_scores_are_scikit_learns():
    x, labels = case(100)
    found = ridge.fit(x, labels, 4, l2=10.0)
    mean, std = x.double().numpy().mean(0), x.double().numpy().std(0)
    z = np.hstack([(x.double().numpy() - mean) / std, np.full((100, 1), ridge.BIAS)])
    model = TheirRidge(alpha=10.0, fit_intercept=False).fit(z, 2 * np.eye(4)[labels.numpy()] - 1)
    np.testing.assert_allclose(found.scores(x), model.predict(z), atol=1e-8)


def test_one_sample_a_class_is_enough():
    x = torch.eye(3).repeat_interleave(1, 0) * 5
    found = ridge.fit(x, torch.arange(3), 3)
    assert found.scores(x).argmax(1).tolist() == [0, 1, 2]
