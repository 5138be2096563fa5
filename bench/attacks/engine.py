"""Runs the courses of many images side by side: whatever each is at, the model sees full batches.

An image whose trial is over leaves the batch, and the next takes its place. Whether an image is fooled is decided by a
plain forward pass of the perturbed image, not rounded to bytes, never by what the attack saw on its way.

Legend: N images in one group, C channels, H × W pixels, K classes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from bench.attacks import UpdateRule
from bench.attacks.balls import ball_of, column
from bench.attacks.course import Course, Ending, Finding, Spec, Trial, course
from bench.attacks.losses import cross_entropy, loss_of
from bench.attacks.steps import Step
from bench.errors import RunError
from bench.memory import fewer
from bench.rng import Draws, keys

SLACK = 1e-6
"""How far beyond eps rounding may leave a change."""
_SHARE = 4
"""Images wait for the plain forward pass until there is one for so many in the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Some of the images to be attacked."""

    rows: Sequence[int]
    """Of the outcome."""
    ids: Sequence[str]
    labels_N: Tensor
    images_NCHW: Tensor
    """float32 in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is known of one image in the end."""

    prediction: int
    """Of the image as it is."""
    correct: bool
    loss: float
    """Cross-entropy of the image as it is, nats."""
    unsteady: float
    """By how much of their largest its logits change when it is shown again among other images; NaN where not tried."""
    finding: Finding | None = None
    """None where the model has the image wrong: there is nothing to fool."""


@dataclass(slots=True)
class _Run:
    """An image on its course."""

    row: int
    sample_id: str
    clean: Result
    course: Course
    trial: Trial
    taken: int = 0
    losses: tuple[float, float] = (math.nan, math.nan)
    """Of the attack's own loss: at the first gradient and at the last."""
    flat: bool = False
    refuted: int = -1
    """Steps taken when a plain forward pass last denied that it was fooled."""

    @property
    def over(self) -> bool:
        """Whether its trial has no step left."""
        return self.taken == self.trial.steps

    def note(self, loss: float, *, flat: bool) -> None:
        """What a gradient showed."""
        if self.taken == 0:
            self.losses, self.flat = (loss, loss), flat
        self.losses = (self.losses[0], loss)


@dataclass(slots=True)
class _Group:
    """Images side by side; a row of each tensor belongs to the run of its place."""

    runs: list[_Run]
    images_NCHW: Tensor
    at_NCHW: Tensor
    labels_N: Tensor
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.runs)

    def take(self, places: Sequence[int]) -> "_Group":
        """Those at some places."""
        if len(places) == len(self):
            return self
        chosen = torch.tensor(places, dtype=torch.int64, device=self.at_NCHW.device)
        memory = {name: kept[chosen] for name, kept in self.memory.items()}
        runs = [self.runs[place] for place in places]
        return _Group(runs, self.images_NCHW[chosen], self.at_NCHW[chosen], self.labels_N[chosen], memory)

    def join(self, other: "_Group") -> "_Group":
        """Both; what a rule remembers of one alone is zero for the other."""
        if not (len(self) and len(other)):
            return self if len(self) else other
        memory = {
            name: torch.cat([group.memory.get(name, torch.zeros_like(group.at_NCHW)) for group in (self, other)])
            for name in self.memory.keys() | other.memory.keys()
        }
        images, at = (
            torch.cat(pair) for pair in ((self.images_NCHW, other.images_NCHW), (self.at_NCHW, other.at_NCHW))
        )
        return _Group([*self.runs, *other.runs], images, at, torch.cat((self.labels_N, other.labels_N)), memory)


_NOBODY = _Group([], torch.empty(0), torch.empty(0), torch.empty(0))


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
        self._ready, self._active, self._waiting = _NOBODY, _NOBODY, _NOBODY

    def run(self, pictures: Iterable[Pictures]) -> dict[int, Result]:
        """Attack all images; what came of each, by its row.

        Raises:
            RunError: logits or gradients that are not finite or not there, or a single image does not fit in memory.
        """
        source = iter(pictures)
        while self._fill(source):
            if len(self._active):
                self._step()
            if _SHARE * len(self._waiting) >= len(self._active):
                self._judge()
        return self.results

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
            self._ready = self._ready.take(range(room, len(self._ready))) if len(self._ready) > room else _NOBODY
        return bool(len(self._active) or len(self._waiting))

    def _enter(self, pictures: Pictures) -> _Group:
        """Show images as they are; those that the model has right begin their course."""
        logits_NK = self._logits(pictures.images_NCHW)
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
            runs.append(_Run(row, sample_id, clean, way, next(way)))
            places.append(place)
        chosen = torch.tensor(places, dtype=torch.int64, device=pictures.images_NCHW.device)
        images_NCHW = pictures.images_NCHW[chosen]
        return self._started(_Group(runs, images_NCHW, images_NCHW, pictures.labels_N[chosen]))

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
        again_NK = torch.cat([self._logits(pictures.images_NCHW[half]) for half in halves if len(half)])
        change_N = (again_NK - before_NK).abs().amax(1) / before_NK.abs().amax(1).clamp_min(1e-12)
        return dict(zip(chosen.tolist(), change_N.tolist(), strict=True))

    def _started(self, group: _Group) -> _Group:
        """The group at the starts of its runs' trials, in the same order; what rules remember is forgotten."""
        at_NCHW = group.images_NCHW.clone()
        places: dict[str, list[int]] = defaultdict(list)
        for place, run in enumerate(group.runs):
            run.taken, run.refuted = 0, -1
            if run.trial.start:
                places[run.trial.start].append(place)
        for start, some in places.items():
            ids = [group.runs[place].sample_id for place in some]
            draws = Draws(keys(self.seed, start, ids, at_NCHW.device))
            change_NCHW = self.ball.random(draws, at_NCHW.shape[1:]).to(at_NCHW.dtype)
            chosen = torch.tensor(some, dtype=torch.int64, device=at_NCHW.device)
            eps_N = at_NCHW.new_tensor([group.runs[place].trial.eps for place in some])
            at_NCHW[chosen] = self._kept(group.images_NCHW[chosen], column(eps_N) * change_NCHW, eps_N)
        return _Group(group.runs, group.images_NCHW, at_NCHW, group.labels_N)

    # -- a step of all ----------------------------------------------------------------------------------------

    def _step(self) -> None:
        group = self._active
        try:
            logits_NK, loss_N, gradient_NCHW = self._gradient(group)
        except Exception as error:
            self.width = fewer(len(group), error, fixed=self.fixed)
            self._active = group.take(range(self.width))
            self._ready = group.take(range(self.width, len(group))).join(self._ready)
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

    def _gradient(self, group: _Group) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the loss, and its gradient, where the images stand."""
        with torch.enable_grad():
            at_NCHW = group.at_NCHW.detach().requires_grad_()
            logits_NK = self.module(at_NCHW).float()
            loss_N = self.loss(logits_NK, group.labels_N)
            if not loss_N.requires_grad:
                raise RunError(
                    "the checkpoint gives no gradients (its logits are cut off from the image), and this attack goes "
                    "by them: let the module's forward be differentiable."
                )
            (gradient_NCHW,) = torch.autograd.grad(loss_N.sum(), at_NCHW)
        return logits_NK.detach(), loss_N.detach(), gradient_NCHW

    def _moved(self, group: _Group, gradient_NCHW: Tensor, places: Sequence[int]) -> _Group:
        """Those at some places after the rule's step."""
        if len(places) < len(group):
            gradient_NCHW = gradient_NCHW[torch.tensor(places, dtype=torch.int64, device=gradient_NCHW.device)]
        group = group.take(places)
        if not len(group):
            return _NOBODY
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
        for run in group.runs:
            run.taken += 1
        return group

    def _kept(self, images_NCHW: Tensor, change_NCHW: Tensor, eps_N: Tensor) -> Tensor:
        """Changed images, brought back into the ball and into [0, 1]."""
        return (images_NCHW + self.ball.project(change_NCHW, eps_N)).clamp(0, 1)

    # -- what became of them ----------------------------------------------------------------------------------

    def _wait(self, group: _Group) -> None:
        self._waiting = self._waiting.join(group)

    def _judge(self) -> None:
        """Show the perturbed images plainly; those that are through with a trial go on to their next, or are done."""
        group, self._waiting = self._waiting, _NOBODY
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

    def _goes_on(self, run: _Run, ending: Ending) -> bool:
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

    def _checked_norms(self, group: _Group) -> Tensor:
        """Norms of the changes, within eps, of images in [0, 1]."""
        norms_N = self.ball.size(group.at_NCHW - group.images_NCHW)
        eps_N = norms_N.new_tensor([run.trial.eps for run in group.runs])
        low, high = group.at_NCHW.aminmax()
        if not (low >= 0 and high <= 1 and bool((norms_N <= eps_N + SLACK).all())):
            raise RunError(
                f"the attack {self.spec.name} left its ball or [0, 1], or made NaN (values from {low:g} to {high:g}, "
                f"changes up to {(norms_N - eps_N).max():g} beyond eps); mend its update rule."
            )
        return norms_N

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
                with torch.no_grad():
                    parts.append(self.module(piece).float())
            except Exception as error:
                self.width = fewer(len(piece), error, fixed=self.fixed)
                continue
            done += len(piece)
        logits_NK = torch.cat(parts)
        if not torch.isfinite(logits_NK).all():
            raise RunError("a logit is NaN or infinite; look for NaN in the weights, and use --precision fp32.")
        return logits_NK
