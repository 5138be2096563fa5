"""What the gate catches, and how often it is wrong: repeats of made-up checkpoints, each judged as `bench gate` does.

A repeat is a baseline and a candidate on the same images, of which the baseline has a share right at random. Of all
images the candidate loses and gains shares at random. Once it is judged by the outcomes, once by the baseline's
published value and n.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from _common import claim, table
from _outcomes import write_outcome

from bench import api
from bench.board.tables import long_table, to_csv
from bench.compare.gate import judge
from bench.compare.numbers import Numbers, published, stored
from bench.records import Array
from bench.store import Store
from bench.suite import suites

DIGITS = suites.get("digits")
TOLERANCE = 0.003
SCENES = {"1 point worse": (0.0125, 0.0025), "equal flips": (0.02, 0.02)}
"""Shares of all images that are lost and gained."""
CAUGHT, UNPAIRED = 0.95, 0.30
"""Bars: at least, at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--accuracy", type=float, default=0.8, help="of the baseline")
    parser.add_argument("--alpha", type=float, default=0.05)
    arguments = parser.parse_args()
    rates: dict[str, tuple[float, float]] = {}
    for scene, (lost, gained) in SCENES.items():
        with tempfile.TemporaryDirectory() as folder:
            rates[scene] = _rates(Path(folder), scene, lost, gained, arguments)
    table([("share of gates that fail", "by outcomes", "by value and n"), *(
        (scene, f"{paired:.1%}", f"{unpaired:.1%}") for scene, (paired, unpaired) in rates.items()
    )])  # fmt: skip
    caught, unpaired = rates["1 point worse"]
    alarms, _ = rates["equal flips"]
    claim(f"a drop of a point is caught at least {CAUGHT:.0%} of the time", f"{caught:.1%}", caught >= CAUGHT)
    claim(f"two separate intervals catch it at most {UNPAIRED:.0%}", f"{unpaired:.1%}", unpaired <= UNPAIRED)
    claim(f"equal flips raise an alarm at most {arguments.alpha:.0%}", f"{alarms:.1%}", alarms <= arguments.alpha)


def _rates(folder: Path, scene: str, lost: float, gained: float, arguments: argparse.Namespace) -> tuple[float, float]:
    """How often the gate fails: by outcomes, and by published values."""
    names = [f"repeat-{i:04d}" for i in range(arguments.repeats)]
    stores = Store(folder / "before"), Store(folder / "after")
    for name in names:
        pair = _pair(f"{scene}/{name}", lost, gained, arguments)
        for store, correct_N in zip(stores, pair, strict=True):
            write_outcome(store, name, DIGITS.headline.conditions[0], correct_N)
    boards = [api.boards([DIGITS], store) for store in stores]
    csv = folder / "before.csv"
    csv.write_text(to_csv(long_table(boards[0])))
    after = stored(boards[1], stores[1])
    paired = _failed(stored(boards[0], stores[0]), after, names, arguments.alpha)
    return paired, _failed(published([csv]), after, names, arguments.alpha)


def _pair(key: str, lost: float, gained: float, arguments: argparse.Namespace) -> tuple[Array, Array]:
    """Which images each side has right, (n,) bool; the key decides what is drawn."""
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), np.uint32)
    rng = np.random.Generator(np.random.PCG64(words.tolist()))
    kind_N = rng.random(arguments.samples)
    either_N = rng.random(arguments.samples) < (arguments.accuracy - lost) / (1 - lost - gained)
    before_N = np.where(kind_N < lost + gained, kind_N < lost, either_N)
    after_N = np.where(kind_N < lost + gained, kind_N >= lost, either_N)
    return before_N, after_N


def _failed(before: Numbers, after: Numbers, names: list[str], alpha: float) -> float:
    reports = [judge(before, after, [DIGITS], [(name, name)], alpha=alpha, tolerance=TOLERANCE) for name in names]
    statuses = [report.exit_status for report in reports]
    assert set(statuses) <= {0, 1}, statuses  # all can be compared
    return statuses.count(1) / len(statuses)


if __name__ == "__main__":
    main()
