"""A module as recipes train it: from images in [0, 1] to logits, tokens' logits or features.

Legend: B images, C channels, H height, W width, K classes, T patch tokens, D features.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, one_line

PROJECTED = 128
"""Features that contrast compares: supervised contrastive learning, section 4."""


class Normalised(nn.Module):
    """The module that is trained, from images in [0, 1]: attacks see pixels, whatever the module wants.

    Args:
        module: From normalised images (B, C, H, W) to logits (B, K).
        mean: Subtracted from the images in [0, 1], one number a channel.
        std: Divides what is left, one number a channel.
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.module: Any = module
        self.projection: nn.Module | None = None
        """From features to what contrast compares; no part of the checkpoint."""
        self.head_alone = False
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None])
        self.register_buffer("std_C11", torch.tensor(std)[:, None, None])

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the module's logits (B, K)."""
        logits_BK: Tensor = self.module(self._normal(images_BCHW))
        return logits_BK

    def maps(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of each place (B, D, h, w), before they are pooled."""
        features: Tensor = self.module.forward_features(self._normal(images_BCHW))
        if features.ndim == 4:
            return features
        tokens_BTD: Tensor = features[:, getattr(self.module, "num_prefix_tokens", 0) :]
        batch, count, width = tokens_BTD.shape
        side = math.isqrt(count)
        return tokens_BTD.transpose(1, 2).reshape(batch, width, side, side)

    def projected(self, images_BCHW: Tensor) -> Tensor:
        """Return what contrast compares (B, `PROJECTED`), of length 1."""
        assert self.projection is not None
        features = self.module.forward_features(self._normal(images_BCHW))
        return F.normalize(self.projection(self.module.forward_head(features, pre_logits=True)).float(), dim=1)

    def token_logits(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits of the image and of each of its patch tokens (B, 1 + T, K).

        Raises:
            BenchError: If the module has no tokens.
        """
        features = self.module.forward_features(self._normal(images_BCHW))
        if features.ndim != 3:
            raise BenchError(f"token labels want a module with tokens, and {type(self.module).__name__} has none.")
        tokens_BTD = features[:, getattr(self.module, "num_prefix_tokens", 0) :]
        of_tokens_BTK = self.module.head(tokens_BTD)
        return torch.cat([self.module.forward_head(features)[:, None], of_tokens_BTK], dim=1)

    @property
    def patch_size(self) -> int:
        """Side of a token's patch, pixels.

        Raises:
            BenchError: If the module has no patches.
        """
        patches: Any = getattr(self.module, "patch_embed", getattr(self.module, "stem", None))
        if not hasattr(patches, "patch_size"):
            raise BenchError(f"mix_tokens wants a module with patches, and {type(self.module).__name__} has none.")
        return int(patches.patch_size[0])

    def add_projection(self) -> None:
        """Add a projection, of its own random weights, for a stage that contrasts features."""
        width = self.module.num_features
        layers = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED)
        self.projection = nn.Sequential(*layers).to(self.mean_C11.device)

    def learn_head_alone(self) -> None:
        """Freeze all but the last layer, for a linear probe.

        Raises:
            BenchError: If the module does not say which layer that is.
        """
        if not hasattr(self.module, "get_classifier"):
            raise BenchError(
                f"{type(self.module).__name__} does not say which layer is its head, so it learns as a whole."
            )
        self.requires_grad_(False)
        self.module.get_classifier().requires_grad_(True)
        self.head_alone = True

    def show_at(self, size: int) -> None:
        """Take images of another size from now on; position embeddings are resampled.

        Raises:
            BenchError: If the module takes images of one size alone.
        """
        training = self.training
        try:
            if hasattr(self.module, "set_input_size"):
                self.module.set_input_size(img_size=(size, size))
            with torch.no_grad():
                self.eval()(self.mean_C11.expand(1, -1, size, size))
        except (AssertionError, AttributeError, RuntimeError, ValueError) as error:
            raise BenchError(
                f"{type(self.module).__name__} cannot be trained at {size} pixels ({one_line(error)}); leave size out "
                "of its stages."
            ) from error
        finally:
            self.train(training)

    def train(self, mode: bool = True) -> "Normalised":
        """Go into training; what is frozen stays as it is evaluated."""
        return super().train(mode and not self.head_alone)

    def _normal(self, images_BCHW: Tensor) -> Tensor:
        return (images_BCHW - self.mean_C11) / self.std_C11
