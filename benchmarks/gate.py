"""What the gate catches, and how often it is wrong: repeats of made-up checkpoints, each judged as `bench gate` does.

A repeat is a baseline and a candidate on the same images, of which the baseline has a share right at random. Of all
images the candidate loses and gains shares at random. Once it is judged by the outcomes, once by the baseline's
published value and n. Where the true drop is exactly the tolerance, many more gates of one row and of six are judged,
without files.
"""

import argparse
import functools
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from _common import claim, table
from _outcomes import SPACE, write_outcome

from bench import api
from bench.board.tables import long_table, to_csv
from bench.compare.differences import Difference, with_paired_test
from bench.compare.drop import beyond
from bench.compare.gate import judge
from bench.compare.numbers import Numbers, published, stored
from bench.metrics.by_image import mean_by_image
from bench.metrics.paired import holm, paired_drop_p
from bench.records import Array, Estimate, Outcome
from bench.store import Store
from bench.suite import suites

DIGITS = suites.get("digits")
TOLERANCE = 0.003
SCENES = {
    "1 point beyond the tolerance": (0.0155, 0.0025),
    "1 point worse": (0.0125, 0.0025),
    "as much worse as tolerated": (0.0130, 0.0100),
    "equal flips": (0.02, 0.02),
}
"""Shares of all images that are lost and gained."""
FLIPS = {"no flip but the drop": 0.0, "1% gained": 0.01, "5% gained": 0.05}
"""Shares that are gained where the true drop is the tolerance."""
ROWS = (1, 6)
CONDITIONS = 15
CAUGHT, UNPAIRED, NOISE = 0.95, 0.30, 0.01
"""Bars: at least, at most; and what shares of thousands of gates vary by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--accuracy", type=float, default=0.8, help="of the baseline")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--gates", type=int, default=4000, help="with a true drop of exactly the tolerance")
    arguments = parser.parse_args()
    rates: dict[str, tuple[float, float]] = {}
    for scene, (lost, gained) in SCENES.items():
        with tempfile.TemporaryDirectory() as folder:
            rates[scene] = _rates(Path(folder), scene, lost, gained, arguments)
    table([("share of gates that fail", "by outcomes", "by value and n"), *(
        (scene, f"{paired:.1%}", f"{unpaired:.1%}") for scene, (paired, unpaired) in rates.items()
    )])  # fmt: skip
    errors = _errors(arguments)
    table([("true drop of exactly the tolerance", *(f"{rows} rows" for rows in ROWS)), *(
        (scene, *(f"{share:.1%}" for share in shares)) for scene, shares in errors.items()
    )])  # fmt: skip
    caught, _ = rates["1 point beyond the tolerance"]
    _, unpaired = rates["1 point worse"]
    alarms, _ = rates["equal flips"]
    most = max(share for shares in errors.values() for share in shares)
    alpha = arguments.alpha
    claim(f"a point beyond the tolerance is caught at least {CAUGHT:.0%}", f"{caught:.1%}", caught >= CAUGHT)
    claim(f"two separate intervals catch a point at most {UNPAIRED:.0%}", f"{unpaired:.1%}", unpaired <= UNPAIRED)
    claim(f"equal flips raise an alarm at most {alpha:.0%}", f"{alarms:.1%}", alarms <= alpha)
    claim(f"a true drop of the tolerance fails about {alpha:.0%} at most", f"{most:.1%}", most <= alpha + NOISE)


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
    rng = _generator(key)
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


# -- a true drop of exactly the tolerance -------------------------------------------------------------------------


def _errors(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """How often a gate of so many rows fails."""
    shares = {}
    for scene, gained in FLIPS.items():
        chances = [gained + TOLERANCE, gained, 1 - 2 * gained - TOLERANCE]
        rng = _generator(f"errors/{scene}")
        p_value = functools.cache(functools.partial(paired_drop_p, n=arguments.samples, tolerance=TOLERANCE))
        shares[scene] = [
            _share([
                [p_value(int(lost), int(same)) for lost, same, _ in rng.multinomial(arguments.samples, chances, rows)]
                for _ in range(arguments.gates)
            ], arguments.alpha)
            for rows in ROWS
        ]  # fmt: skip
    rng = _generator("errors/means")
    p_values = [_p_of_means(rng, arguments) for _ in range(arguments.repeats * max(ROWS))]
    shares[f"means over {CONDITIONS} conditions"] = [
        _share(np.reshape(p_values, (-1, rows)).tolist(), arguments.alpha) for rows in ROWS
    ]
    return shares


def _share(gates: list[list[float]], alpha: float) -> float:
    """How many fail in some row."""
    return float(np.mean([holm(p_values).min() <= alpha for p_values in gates]))


def _p_of_means(rng: np.random.Generator, arguments: argparse.Namespace) -> float:
    """P of a mean over conditions: some images are shaken under all of them, most are not."""
    shape, accuracy = (arguments.samples, CONDITIONS), arguments.accuracy
    gained = 0.02
    lost = (TOLERANCE + gained * (1 - accuracy)) / accuracy
    shaken_N1 = 5.0 * (rng.random((arguments.samples, 1)) < 0.2)  # 1 on average
    before_NC = rng.random(shape) < accuracy
    flip_NC = rng.random(shape) < np.where(before_NC, lost, gained) * shaken_N1
    after_NC = before_NC ^ flip_NC
    images = Outcome(ids=np.arange(len(before_NC)), labels=np.arange(len(before_NC)) % len(SPACE.classes), columns={})
    first, second = (mean_by_image(images, right_NC.mean(axis=1)) for right_NC in (before_NC, after_NC))
    estimates = [Estimate(value=parts.value, n=len(before_NC)) for parts in (first, second)]
    difference = Difference(
        suite="means", score=DIGITS.headline, before=estimates[0], after=estimates[1], ci_low=None, ci_high=None, p=None
    )
    return float(beyond(with_paired_test(difference, first, second), TOLERANCE).p or 0.0)


def _generator(key: str) -> np.random.Generator:
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), np.uint32)
    return np.random.Generator(np.random.PCG64(words.tolist()))


if __name__ == "__main__":
    main()
