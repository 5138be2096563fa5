"""What the store's footers say, and scores computed before: an SQLite file beside the cells.

It holds nothing that the outcomes do not: it can be deleted at any time. Where it cannot be written (a store that
is only to be read, a file system without locks), everything is computed again.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence

from bench.errors import BenchError
from bench.records import Estimate
from bench.store import Store, StoredCell
from bench.suite import Metric, Score

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, identity TEXT NOT NULL, samples TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value REAL, n INTEGER, ci_low REAL, ci_high REAL);
"""


class Index:
    """Footers and scores of a store.

    Args:
        store: whose cells are looked up.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = self._connect()

    def cells(self) -> list[StoredCell]:
        """Every stored cell. Footers are read once, then kept.

        Raises:
            DamagedCellError: a footer cannot be read.
        """
        keys = self._store.keys()
        known = {row[0]: row for row in self._db.execute("SELECT key, identity, samples FROM cells")}
        fresh = [self._store.footer(key) for key in sorted(keys - known.keys())]
        self._save(
            "INSERT OR REPLACE INTO cells VALUES (?, ?, ?)",
            [(cell.key, json.dumps(dict(cell.identity)), cell.samples) for cell in fresh],
        )
        kept = [
            StoredCell(key=key, identity=json.loads(identity), samples=samples)
            for key, identity, samples in known.values()
            if key in keys
        ]
        return sorted([*kept, *fresh], key=lambda cell: cell.key)

    def estimate(self, suite_version: str, score: Score, keys: Sequence[str]) -> Estimate:
        """A score over stored cells, computed if it has not been before.

        Args:
            suite_version: name and version of the suite.
            score: what to compute.
            keys: of the cells, in the order of the score's conditions.

        Raises:
            BenchError: the score is not defined on these outcomes.
        """
        name = _score_key(suite_version, score.metric, keys)
        row = self._db.execute("SELECT value, n, ci_low, ci_high FROM scores WHERE key = ?", (name,)).fetchone()
        if row is None:
            estimate = score.metric.function(*(self._store.read(key) for key in keys))
            if estimate.n < 1:
                raise BenchError(f"{score.metric.name} of {suite_version} came from no sample; that is no score.")
            row = (estimate.value, estimate.n, estimate.ci_low, estimate.ci_high)
            self._save("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", [(name, *row)])
        return Estimate(value=row[0], n=row[1], ci_low=row[2], ci_high=row[3])

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def _connect(self) -> sqlite3.Connection:
        path = self._store.root / "index.sqlite"
        try:
            return _open(str(path))
        except sqlite3.DatabaseError:
            # Unwritable, or damaged: in memory it is as right, only slower.
            return _open(":memory:")

    def _save(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._db:
                self._db.executemany(statement, rows)
        except sqlite3.DatabaseError:  # another run holds it, or the disk is full: the rows are not needed
            pass


def _open(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10)
    db.executescript(_SCHEMA)
    db.execute("SELECT count(*) FROM scores").fetchone()
    return db


def _score_key(suite_version: str, metric: Metric, keys: Sequence[str]) -> str:
    code = getattr(metric.function, "__code__", None)
    # A changed metric is not taken for the old one while a suite is being written.
    body = hashlib.sha256(code.co_code).hexdigest() if code else repr(metric.function)
    return hashlib.sha256("\0".join([suite_version, metric.name, body, *keys]).encode()).hexdigest()
