"""The training loop that makes the shipped checkpoints: tensors and a recipe in, weights and a log out.

Legend: N images in all, B in one batch, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bench.machine.files import replacing
from bench.training.adversarial import perturb
from bench.training.augment import flip, rotate_and_shift
from bench.training.randomness import own_randomness
from bench.training.recipes import Recipe
from bench.training.sam import sam_gradient
from bench.training.schedule import warmup_cosine


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one pass over the training images gave."""

    number: int
    """Which pass, from 1."""
    learning_rate: float
    """Learning rate of its last step."""
    loss: float
    """Mean cross-entropy of the images as trained on: augmented, and attacked where the recipe says so; each at the
    weights before its step, in nats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The result of a training."""

    state_dict: dict[str, Tensor]
    """Weights and buffers under the module's own names, contiguous, on the CPU."""
    history: tuple[Epoch, ...]
    """One entry an epoch."""


def train(
    recipe: Recipe,
    build: Callable[[], nn.Module],
    images_NCHW: Tensor,
    labels_N: Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Train a new module by a recipe.

    The same arguments give the same weights, bit for bit, on one CPU with the same versions and number of
    threads. No global random state is used or left changed.

    Args:
        recipe: What to do. The images and `build` stand for its `dataset` and `architecture`.
        build: Returns the untrained module, from normalised images (B, C, H, W) to logits (B, K).
        images_NCHW: All training images, square, uint8.
        labels_N: Their classes, integers in [0, K).
        mean: Subtracted from the images in [0, 1], one number a channel.
        std: Divides what is left, one number a channel.
        device: Where to train.
        progress: Called after every epoch.

    Returns:
        The weights after the last epoch, and what every epoch gave.
    """
    device = torch.device(device)
    data = _Data.on(device, images_NCHW, labels_N)
    draws = torch.Generator().manual_seed(recipe.seed)
    history = []
    with own_randomness(recipe.seed, device):
        module = build()
        model = _Normalised(module, mean, std).to(device).train()
        optimizer = _optimizer(recipe, model)
        for number in range(1, recipe.epochs + 1):
            history.append(_train_epoch(recipe, model, optimizer, number, data, draws))
            progress(history[-1])
    state_dict = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return Trained(state_dict=state_dict, history=tuple(history))


def learning_rate(recipe: Recipe, epochs_done: float) -> float:
    """Return the rate after so many epochs: a line from 0 to the recipe's, then half a cosine back to 0."""
    return warmup_cosine(recipe.learning_rate, epochs_done, total=recipe.epochs, warmup=recipe.warmup_epochs)


def save(trained: Trained, path: Path) -> None:
    """Write the weights to `path` (safetensors) and the history beside it (CSV); equal in, equal out."""
    with replacing(path) as half:
        half.write_bytes(to_safetensors(trained.state_dict))
    rows = [f"{epoch.number},{epoch.learning_rate:.4e},{epoch.loss:.5f}" for epoch in trained.history]
    lines = ["epoch,learning_rate,loss", *rows]
    with replacing(path.with_suffix(".csv")) as half:
        half.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


class _Normalised(nn.Module):
    """The module that is trained, from images in [0, 1]: attacks see pixels, whatever the module wants."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None])
        self.register_buffer("std_C11", torch.tensor(std)[:, None, None])

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the module's logits (B, K)."""
        logits_BK: Tensor = self.module((images_BCHW - self.mean_C11) / self.std_C11)
        return logits_BK


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """All that is trained on, on the device."""

    images_NCHW: Tensor
    labels_N: Tensor

    @classmethod
    def on(cls, device: torch.device, images_NCHW: Tensor, labels_N: Tensor) -> "_Data":
        """Check the images and labels, and bring all to the device.

        Raises:
            ValueError: If the images are not square, not uint8 or none, or the labels are not one an image.
        """
        shape = tuple(images_NCHW.shape)
        if images_NCHW.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3]:
            raise ValueError(
                f"training wants uint8 images of shape (N, C, S, S), they are {images_NCHW.dtype} of shape "
                f"{shape}; pass square images as they are stored, not normalised."
            )
        if tuple(labels_N.shape) != shape[:1] or not len(labels_N):
            raise ValueError(
                f"training wants one label an image and at least one image, there are {shape[0]} images and "
                f"labels of shape {tuple(labels_N.shape)}; take both from the same dataset."
            )
        return cls(images_NCHW=images_NCHW.to(device), labels_N=labels_N.to(device, torch.long))


def _batches(recipe: Recipe, data: _Data, draws: torch.Generator) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield every image once in a new order: share of the epoch done, augmented images in [0, 1], labels."""
    order_N = torch.randperm(len(data.labels_N), generator=draws).to(data.labels_N.device)
    chosen = torch.split(order_N, recipe.batch_size)
    for step, chosen_B in enumerate(chosen):
        images_BCHW = rotate_and_shift(
            data.images_NCHW[chosen_B] / 255, degrees=recipe.degrees, shift=recipe.shift, generator=draws
        )
        if recipe.flip:
            images_BCHW = flip(images_BCHW, draws)
        # A step counts at its middle: at its start the first, at its end the last would have a rate of 0.
        yield (step + 0.5) / len(chosen), images_BCHW, data.labels_N[chosen_B]


def _train_epoch(
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    number: int,
    data: _Data,
    draws: torch.Generator,
) -> Epoch:
    """Take one step a batch, each attacked at the weights before its step if the recipe says so.

    Raises:
        ValueError: If the loss is no longer finite.
    """
    losses: list[float] = []
    rate = 0.0
    for share_done, images_BCHW, labels_B in _batches(recipe, data, draws):
        rate = learning_rate(recipe, number - 1 + share_done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if recipe.attack_eps > 0:
            images_BCHW = perturb(model, images_BCHW, labels_B, recipe.attack_eps, draws)
        loss = _step(recipe, model, optimizer, images_BCHW, labels_B)
        if not math.isfinite(loss):
            raise ValueError(
                f"recipe {recipe.name!r} wants a finite loss, it is {loss} in epoch {number}; "
                "lower learning_rate or sam_rho."
            )
        losses += [loss] * len(labels_B)
    return Epoch(number=number, learning_rate=rate, loss=sum(losses) / len(losses))


def _step(
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images_BCHW: Tensor,
    labels_B: Tensor,
) -> float:
    """Step along the recipe's gradient of one batch; return the mean loss before the step, in nats."""
    loss = sam_gradient(model, lambda: F.cross_entropy(model(images_BCHW), labels_B), recipe.sam_rho)
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return loss.item()


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over all parameters; the loop sets the learning rate before each step."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    return torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)
