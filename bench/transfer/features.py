"""A checkpoint's features: what its classifier sees of an image, or its tokens.

Legend: N images, T tokens, D features, H × W pixels or places.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.errors import BenchError


class Backbone(nn.Module):
    """A module from images in [0, 1] to features, sharing the weights of a checkpoint's.

    Args:
        module: as `bench.checkpoints.loading.load` gives it.
        token: `pre_logits` (what the model's own classifier takes), `cls` (the class token), `mean` (of all patch
            tokens or places) or `patches` (all of them, one after another).

    Raises:
        BenchError: there is no such token, or the architecture does not give it.
    """

    def __init__(self, module: nn.Module, token: str) -> None:
        super().__init__()
        if token not in TOKENS:
            raise BenchError(f"there are no features {token!r}; they are {', '.join(TOKENS)} (--set token=NAME).")
        self.module = module
        self._token = TOKENS[token]
        model = module.model
        if not all(callable(getattr(model, name, None)) for name in ("forward_features", "forward_head")):
            raise BenchError(
                f"{type(model).__name__} has no features that rtbench knows how to take: it must have "
                "forward_features(images) and forward_head(features, pre_logits=True), as timm's models have."
            )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, D) float32.

        Raises:
            BenchError: the architecture has no such token, or a feature is NaN or infinite.
        """
        model, mean, std = self.module.model, self.module.mean, self.module.std
        assert isinstance(model, nn.Module)
        features_ND = self._token(model, (images_NCHW - mean) / std).float()  # type: ignore[operator]
        bad = int((~torch.isfinite(features_ND)).any(dim=1).sum())
        if bad:
            raise BenchError(
                f"the features of {bad} of {len(features_ND)} images are NaN or infinite; look for NaN in the weights, "
                "and where these are sound use --precision fp32."
            )
        return features_ND


def _pre_logits(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    features: Tensor = model.forward_head(model.forward_features(images_NCHW), pre_logits=True)  # type: ignore[operator]
    return features.flatten(1)


def _cls(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    tokens_NTD: Tensor = model.forward_features(images_NCHW)  # type: ignore[operator]
    if tokens_NTD.dim() != 3 or not getattr(model, "num_prefix_tokens", 0):
        raise BenchError(
            f"{type(model).__name__} has no class token; take --set token=mean, or pre_logits, which every model has."
        )
    return tokens_NTD[:, 0]


def _patches(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    """(N, T, D): patch tokens, or the places of a feature map."""
    tokens: Tensor = model.forward_features(images_NCHW)  # type: ignore[operator]
    if tokens.dim() == 3:
        return tokens[:, int(getattr(model, "num_prefix_tokens", 0)) :]
    if tokens.dim() == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        return tokens.flatten(1, 2) if channels_last else tokens.flatten(2).transpose(1, 2)
    raise BenchError(f"{type(model).__name__} gives neither tokens nor a feature map; take --set token=pre_logits.")


class FeatureMap(nn.Module):
    """A module from square images in [0, 1] to its last layer's grid of patch tokens, or its feature map.

    Args:
        module: as `bench.checkpoints.loading.load` gives it.

    Raises:
        BenchError: the architecture gives neither.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._patches = Backbone(module, "patches")

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, D, G, G) float32.

        Raises:
            BenchError: the tokens fill no square, or a feature is NaN or infinite.
        """
        features_NX = self._patches(images_NCHW)
        model = self._patches.module.model
        assert isinstance(model, nn.Module)
        features_NTD = features_NX.unflatten(1, (-1, int(model.num_features)))  # type: ignore[arg-type]
        side = math.isqrt(features_NTD.shape[1])
        if side**2 != features_NTD.shape[1]:
            raise BenchError(f"{type(model).__name__} gives {features_NTD.shape[1]} tokens, which fill no square.")
        features_NDGG: Tensor = features_NTD.transpose(1, 2).unflatten(2, (side, side))
        return features_NDGG


def _mean(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    return _patches(model, images_NCHW).mean(dim=1)


def _all_patches(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    return _patches(model, images_NCHW).flatten(1)


TOKENS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "pre_logits": _pre_logits,
    "cls": _cls,
    "mean": _mean,
    "patches": _all_patches,
}


class Extract:
    """The batch measure of features; its rows are kept by `bench.run.feature_cache`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def rows(self, module: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> dict[str, Tensor]:
        """`features` (N, D) float32."""
        return {"features": Backbone(module, self._token)(images_NCHW)}


def standardisation(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of features; of those that do not vary, 1."""
    std_D, mean_D = torch.std_mean(features_ND, dim=0, correction=0)
    # Rounding makes a constant feature vary a little: relative to its size.
    constant_D = std_D <= torch.finfo(torch.float32).eps * mean_D.abs()
    return mean_D, torch.where(constant_D, torch.ones_like(std_D), std_D)
