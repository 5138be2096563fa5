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
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, RunError, one_line
from bench.machine.distributed import is_main, rank, world_size
from bench.records import Array
from bench.training.core import Core, DivergedError, kept_state
from bench.training.gradients import Batch, Gradients, batch_norms
from bench.training.pictures import Pictures, Steps, batches
from bench.training.randomness import own_randomness
from bench.training.schedule import warmup_cosine
from bench.training.unfinished import Unfinished
from bench.transfer.evaluate import Shown, evaluate
from bench.transfer.recipes import Recipe

_LABEL = "fine-tune"
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
        self.cut = Steps(images=images, batch_size=recipe.batch_size, total=recipe.steps_of(images))
        if images // self.cut.an_epoch < world_size():
            raise RunError(
                f"fine-tune takes steps of {images // self.cut.an_epoch} images, too few for {world_size()} "
                "processes; start fewer."
            )
        self.module = with_new_head(module, classes)
        shown = self.steps * images // self.cut.an_epoch
        self.forward = _Forward(self.module, shown, device, self._note)
        self.peak = recipe.learning_rate
        optimizer = torch.optim.SGD(self.module.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
        self.gradients = Gradients(
            self.module,
            self._loss,
            optimizer,
            device=device,
            micro=_NORMALISED_TOGETHER if batch_norms(self.module) else means.batch_size,
            fixed=means.fixed,
            seed=seed,
            label=_LABEL,
            advice="whose statistics batch normalisation takes together; steps of fewer need less: --set batch_size=16",
            mended=self._mended,
        )
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        state = means.state / "fine-tune.pt" if means.state is not None else None
        self.unfinished = Unfinished(state, self._digest(held_out), _LABEL, self._note)
        self.core = Core(
            self.module, optimizer, self.gradients, self, clip_norm=recipe.clip_norm, unfinished=self.unfinished
        )
        self._noted = -math.inf

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, counted from 1; 0 before the first."""
        merits = [epoch.merit for epoch in self.history]
        return merits.index(max(merits)) + 1 if merits else 0

    @property
    def steps(self) -> int:
        """In all."""
        return self.cut.total

    def run(self) -> Tuned:
        """Train to the end, from the start or the kept state."""
        state = kept_state(self.unfinished)
        if state is not None:
            self.core.resume(state)
            self._note(f"{_LABEL}: it goes on after step {self.core.step} of {self.steps}")
        self.core.run()
        self.module.load_state_dict(self.best)
        return Tuned(module=self.module.eval(), history=tuple(self.history), best_epoch=self.best_epoch)

    # -- what the core asks for ----------------------------------------------------------------------------------

    def batches(self, start: int) -> Generator[Batch]:
        """Yield this process's share of each step."""
        made = batches(
            self.pictures,
            self.cut,
            self.recipe,
            seed=self.seed,
            start=start,
            stride=(rank(), world_size()),
            workers=self.means.workers,
            pin=self.device.type == "cuda",
        )
        with contextlib.closing(made):
            for step, (images_BCHW, labels_B) in enumerate(made, start):
                part = self.cut.part(step)
                yield Batch(images_BCHW=images_BCHW, targets_B=labels_B, count=part.stop - part.start)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        # A step counts at its middle: at its start the first would have a rate of 0.
        total = self.steps
        return warmup_cosine(self.recipe.learning_rate, step + 0.5, total=total, warmup=self.recipe.warmup * total)

    def ends_an_epoch(self, step: int) -> bool:
        """Whether an epoch, or all, is over after this step."""
        return self.cut.ends_an_epoch(step)

    def diverged(self, loss: float) -> DivergedError:
        """Return the error of a loss that is not finite."""
        return self._not_finite("loss", loss)

    def done(self, share: float) -> None:
        """Tell the user."""
        self.means.done(share)

    def state(self) -> dict[str, Any]:
        """Return the best weights and the history."""
        return {"best": self.best, "history": [asdict(epoch) for epoch in self.history]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.best = dict(state["best"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]

    def _loss(self, images_MCHW: Tensor, labels_M: Tensor) -> Tensor:
        return F.cross_entropy(self.forward(images_MCHW), labels_M, reduction="sum")

    def _mended(self, error: Exception) -> bool:
        """Whether a fault may have been that of a compiled module, which is then given up."""
        if self.forward.compiled is None:
            return False
        self.forward.give_up(error)
        return True

    def _not_finite(self, quantity: str, value: float) -> DivergedError:
        return DivergedError(
            f"the {quantity} of fine-tune is {value} in epoch {len(self.history) + 1}, at a learning rate of "
            f"{self.recipe.learning_rate:g}; lower it: --set learning_rate={self.recipe.learning_rate / 3:.1g}."
        )

    # -- one epoch ----------------------------------------------------------------------------------------------

    def finish_epoch(self, losses: float) -> None:
        """Evaluate on validation; keep the weights if they are the best so far."""
        columns = evaluate(
            self.module, _validation_rows, self.validation, at_once=self.gradients.micro, fixed=self.means.fixed
        )
        validation_loss = float(columns["loss"].mean(dtype=np.float64))
        if not math.isfinite(validation_loss):
            raise self._not_finite("loss on validation", validation_loss)
        images = self.cut.part(self.core.step - 1).stop
        self.history.append(
            Epoch(
                loss=losses / images,
                validation_accuracy=float(columns["correct"].mean()),
                validation_loss=validation_loss,
            )
        )
        if self.best_epoch == len(self.history):
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        self._note_epoch()

    def _note_epoch(self) -> None:
        last = self.core.step == self.steps
        if not last and time.monotonic() - self._noted < _NOTE_SECONDS:
            return
        self._noted = time.monotonic()
        epoch = self.history[-1]
        self._note(
            f"fine-tune: epoch {len(self.history)}/{self.cut.epochs}, loss {epoch.loss:.2f}, "
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
            "at once": self.gradients.micro,
            "weights": [[name, list(tensor.shape)] for name, tensor in self.module.state_dict().items()],
        }
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _digest_of(column: Array) -> str:
    return hashlib.sha256("\n".join(map(str, column.tolist())).encode("utf-8", "surrogatepass")).hexdigest()
