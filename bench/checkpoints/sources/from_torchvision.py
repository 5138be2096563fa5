"""Torchvision's checkpoints: `MODEL.WEIGHTS` as its enums of weights have them, which also say how images are fed."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkpoints.filling import fill
from bench.checkpoints.sources.heads import classes_of
from bench.checkpoints.weights import read_weights
from bench.crops import ratio_of
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint, Params

if TYPE_CHECKING:
    from torch import nn

_FAMILIES = {"vision_transformer": "vit", "swin_transformer": "swin"}
_TRAINED_WITH: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "aux_logits": True, "init_weights": False},
}
"""What torchvision builds these with where it is given weights."""
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
"""Names of torchvision's files of DenseNets, whose modules are called without the dot before the number."""


def names() -> Iterable[str]:
    """Every classifier's weights."""
    from torchvision import models

    for model in models.list_models(module=models):
        for weights in models.get_model_weights(model):
            if weights.meta.get("categories"):
                yield f"{model}.{weights.name}"


def find(rest: str) -> Checkpoint:
    """The checkpoint of a model and its weights, the best where none are named; see `bench.checkpoints.sources`."""
    from torchvision import models
    from torchvision.transforms._presets import ImageClassification

    model, _, tag = rest.partition(".")
    every = models.list_models(module=models)
    if model not in every:
        raise UnknownNameError("classifier of torchvision", model, every)
    enum = models.get_model_weights(model)
    if tag and tag not in enum.__members__:
        raise UnknownNameError(f"weights of torchvision's {model}", tag, enum.__members__)
    weights = enum[tag or "DEFAULT"]
    feeds = weights.transforms()
    categories = weights.meta.get("categories")
    if not isinstance(feeds, ImageClassification) or not categories:  # such as the features of a VGG
        raise BenchError(f"torchvision/{rest} is no classifier of pictures; name one that is.")
    (size,), (resize,) = feeds.crop_size, feeds.resize_size
    space, head = classes_of(len(categories), categories, f"torchvision/{rest}")
    module = models.get_model_builder(model).__module__.rpartition(".")[2]
    return Checkpoint(
        name=f"torchvision/{rest}",
        class_space=space,
        head=head,
        loader=f"{__name__}:load",
        arch_args=Params(model=model),
        weights=weights.url,
        family=_FAMILIES.get(module, module),
        input_size=size,
        crop_ratio=ratio_of(size, resize),
        interpolation=feeds.interpolation.value,
        mean=tuple(feeds.mean),
        std=tuple(feeds.std),
    )


def load(checkpoint: Checkpoint, path: Path | None) -> "nn.Module":
    """The module of a checkpoint, with the weights of its file."""
    from torchvision import models

    name = str(checkpoint.arch_args["model"])
    outputs = checkpoint.head or checkpoint.class_space
    module: nn.Module = models.get_model(name, num_classes=len(outputs.classes), **_TRAINED_WITH.get(name, {}))
    if path is not None:
        arrays = read_weights(path, checkpoint.state_dict)
        fill(module, {_OLD_DENSENET.sub(r"\1\2", key): array for key, array in arrays.items()}, checkpoint)
    return module
