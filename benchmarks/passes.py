"""One pass over ImageNet's validation set feeding six suites, beside the same run for one suite.

    python benchmarks/passes.py --photos DIR

DIR holds photographs in class folders named by wnid; they are linked under validation names until there are
`--images` of them. The six are the suites of the ImageNet track that need the validation set (imagenet, imagenet-real,
and the clean controls of -r, -a, -v2 and -c), cut to the scores that need nothing else. Both sides are whole runs of
the engine, from an empty store: plan, decoding, resnet18 at 224 with random weights, storing, scores.
"""

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
from _common import claim, clock, in_turn, link_photographs, register_random, table

from bench import api
from bench.datasets.spaces import IMAGENET
from bench.records import Array, Checkpoint, Settings
from bench.suite import Suite, suites

BAR = 1.03
"""Issue 3, "Numbers to reach"."""
NAMES = ("imagenet", "imagenet-real", "imagenet-r", "imagenet-a", "imagenet-v2", "imagenet-c")


def on_validation_set(name: str) -> Suite:
    """A suite's scores that need the clean validation set alone."""
    suite, clean = suites.get(name), suites.get("imagenet").headline.conditions
    scores = [score for score in suite.scores if set(score.conditions) == set(clean)]
    return dataclasses.replace(suite, scores=tuple(scores), fallback="")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up")
    return parser.parse_args()


def main() -> None:
    """Run both in turn."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "val").mkdir()
        link_photographs(arguments.photos, arguments.images, root / "val")
        entry = register_random("resnet18-random", "resnet18", 224, 0, root, class_space=IMAGENET)
        six = [on_validation_set(name) for name in NAMES]
        flags = {"store": str(root / "runs"), "cache": "off", "device": "cpu", "data": {"imagenet": str(root / "val")}}
        settings = api.configure(**flags).settings
        sides = [lambda: timed(six[:1], entry, settings), lambda: timed(six, entry, settings)]
        report(in_turn(arguments.rounds, sides), arguments.images)


def timed(chosen: list[Suite], entry: Checkpoint, settings: Settings) -> Array:
    """Seconds of one run from an empty store."""
    shutil.rmtree(settings.store, ignore_errors=True)
    start = clock()
    result = api.run(chosen, [entry], settings)
    if not result.ok or len(result.boards) != len(chosen) or len(result.plan.cells) != 1:
        raise SystemExit(f"the run went wrong: {result.failures}")
    return clock() - start


def report(seconds: Array, n: int) -> None:
    """Medians and the ratio of six to one."""
    median = np.median(seconds, axis=0)
    table(
        [
            (f"{n:,} images, seconds", "wall", "user", "system"),
            *(
                (label, *(f"{s:.2f}" for s in row))
                for label, row in zip(("one suite", "six suites"), median, strict=True)
            ),
        ]
    )
    ratio = float(np.median(seconds[:, 1, 0] / seconds[:, 0, 0]))
    claim(f"one pass feeding six suites costs at most {BAR} × one suite", f"{ratio:.3f} ×", ratio <= BAR)


if __name__ == "__main__":
    main()
