"""Weighted k nearest neighbours by cosine, exact: blocks of similarities, never the whole matrix.

Legend: N training samples, M queries, D features, K classes, J neighbours.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07
"""A neighbour of cosine s votes with exp(s / TEMPERATURE): Wu et al. 2018, arXiv 1805.01978, section 3.4."""
_BLOCK_BYTES = 2**26
"""Of similarities at a time."""


def neighbours(bank_ND: Tensor, queries_MD: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest training samples of each query.

    Args:
        bank_ND: training features.
        queries_MD: floating, of the same type.
        count: J, at most N.

    Returns:
        Cosines (M, J) in falling order, and rows of the bank (M, J).
    """
    bank_DN = F.normalize(bank_ND, dim=1).T.contiguous()
    rows = max(1, _BLOCK_BYTES // (len(bank_ND) * bank_ND.element_size()))
    nearest = [torch.topk(block @ bank_DN, count, dim=1) for block in torch.split(F.normalize(queries_MD, dim=1), rows)]
    return torch.cat([cosines for cosines, _ in nearest]), torch.cat([indices for _, indices in nearest])


def predictions(cosines_MJ: Tensor, labels_MJ: Tensor, classes: int, ks: Sequence[int]) -> dict[int, Tensor]:
    """The class (M,) with the most votes of the first k neighbours, for each k; arguments as `votes` takes them."""
    rows = max(1, _BLOCK_BYTES // (classes * len(ks) * cosines_MJ.element_size()))
    blocks = zip(torch.split(cosines_MJ, rows), torch.split(labels_MJ, rows), strict=True)
    by_block = []
    for cosines, labels in blocks:
        by_block.append({k: scores.argmax(dim=1) for k, scores in votes(cosines, labels, classes, ks).items()})
    return {k: torch.cat([block[k] for block in by_block]) for k in ks}


def votes(cosines_MJ: Tensor, labels_MJ: Tensor, classes: int, ks: Sequence[int]) -> dict[int, Tensor]:
    """Votes (M, K) of the first k neighbours, for each k.

    Args:
        cosines_MJ: in falling order.
        labels_MJ: of those neighbours.
        classes: K.
        ks: each at most J.
    """
    # Relative to the nearest, which changes no order and cannot overflow.
    weights_MJ = torch.exp((cosines_MJ - cosines_MJ[:, :1]) / TEMPERATURE)
    empty_MK = weights_MJ.new_zeros(len(weights_MJ), classes)
    return {k: empty_MK.scatter_add(1, labels_MJ[:, :k], weights_MJ[:, :k]) for k in ks}
