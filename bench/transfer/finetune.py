"""Fine-tuning: all weights of a model with a new head, by a recipe, the best of them on a validation split.

Stopped at any time, it goes on from the state that it keeps, to the same weights; on a CPU bit for bit, with the same
versions and number of threads. Several processes share each step's images, see `bench.machine.distributed`.

Legend: B images of one process's share of a step, M of one micro-batch, N of a split, K classes.
"""

import contextlib
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, RunError, one_line
from bench.machine.distributed import broadcast, is_main, rank, sum_, together, world_size
from bench.machine.memory import fewer, is_out_of_memory
from bench.records import Array
from bench.rng import keys
from bench.training.randomness import own_randomness, seed_generators
from bench.training.schedule import warmup_cosine
from bench.transfer.augment import Pictures, Steps, batches
from bench.transfer.evaluate import Shown, evaluate
from bench.transfer.recipes import Recipe
from bench.transfer.unfinished import Unfinished

_NOTE_SECONDS = 10.0
_COMPILED_FROM = 1e16
"""Multiply-accumulates of all forward passes, from which a training on CUDA is compiled: that takes some 40 s, in which
an H200 does a tenth of so many (`digits-vit` on letters, 1e11: 13 s plain, 50 s compiled)."""
_NORMALISED_TOGETHER = 64
"""Images whose statistics batch normalisation takes, whatever fits into memory: another number gives other results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What a fine-tuning may use, and whom it tells."""

    batch_size: int
    """Images at once: the first size of a micro-batch, halved where memory runs out."""
    fixed: bool
    """Whether the user chose that number: running out of memory is then an error."""
    workers: int
    """Processes that make training images."""
    state: Path | None
    """Folder for what it keeps of itself; None keeps nothing."""
    note: Callable[[str], None]
    done: Callable[[float], None]
    """Told after every step which share of the training is through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one pass over the training images gave."""

    loss: float
    """Mean cross-entropy of the augmented images, each at the weights before its step, in nats."""
    validation_accuracy: float
    validation_loss: float

    @property
    def merit(self) -> tuple[float, float]:
        """What epochs are compared by: accuracy; of equal ones, which small splits give, the lower loss."""
        return self.validation_accuracy, -self.validation_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """The result of a fine-tuning."""

    module: nn.Module
    """With the best weights, in eval mode."""
    history: tuple[Epoch, ...]
    best_epoch: int
    """From 1; the first of the best."""


def fine_tune(
    module: nn.Module,
    pictures: Pictures,
    validation: Shown,
    held_out: Array,
    recipe: Recipe,
    *,
    classes: int,
    seed: int,
    means: Means,
) -> Tuned:
    """Fine-tune a copy of a module, in the precision of the surrounding autocast.

    Args:
        module: from images in [0, 1] to logits; its attribute `model` is the bare one, whose head is replaced.
        pictures: what is learnt from.
        validation: what the best epoch is chosen on; under several processes, this one's own rows.
        held_out: (n,) ids of all the samples in `validation`.
        recipe: how.
        classes: of the new head.
        seed: decides order, crops and dropout.
        means: what may be used.

    Raises:
        BenchError: the model has no head that can be replaced.
        RunError: the loss is not finite, a picture does not decode, or a single image does not fit.
    """
    device = next(module.parameters()).device
    with own_randomness(seed, device), _autocast_without_cache(device):
        return _Tuning(module, pictures, validation, held_out, recipe, classes, seed, means, device).run()


def with_new_head(module: nn.Module, classes: int) -> nn.Module:
    """A trainable copy whose head is new: all its values 0, as in the ViT paper, appendix B.1.1.

    Raises:
        BenchError: the model has no head that can be replaced.
    """
    copied = copy.deepcopy(module)
    model: Any = copied.model
    if not (hasattr(model, "reset_classifier") and hasattr(model, "get_classifier")):
        raise BenchError(
            f"{type(model).__name__} has no head that can be replaced (reset_classifier and get_classifier, as timm's "
            "models have); leave this checkpoint out of fine-tune."
        )
    model.reset_classifier(classes)
    classifier = model.get_classifier()
    heads = classifier if isinstance(classifier, tuple) else (classifier,)  # two in distilled models
    parameters = [parameter for head in heads for parameter in head.parameters()]
    if not parameters:
        raise BenchError(
            f"{type(model).__name__} has no head that can be replaced (its new one has no weights); leave this "
            "checkpoint out of fine-tune."
        )
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
    return copied.to(next(module.parameters()).device).requires_grad_(True)


def _validation_rows(module: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> dict[str, Tensor]:
    logits_NK = module(images_NCHW).float()
    return {"correct": logits_NK.argmax(1) == labels_N, "loss": F.cross_entropy(logits_NK, labels_N, reduction="none")}


@contextlib.contextmanager
def _autocast_without_cache(device: torch.device) -> Iterator[None]:
    """The surrounding autocast, which would keep its casts of weights until it ends: steps would not reach them."""
    enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    with torch.autocast(device.type, dtype=dtype, enabled=enabled, cache_enabled=False):
        yield


class _Forward:
    """A module's forward pass in training, compiled on CUDA where that pays and works.

    Args:
        module: images to logits; what says no number of MACs is not compiled.
        images: that it will be shown.
        device: where.
        note: told when compiling failed.
    """

    def __init__(self, module: nn.Module, images: int, device: torch.device, note: Callable[[str], None]) -> None:
        self._module, self._note = module, note
        pays = device.type == "cuda" and images * getattr(module, "macs", 0) >= _COMPILED_FROM
        self.compiled: Callable[[Tensor], Tensor] | None = torch.compile(module) if pays else None

    def __call__(self, images_MCHW: Tensor) -> Tensor:
        """Logits (M, K), float32."""
        # Not `or`: what torch.compile gives of a module has a length, which is asked of the module.
        return (self._module if self.compiled is None else self.compiled)(images_MCHW).float()

    def give_up(self, error: Exception) -> None:
        """Go on uncompiled."""
        self.compiled = None
        self._note(f"fine-tune: torch.compile failed ({type(error).__name__}: {one_line(error)}); it goes on without.")


class _Tuning:
    """One training; see `fine_tune`."""

    def __init__(
        self,
        module: nn.Module,
        pictures: Pictures,
        validation: Shown,
        held_out: Array,
        recipe: Recipe,
        classes: int,
        seed: int,
        means: Means,
        device: torch.device,
    ) -> None:
        self.pictures, self.validation, self.recipe, self.seed, self.means = pictures, validation, recipe, seed, means
        self.device = device
        images = len(pictures.ids)
        self.steps = Steps(images=images, batch_size=recipe.batch_size, total=recipe.steps_of(images))
        if images // self.steps.an_epoch < world_size():
            raise RunError(
                f"fine-tune takes steps of {images // self.steps.an_epoch} images, too few for {world_size()} "
                "processes; start fewer."
            )
        self.module = with_new_head(module, classes)
        self.parameters = list(self.module.parameters())
        self.buffers = list(self.module.buffers())
        shown = self.steps.total * images // self.steps.an_epoch
        self.forward = _Forward(self.module, shown, device, self._note)
        self.optimizer = torch.optim.SGD(self.parameters, lr=recipe.learning_rate, momentum=recipe.momentum)
        half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        norms = [part for part in self.module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self.cut_freely = not norms
        self.micro = means.batch_size if self.cut_freely else _NORMALISED_TOGETHER
        self.step = 0
        self.losses = 0.0
        """Summed over the images of this epoch."""
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.unfinished = Unfinished(means.state, self._digest(held_out), self._note)
        self._noted = -math.inf

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, counted from 1; 0 before the first."""
        merits = [epoch.merit for epoch in self.history]
        return merits.index(max(merits)) + 1 if merits else 0

    def run(self) -> Tuned:
        """Train to the end, from the start or the kept state."""
        self._resume()
        made = batches(
            self.pictures,
            self.steps,
            self.recipe,
            seed=self.seed,
            start=self.step,
            stride=(rank(), world_size()),
            workers=self.means.workers,
            pin=self.device.type == "cuda",
        )
        with contextlib.closing(made):
            while self.step < self.steps.total:
                self._take_step(made)
        self.module.load_state_dict(self.best)
        return Tuned(module=self.module.eval(), history=tuple(self.history), best_epoch=self.best_epoch)

    # -- one step -----------------------------------------------------------------------------------------------

    def _take_step(self, made: Iterator[tuple[Tensor, Tensor]]) -> None:
        part = self.steps.part(self.step)
        count = part.stop - part.start
        loss = together(lambda: self._gradients(*next(made), count))
        self._share(loss)
        mean = loss.item()
        if not math.isfinite(mean):
            raise self._not_finite("loss", mean)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.losses += mean * count
        self.step += 1
        epoch_over = self.steps.ends_an_epoch(self.step - 1)
        if epoch_over:
            self._finish_epoch()
        if is_main():
            self.unfinished.save_if_due(self._state, epoch_over=epoch_over)
            self.means.done(self.step / self.steps.total)

    def _rate(self) -> float:
        # A step counts at its middle: at its start the first would have a rate of 0.
        total = self.steps.total
        return warmup_cosine(self.recipe.learning_rate, self.step + 0.5, total=total, warmup=self.recipe.warmup * total)

    def _gradients(self, images_BCHW: Tensor, labels_B: Tensor, count: int) -> Tensor:
        """Add up the gradients of this process's share, in as large micro-batches as fit.

        Args:
            images_BCHW: uint8.
            labels_B: int64.
            count: images of the whole step, over all processes.

        Returns:
            The share's part of the step's mean loss, a tensor without axes.
        """
        self.module.train()
        before = [buffer.clone() for buffer in self.buffers]
        while True:
            try:
                return self._accumulate(images_BCHW, labels_B, count)
            except Exception as error:
                # Without its traceback, whose frames hold the memory that the next try needs.
                fault = error.with_traceback(None) if is_out_of_memory(error) else error
            self.optimizer.zero_grad()
            with torch.no_grad():
                for buffer, copied in zip(self.buffers, before, strict=True):
                    buffer.copy_(copied)
            if not is_out_of_memory(fault) and self.forward.compiled is not None:
                self.forward.give_up(fault)
            elif self.cut_freely or not is_out_of_memory(fault):
                self.micro = fewer(min(self.micro, len(labels_B)), fault, fixed=self.means.fixed)
            else:
                raise RunError(
                    f"out of memory with {min(self.micro, len(labels_B))} images at once, whose statistics batch "
                    "normalisation takes together; steps of fewer need less: --set batch_size=16."
                ) from fault

    def _accumulate(self, images_BCHW: Tensor, labels_B: Tensor, count: int) -> Tensor:
        self._seed_dropout()
        total = torch.zeros((), device=self.device)
        # BatchNorm sees micro-batches. They are of nearly the same size: of a single image it has no statistics.
        pieces = -(-len(labels_B) // self.micro)
        parts = zip(images_BCHW.tensor_split(pieces), labels_B.tensor_split(pieces), strict=True)
        for images_MCHW, labels_M in parts:
            logits_MK = self.forward(images_MCHW.to(self.device, non_blocking=True).float() / 255)
            loss = F.cross_entropy(logits_MK, labels_M.to(self.device), reduction="sum") / count
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _seed_dropout(self) -> None:
        """Seed dropout by seed, step and process, so that what was drawn before an interruption does not matter."""
        first, second = keys(self.seed, "fine-tune, dropout", [f"{self.step}/{rank()}"]).words_N2[0].tolist()
        seed_generators((first % (1 << 31)) << 32 | second % (1 << 32), self.device)

    def _share(self, loss: Tensor) -> None:
        """Sum gradients and loss over the processes, and take the mean of BatchNorm's statistics."""
        statistics = [buffer for buffer in self.buffers if buffer.is_floating_point()]
        if world_size() > 1:
            for buffer in statistics:
                buffer.div_(world_size())
        sum_([*(p.grad for p in self.parameters if p.grad is not None), *statistics, loss])

    def _not_finite(self, quantity: str, value: float) -> RunError:
        return RunError(
            f"the {quantity} of fine-tune is {value} in epoch {len(self.history) + 1}, at a learning rate of "
            f"{self.recipe.learning_rate:g}; lower it: --set learning_rate={self.recipe.learning_rate / 3:.1g}."
        )

    # -- one epoch ----------------------------------------------------------------------------------------------

    def _finish_epoch(self) -> None:
        columns = evaluate(self.module, _validation_rows, self.validation, at_once=self.micro, fixed=self.means.fixed)
        validation_loss = float(columns["loss"].mean(dtype=np.float64))
        if not math.isfinite(validation_loss):
            raise self._not_finite("loss on validation", validation_loss)
        images = self.steps.part(self.step - 1).stop
        self.history.append(
            Epoch(
                loss=self.losses / images,
                validation_accuracy=float(columns["correct"].mean()),
                validation_loss=validation_loss,
            )
        )
        self.losses = 0.0
        if self.best_epoch == len(self.history):
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        self._note_epoch()

    def _note_epoch(self) -> None:
        last = self.step == self.steps.total
        if not last and time.monotonic() - self._noted < _NOTE_SECONDS:
            return
        self._noted = time.monotonic()
        epoch = self.history[-1]
        self._note(
            f"fine-tune: epoch {len(self.history)}/{self.steps.epochs}, loss {epoch.loss:.2f}, "
            f"validation {epoch.validation_accuracy:.1%}"
        )

    def _note(self, text: str) -> None:
        if is_main():
            self.means.note(text)

    # -- the kept state -----------------------------------------------------------------------------------------

    def _digest(self, held_out: Array) -> str:
        """A digest of all that decides the result, but the weights that it begins with: the folder is theirs."""
        autocast = torch.is_autocast_enabled(self.device.type)
        decides = {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "ids": _digest_of(self.pictures.ids),
            "labels": _digest_of(self.pictures.labels),
            "held out": _digest_of(held_out),
            "crops": [self.pictures.size, self.pictures.interpolation],
            "precision": str(torch.get_autocast_dtype(self.device.type)) if autocast else "fp32",
            "device": self.device.type,
            "processes": world_size(),
            "at once": self.micro,
            "weights": [[name, list(tensor.shape)] for name, tensor in self.module.state_dict().items()],
        }
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.module.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "micro": self.micro,
            "history": [asdict(epoch) for epoch in self.history],
        }

    def _resume(self) -> None:
        """Go on from the state that the first process finds."""
        state = broadcast(self.unfinished.load() if is_main() else None)
        if state is None:
            return
        self.module.load_state_dict(state["model"])
        self.best = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.losses = state["step"], state["losses"]
        self.micro = state["micro"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self._note(f"fine-tune: it goes on after step {self.step} of {self.steps.total}")


def _digest_of(column: Array) -> str:
    return hashlib.sha256("\n".join(map(str, column.tolist())).encode("utf-8", "surrogatepass")).hexdigest()
