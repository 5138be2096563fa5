"""Attacks by gradients over a grid of eps, as a measure: which images withstand, and signs that they only seem to.

Legend: n images, E values of eps.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from bench.attacks import attacks
from bench.attacks.course import Spec
from bench.attacks.engine import Engine, Pictures
from bench.attacks.epsilon import parse_grid
from bench.attacks.groups import Result
from bench.attacks.losses import loss_of
from bench.errors import BenchError
from bench.measure import Loader, Pace, PictureLoader
from bench.measure.signs import afresh_rows, sign_columns, square_column
from bench.records import Array


class Attacked:
    """The checkpoint measures `fgsm`, `pgd` and those of plug-in attacks.

    Args:
        attack: its registered name.
        norm: `linf` or `l2`.
        grid: ascending values of eps, such as `1/255+2/255`.
        loss: what it raises, `ce` or `dlr`.
        steps: gradients at each eps; None takes the attack's own number.
        restarts: random starts at each eps.
        step_size: length of a step in units of eps / steps; None takes the attack's own.

    Raises:
        BenchError: a name is unknown or a number not possible.
    """

    def __init__(
        self,
        attack: str,
        norm: str,
        grid: str,
        loss: str = "ce",
        steps: int | None = None,
        restarts: int = 1,
        step_size: float | None = None,
    ) -> None:
        entry = attacks.get(attack)
        self.spec = Spec(
            name=attack,
            norm=norm,
            loss=loss,
            grid=parse_grid(grid, norm).values,
            steps=entry.steps if steps is None else steps,
            restarts=restarts,
            step_size=entry.step_size if step_size is None else step_size,
            random_start=entry.random_start,
            iterative=entry.iterative,
        )
        loss_of(loss)
        if steps not in (None, 1) and not entry.iterative:
            raise BenchError(f"{attack} takes one step, not {steps}: leave the steps out, or attack with pgd.")
        for name in ("steps", "restarts", "step_size"):
            value = getattr(self.spec, name)
            if not (value > 0 and math.isfinite(value)):
                raise BenchError(f"{name} of {attack} must be more than 0, not {value}.")
        if restarts > 1 and not entry.random_start:
            raise BenchError(f"{attack} begins at the image itself, so restarts would all be one: leave them out.")
        self._rule = entry.load()

    def run(
        self, module: torch.nn.Module, loader: Loader, fit: Mapping[str, PictureLoader], seed: int, pace: Pace
    ) -> dict[str, Array]:
        """Attack every image that the model has right.

        Returns:
            `prediction`, `correct` and `clean_loss` (n,), nats: of the images as they are. `smallest_eps` (n,) float32:
            of the grid, that fools; 0 where the model is wrong anyway, infinite where none does.
            `adversarial_prediction`, `adversarial_loss` and the norm of the `change` (n,): of the perturbed image that
            fools, else of the last at the largest eps. `gradients` (n,): taken. And the columns of
            `bench.measure.signs`.
        """
        engine = Engine(
            module,
            self.spec,
            self._rule,
            afresh=[str(i) for i in loader.ids[afresh_rows(loader.ids)]],
            seed=seed,
            width=pace.batch_size,
            fixed=pace.fixed,
            done=pace.done,
        )
        attacked = engine.run(pictures(loader))
        results = [attacked[row] for row in range(len(loader.ids))]
        columns = {**outcome_columns(results, self.spec.grid), **sign_columns(results, len(self.spec.grid))}
        if self.spec.iterative:
            columns |= square_column(module, loader, self.spec, columns, seed)
        return columns


def pictures(loader: Loader) -> Iterator[Pictures]:
    """A loader's batches as the engine takes them."""
    done = 0
    for batch in loader:
        rows = range(done, done + len(batch.ids))
        yield Pictures(rows=rows, ids=batch.ids, labels_N=batch.labels_N, images_NCHW=batch.images_NCHW)
        done += len(batch.ids)


def outcome_columns(results: Sequence[Result], grid: Sequence[float]) -> dict[str, Array]:
    """What became of each image; see `Attacked.run`."""
    endings = [result.finding.ending if result.finding else None for result in results]
    eps = [*grid, math.inf]
    smallest = [eps[result.finding.first] if result.finding else 0.0 for result in results]
    pairs = list(zip(results, endings, strict=True))
    return {
        "prediction": np.array([result.prediction for result in results], dtype=np.int32),
        "correct": np.array([result.correct for result in results]),
        "smallest_eps": np.array(smallest, dtype=np.float32),
        "adversarial_prediction": np.array([e.prediction if e else r.prediction for r, e in pairs], dtype=np.int32),
        "clean_loss": np.array([result.loss for result in results], dtype=np.float32),
        "adversarial_loss": np.array([e.loss if e else r.loss for r, e in pairs], dtype=np.float32),
        "change": np.array([e.norm if e else 0.0 for e in endings], dtype=np.float32),
        "gradients": np.array([r.finding.steps if r.finding else 0 for r in results], dtype=np.int32),
    }
