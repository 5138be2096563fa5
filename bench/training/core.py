"""The one training loop, of recipes and of fine-tuning: steps, kept state, several processes, progress.

Stopped at any time, a training goes on from the state that it keeps, to the same weights: on a CPU bit for bit, with
the same versions and number of threads. Several processes (see `bench.machine.distributed`) share each step's images:
without batch norm, dropout and stochastic depth they come to the weights of one process, but for rounding, unless an
ascent climbs per device; with them each process draws and normalises its own share.
"""

import contextlib
import math
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.errors import RunError
from bench.machine.distributed import broadcast, is_main, together, world_size
from bench.training.ascents import ASCENTS, Step
from bench.training.gradients import Batch, Gradients, OverflowFault
from bench.training.recipe import Ascent
from bench.training.unfinished import Unfinished


def kept_state(unfinished: Unfinished) -> dict[str, Any] | None:
    """Return the state that the first process finds, in all of them; None where there is none to go on from."""
    return broadcast(unfinished.load() if is_main() else None)


class DivergedError(RunError):
    """A training whose loss is no longer finite; the message names the rate that was too high."""


class Job(Protocol):
    """What the core trains: the parts in which trainings differ."""

    @property
    def steps(self) -> int:
        """In all."""
        ...

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        ...

    def batches(self, start: int) -> Generator[Batch]:
        """Yield this process's share of each step from one on; a batch is asked for when its step begins."""
        ...

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        ...

    def ends_an_epoch(self, step: int) -> bool:
        """Whether an epoch, or all, is over after this step."""
        ...

    def finish_epoch(self, losses: float) -> None:
        """Take note of an epoch's end; `losses` is summed over its images."""
        ...

    def diverged(self, loss: float) -> RunError:
        """Return the error of a loss that is not finite."""
        ...

    def done(self, share: float) -> None:
        """Take note of the share of the training that is through."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what it must get back by `load` to go on."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


class Core:
    """One training; `run` carries it out.

    Args:
        module: What is trained, and kept.
        optimizer: Of its parameters; its learning rate is set before each step.
        gradients: How they are computed.
        job: What is trained.
        clip_norm: Longest gradient to step along, as an L2 norm over all parameters.
        unfinished: Keeps the state.
        ascent: From which point a step takes its gradient.
        ema: Decay of the moving average of the weights; 0 takes none.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        gradients: Gradients,
        job: Job,
        *,
        clip_norm: float,
        unfinished: Unfinished,
        ascent: Ascent | None = None,
        ema: float = 0.0,
    ) -> None:
        self.step = 0
        self._module, self._optimizer, self._gradients, self._job = module, optimizer, gradients, job
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._clip_norm, self._unfinished = clip_norm, unfinished
        self._ascent = ascent or Ascent()
        self._memory: dict[str, Tensor] = {}
        self._ema = ema
        self._average = {name: tensor.clone() for name, tensor in module.state_dict().items()} if ema else {}
        self._losses = 0.0
        """Summed over the images of this epoch."""

    def run(self) -> None:
        """Train to the end."""
        with contextlib.closing(self._job.batches(self.step)) as made:
            while self.step < self._job.steps:
                self._take_step(made)

    def weights(self) -> dict[str, Tensor]:
        """Return what is to be saved under the module's names: its state, or the moving average of it."""
        return self._average or self._module.state_dict()

    def _take_step(self, made: Iterator[Batch]) -> None:
        self._module.train()
        batch = together(lambda: next(made))
        rate = self._job.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        overflowed = False
        try:
            loss = ASCENTS[self._ascent.name](self._seen(batch, rate))
        except OverflowFault as fault:
            loss, overflowed = fault.loss, True
        mean = loss.item()
        if not math.isfinite(mean):
            raise self._job.diverged(mean)
        if not overflowed:
            nn.utils.clip_grad_norm_(self._parameters.values(), self._clip_norm)
            self._gradients.scaler.step(self._optimizer)
            self._gradients.scaler.update()
        self._optimizer.zero_grad()
        self._take_average()
        self._losses += mean * batch.count
        self.step += 1
        self._take_note()

    def _take_note(self) -> None:
        epoch_over = self._job.ends_an_epoch(self.step - 1)
        if epoch_over:
            self._job.finish_epoch(self._losses)
            self._losses = 0.0
        if is_main():
            self._unfinished.save_if_due(self._state, epoch_over=epoch_over)
            self._job.done(self.step / self._job.steps)

    def _seen(self, batch: Batch, rate: float) -> Step:
        """Return what an ascent sees of the step."""
        own = self._ascent.perturbation == "device" and world_size() > 1

        def shared(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
            if not own:
                return dict(gradients)
            copies = {name: gradient.clone() for name, gradient in gradients.items()}
            self._gradients.share(list(copies.values()))
            return copies

        return Step(
            parameters=self._parameters,
            only=lambda: self._gradients.only(batch, self.step),
            first=lambda: self._gradients.first(batch, self.step, own=own),
            last=lambda: self._gradients.last(batch, self.step),
            shared=shared,
            ascent=self._ascent,
            rate_share=rate / self._job.peak,
            number=self.step,
            memory=self._memory,
        )

    @torch.no_grad()
    def _take_average(self) -> None:
        state = self._module.state_dict() if self._average else {}
        for name, average in self._average.items():
            if average.is_floating_point():
                average.lerp_(state[name], 1 - self._ema)
            else:
                average.copy_(state[name])

    def _state(self) -> dict[str, Any]:
        return {
            "model": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._gradients.scaler.state_dict(),
            "first scaler": self._gradients.first_scaler.state_dict(),
            "memory": self._memory,
            "average": self._average,
            "step": self.step,
            "losses": self._losses,
            "micro": self._gradients.micro,
            **self._job.state(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a kept state, tensors on the CPU."""
        self._module.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._gradients.scaler.load_state_dict(state["scaler"])
        self.step, self._losses = state["step"], state["losses"]
        self._gradients.micro = state["micro"]
        # States of version 0.1.0 have none of these, and need none.
        if "first scaler" in state:
            self._gradients.first_scaler.load_state_dict(state["first scaler"])
        devices = {name: p.device for name, p in self._parameters.items()}
        self._memory.update({name: kept.to(devices[name]) for name, kept in state.get("memory", {}).items()})
        for name, average in state.get("average", {}).items():
            self._average[name].copy_(average)
        self._job.load(state)
