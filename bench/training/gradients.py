"""The gradient of one step's loss: in micro-batches, in half precision, shared by several processes.

Legend: B images of one process's share of a step, M of one micro-batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.errors import RunError
from bench.machine.distributed import rank, sum_, together, world_size
from bench.machine.memory import fewer, is_out_of_memory
from bench.training.randomness import seed_by


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one process learns from in one step."""

    images_BCHW: Tensor
    """uint8, or floats in [0, 1]."""
    targets_B: Tensor
    """(B, …): what the loss compares the outputs with."""
    count: int
    """Images of the whole step, over all processes."""


class OverflowFault(Exception):
    """Half precision overflowed in a step's first gradient: the step is left out.

    Args:
        loss: Of the step.
    """

    def __init__(self, loss: Tensor) -> None:
        super().__init__(loss)
        self.loss = loss


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The parts of a module that normalise by the statistics of a batch."""
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


class Gradients:
    """Computes gradients into `.grad`, in the precision of the surrounding autocast.

    Args:
        module: What is trained.
        loss_of: From images (M, …) in [0, 1] and targets (M, …) to the sum of their losses.
        optimizer: Of the module's parameters.
        device: Where they are.
        micro: Images of a micro-batch at first.
        fixed: Whether the user chose that number: running out of memory is then an error.
        at_once: Whether the losses of a step are no sum over its images, so that a step cannot be cut.
        seed: Decides dropout.
        label: Of the training, in the keys that dropout is drawn by.
        advice: What to do where batch normalisation's images do not fit memory.
        mended: Told an error of a pass; whether it changed something, so that the pass is worth another try.
    """

    def __init__(
        self,
        module: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        micro: int,
        fixed: bool = False,
        at_once: bool = False,
        seed: int,
        label: str,
        advice: str,
        mended: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        self.micro = micro
        self._module, self._loss_of, self._optimizer = module, loss_of, optimizer
        self._device, self._fixed, self._seed, self._label = device, fixed, seed, label
        self._advice, self._mended = advice, mended
        norms = batch_norms(module)
        self._cut_freely = not norms and not at_once
        self._buffers = list(module.buffers())
        self._statistics = [b for norm in norms for b in norm.buffers(recurse=False) if b.is_floating_point()]
        half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
        # Two, as the two gradients of an ascent have scales of their own, and a scaler unscales once an update.
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.first_scaler = torch.amp.GradScaler(device.type, enabled=half)

    def first(self, batch: Batch, step: int, *, own: bool) -> Tensor:
        """Leave the gradient of the first of two passes: the one in which batch normalisation sees the images.

        Args:
            batch: Of the step.
            step: Its number, which dropout is drawn by: the same in both passes.
            own: Whether each process keeps the gradient of its own share.

        Returns:
            The mean loss of the whole step, detached.

        Raises:
            OverflowFault: Half precision overflowed, in any process.
        """
        loss = self._pass(batch, step, self.first_scaler)
        self.share([*([] if own else self._gradients()), loss])
        self._share_statistics()
        if self.first_scaler.is_enabled():
            self.first_scaler.unscale_(self._optimizer)
            # A sum over processes: in whichever it is not finite, all leave the step out.
            total = torch.stack([gradient.abs().sum() for gradient in self._gradients()]).sum()
            self.share([total])
            self.first_scaler.update()
            if not total.isfinite():
                raise OverflowFault(loss)
        return loss

    def last(self, batch: Batch, step: int) -> Tensor:
        """Leave the gradient, of all processes, at the present weights; buffers are put back. See `first`."""
        before = self._copies()
        try:
            loss = self._pass(batch, step, self.scaler)
        finally:
            self._put_back(before)
        self.share([*self._gradients(), loss])
        self.scaler.unscale_(self._optimizer)
        return loss

    def only(self, batch: Batch, step: int) -> Tensor:
        """Leave the gradient of a step that has one pass alone. See `first`."""
        loss = self._pass(batch, step, self.scaler)
        self.share([*self._gradients(), loss])
        self._share_statistics()
        self.scaler.unscale_(self._optimizer)
        return loss

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        sum_(tensors)

    def _share_statistics(self) -> None:
        """Take the mean of batch normalisation's statistics over the processes."""
        if world_size() > 1:
            for buffer in self._statistics:
                buffer.div_(world_size())
            sum_(self._statistics)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._module.parameters() if p.grad is not None]

    def _pass(self, batch: Batch, step: int, scaler: torch.amp.GradScaler) -> Tensor:
        return together(lambda: self._fitted(batch, step, scaler))

    def _fitted(self, batch: Batch, step: int, scaler: torch.amp.GradScaler) -> Tensor:
        """Add up the gradients of this process's share, in as large micro-batches as fit; return its loss."""
        before = self._copies()
        while True:
            self._optimizer.zero_grad()
            try:
                return self._accumulated(batch, step, scaler)
            except Exception as error:
                # Without its traceback, whose frames hold the memory that the next try needs.
                fault = error.with_traceback(None) if is_out_of_memory(error) else error
            self._optimizer.zero_grad()
            self._put_back(before)
            if not is_out_of_memory(fault) and self._mended(fault):
                continue
            tried = min(self.micro, len(batch.images_BCHW))
            if self._cut_freely or not is_out_of_memory(fault):
                self.micro = fewer(tried, fault, fixed=self._fixed)
            else:
                raise RunError(f"out of memory with {tried} images at once, {self._advice}.") from fault

    def _accumulated(self, batch: Batch, step: int, scaler: torch.amp.GradScaler) -> Tensor:
        # By seed, step and process: what was drawn before an interruption does not matter.
        seed_by(self._seed, f"{self._label}, dropout", f"{step}/{rank()}", self._device)
        total = torch.zeros((), device=self._device)
        # BatchNorm sees micro-batches. They are of nearly the same size: of a single image it has no statistics.
        pieces = -(-len(batch.images_BCHW) // self.micro)
        parts = zip(batch.images_BCHW.tensor_split(pieces), batch.targets_B.tensor_split(pieces), strict=True)
        for images_MCHW, targets_M in parts:
            images_MCHW = images_MCHW.to(self._device, non_blocking=True)
            if images_MCHW.dtype == torch.uint8:
                images_MCHW = images_MCHW.float() / 255
            loss = self._loss_of(images_MCHW, targets_M.to(self._device)) / batch.count
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _copies(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def _put_back(self, copies: Sequence[Tensor]) -> None:
        for buffer, copy in zip(self._buffers, copies, strict=True):
            buffer.copy_(copy)
