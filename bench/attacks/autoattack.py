"""AutoAttack `standard` (Croce & Hein 2020, arXiv 2003.01690), by its authors' code (`pyautoattack`), block by block.

It draws from torch's global generator, seeded anew for each batch, so what becomes of an image depends on those beside
it: the caller fixes the blocks. The generators are put back as they were. Each attack takes the images that are still
right, from the clean image; an image is robust if it withstands all.

Legend: N images of a block, K classes.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyautoattack
import torch
from pyautoattack import checks
from pyautoattack.square import SquareAttack
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.attacks import STANDARD
from bench.attacks.balls import Ball, ball_of
from bench.attacks.engine import slack
from bench.attacks.epsilon import NORMS
from bench.machine.memory import fewer

_TARGETS = 9
"""Of apgd-t and fab-t, where there are as many other classes."""
_FEWEST_FOR_TARGETED = 4
"""Classes that the targeted DLR loss needs: it divides by a difference that takes the fourth logit in."""
_FEWEST = 2
"""Classes between which there is something to attack."""
_FLAGS = {
    "randomized defense": "randomised",
    "dynamic defense": "dynamic",
    "probability distribution": "probabilities",
    "zero gradient": "zero gradients",
    "classes": "few classes",
}
"""A part of each of its warnings, and our word for it."""


@dataclass(slots=True)
class BlockResult:
    """What became of a block; lists and tensors have a row an image."""

    predictions: list[int]
    """Of the images as they are."""
    fooled_by: list[str]
    """The attack that fooled it; empty for images that withstood, and for those that the model has wrong anyway."""
    queries: list[int]
    """Forward passes while its attacks ran, AutoAttack's own checks among them."""
    perturbed_NCHW: Tensor
    """The image that fools; where none does, the image as it is."""
    logits_NK: Tensor
    """Of the images as they are."""
    perturbed_logits_NK: Tensor
    """Of the perturbed ones, as they were when they fooled."""
    flags: list[str] = field(default_factory=list)
    """What AutoAttack warned of, and attacks that were left out."""


class _Model:
    """What AutoAttack is given: counts passes, and cuts batches that do not fit into memory.

    Args:
        module: images in [0, 1] to logits.
        most: images at once, where the user chose: running out of memory is then an error.
    """

    def __init__(self, module: nn.Module, most: int | None = None) -> None:
        self.module = module
        self.fixed = most is not None
        self.passes = 0
        self._most = most
        self._tried = 0

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        self.passes += 1
        self._tried = min(self._most or len(images_NCHW), len(images_NCHW))
        if self._tried == len(images_NCHW):
            return _differentiable(self.module(images_NCHW).float(), images_NCHW)
        # Run again for its gradient, so that no more than one piece's activations are held at a time.
        pieces = [
            checkpoint(self.module, piece, use_reentrant=False) for piece in torch.split(images_NCHW, self._tried)
        ]
        return _differentiable(torch.cat(pieces).float(), images_NCHW)

    def until_it_fits(self, attempt: Callable[[], Tensor]) -> Tensor:
        """What `attempt` gives; where memory runs out, again with half as many images at once in the model."""
        while True:
            try:
                return attempt()
            except Exception as error:
                self._most = fewer(self._tried, error, fixed=self.fixed)


def autoattack(
    module: nn.Module,
    images_NCHW: Tensor,
    labels_N: Tensor,
    *,
    norm: str,
    eps: float,
    seed: int,
    most: int | None = None,
    fooled: Callable[[int], None] = lambda count: None,
) -> BlockResult:
    """Attack one block.

    Args:
        module: images in [0, 1] to logits, in eval mode.
        images_NCHW: float32 in [0, 1].
        labels_N: int64.
        norm: `linf` or `l2`.
        eps: in pixels of [0, 1].
        seed: of the run.
        most: images that the model is shown at once, where the user chose; running out of memory is then an error.
        fooled: told after each attack how many more images it fooled.

    Raises:
        RunError: a single image does not fit in memory.
    """
    model, images_NCHW = _Model(module, most), images_NCHW.contiguous()  # AutoAttack cannot view channels-last
    with torch.no_grad():
        logits_NK = model.until_it_fits(lambda: model(images_NCHW))
    tied_N = _tied(logits_NK)
    right_N = logits_NK.argmax(1) == labels_N
    result = BlockResult(
        predictions=logits_NK.argmax(1).tolist(),
        fooled_by=[""] * len(labels_N),
        queries=[0] * len(labels_N),
        perturbed_NCHW=images_NCHW.clone(),
        logits_NK=logits_NK,
        perturbed_logits_NK=logits_NK.clone(),
    )
    adversary = _standard(model, logits_NK.shape[1], norm, eps, seed, images_NCHW.device)
    left_out = [name for name in STANDARD if name not in adversary.attacks_to_run]
    result.flags += [f"without {' and '.join(left_out)}"] * bool(left_out)
    for number, name in enumerate(adversary.attacks_to_run):
        left_N = right_N & torch.tensor([not by for by in result.fooled_by], device=right_N.device)
        if not left_N.any():
            break
        if logits_NK.shape[1] < _FEWEST:
            result.flags += ["one class"]
            break
        if name == "square" and tied_N[left_N].all():  # it takes them for fooled, and then has none to begin with
            result.flags += ["tied logits"]
            break
        # The first sees the whole block, so that AutoAttack checks the model on it as it does when called by itself.
        shown_M = (left_N if number else torch.ones_like(left_N)).nonzero()[:, 0]
        perturbed_MCHW = _run(adversary, model, name, images_NCHW[shown_M], labels_N[shown_M], result.flags)
        result.perturbed_NCHW[shown_M] = perturbed_MCHW
        passes = model.passes
        fools_N, after_NK = _fools(model, images_NCHW, result.perturbed_NCHW, labels_N, ball_of(norm), eps)
        fools_N &= left_N
        result.perturbed_NCHW[left_N & ~fools_N] = images_NCHW[left_N & ~fools_N]
        result.perturbed_logits_NK[fools_N] = after_NK[fools_N]
        for place in left_N.nonzero()[:, 0].tolist():
            result.queries[place] += passes
            result.fooled_by[place] = name if fools_N[place] else ""
        fooled(int(fools_N.sum()))
    return result


def square(
    module: nn.Module, images_NCHW: Tensor, labels_N: Tensor, *, norm: str, eps: float, queries: int, seed: int
) -> Tensor:
    """(N,) bool: whether the black-box Square attack (Andriushchenko et al. 2020, arXiv 1912.00049) fools the images.

    Args:
        module: images in [0, 1] to logits, in eval mode.
        images_NCHW: float32 in [0, 1], which the model has right.
        labels_N: int64.
        norm: `linf` or `l2`.
        eps: in pixels of [0, 1].
        queries: at most, an image.
        seed: of the run.
    """
    model, images_NCHW = _Model(module), images_NCHW.contiguous()
    with torch.no_grad():
        tied_N = _tied(model.until_it_fits(lambda: model(images_NCHW)))
    if tied_N.all():  # it takes them for fooled, and then has none to begin with
        return torch.zeros_like(tied_N)
    with _own_randomness(images_NCHW.device), torch.no_grad():
        perturbed_NCHW = model.until_it_fits(
            lambda: SquareAttack(
                model, norm=NORMS[norm], n_queries=queries, eps=eps, seed=seed, device=images_NCHW.device
            ).perturb(images_NCHW, labels_N)
        )
    return _fools(model, images_NCHW, perturbed_NCHW, labels_N, ball_of(norm), eps)[0]


def _tied(logits_NK: Tensor) -> Tensor:
    """(N,) bool: whether no logit is the largest alone."""
    if logits_NK.shape[1] < 2:
        return torch.ones(len(logits_NK), dtype=torch.bool, device=logits_NK.device)
    first_N, second_N = logits_NK.topk(2, dim=1).values.unbind(1)
    return first_N == second_N


def _differentiable(logits_NK: Tensor, images_NCHW: Tensor) -> Tensor:
    """Logits with a gradient of zero where a model cuts them off from the image: AutoAttack asks for one."""
    if not images_NCHW.requires_grad or logits_NK.requires_grad:
        return logits_NK
    return logits_NK + 0 * images_NCHW.flatten(1).sum(1, keepdim=True)


def _standard(
    model: "_Model", classes: int, norm: str, eps: float, seed: int, device: torch.device
) -> pyautoattack.AutoAttack:
    """AutoAttack as its authors set it up, with as many targets as there are classes for."""
    adversary = pyautoattack.AutoAttack(model, norm=NORMS[norm], eps=eps, seed=seed, version="standard", device=device)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = min(_TARGETS, classes - 1)
    adversary.attacks_to_run = [name for name in STANDARD if name != "apgd-t" or classes >= _FEWEST_FOR_TARGETED]
    return adversary


def _run(
    adversary: pyautoattack.AutoAttack,
    model: "_Model",
    name: str,
    images_NCHW: Tensor,
    labels_N: Tensor,
    flags: list[str],
) -> Tensor:
    """What one attack makes of images; `model.passes` are then its own, and `flags` has what it warned of."""
    every = adversary.attacks_to_run

    def run() -> Tensor:
        model.passes = 0
        perturbed_NCHW: Tensor = adversary.run_standard_evaluation(images_NCHW, labels_N, batch_size=len(labels_N))[0]
        return perturbed_NCHW

    adversary.attacks_to_run = [name]
    try:
        with _own_randomness(images_NCHW.device), _warnings_into(flags):
            return model.until_it_fits(run)
    finally:
        adversary.attacks_to_run = every


def _fools(
    model: "_Model", images_NCHW: Tensor, perturbed_NCHW: Tensor, labels_N: Tensor, ball: Ball, eps: float
) -> tuple[Tensor, Tensor]:
    """(N,) bool: whether perturbed images fool in a plain forward pass, and keep to their bounds; and their logits."""
    with torch.no_grad():
        logits_NK = model.until_it_fits(lambda: model(perturbed_NCHW))
    allowed_N = ball.size(perturbed_NCHW - images_NCHW).double() <= eps + slack(eps)
    allowed_N &= ((perturbed_NCHW >= 0) & (perturbed_NCHW <= 1)).flatten(1).all(1)
    return (logits_NK.argmax(1) != labels_N) & allowed_N, logits_NK


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """AutoAttack seeds torch's generators, and takes over Python's tracing to see what models call: put them back."""
    tracing = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(tracing)


@contextlib.contextmanager
def _warnings_into(flags: list[str]) -> Iterator[None]:
    """Collect what AutoAttack warns of, each once."""
    logger, before = logging.getLogger("auto-attack"), list(flags)
    heard: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = heard.append  # type: ignore[assignment, method-assign]
    # The package counts calls of one model together with those of all before it.
    checks.funcs.update(dict.fromkeys(checks.funcs, 0))
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        complaints = [_flag(record.getMessage()) for record in heard]
        flags[:] = list(dict.fromkeys([*before, *complaints]))


def _flag(message: str) -> str:
    return next((flag for part, flag in _FLAGS.items() if part in message), message)
