"""The trainings that recipes describe: tensors and a recipe in, weights and a log out.

Legend: N images in all, B in one batch, C channels, H height, W width, K classes.
"""

import contextlib
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
from bench.training.augments import Scene
from bench.training.core import Core, DivergedError, kept_state
from bench.training.crops import simple_resize
from bench.training.gradients import Batch, Gradients
from bench.training.model import Normalised
from bench.training.objectives import OBJECTIVES
from bench.training.optimizers import optimizer_of
from bench.training.pictures import Pictures
from bench.training.randomness import own_randomness, seed_by
from bench.training.recipe import Recipe, Stage
from bench.training.schedule import warmup_cosine
from bench.training.sources import Source, Streamed, Whole
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
    images: Tensor | Pictures,
    labels_N: Tensor | None = None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    progress: Callable[[Epoch], None] = lambda epoch: None,
    state: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
    readers: int = 0,
) -> Trained:
    """Train a new module by a recipe.

    The same arguments give the same weights, bit for bit, on one CPU with the same versions and number of
    threads, however often the training was stopped. No global random state is used or left changed.

    Args:
        recipe: What to do. The images and `build` stand for its `dataset` and `architecture`.
        build: Returns the untrained module, from normalised images (B, C, H, W) to logits (B, K).
        images: All training images (N, C, S, S), square, uint8; or pictures of any size, read when they are shown.
        labels_N: The images' classes, integers in [0, K); None for pictures, which bring their own.
        mean: Subtracted from the images in [0, 1], one number a channel.
        std: Divides what is left, one number a channel.
        device: Where to train.
        progress: Called after every epoch.
        state: A file for what it keeps of itself, to go on from where it was stopped; None keeps nothing.
        note: Told that it goes on, or cannot.
        readers: Processes that read pictures; 0 reads them in this one.

    Returns:
        The weights after the last epoch, or their moving average where the last stage takes one; and what every epoch
        gave.

    Raises:
        DivergedError: If the loss is no longer finite.
        BenchError: If the module cannot be trained as the recipe says.
    """
    device = torch.device(device)
    source: Source
    if isinstance(images, Pictures):
        source = Streamed(images, recipe.seed, readers)
    else:
        source = Whole.on(device, images, torch.empty(0) if labels_N is None else labels_N)
    unfinished = Unfinished(state, _digest(recipe, source, device), recipe.name, note)
    with own_randomness(recipe.seed, device):
        model = Normalised(build(), mean, std).to(device)
        kept = kept_state(unfinished)
        draws, history = torch.Generator().manual_seed(recipe.seed), list[Epoch]()
        for number, stage in enumerate(recipe.stages):
            seed_by(recipe.seed, "training, stage", str(number), device)
            _prepare(model, stage)
            if kept is not None and kept["stage"] > number:
                continue
            job = _Training(recipe, number, model, source, device, draws, history, progress, unfinished)
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


def _digest(recipe: Recipe, source: Source, device: torch.device) -> str:
    """Return a digest of all that decides the weights but code and machine."""
    return hashlib.sha256(json.dumps([recipe.identity, source.digest, device.type, world_size()]).encode()).hexdigest()


def _prepare(model: Normalised, stage: Stage) -> None:
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
        source: Source,
        device: torch.device,
        draws: torch.Generator,
        history: list[Epoch],
        progress: Callable[[Epoch], None],
        unfinished: Unfinished,
    ) -> None:
        self._recipe, self._number, self._stage = recipe, number, recipe.stages[number]
        self._model, self._draws, self._device = model, draws, device
        self._history, self._progress = history, progress
        self._before = sum(stage.epochs for stage in recipe.stages[:number])
        stage = self._stage
        self._cut = source.cut(stage, number)
        self.steps = stage.epochs * self._cut.an_epoch
        self.peak = stage.optimizer.learning_rate
        classes = getattr(model.module, "num_classes", None)
        self._scene = Scene(
            given=stage.augment,
            size=stage.size or source.size,
            classes=classes or source.classes,
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
        """Yield this process's share of each step, augmented, and attacked at the weights before its step."""
        with contextlib.closing(self._cut.shown(start, self._draws, self._scene)) as made:
            for step, (shown, own, count) in enumerate(made, start):
                images_BCHW = simple_resize(shown.images_NCHW, self._scene.size)
                if self._stage.attack.eps:
                    noise_BCHW = noise(images_BCHW, self._draws)
                    images_BCHW = self._attacked(step, images_BCHW[own], shown.targets[own], noise_BCHW[own])
                else:
                    images_BCHW = images_BCHW[own]
                yield Batch(images_BCHW=images_BCHW, targets_B=shown.targets[own], count=count)

    def rate(self, step: int) -> float:
        """Return the rate of a step: a line from 0 to the recipe's, then half a cosine back to 0."""
        # A step counts at its middle: at its start the first, at its end the last would have a rate of 0.
        done = step // self._cut.an_epoch + (step % self._cut.an_epoch + 0.5) / self._cut.an_epoch
        return warmup_cosine(self.peak, done, total=self._stage.epochs, warmup=self._stage.warmup_epochs)

    def ends_an_epoch(self, step: int) -> bool:
        """Whether an epoch is over after this step."""
        return (step + 1) % self._cut.an_epoch == 0

    def finish_epoch(self, losses: float) -> None:
        """Add to the history."""
        number = self._before + self.core.step // self._cut.an_epoch
        self._history.append(
            Epoch(number=number, learning_rate=self.rate(self.core.step - 1), loss=losses / self._cut.shown_an_epoch)
        )
        if is_main():
            self._progress(self._history[-1])

    def diverged(self, loss: float) -> DivergedError:
        """Return the error of a loss that is not finite."""
        number = self._before + self.core.step // self._cut.an_epoch + 1
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
            "order": self._cut.order_N,
            "history": [asdict(epoch) for epoch in self._history],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._draws.set_state(state["draws"])
        self._cut.order_N = state["order"]
        self._history[:] = [Epoch(**epoch) for epoch in state["history"]]

    def _attacked(self, step: int, images_BCHW: Tensor, targets_B: Tensor, noise_BCHW: Tensor) -> Tensor:
        """Return the images attacked at the weights before their step, as many at once as are learnt from."""
        seed_by(self._recipe.seed, f"training, stage {self._number}, attack", f"{step}/{rank()}", self._device)
        at_once = self._stage.micro_batch or len(images_BCHW)
        parts = zip(*(torch.split(whole, at_once) for whole in (images_BCHW, targets_B, noise_BCHW)), strict=True)
        model, attack = self._model.train(), self._stage.attack
        return torch.cat(
            [perturb(model, self._loss, images, targets, start, attack) for images, targets, start in parts]
        )

    def _loss(self, images_MCHW: Tensor, targets_M: Tensor) -> Tensor:
        return OBJECTIVES[self._stage.objective.name](self._model, images_MCHW, targets_M, self._stage.objective)
