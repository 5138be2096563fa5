"""Made-up outcomes in a store, as a run would leave them: for scripts and tests that need no model."""

from collections.abc import Sequence

import numpy as np

from bench.measure.cells import versions
from bench.records import Array, Cell, Checkpoint, ClassSpace, Condition, Numerics, digest
from bench.store import Store

SPACE = ClassSpace(name="ten", classes=tuple("0123456789"))


def write_outcome(
    store: Store,
    name: str,
    condition: Condition,
    correct_N: Array,
    *,
    model: str = "",
    seed: int = 0,
    limit: int | None = None,
    fingerprint: str = "made up",
    learnt: Sequence[tuple[str, int]] = (),
) -> Cell:
    """Store which images a checkpoint has right under a condition; where it is wrong it says the next class.

    Args:
        store: where to.
        name: of the checkpoint.
        condition: of a measure that says which images are right.
        correct_N: (n,) bool.
        model: digest of its model; the name's unless given.
        seed: of the draws, where there are any.
        limit: as of a run.
        fingerprint: of the data.
        learnt: of each split that was learnt from, its fingerprint and how many images it had.
    """
    checkpoint = Checkpoint(name=name, class_space=SPACE, family="other", sam="none")
    n = len(correct_N)
    cell = Cell(
        checkpoint=checkpoint,
        condition=condition,
        model_digest=model or digest(name),
        fingerprints=(fingerprint, *(seen for seen, _ in learnt)),
        n=n,
        fit_n=tuple(images for _, images in learnt),
        versions=versions(condition),
        seed=None if condition.images.perturbation is None else seed,
        limit=limit,
        of=n,
        numerics=Numerics(),
    )
    labels_N = np.arange(n, dtype=np.int64) % len(SPACE.classes)
    predicted_N = np.where(correct_N, labels_N, (labels_N + 1) % len(SPACE.classes)).astype(np.int32)
    store.record_checkpoint(cell.model_digest, checkpoint)
    ids = np.array([f"{i:05d}" for i in range(n)])
    store.write(cell, ids, labels_N, {"prediction": predicted_N, "correct": np.asarray(correct_N, bool)})
    return cell
