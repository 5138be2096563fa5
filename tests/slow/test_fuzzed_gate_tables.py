"""Baselines that were edited, by the thousand: with a real drop none passes, and none ends in a traceback.

The seed is fixed.
"""

import csv
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _outcomes import write_outcome

from bench import api
from bench.board.tables import long_table, to_csv
from bench.errors import BenchError
from bench.store import Store
from bench.suite import suites
from tests.slow.fuzzing import times

pytestmark = pytest.mark.slow
COUNT = times(800)
DIGITS = suites.get("digits")
VALUES = (
    "", "0", "1", "-1", "0.5", "0.71", "1e9", "-1e309", "nan", "NaN", "inf", "NA", "None", "null", "true", "digits",
    "a", "b", "10-way", "x" * 300, "9" * 40, "0x1f", "1,5", "1.5", "80%", "=1+1", '"', "'", "\x00", "\n", "\u202e",
    "é", "500", "499", "2", "[]", "{}", " 0.9 ",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-8-sig", "latin-1", "utf-7", "cp037")


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published baseline in `sealed`, the table of an older version in `old`, and a candidate 19 points worse."""
    folder = tmp_path_factory.mktemp("drop")
    before, after = Store(folder / "before"), Store(folder / "after")
    for store, right in ((before, 450), (after, 355)):
        write_outcome(store, "a", DIGITS.headline.conditions[0], np.arange(500) < right)
    boards = api.boards([DIGITS], before)
    api.publish(folder / "sealed", boards, before)
    (folder / "old").mkdir()
    (folder / "old" / "digits.csv").write_text(to_csv(long_table(boards)))
    return folder


# -- edits: each takes the texts of some files by name, and changes one ----------------------------------------------


def change_table(rng: random.Random, text: str, spare: str = "") -> str:
    """Edit rows and columns of a CSV, but not the numbers of a column that is to be spared."""
    rows = list(csv.reader(io.StringIO(text)))
    head, body = rows[0], rows[1:]
    places = [place for place, name in enumerate(head) if name != spare]
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        row, place = rng.choice(body), rng.choice(places)
        match rng.randrange(13):
            case 0:
                body.remove(row)
            case 1:
                body.append(list(row))
            case 2:
                rng.shuffle(body)
            case 3:
                for each in (head, *body):
                    del each[place : place + 1]
                places = [at for at, name in enumerate(head) if name != spare]
            case 4:
                head[place] = rng.choice((*VALUES, *head))
            case 5:
                order = rng.sample(range(len(head)), len(head))
                head[:], body = [head[i] for i in order], [[*row, *[""] * len(head)][: len(head)] for row in body]
                body = [[row[i] for i in order] for row in body]
                places = [at for at, name in enumerate(head) if name != spare]
            case 6:
                row.append(rng.choice(VALUES))
            case 7 | 8 | 9:
                moved(rng, head, rng.choice((body[0], row)), spare)  # the headline's is the first
            case _:
                row[place : place + 1] = [rng.choice(VALUES)]
        if not body or not places:
            break
    out = io.StringIO()
    csv.writer(out, lineterminator=rng.choice(("\n", "\r\n"))).writerows([head, *body])
    return out.getvalue()


def moved(rng: random.Random, head: list[str], row: list[str], spare: str) -> None:
    """Move one number of a row, or value and interval together, or widen the interval."""
    try:
        low, value, high = (float(row[head.index(name)]) for name in ("ci_low", "value", "ci_high"))
    except (ValueError, IndexError):  # the column is gone, or holds no number any more
        return
    by = rng.choice((-0.15, -0.02, 0.02)) if spare != "value" else 0.0
    numbers = rng.choice((
        {rng.choice(("ci_low", "ci_high", "n")): rng.random()},
        {"n": rng.choice((50, 499, 501, 5000))},
        {"ci_low": low + by, "value": value + by, "ci_high": high + by},
        {"ci_low": value * rng.random(), "ci_high": value + (1 - value) * rng.random()},
        {"ci_low": "", "ci_high": ""},
    ))  # fmt: skip
    for name, number in numbers.items():
        if name in head:
            row[head.index(name)] = f"{number:.6f}" if isinstance(number, float) else str(number)


def change_json(rng: random.Random, text: str) -> str:
    """Edit values and keys of a JSON text, at any depth."""
    whole = json.loads(text)
    for _ in range(rng.choice((1, 1, 3))):
        node = whole
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(node[key], (dict, list)) and rng.random() < 0.7:
                node = node[key]
                continue
            match rng.randrange(3):
                case 0:
                    del node[key]
                case 1 if isinstance(node, dict):
                    node[rng.choice(VALUES)] = node.pop(key)
                case _:
                    node[key] = rng.choice((*VALUES, None, 0, 1.5, [], {}, True))
            break
    return json.dumps(whole, indent=rng.choice((None, 1)))


def change_bytes(rng: random.Random, file: bytes) -> bytes:
    """Flip, cut, repeat or encode a file anew."""
    file = bytes(file)
    at = rng.randrange(len(file))
    match rng.randrange(5):
        case 0:
            return file[:at]
        case 1:
            return file[:at] + bytes([rng.randrange(256)]) + file[at + 1 :]
        case 2:
            return file[:at] + file[at // 2 :]
        case 3:
            return b""
    return file.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")


def edited(rng: random.Random, folder: Path) -> None:
    """Change one file of a baseline, or two."""
    changes: dict[str, Callable[[], bytes]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".csv":
            # Without a digest a value within its interval cannot be told from one that was measured.
            spare = "value" if folder.name == "old" else ""
            changes[path.name] = lambda path=path, spare=spare: change_table(rng, path.read_text(), spare).encode()
        elif path.suffix == ".json":
            changes[path.name] = lambda path=path: change_json(rng, path.read_text()).encode()
        elif path.suffix == ".parquet":
            changes[path.name] = lambda path=path: change_bytes(rng, path.read_bytes())
    for name in rng.sample(sorted(changes), min(len(changes), rng.choice((1, 1, 2)))):
        path = folder / name
        if folder.name != "old" and rng.random() < 0.15:
            path.write_bytes(change_bytes(rng, path.read_bytes()))
        else:
            path.write_bytes(changes[name]())


def judged(table: Path, after: Store) -> tuple[int, str]:
    """Exit status, and what is said beside the table."""
    try:
        report = api.gate([table], after)
    except BenchError as error:
        return error.exit_code, str(error)
    return report.exit_status, " ".join([*report.faults, *(row.reason for row in report.rows)])


def test_the_baseline_that_nobody_edited_fails(drop):
    for kind in ("sealed", "old"):
        assert judged(drop / kind / "digits.csv", Store(drop / "after"))[0] == 1


@pytest.mark.parametrize("kind", ["sealed", "old"])
@pytest.mark.filterwarnings("ignore")  # pandas tells of odd columns
def test_no_edited_baseline_passes_and_none_is_a_traceback(drop, tmp_path, kind):
    rng, statuses = random.Random(kind), {1: 0, 2: 0, 3: 0}
    after = Store(drop / "after")
    for number in range(COUNT // 2):
        folder = tmp_path / kind
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(drop / kind, folder, ignore=shutil.ignore_patterns("cards", "README.md"))
        edited(rng, folder)
        status, said = judged(folder / "digits.csv", after)
        assert "\n" not in said, f"edit {number}: {said}"
        assert status in statuses, f"edit {number} passes: {(folder / 'digits.csv').read_text()[:500]}"
        statuses[status] += 1
    assert statuses[3] > COUNT // 20  # and not all are refused for their form
