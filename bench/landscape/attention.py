"""Where a transformer looks: entropy and reach of each head, and rollout maps of images.

Weights are taken where they are made, fused or not: of a fused call they are computed once more from its queries and
keys. Mean distance is that of Dosovitskiy et al. 2021 (arXiv 2010.11929, figure 7), rollout that of Abnar & Zuidema
2020 (arXiv 2005.00928). Legend: N images, A heads of all layers one after another, H heads of one, T tokens, P of them
patches, D dimensions.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_OF_CHANNELS = frozenset(("XCA", "CrossCovarianceAttn", "ChannelAttention", "ChannelAttentionV2"))
"""Classes of timm whose attention is between channels and not between tokens."""
_SOFTMAXES = (torch.softmax, torch.Tensor.softmax, F.softmax)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """What the attention of a module shows of some images."""

    heads: tuple[str, ...]
    """Layer and number of each head, both from 0: `0.3`."""
    entropy_NA: Tensor
    """Nats, from 0 to the logarithm of the tokens: of a query's weights, the mean over queries."""
    distance_NA: Tensor
    """From a patch to those it attends to, weighted by attention, in sides of the image: the mean over patches."""
    rollout_NP: Tensor
    """Sums to 1 an image: how much each patch, row by row, flows into the class token; without one, into all tokens.
    Of layers that have other numbers of tokens than the last, nothing is in it."""


@torch.no_grad()
def attention_of(module: nn.Module, images_NCHW: Tensor) -> Attention | None:
    """Run some images and look at every attention between all tokens of an image; None where there is none.

    Args:
        module: images to logits.
        images_NCHW: as it takes them, square.
    """
    weights = _Weights(len(images_NCHW))
    handles = []
    for part in module.modules():
        if type(part).__name__ in _OF_CHANNELS:
            handles += [part.register_forward_pre_hook(weights.look_away), part.register_forward_hook(weights.look)]
    try:
        with _unmerged(), weights:
            module(images_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    if not weights.layers:
        return None
    return Attention(
        heads=tuple(f"{layer}.{head}" for layer, w in enumerate(weights.layers) for head in range(w.shape[1])),
        entropy_NA=torch.cat([entropy(w) for w in weights.layers], dim=1),
        distance_NA=torch.cat([distance(w) for w in weights.layers], dim=1),
        rollout_NP=rollout([w for w in weights.layers if w.shape[-1] == weights.layers[-1].shape[-1]]),
    )


class _Weights(TorchFunctionMode):
    """Takes the weights (N, H, T, T) of every attention over all tokens of each of n images."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.layers: list[Tensor] = []
        self._n, self._looks = n, True

    def look_away(self, *_: Any) -> None:
        """Take nothing of what comes now."""
        self._looks = False

    def look(self, *_: Any) -> None:
        """Take what comes again."""
        self._looks = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is F.multi_head_attention_forward:  # of torch's own module, within which nothing is seen
            self._take(func(*args, **{**named, "need_weights": True, "average_attn_weights": False})[1])
        given = func(*args, **named)
        if func is F.scaled_dot_product_attention:
            self._take(_weights_of_fused(*args, **named))
        elif func in _SOFTMAXES:
            self._take(given)
        return given

    def _take(self, weights: Any) -> None:
        tokens = weights.shape[-1]
        if self._looks and weights.ndim == 4 and len(weights) == self._n and weights.shape[-2] == tokens > 1:
            self.layers.append(weights.detach().float())


def _weights_of_fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **named: Any
) -> Tensor:
    """The weights that `scaled_dot_product_attention` multiplies its values with; dropout is off in eval mode."""
    scale = named.get("scale") or 1 / math.sqrt(query.shape[-1])
    if query.ndim != 4 or key.ndim != 4 or key.shape[1] != query.shape[1]:
        return query.new_zeros(0)
    scores: Tensor = (query.float() @ key.float().transpose(-2, -1)) * scale
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.softmax(scores, dim=-1)


@contextlib.contextmanager
def _unmerged() -> Iterator[None]:
    """Without the kernel that makes a whole encoder layer of torch's own: it shows no attention."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# -- what weights show -----------------------------------------------------------------------------------------------


def entropy(weights_NHTT: Tensor) -> Tensor:
    """(N, H) nats: the entropy of each query's weights, the mean over queries."""
    each_NHT: Tensor = torch.special.entr(weights_NHTT).sum(dim=-1)
    return each_NHT.mean(dim=-1)


def distance(weights_NHTT: Tensor) -> Tensor:
    """(N, H) sides of the image: how far a patch attends, among the patches alone, the mean over patches.

    The patches are the last tokens that fill a square; those before them (class, distillation, registers) are none.
    """
    side = math.isqrt(weights_NHTT.shape[-1])
    axis = torch.arange(side, dtype=torch.float32, device=weights_NHTT.device) / side
    places_P2 = torch.cartesian_prod(axis, axis)
    apart_PP = torch.cdist(places_P2, places_P2)
    among_NHPP = weights_NHTT[..., -(side**2) :, -(side**2) :]
    reached_NHP = (among_NHPP * apart_PP).sum(dim=-1) / among_NHPP.sum(dim=-1).clamp_min(1e-12)
    return reached_NHP.mean(dim=-1)


def rollout(layers: list[Tensor]) -> Tensor:
    """(N, P): the attention of all layers one after another, half of each being the residual path.

    Args:
        layers: weights (N, H, T, T), the first layer's first; all of the same tokens.
    """
    tokens = layers[0].shape[-1]
    flow_NTT = own = torch.eye(tokens, device=layers[0].device).expand(len(layers[0]), -1, -1)
    for weights_NHTT in layers:
        flow_NTT = (weights_NHTT.mean(dim=1) + own) / 2 @ flow_NTT
    patches = math.isqrt(tokens) ** 2
    into_NT = flow_NTT.mean(dim=1) if patches == tokens else flow_NTT[:, 0]
    into_NP = into_NT[:, -patches:]
    return into_NP / into_NP.sum(dim=-1, keepdim=True).clamp_min(1e-12)
