"""Neighbours and their votes against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from bench.transfer import knn


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(0, 1, (700, 16)), rng.normal(0, 1, (150, 16))
    return torch.from_numpy(bank), torch.from_numpy(rng.integers(0, 9, 700)), torch.from_numpy(queries)


def test_neighbours_are_scikit_learns(data):
    bank, _, queries = data
    cosines, rows = knn.neighbours(bank, queries, 50)
    distances, wanted = NearestNeighbors(n_neighbors=50, metric="cosine").fit(bank).kneighbors(queries)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_allclose(1 - cosines, distances, atol=1e-12)


@pytest.mark.parametrize("k", [1, 5, 20, 200])
def test_predictions_are_scikit_learns(data, k):
    bank, labels, queries = data
    cosines, rows = knn.neighbours(bank, queries, 200)
    votes = knn.votes(cosines, labels[rows], 9, [1, 5, 20, 200])[k]

    def weight(distances):
        return np.exp((1 - distances) / knn.TEMPERATURE)

    model = KNeighborsClassifier(n_neighbors=k, metric="cosine", weights=weight).fit(bank, labels)
    np.testing.assert_array_equal(votes.argmax(1), model.predict(queries))
    shares = votes / votes.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(shares, model.predict_proba(queries), atol=1e-9)


def test_blocks_change_nothing(data, monkeypatch):
    bank, _, queries = data
    whole = knn.neighbours(bank, queries, 20)
    monkeypatch.setattr(knn, "_BLOCK_BYTES", 10_000)
    blocks = knn.neighbours(bank, queries, 20)
    assert torch.equal(whole[1], blocks[1])
    torch.testing.assert_close(whole[0], blocks[0])


def test_the_length_of_features_does_not_count(data):
    bank, _, queries = data
    scaled = knn.neighbours(bank * torch.linspace(0.1, 9, len(bank))[:, None], 3 * queries, 20)
    assert torch.equal(scaled[1], knn.neighbours(bank, queries, 20)[1])
