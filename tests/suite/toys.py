"""What tests of suites have in common."""

from collections.abc import Iterable
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def small_resnet(folder: Path, preferred: Iterable[int], size: int = 64) -> Path:
    """A registry file with `small`, a ResNet over ImageNet's classes that prefers a few: some predictions are right.

    Args:
        folder: gets it, and the weights.
        preferred: indices of classes.
        size: pixels.
    """
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=1000)
    torch.nn.init.normal_(model.get_classifier().weight, std=1.0)
    model.get_classifier().bias.data[list(preferred)] += 20
    save_file(model.state_dict(), folder / "small.safetensors")
    (folder / "mine.toml").write_text(
        f'[small]\narch = "test_resnet"\nweights = "small.safetensors"\ndataset = "imagenet"\ninput_size = {size}\n'
    )
    return folder / "mine.toml"
