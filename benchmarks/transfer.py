"""Transfer: ours against scikit-learn, in time and in what is predicted; a second run from kept features.

    python benchmarks/transfer.py                         # features of made-up images
    python benchmarks/transfer.py --cifar10 DIR           # of CIFAR-10's, through a ViT-S of random weights
    python benchmarks/transfer.py --only sweep,neighbours --device cuda

The sweep over 45 strengths is at least as long as scikit-learn takes for all of them, some ten minutes on two cores.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from _common import Synthetic, claim, register_random, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from bench import api
from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.datasets import Dataset, Library, Samples, datasets
from bench.datasets.crops import CropSource
from bench.measure import Labelled
from bench.measure.probes import LinearProbe
from bench.records import Array, Checkpoint, ClassSpace
from bench.run.device import to_unit_range
from bench.store import Store
from bench.suite import suites
from bench.transfer import knn, logistic
from bench.transfer.features import Backbone, standardisation

N, HELD_OUT, CLASSES = 10_000, 2_000, 10
L2 = torch.logspace(-6, 6, 45, dtype=torch.float64)
TOLERANCE = 1e-4
"""Of the gradient, for both; scikit-learn's default."""
FASTER, APART, SECOND, FLIPPED = 8.0, 0.001, 0.05, 0.002
"""Bars: ratio of the sweep's time, difference in accuracy, time of a second run, predictions that the batch changes."""
SPACE = ClassSpace(name="ten", classes=tuple(f"class {i}" for i in range(CLASSES)))
KS = (1, 5, 10, 20, 50, 200)


class Blobs(Synthetic):
    """Synthetic pictures whose class shows, a little, in their colour."""

    def __init__(self, n: int, size: int, first: int = 0) -> None:
        super().__init__(n, size)
        self.ids = np.array([f"s{i:07d}" for i in range(first, first + n)])
        self.labels = np.arange(n, dtype=np.int64) % CLASSES
        self.first = first

    def read(self, index: int) -> Array:
        """(size, size, 3) uint8."""
        tint = np.array([self.labels[index] % 3, self.labels[index] % 4, self.labels[index] % 5]) * 12 - 24
        plain = super().read(self.first + index).astype(np.int16)
        return np.asarray((plain + tint).clip(0, 255).astype(np.uint8))


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def features_of(samples: Samples, entry: Checkpoint, rows: Iterable[int], device: str) -> torch.Tensor:
    """(n, D) float32 on the CPU: a checkpoint's features of some samples."""
    module, source = Backbone(load(entry, device), "pre_logits"), CropSource(samples, entry.crop)
    found, rows = [], list(rows)
    with torch.inference_mode():
        for start in range(0, len(rows), 250):
            images = np.stack([source.get(row) for row in rows[start : start + 250]])
            found.append(module(to_unit_range(torch.from_numpy(images).permute(0, 3, 1, 2), device)).cpu())
    return torch.cat(found)


def data(arguments: argparse.Namespace, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (12,000, 384) of a ViT-S/16 of random weights at 64 pixels, and labels."""
    entry = register_random(
        "vit-s", "vit_small_patch16_224", 64, 0, folder, lambda m: m.set_input_size((64, 64)), class_space=SPACE
    )
    if arguments.cifar10 is None:
        samples: Samples = Blobs(N + HELD_OUT, 64)
    else:
        samples = Library({"cifar10": arguments.cifar10}).open("cifar10", "train").samples
    features = features_of(samples, entry, range(N + HELD_OUT), arguments.device)
    return features, torch.from_numpy(samples.labels[: N + HELD_OUT])


def sweep(arguments: argparse.Namespace, features: torch.Tensor, labels: torch.Tensor) -> None:
    """45 strengths: all together, and one after another."""
    mean, std = standardisation(features[:N].double())
    x = (features.double() - mean) / std
    train, held = x[:N], x[N:]
    ours = x[:N].to(arguments.device), labels[:N].to(arguments.device)
    solved: list[logistic.Solution] = []

    def fit() -> None:
        solution = logistic.fit(*ours, CLASSES, L2.to(arguments.device), tolerance=TOLERANCE)
        solution.weights_LDK.cpu()  # waits for the device
        solved.append(solution)

    fit()
    times = [seconds(fit) for _ in range(arguments.rounds)]
    models = [LogisticRegression(C=1 / float(l2), tol=TOLERANCE, max_iter=20_000) for l2 in L2]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        theirs = [seconds(lambda m=model: m.fit(train.numpy(), labels[:N].numpy())) for model in models]  # type: ignore[misc]
    times += [seconds(fit) for _ in range(arguments.rounds)]  # before and after: the machine may have changed
    solution, wanted = solved[-1], labels[N:].numpy()
    rows, worst = [["L2", "theirs, s", "their steps", "their accuracy", "ours"]], 0.0
    for problem, (l2, model) in enumerate(zip(L2, models, strict=True)):
        our_accuracy = float(
            np.mean(solution.logits(held.to(arguments.device), problem).argmax(1).cpu().numpy() == wanted)
        )
        their_accuracy = float(model.score(held.numpy(), wanted))
        worst = max(worst, abs(our_accuracy - their_accuracy))
        if problem % 4 == 0:
            numbers = [
                f"{theirs[problem]:.2f}",
                str(model.n_iter_[0]),
                f"{100 * their_accuracy:.2f}",
                f"{100 * our_accuracy:.2f}",
            ]
            rows.append([f"{float(l2):.1e}", *numbers])
    table(rows)
    ratio, steps = sum(theirs) / statistics.median(times), solution.steps
    took = f"theirs {sum(theirs):.0f} s; ours {statistics.median(times):.1f} s in {steps} steps"
    print(f"all 45: {took}, {int(solution.converged_L.sum())} solved")
    claim(
        f"the sweep over 45 strengths, {N:,} × {x.shape[1]}, fp64, gradient {TOLERANCE:g}, {FASTER:g} × as fast",
        f"{ratio:.0f} × (accuracy on {HELD_OUT:,} others differs by at most {100 * worst:.2f} points)",
        ratio >= FASTER and bool(solution.converged_L.all()),
    )


def accuracy(features: torch.Tensor, labels: torch.Tensor, what: str) -> None:
    """The whole measure beside scikit-learn at the strength that it chose, both converged."""
    n = len(labels)
    some, held, test = slice(0, 6 * n // 10), slice(6 * n // 10, 7 * n // 10), slice(7 * n // 10, n)
    ids = np.array([f"{row:06d}" for row in range(n)])
    train, validation = (
        Labelled(ids=ids[part], labels_N=labels[part], features_ND=features[part]) for part in (some, held)
    )
    found = LinearProbe(45, 1e-6, 1e6).run(train, validation, features[test], int(labels.max()) + 1, 0)
    l2 = 10 ** found.chosen["chosen_log10_l2"]
    learnt = features[: held.stop].double()
    mean, std = standardisation(learnt)
    model = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=100_000)
    model.fit(((learnt - mean) / std).numpy(), labels[: held.stop].numpy())
    theirs = model.predict(((features[test].double() - mean) / std).numpy())
    ours, wanted = found.scores_NK.argmax(1).numpy(), labels[test].numpy()
    apart = abs(float(np.mean(ours == wanted)) - float(np.mean(theirs == wanted)))
    claim(
        f"linear probe on {what} within {100 * APART:g} points of scikit-learn at the same L2, converged",
        f"{100 * np.mean(ours == wanted):.2f} and {100 * np.mean(theirs == wanted):.2f} "
        f"at {l2:.2g}; {np.mean(ours != theirs):.2%} of {len(wanted):,} predictions differ",
        apart <= APART,
    )


def neighbours(arguments: argparse.Namespace, features: torch.Tensor, labels: torch.Tensor) -> None:
    """Votes of 200 neighbours, fp32."""
    bank, queries = features[:N], features[N:]
    model = KNeighborsClassifier(
        n_neighbors=KS[-1], metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / knn.TEMPERATURE)
    ).fit(bank.numpy(), labels[:N].numpy())
    found: list[Array] = []

    def ours() -> None:
        cosines, rows = knn.neighbours(bank.to(arguments.device), queries.to(arguments.device), KS[-1])
        votes = knn.votes(cosines, labels[:N].to(arguments.device)[rows], CLASSES, KS)
        found.append(votes[KS[-1]].argmax(1).cpu().numpy())

    def theirs() -> None:
        found.append(model.predict(queries.numpy()))

    rounds = [(seconds(ours), seconds(theirs)) for _ in range(1 + arguments.rounds)][1:]
    ratio = statistics.median(b / a for a, b in rounds)
    equal = float(np.mean(found[-2] == found[-1]))
    claim(
        f"k-NN, {len(queries):,} queries among {N:,}, at least as fast as scikit-learn's brute force",
        f"{ratio:.2f} × ({equal:.2%} of predictions equal, fp32)",
        ratio >= 1 and equal >= 0.999,
    )


def runs(arguments: argparse.Namespace, folder: Path) -> None:
    """`bench run` from nothing and from kept features, and with another batch size."""
    entry = register_random("resnet18", "resnet18", 224, 0, folder, class_space=SPACE)
    parts = {"train": Blobs(1500, 96), "test": Blobs(500, 96, first=1500)}
    datasets.register(
        Dataset(
            name="blobs",
            class_space=SPACE,
            open=lambda split, place: parts[split],
            splits=("test", "train"),
            fit=("train",),
        )
    )
    suite = suites.get("knn").over(["blobs"])

    def run(store: str, cache: str, batch: str) -> float:
        flags = {
            "store": str(folder / store),
            "cache": str(folder / cache),
            "batch_size": batch,
            "device": arguments.device,
        }
        return seconds(lambda: api.run([suite], [entry], api.configure(**flags).settings))

    def predictions(store: str) -> Array:
        found = Store(folder / store)
        return found.read(next(iter(found.keys()))).columns["prediction"]

    first, second = run("first", "cache", "64"), run("second", "cache", "64")
    claim(
        f"a second run from kept features under {SECOND:.0%} of the first",
        f"{second / first:.1%}",
        second < SECOND * first,
    )
    run("other", "other-cache", "17")
    changed = float(np.mean(predictions("first") != predictions("other")))
    claim(
        f"at most {FLIPPED:.1%} of predictions change between batches of 64 and 17",
        f"{changed:.2%}",
        changed <= FLIPPED,
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="transfer beside scikit-learn")
    parser.add_argument("--cifar10", type=Path, metavar="DIR", help="a place of CIFAR-10, as bench run takes it")
    parser.add_argument("--device", default="cpu", help="of ours; scikit-learn has the CPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="sweep,accuracy,neighbours,runs", metavar="A,B,…")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, ours on {arguments.device}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features, labels = data(arguments, folder)
        what = "CIFAR-10" if arguments.cifar10 else "made-up images"
        if "accuracy" in wanted:
            accuracy(features, labels, f"features of {what} (ViT-S, random weights)")
            letters = Library().open("letters", "train").samples
            for checkpoint in ("digits-vit", "digits-mixer", "digits-resnet"):
                entry = checkpoints.get(checkpoint)
                found = features_of(letters, entry, range(len(letters.ids)), "cpu")
                accuracy(found, torch.from_numpy(letters.labels), f"letters ({checkpoint})")
        if "neighbours" in wanted:
            neighbours(arguments, features, labels)
        if "runs" in wanted:
            runs(arguments, folder)
        if "sweep" in wanted:
            sweep(arguments, features, labels)


if __name__ == "__main__":
    main()
