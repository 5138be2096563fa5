"""What the store's footers say, and scores computed before: an SQLite file beside the cells.

It holds nothing that the outcomes do not: it can be deleted at any time. A damaged one is made anew; where it cannot
be written (a store that is only to be read, a file system without locks), everything is computed again. Every row
goes by the stamps of the files that it came from, so that nothing is said of a file that has changed since, and
carries a checksum, which SQLite's pages do not.
"""

import contextlib
import functools
import hashlib
import json
import sqlite3
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import CodeType

from bench.errors import BenchError
from bench.records import Estimate
from bench.store import Store, StoredCell
from bench.suite import Metric, Score

_TABLES = ("footers", "estimates")
"""Each maps a key to a JSON text and its checksum."""


class Index:
    """Footers and scores of a store.

    Args:
        store: whose cells are looked up.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = _connect(store.root / "index.sqlite")
        self._estimates: dict[str, str] = {}

    def cells(self) -> list[StoredCell]:
        """Every stored cell. Footers are read once, then kept.

        Raises:
            DamagedCellError: a footer cannot be read.
        """
        known = self._load("SELECT key, text, crc FROM footers")
        fresh: dict[str, str] = {}
        found = []
        for key in sorted(self._store.keys()):
            name = f"{key} {self._store.stamp(key)}"
            if name in known:
                found.append(StoredCell(**json.loads(known[name])))
            else:
                found.append(self._store.footer(key))
                fresh[name] = json.dumps(asdict(found[-1]))
        self._save("footers", fresh)
        return found

    def estimate(self, suite_version: str, score: Score, keys: Sequence[str]) -> Estimate:
        """A score over stored cells, computed if it has not been before.

        Args:
            suite_version: name and version of the suite.
            score: what to compute.
            keys: of the cells, in the order of the score's conditions.

        Raises:
            BenchError: the score is not defined on these outcomes.
            DamagedCellError: an outcome cannot be read whole.
        """
        name = _score_key(suite_version, score.metric, [f"{key} {self._store.stamp(key)}" for key in keys])
        known = self._load("SELECT key, text, crc FROM estimates WHERE key = ?", name)
        if name in known:
            return Estimate(**json.loads(known[name]))
        estimate = score.metric.function(*(self._store.read(key) for key in keys))
        if estimate.n < 1:
            raise BenchError(f"{score.metric.name} of {suite_version} came from no sample; that is no score.")
        self._estimates[name] = json.dumps(asdict(estimate))
        return estimate

    def close(self) -> None:
        """Keep what was computed, all at once as a write takes longer than most scores, and give the file back."""
        self._save("estimates", self._estimates)
        self._db.close()

    def _load(self, query: str, *parameters: str) -> dict[str, str]:
        try:
            rows = self._db.execute(query, parameters).fetchall()
        except sqlite3.DatabaseError:  # another run holds it: everything can be computed again
            return {}
        return {key: text for key, text, crc in rows if crc == _crc(key, text)}

    def _save(self, table: str, rows: Mapping[str, str]) -> None:
        values = [(key, text, _crc(key, text)) for key, text in rows.items()]
        # Another run holds it, or the disk is full: the rows are not needed.
        with contextlib.suppress(sqlite3.DatabaseError), self._db:
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", values)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _open(str(path))
    except sqlite3.DatabaseError as error:
        # The subclasses say that it cannot be opened, is held or must not be written; this one that it is damaged.
        if type(error) is sqlite3.DatabaseError:
            with contextlib.suppress(OSError, sqlite3.DatabaseError):
                path.unlink()
                return _open(str(path))
        return _open(":memory:")


def _open(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10)
    try:
        for table in _TABLES:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, text TEXT, crc INTEGER)")
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages are damaged")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _crc(key: str, text: str) -> int:
    return zlib.crc32(f"{key}\0{text}".encode())


def _score_key(suite_version: str, metric: Metric, cells: Sequence[str]) -> str:
    # A changed metric is not taken for the old one while a suite is being written.
    body = _describe(metric.function)
    return hashlib.sha256("\0".join([suite_version, metric.name, body, *cells]).encode()).hexdigest()


def _describe(function: object) -> str:
    """A function's code with its constants, defaults and what it closes over, and the modules it is computed by.

    Of a partial one, its function and its arguments; of what is no function, what it prints as.
    """
    if isinstance(function, functools.partial):
        given = [*function.args, *(part for item in sorted(function.keywords.items()) for part in item)]
        return "\0".join(map(_describe, [function.func, *given]))
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return repr(function)
    closed = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    modules = {getattr(function, "__module__", ""), "bench.metrics", "bench.stats"}
    around = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None), closed]
    return "\0".join([_code(code), repr(around), *(_source(module) for module in sorted(modules))])


def _code(code: CodeType) -> str:
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}({','.join(constants)})({','.join(code.co_names)})"


@functools.cache
def _source(module: str) -> str:
    """Digest of a module's file; helpers and constants that a metric uses mostly stand beside it."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    except OSError:
        return ""
