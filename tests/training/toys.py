"""Images that are learnt at once, and a module that is trained at once."""

import torch
from torch import Tensor, nn


def toy_data(count: int = 40) -> tuple[Tensor, Tensor]:
    """Noise with a bright row at a height that tells the class."""
    draws = torch.Generator().manual_seed(0)
    labels_N = torch.randint(10, (count,), generator=draws)
    images_NCHW = torch.randint(60, (count, 3, 32, 32), generator=draws, dtype=torch.uint8)
    for image_CHW, label in zip(images_NCHW, labels_N.tolist(), strict=True):
        image_CHW[:, 1 + 3 * label : 4 + 3 * label] = 255
    return images_NCHW, labels_N


def network() -> nn.Module:
    """A small convolutional network in training, with batch norm and weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)
        ).train()
