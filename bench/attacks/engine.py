"""Runs the courses of many images side by side: whatever each is at, the model sees full batches.

An image whose trial is over leaves the batch, and the next takes its place. Whether an image is fooled is decided by a
plain forward pass of the perturbed image, not rounded to bytes, never by what the attack saw on its way.

Legend: N images in one group, C channels, H × W pixels, K classes.
"""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.attacks import UpdateRule
from bench.attacks.balls import ball_of, column
from bench.attacks.course import Ending, Finding, Spec, course
from bench.attacks.folding import folded
from bench.attacks.groups import NOBODY, Group, Result, Run
from bench.attacks.losses import Loss, cross_entropy, loss_of
from bench.attacks.steps import Step
from bench.errors import RunError
from bench.machine.memory import fewer
from bench.machine.threads import in_threads
from bench.rng import Draws, keys

_T = TypeVar("_T")

SLACK = 1e-6
"""How far beyond eps rounding may leave a change; in multiples of eps where that is above 1."""
_SHARE = 4
"""Images wait for the plain forward pass until there is one for so many in the batch; and batches are filled up to
multiples of this part of their width: kernels are set up anew for every new size, which took a CPU twice as long."""
_A_THREAD = 16
"""Images that a thread needs to be worth it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Some of the images to be attacked."""

    rows: Sequence[int]
    """Of the outcome."""
    ids: Sequence[str]
    labels_N: Tensor
    images_NCHW: Tensor
    """float32 in [0, 1]."""


class Engine:
    """Attacks images with one model; used once.

    Args:
        module: images in [0, 1] to logits, in eval mode.
        spec: the attack's numbers.
        rule: its update rule.
        afresh: ids of the images that are attacked at every eps and beyond the grid, see `course`.
        seed: of the run.
        width: images in a batch, at most; smaller for good where memory runs out.
        fixed: whether running out of memory is an error instead.
        done: told how many more images are through.
        ended: told of each trial that is over: its row, how it ended, and the perturbed image (C, H, W).
    """

    def __init__(
        self,
        module: nn.Module,
        spec: Spec,
        rule: UpdateRule,
        *,
        afresh: Collection[str] = (),
        seed: int = 0,
        width: int = 64,
        fixed: bool = False,
        done: Callable[[int], None] = lambda count: None,
        ended: Callable[[int, Ending, Tensor], None] | None = None,
    ) -> None:
        self.module, self.spec, self.rule, self.afresh = module, spec, rule, frozenset(afresh)
        self.seed, self.width, self.fixed, self.done, self.ended = seed, width, fixed, done, ended
        self.ball, self.loss = ball_of(spec.norm), loss_of(spec.loss)
        self.results: dict[int, Result] = {}
        self._ready, self._active, self._waiting = NOBODY, NOBODY, NOBODY
        self._threads = 1
        self._climbed: nn.Module | None = None

    def run(self, pictures: Iterable[Pictures]) -> dict[int, Result]:
        """Attack all images; what came of each, by its row.

        Raises:
            RunError: logits or gradients that are not finite or not there, or a single image does not fit in memory.
        """
        source = iter(pictures)
        with self._one_piece_a_thread():
            while self._fill(source):
                if len(self._active):
                    self._step()
                if _SHARE * len(self._waiting) >= len(self._active):
                    self._judge()
        return self.results

    @contextlib.contextmanager
    def _one_piece_a_thread(self) -> Iterator[None]:
        """On a CPU, cut every batch into a piece for each thread, where the width has enough images for all of them.

        That is faster than all threads at one piece after another, if these then don't wait for work and take the cores
        from the pieces: so torch's own operations have one. (Autocast is the calling thread's, so it stays whole then.)
        """
        threads, autocast = torch.get_num_threads(), torch.is_autocast_enabled("cpu")
        if self.width < threads * _A_THREAD or autocast or not self._on_cpu():
            yield
            return
        self._threads = threads
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _on_cpu(self) -> bool:
        return all(tensor.is_cpu for tensor in (*self.module.parameters(), *self.module.buffers()))

    # -- who is in the batch ----------------------------------------------------------------------------------

    def _fill(self, source: Iterator[Pictures]) -> bool:
        """Bring the batch to its width, as far as there are images; whether any are left at all."""
        while len(self._active) < self.width:
            if not len(self._ready):
                pictures = next(source, None)
                if pictures is None:
                    break
                self._ready = self._enter(pictures)
            room = self.width - len(self._active)
            self._active = self._active.join(self._ready.take(range(min(room, len(self._ready)))))
            self._ready = self._ready.take(range(room, len(self._ready))) if len(self._ready) > room else NOBODY
        return bool(len(self._active) or len(self._waiting))

    def _enter(self, pictures: Pictures) -> Group:
        """Show images as they are; those that the model has right begin their course."""
        logits_NK = self._logits(pictures.images_NCHW)
        if self._climbed is None:
            self._climbed = folded(self.module, pictures.images_NCHW[:2])
        predictions = logits_NK.argmax(1).tolist()
        losses = cross_entropy(logits_NK, pictures.labels_N).tolist()
        unsteady = self._unsteadiness(pictures, logits_NK)
        runs, places = [], []
        for place, (row, label) in enumerate(zip(pictures.rows, pictures.labels_N.tolist(), strict=True)):
            clean = Result(
                prediction=predictions[place],
                correct=predictions[place] == label,
                loss=losses[place],
                unsteady=unsteady.get(place, math.nan),
            )
            if not clean.correct:
                self._finish(row, clean, None)
                continue
            sample_id, shape = pictures.ids[place], pictures.images_NCHW.shape[1:]
            way = course(self.spec, self.ball.whole(math.prod(shape)), afresh=sample_id in self.afresh)
            runs.append(Run(row, sample_id, clean, way, next(way)))
            places.append(place)
        chosen = torch.tensor(places, dtype=torch.int64, device=pictures.images_NCHW.device)
        images_NCHW = pictures.images_NCHW[chosen]
        return self._started(Group(runs, images_NCHW, images_NCHW, pictures.labels_N[chosen]))

    def _unsteadiness(self, pictures: Pictures, logits_NK: Tensor) -> dict[int, float]:
        """How far logits of the images that are attacked afresh change among other images, by place."""
        places = [place for place, sample_id in enumerate(pictures.ids) if sample_id in self.afresh]
        if not places:
            return {}
        # In two batches: where all of them were one before, each now stands among others.
        halves = [
            torch.tensor(half, dtype=torch.int64, device=logits_NK.device) for half in (places[::2], places[1::2])
        ]
        chosen = torch.cat(halves)
        before_NK = logits_NK[chosen]
        again_NK = torch.cat([self._among_others(pictures.images_NCHW[half]) for half in halves if len(half)])
        change_N = (again_NK - before_NK).abs().amax(1) / before_NK.abs().amax(1).clamp_min(1e-12)
        return dict(zip(chosen.tolist(), change_N.tolist(), strict=True))

    def _among_others(self, images_NCHW: Tensor) -> Tensor:
        """Logits of images in one batch with a negative, so that none is alone."""
        return self._logits(torch.cat((images_NCHW, 1 - images_NCHW[:1])))[: len(images_NCHW)]

    def _started(self, group: Group) -> Group:
        """The group at the starts of its runs' trials, in the same order; what rules remember is forgotten."""
        at_NCHW = group.images_NCHW.clone()
        places: dict[str, list[int]] = defaultdict(list)
        for place, run in enumerate(group.runs):
            run.taken, run.refuted = 0, -1
            if run.trial.start:
                places[run.trial.start].append(place)
        for start, rows in places.items():
            ids = [group.runs[place].sample_id for place in rows]
            draws = Draws(keys(self.seed, start, ids, at_NCHW.device))
            change_NCHW = self.ball.random(draws, at_NCHW.shape[1:]).to(at_NCHW.dtype)
            chosen = torch.tensor(rows, dtype=torch.int64, device=at_NCHW.device)
            eps_N = at_NCHW.new_tensor([group.runs[place].trial.eps for place in rows])
            at_NCHW[chosen] = self._kept(group.images_NCHW[chosen], column(eps_N) * change_NCHW, eps_N)
        return Group(group.runs, group.images_NCHW, at_NCHW, group.labels_N)

    # -- a step of all ----------------------------------------------------------------------------------------

    def _step(self) -> None:
        group = self._active
        try:
            logits_NK, loss_N, gradient_NCHW = self._gradient(group)
        except Exception as error:
            self.width = fewer(self._usual(len(group)), error, fixed=self.fixed)
            kept = min(self.width, len(group))
            self._active = group.take(range(kept))
            self._ready = group.take(range(kept, len(group))).join(self._ready)
            return
        with torch.no_grad():
            largest = gradient_NCHW.flatten(1).abs().amax(1).tolist()
            bad = sum(not math.isfinite(value) for value in largest)
            if bad:
                raise RunError(
                    f"the gradients of {bad} of {len(group)} images are NaN or infinite; look for divisions and roots "
                    "of zero in the model, and use --precision fp32."
                )
            wrong = (logits_NK.argmax(1) != group.labels_N).tolist()
            for place, (run, loss) in enumerate(zip(group.runs, loss_N.tolist(), strict=True)):
                run.note(loss, flat=largest[place] == 0)
                wrong[place] = wrong[place] and run.refuted != run.taken
            self._wait(group.take([place for place, fooled in enumerate(wrong) if fooled]))
            group = self._moved(group, gradient_NCHW, [place for place, fooled in enumerate(wrong) if not fooled])
            self._wait(group.take([place for place, run in enumerate(group.runs) if run.over]))
            self._active = group.take([place for place, run in enumerate(group.runs) if not run.over])

    def _gradient(self, group: Group) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the loss, and its gradient, where the images stand."""
        images_NCHW, labels_N = self._filled_up(group.at_NCHW), self._filled_up(group.labels_N)
        module = self.module if self._climbed is None else self._climbed  # an empty one is false
        in_pieces = self._in_pieces(
            len(images_NCHW), lambda piece: _gradient(module, self.loss, images_NCHW[piece], labels_N[piece])
        )
        logits, losses, gradients = (torch.cat(parts)[: len(group)] for parts in zip(*in_pieces, strict=True))
        return logits, losses, gradients

    def _in_pieces(self, n: int, function: Callable[[slice], _T]) -> list[_T]:
        """What a function gives for each piece of n images, in their order."""
        count = min(self._threads, n)
        results: dict[int, _T] = {}

        def work(piece: int) -> None:
            results[piece] = function(slice(n * piece // count, n * (piece + 1) // count))

        in_threads(work, range(count), self._threads)
        return [results[piece] for piece in range(count)]

    def _moved(self, group: Group, gradient_NCHW: Tensor, places: Sequence[int]) -> Group:
        """Return the images at some places after the rule's step."""
        if len(places) < len(group):
            gradient_NCHW = gradient_NCHW[torch.tensor(places, dtype=torch.int64, device=gradient_NCHW.device)]
        group = group.take(places)
        if not len(group):
            return NOBODY
        trials = [run.trial for run in group.runs]
        eps_N = group.at_NCHW.new_tensor([trial.eps for trial in trials])
        step = Step(
            images_NCHW=group.images_NCHW,
            at_NCHW=group.at_NCHW,
            gradient_NCHW=gradient_NCHW,
            eps_N=eps_N,
            length_N=eps_N.new_tensor([self.spec.step_size * trial.eps / trial.steps for trial in trials]),
            taken_N=torch.tensor([run.taken for run in group.runs], device=eps_N.device),
            ball=self.ball,
            memory=group.memory,
        )
        group.at_NCHW = self._kept(group.images_NCHW, self.rule(step) - group.images_NCHW, eps_N)
        if not torch.isfinite(group.at_NCHW).all():
            raise RunError(f"the attack {self.spec.name} made values that are NaN; mend its update rule.")
        for run in group.runs:
            run.taken += 1
        return group

    def _kept(self, images_NCHW: Tensor, change_NCHW: Tensor, eps_N: Tensor) -> Tensor:
        """Changed images, brought back into the ball and into [0, 1]."""
        return (images_NCHW + self.ball.project(change_NCHW, eps_N)).clamp(0, 1)

    # -- what became of them ----------------------------------------------------------------------------------

    def _wait(self, group: Group) -> None:
        self._waiting = self._waiting.join(group)

    def _judge(self) -> None:
        """Show the perturbed images plainly; those that are through with a trial go on to their next, or are done."""
        group, self._waiting = self._waiting, NOBODY
        if not len(group):
            return
        with torch.no_grad():
            logits_NK = self._logits(group.at_NCHW)
            norms = self._checked_norms(group).tolist()
            predictions, labels = logits_NK.argmax(1).tolist(), group.labels_N.tolist()
            losses = cross_entropy(logits_NK, group.labels_N).tolist()
            going, restarting = [], []
            for place, run in enumerate(group.runs):
                fooled = predictions[place] != labels[place]
                if not fooled and not run.over:  # it looked fooled among other images only
                    run.refuted = run.taken
                    going.append(place)
                    continue
                ending = Ending(
                    fooled=fooled,
                    prediction=predictions[place],
                    loss=losses[place],
                    norm=norms[place],
                    steps=run.taken,
                    rise=run.losses[1] - run.losses[0],
                    flat=run.flat,
                )
                if self.ended:
                    self.ended(run.row, ending, group.at_NCHW[place])
                if self._goes_on(run, ending):
                    restarting.append(place)
            self._ready = group.take(going).join(self._started(group.take(restarting))).join(self._ready)

    def _goes_on(self, run: Run, ending: Ending) -> bool:
        """Send a course how its trial ended; whether it has another."""
        try:
            run.trial = run.course.send(ending)
        except StopIteration as stop:
            self._finish(run.row, run.clean, stop.value)
            return False
        return True

    def _finish(self, row: int, clean: Result, finding: Finding | None) -> None:
        self.results[row] = replace(clean, finding=finding)
        self.done(1)

    def _checked_norms(self, group: Group) -> Tensor:
        """Norms of the changes, within eps, of images in [0, 1]."""
        norms_N = self.ball.size(group.at_NCHW - group.images_NCHW).cpu().double()
        beyond_N = norms_N - norms_N.new_tensor([run.trial.eps for run in group.runs])
        allowed_N = norms_N.new_tensor([slack(run.trial.eps) for run in group.runs])
        low, high = group.at_NCHW.aminmax()
        if not (low >= 0 and high <= 1 and bool((beyond_N <= allowed_N).all())):
            raise RunError(
                f"the attack {self.spec.name} left its ball or [0, 1] (values from {low:g} to {high:g}, changes up to "
                f"{beyond_N.max():g} beyond eps); this is a defect of rtbench: please report it."
            )
        return norms_N

    def _plainly(self, images_NCHW: Tensor) -> Tensor:
        shown_NCHW = self._filled_up(images_NCHW)

        def forward(piece: slice) -> Tensor:
            with torch.no_grad():
                logits_NK: Tensor = self.module(shown_NCHW[piece])
                return logits_NK.float()

        return torch.cat(self._in_pieces(len(shown_NCHW), forward))[: len(images_NCHW)]

    def _usual(self, n: int) -> int:
        """The number of images that n are filled up to."""
        quantum = max(1, self.width // _SHARE)
        return min(-(-n // quantum) * quantum, max(self.width, n))

    def _filled_up(self, rows: Tensor) -> Tensor:
        """The rows of some images, and the first of them again until their number is a usual one."""
        n, wanted = len(rows), self._usual(len(rows))
        return rows if wanted == n else torch.cat((rows, rows[:1].expand(wanted - n, *rows.shape[1:])))

    def _logits(self, images_NCHW: Tensor) -> Tensor:
        """(N, K) float32 by plain forward passes.

        Raises:
            RunError: a logit is NaN or infinite.
        """
        parts: list[Tensor] = []
        done = 0
        while done < len(images_NCHW):
            piece = images_NCHW[done : done + self.width]
            try:
                parts.append(self._plainly(piece))
            except Exception as error:
                self.width = fewer(self._usual(len(piece)), error, fixed=self.fixed)
                continue
            done += len(piece)
        logits_NK = torch.cat(parts)
        if not torch.isfinite(logits_NK).all():
            raise RunError("a logit is NaN or infinite; look for NaN in the weights, and use --precision fp32.")
        return logits_NK


def _gradient(module: nn.Module, loss: Loss, images_NCHW: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the loss, and its gradient: zero where the logits are cut off from the image, which the signs tell."""
    with torch.enable_grad():
        images_NCHW = images_NCHW.detach().requires_grad_()
        logits_NK = module(images_NCHW).float()
        loss_N = loss(logits_NK, labels_N)
        gradient_NCHW = None
        if loss_N.requires_grad:
            (gradient_NCHW,) = torch.autograd.grad(loss_N.sum(), images_NCHW, allow_unused=True)
    if gradient_NCHW is None:
        gradient_NCHW = torch.zeros_like(images_NCHW)
    return logits_NK.detach(), loss_N.detach(), gradient_NCHW


def slack(eps: float) -> float:
    """How far beyond an eps rounding may leave a change."""
    return SLACK * max(1.0, eps)
