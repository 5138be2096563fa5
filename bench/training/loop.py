"""The trainings that recipes describe: tensors and a recipe in, weights and a log out.

Legend: N images in all, B in one batch, C channels, H height, W width, K classes.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bench.machine.distributed import is_main, rank, world_size
from bench.machine.files import replacing
from bench.training.adversarial import noise, perturb
from bench.training.augments import Scene, Shown, augmented
from bench.training.core import Core, DivergedError, kept_state
from bench.training.crops import simple_resize
from bench.training.gradients import Batch, Gradients
from bench.training.model import Normalised
from bench.training.objectives import OBJECTIVES
from bench.training.optimizers import optimizer_of
from bench.training.randomness import own_randomness, seed_by
from bench.training.recipe import Recipe, Stage
from bench.training.schedule import warmup_cosine
from bench.training.unfinished import Unfinished


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one pass over the training images gave."""

    number: int
    """Which pass, from 1; those of later stages go on from there."""
    learning_rate: float
    """Learning rate of its last step."""
    loss: float
    """Mean loss of the images as trained on: augmented, and attacked where the recipe says so; each at the weights
    before its step, in nats."""


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
    state: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train a new module by a recipe.

    The same arguments give the same weights, bit for bit, on one CPU with the same versions and number of
    threads, however often the training was stopped. No global random state is used or left changed.

    Args:
        recipe: What to do. The images and `build` stand for its `dataset` and `architecture`.
        build: Returns the untrained module, from normalised images (B, C, H, W) to logits (B, K).
        images_NCHW: All training images, square, uint8.
        labels_N: Their classes, integers in [0, K).
        mean: Subtracted from the images in [0, 1], one number a channel.
        std: Divides what is left, one number a channel.
        device: Where to train.
        progress: Called after every epoch.
        state: A file for what it keeps of itself, to go on from where it was stopped; None keeps nothing.
        note: Told that it goes on, or cannot.

    Returns:
        The weights after the last epoch, or their moving average where the last stage takes one; and what every epoch
        gave.

    Raises:
        DivergedError: If the loss is no longer finite.
        BenchError: If the module cannot be trained as the recipe says.
    """
    device = torch.device(device)
    data = _Data.on(device, images_NCHW, labels_N)
    unfinished = Unfinished(state, _digest(recipe, data), recipe.name, note)
    with own_randomness(recipe.seed, device):
        model = Normalised(build(), mean, std).to(device)
        kept = kept_state(unfinished)
        draws, history = torch.Generator().manual_seed(recipe.seed), list[Epoch]()
        for number, stage in enumerate(recipe.stages):
            seed_by(recipe.seed, "training, stage", str(number), device)
            _prepare(model, stage, data)
            if kept is not None and kept["stage"] > number:
                continue
            job = _Training(recipe, number, model, data, draws, history, progress, unfinished)
            if kept is not None:
                job.core.resume(kept)
                kept = None
                if is_main():
                    note(f"{recipe.name}: it goes on after step {job.core.step} of {job.steps} of stage {number + 1}")
            job.core.run()
            model.load_state_dict(job.core.weights())
        state_dict = {name: tensor.detach().cpu().contiguous() for name, tensor in model.module.state_dict().items()}
    return Trained(state_dict=state_dict, history=tuple(history))


def save(trained: Trained, path: Path) -> None:
    """Write the weights to `path` (safetensors) and the history beside it (CSV); equal in, equal out."""
    with replacing(path) as half:
        half.write_bytes(to_safetensors(trained.state_dict))
    rows = [f"{epoch.number},{epoch.learning_rate:.4e},{epoch.loss:.5f}" for epoch in trained.history]
    lines = ["epoch,learning_rate,loss", *rows]
    with replacing(path.with_name(f"{path.name.removesuffix('.safetensors')}.csv")) as half:
        half.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


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


def _digest(recipe: Recipe, data: _Data) -> str:
    """Return a digest of all that decides the weights but code and machine."""
    images = hashlib.sha256(data.images_NCHW.cpu().contiguous().numpy().tobytes()).hexdigest()
    decides = [recipe.identity, images, data.labels_N.tolist(), data.labels_N.device.type, world_size()]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _prepare(model: Normalised, stage: Stage, data: _Data) -> None:
    """Bring a model to where a stage begins: its size, what of it learns, and what is added for an objective."""
    if stage.size:
        model.show_at(stage.size)
    model.requires_grad_(True)
    model.head_alone = False
    model.projection = None
    if stage.learns == "head":
        model.learn_head_alone()
    if stage.objective.name == "supcon":
        model.add_projection()


class _Training:
    """One stage of a training, as the core carries it out."""

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        model: Normalised,
        data: _Data,
        draws: torch.Generator,
        history: list[Epoch],
        progress: Callable[[Epoch], None],
        unfinished: Unfinished,
    ) -> None:
        self._recipe, self._number, self._stage = recipe, number, recipe.stages[number]
        self._model, self._data, self._draws = model, data, draws
        self._history, self._progress = history, progress
        self._before = sum(stage.epochs for stage in recipe.stages[:number])
        self._device = data.labels_N.device
        self._order_N: Tensor | None = None
        stage = self._stage
        self._rows = stage.batch_size // stage.repeats
        """Different images in a step."""
        self._images = -(-len(data.labels_N) // stage.repeats)
        """Different images in an epoch."""
        self._an_epoch = -(-self._images // self._rows)
        self.steps = stage.epochs * self._an_epoch
        self.peak = stage.optimizer.learning_rate
        classes = getattr(model.module, "num_classes", None)
        self._scene = Scene(
            given=stage.augment,
            size=stage.size or data.images_NCHW.shape[-1],
            classes=classes or int(data.labels_N.max()) + 1,
            draws=draws,
            model=model,
        )
        optimizer = optimizer_of(model.parameters(), stage.optimizer)
        gradients = Gradients(
            model,
            self._loss,
            optimizer,
            device=self._device,
            micro=stage.micro_batch or stage.batch_size,
            at_once=stage.objective.name == "supcon",
            seed=recipe.seed,
            label=f"training, stage {number}",
            advice=f"which are learnt from together; give a smaller batch_size or micro_batch to {recipe.name}",
        )
        self.core = Core(
            model,
            optimizer,
            gradients,
            self,
            clip_norm=stage.clip_norm,
            unfinished=unfinished,
            ascent=stage.ascent,
            ema=stage.ema,
        )

    def batches(self, start: int) -> Generator[Batch]:
        """Yield this process's share of each step: all draw the whole step, so that it is the same for any number."""
        for step in range(start, self.steps):
            place = step % self._an_epoch
            if place == 0 or self._order_N is None:
                order_N = torch.randperm(len(self._data.labels_N), generator=self._draws)
                self._order_N = order_N[: self._images].to(self._device)
            yield self._batch(step, self._order_N[place * self._rows : (place + 1) * self._rows])

    def rate(self, step: int) -> float:
        """Return the rate of a step: a line from 0 to the recipe's, then half a cosine back to 0."""
        # A step counts at its middle: at its start the first, at its end the last would have a rate of 0.
        done = step // self._an_epoch + (step % self._an_epoch + 0.5) / self._an_epoch
        return warmup_cosine(self.peak, done, total=self._stage.epochs, warmup=self._stage.warmup_epochs)

    def ends_an_epoch(self, step: int) -> bool:
        """Whether an epoch is over after this step."""
        return (step + 1) % self._an_epoch == 0

    def finish_epoch(self, losses: float) -> None:
        """Add to the history."""
        number = self._before + self.core.step // self._an_epoch
        shown = self._images * self._stage.repeats
        self._history.append(Epoch(number=number, learning_rate=self.rate(self.core.step - 1), loss=losses / shown))
        if is_main():
            self._progress(self._history[-1])

    def diverged(self, loss: float) -> DivergedError:
        """Return the error of a loss that is not finite."""
        number = self._before + self.core.step // self._an_epoch + 1
        lower = "learning_rate" if self._stage.ascent.name == "none" else "learning_rate or rho"
        return DivergedError(
            f"the loss of {self._recipe.name} is {loss} in epoch {number}, at a learning rate of {self.peak:g}; "
            f"lower {lower}."
        )

    def done(self, share: float) -> None:
        """Nobody is told within an epoch."""

    def state(self) -> dict[str, Any]:
        """Return where the training stands beside its weights."""
        return {
            "stage": self._number,
            "draws": self._draws.get_state(),
            "order": self._order_N,
            "history": [asdict(epoch) for epoch in self._history],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._draws.set_state(state["draws"])
        self._order_N = None if state["order"] is None else state["order"].to(self._device)
        self._history[:] = [Epoch(**epoch) for epoch in state["history"]]

    def _batch(self, step: int, rows_B: Tensor) -> Batch:
        rows_B = rows_B.repeat(self._stage.repeats)
        images_BCHW = self._data.images_NCHW[rows_B] / 255
        shown = augmented(Shown(images_BCHW, self._data.labels_N[rows_B]), self._scene)
        images_BCHW, targets_B = simple_resize(shown.images_NCHW, self._scene.size), shown.targets
        own = slice(rank(), None, world_size())
        if self._stage.attack.eps:
            noise_BCHW = noise(images_BCHW, self._draws)
            seed_by(self._recipe.seed, f"training, stage {self._number}, attack", f"{step}/{rank()}", self._device)
            attacked_BCHW = self._attacked(images_BCHW[own], targets_B[own], noise_BCHW[own])
            return Batch(images_BCHW=attacked_BCHW, targets_B=targets_B[own], count=len(rows_B))
        return Batch(images_BCHW=images_BCHW[own], targets_B=targets_B[own], count=len(rows_B))

    def _attacked(self, images_BCHW: Tensor, targets_B: Tensor, noise_BCHW: Tensor) -> Tensor:
        """Return the images attacked at the weights before their step, as many at once as are learnt from."""
        at_once = self._stage.micro_batch or len(images_BCHW)
        parts = zip(*(torch.split(whole, at_once) for whole in (images_BCHW, targets_B, noise_BCHW)), strict=True)
        model, attack = self._model.train(), self._stage.attack
        return torch.cat(
            [perturb(model, self._loss, images, targets, start, attack) for images, targets, start in parts]
        )

    def _loss(self, images_MCHW: Tensor, targets_M: Tensor) -> Tensor:
        return OBJECTIVES[self._stage.objective.name](self._model, images_MCHW, targets_M, self._stage.objective)
