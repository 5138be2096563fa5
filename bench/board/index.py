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
import os
import sqlite3
import sys
import zlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import CodeType
from typing import Any

from bench import metrics
from bench.errors import BenchError
from bench.foreign.sources import code_text, source_of
from bench.metrics import Metric
from bench.records import Estimate, digest
from bench.store import Store, StoredCell, StoredCheckpoint, StoreFileError
from bench.suite import Score, Suite

_TABLES = ("footers", "estimates")
"""Each maps a key to a JSON text and its checksum."""
_MOST_THREADS = 8
"""More would only hold more outcomes in memory."""
_IN_MEMORY = ":memory:"
_MANY = 500
"""Scores from which on all are looked up at once; SQLite takes some hundreds of names in a query."""


class Index:
    """Footers and scores of a store.

    Args:
        store: whose cells are looked up, as they are at the first look.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = _connect(store.root / "index.sqlite")
        self._estimates: dict[str, str] = {}
        self._cells: list[StoredCell] | None = None
        self._checkpoints: list[StoredCheckpoint] | None = None
        self._stamped: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._bodies: dict[Metric, str] = {}

    def cells(self) -> list[StoredCell]:
        """Every stored cell. Footers are read once, then kept.

        Raises:
            StoreFileError: a footer is damaged or cannot be read.
        """
        if self._cells is None:
            known = self._load("SELECT key, text, crc FROM footers")
            names = {key: self._name(key) for key in sorted(self._store.keys())}
            missing = [key for key, name in names.items() if name not in known]
            with _pool() as pool:
                fresh = dict(zip(missing, pool.map(self._store.footer, missing), strict=True))
            self._save("footers", {names[key]: json.dumps(_as_dict(cell)) for key, cell in fresh.items()})
            kept = _parsed({key: known[name] for key, name in names.items() if name in known})
            self._cells = [fresh.get(key) or StoredCell(**kept[key]) for key in names]
        return self._cells

    def checkpoints(self) -> list[StoredCheckpoint]:
        """The registry entries that the cells were measured under, as `Store.checkpoints` gives them."""
        if self._checkpoints is None:
            self._checkpoints = self._store.checkpoints()
        return self._checkpoints

    def place(self, cell: StoredCell) -> str:
        """Digest of the condition and the versions that a stored cell was measured under."""
        if cell.key not in self._places:
            self._places[cell.key] = digest([cell.identity["condition"], cell.identity["versions"]])
        return self._places[cell.key]

    def estimates(
        self, suite_version: str, groups: Sequence[Sequence[tuple[Score, Sequence[str]]]]
    ) -> list[list[Estimate | BenchError]]:
        """Scores over stored cells, computed where they have not been before: groups side by side, each in a thread.

        Args:
            suite_version: name and version of the suite.
            groups: scores, and the keys of their cells in the order of the score's conditions; a cell is read once
                for all scores of a group.

        Returns:
            For each score its estimate, or why it is not defined on these outcomes.

        Raises:
            StoreFileError: an outcome is damaged or cannot be read.
        """
        names = [[self._score_key(suite_version, score.metric, keys) for score, keys in group] for group in groups]
        known = self._known({name for group in names for name in group})
        missing = [
            [(score, keys) for (score, keys), name in zip(group, named, strict=True) if name not in known]
            for group, named in zip(groups, names, strict=True)
        ]
        with _pool() as pool:
            computed = list(pool.map(self._compute, missing))
        estimates: list[list[Estimate | BenchError]] = []
        kept = _parsed(known)
        for named, fresh in zip(names, map(iter, computed), strict=True):
            estimates.append([Estimate(**kept[name]) if name in kept else next(fresh) for name in named])
            for name, result in zip(named, estimates[-1], strict=True):
                if name not in known and isinstance(result, Estimate):
                    self._estimates[name] = json.dumps(_as_dict(result))
        return estimates

    def _compute(self, group: Sequence[tuple[Score, Sequence[str]]]) -> list[Estimate | BenchError]:
        read = functools.cache(self._store.read)
        estimates: list[Estimate | BenchError] = []
        for score, keys in group:
            try:
                estimates.append(score.metric.estimate([read(key) for key in keys]))
            except StoreFileError:
                raise
            except BenchError as error:
                estimates.append(error)
        return estimates

    def estimate(self, suite_version: str, score: Score, keys: Sequence[str]) -> Estimate:
        """One score, as `estimates` gives it.

        Raises:
            BenchError: the score is not defined on these outcomes.
            StoreFileError: an outcome is damaged or cannot be read.
        """
        [[estimate]] = self.estimates(suite_version, [[(score, keys)]])
        if isinstance(estimate, BenchError):
            raise estimate
        return estimate

    def _known(self, names: Collection[str]) -> dict[str, str]:
        """Estimates by name, of those asked for that have been computed before."""
        if len(names) > _MANY:
            known = self._load("SELECT key, text, crc FROM estimates")
            return {name: text for name, text in known.items() if name in names}
        marks = ",".join("?" * len(names))
        return self._load(f"SELECT key, text, crc FROM estimates WHERE key IN ({marks})", *names)

    def _name(self, key: str) -> str:
        """A cell with the stamp of its file."""
        if key not in self._stamped:
            self._stamped[key] = f"{key} {self._store.stamp(key)}"
        return self._stamped[key]

    def _score_key(self, suite_version: str, metric: Metric, keys: Sequence[str]) -> str:
        # A changed metric is not taken for the old one while a suite is being written.
        if metric not in self._bodies:
            self._bodies[metric] = f"{_describe(metric.function)}\0{source_of(metric.function)}"
        parts = [suite_version, metric.name, self._bodies[metric], *map(self._name, keys)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

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


def metric_sources(suite: Suite) -> dict[str, str]:
    """Of the suite's metrics that are not ours, by name: the source that their scores are computed by."""
    sources = {score.metric.name: source_of(score.metric.function) for score in suite.scores}
    return {name: source for name, source in sorted(sources.items()) if source}


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _open(str(path))
    except sqlite3.DatabaseError as error:
        # The subclasses say that it cannot be opened, is held or must not be written; this one that it is damaged.
        if type(error) is sqlite3.DatabaseError:
            with contextlib.suppress(OSError, sqlite3.DatabaseError):
                path.unlink()
                return _open(str(path))
        return _open(_IN_MEMORY)


def _open(path: str) -> sqlite3.Connection:
    if path != _IN_MEMORY:
        with contextlib.suppress(OSError):  # it is there, or cannot be, which SQLite says next
            # SQLite alone would deny it to the group of a shared store, whatever the umask says.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    # Other runs hold it for milliseconds. Where a lock server is missing, SQLite takes it for held, for ever.
    db = sqlite3.connect(path, timeout=1)
    try:
        for table in _TABLES:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, text TEXT, crc INTEGER)")
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages are damaged")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS))


def _as_dict(record: StoredCell | Estimate) -> dict[str, Any]:
    # dataclasses.asdict copies all that is inside, one value after another
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _parsed(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """JSON texts by key, read as one, which takes a third of the time."""
    return dict(zip(texts, json.loads(f"[{','.join(texts.values())}]"), strict=True))


def _crc(key: str, text: str) -> int:
    return zlib.crc32(f"{key}\0{text}".encode())


def _describe(function: object) -> str:
    """A function's code with its constants, defaults and what it closes over, and the modules it is computed by.

    Of a partial one, its function and its arguments; of a list or a metric, what is in it; of what is no function,
    what it prints as.
    """
    if isinstance(function, functools.partial):
        given = [*function.args, *(part for item in sorted(function.keywords.items()) for part in item)]
        return "\0".join(map(_describe, [function.func, *given]))
    if isinstance(function, Metric):  # one that another is a mean of
        return f"{function.name}\0{_describe(function.function)}"
    if isinstance(function, (list, tuple)):
        return f"[{','.join(map(_describe, function))}]"
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return repr(function)
    closed = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    around = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None), closed]
    return "\0".join([code_text(code), repr(around), *map(_source, sources(str(function.__module__)))])


@functools.cache
def sources(module: str) -> tuple[Path, ...]:
    """The files by which a metric's function is computed: its own module's, and all of `bench.metrics`.

    Helpers and constants mostly stand in these; a change of one makes kept scores stale.

    Args:
        module: in which the function is defined.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    own = [Path(file)] if file else []
    return tuple(dict.fromkeys([*own, *sorted(Path(metrics.__file__).parent.glob("*.py"))]))


@functools.cache
def _source(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
