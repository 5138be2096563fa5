"""The checkpoint `lights-mean`: three logits from the mean colour. torch waits until a model is built."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.checkpoints import checkpoints
from bench.records import Checkpoint
from bench_lights.data import LIGHTS

if TYPE_CHECKING:
    from torch import nn


def build() -> "nn.Module":
    """Return the architecture; it takes images of any size."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(LIGHTS.classes)))


checkpoints.register(
    Checkpoint(
        name="lights-mean",
        class_space=LIGHTS,
        builder="bench_lights.model:build",
        weights=str(Path(__file__).with_name("lights-mean.safetensors")),
        family="linear",
        input_size=24,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
)
