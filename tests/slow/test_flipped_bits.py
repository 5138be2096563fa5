"""Flipped bits in a store, by force: every score is that of the whole store or none, and nothing ends in a traceback.

Each time verify, table, compare and gate look at the store.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.store
from bench import api
from bench.errors import BenchError
from bench.measure.cells import versions
from bench.measure.classify import Classify
from bench.metrics import stats
from bench.records import Array, Cell, Checkpoint, Numerics, digest
from bench.store import Store
from bench.suite import suites
from tests.slow.fuzzing import times

TIMES = times(120)
NAMES = ("digits-vit", "digits-resnet")
COST = {"parameters": 10_000, "macs": 20_000, "images_per_second": 123.25, "peak_memory": None}
REFUSED = "refused"
READ_AT_ONCE = 2**14
"""Bytes of a file from which on columns are read apart, here: what is larger is only slower."""


def fill(root: Path, *, shift: float = 0.0) -> Path:
    """A store of two checkpoints on two suites: files of one are read at once, of the other a column at a time."""
    store, rng = Store(root), np.random.default_rng(0)
    store.prepare()
    for number, name in enumerate(NAMES):
        for suite_name, n in (("digits", 300), ("digits-v2", 60)):
            for condition in suites.get(suite_name).conditions:
                labels = np.arange(n, dtype=np.int64) % 10
                logits = rng.normal(0, 1, (n, 10)) + (2 + number - shift) * np.eye(10)[labels]
                subsets = str(condition.measure.params.get("subsets", ""))
                rows = Classify(subsets).rows(
                    lambda _, logits=logits: torch.from_numpy(logits.astype(np.float32)),
                    torch.zeros(n),
                    torch.from_numpy(labels),
                )
                checkpoint = Checkpoint(
                    name=name, class_space=api.Library().open("digits", "test").dataset.class_space, family="vit"
                )
                cell = Cell(
                    checkpoint=checkpoint, condition=condition, model_digest=digest(name), fingerprints=("f",), n=n,
                    versions=versions(condition), seed=None, limit=None, of=n, numerics=Numerics(), classes=10,
                )  # fmt: skip
                store.record_checkpoint(cell.model_digest, checkpoint)
                store.log({"key": cell.key, "checkpoint": name, "when": "2026-01-01T00:00:00+00:00", **COST})
                ids = np.array([f"{i:05d}" for i in range(n)])
                store.write(cell, ids, labels, {name: column.numpy() for name, column in rows.items()})
    return root


def looks(store: Path, baseline: Path) -> dict[str, object]:
    """What each command would show of a store, or that it refuses."""
    chosen = [suites.get(name) for name in ("digits", "digits-v2")]

    def table() -> object:
        boards = api.boards(chosen, Store(store))
        scores = {
            (board.suite.name, row.checkpoint.name, row.score.metric.name, dict(row.score.at).__repr__()): (
                row.checkpoint.family, row.checkpoint.sam, row.estimate,
            )
            for board in boards for row in board.rows
        }  # fmt: skip
        return scores, {c.name: cost for board in boards for c, cost in board.costs.items()}

    def compare() -> object:
        compared = api.compare(*NAMES, chosen, Store(store))
        return [[(d.before, d.after, d.ci_low, d.ci_high, d.p) for d in rows] for rows in compared.differences]

    def gate() -> object:
        report = api.gate([baseline], Store(store), chosen)
        if report.faults:
            assert report.exit_status not in (0, None)
            return REFUSED
        return report.exit_status, repr(report.rows)

    def verify() -> object:
        return api.verify_store(Store(store)).sound

    return {look.__name__: _or_refused(look) for look in (verify, table, compare, gate)}


def _or_refused(look: Callable[[], object]) -> object:
    try:
        return look()
    except BenchError:
        return REFUSED


def remembered(chance: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    """The chance, of which the same numbers are asked for again and again: what is whole has the same as before."""
    known: dict[tuple[bytes, bytes], float] = {}

    def of(values_U: Array, counts_U: Array) -> float:
        key = values_U.tobytes(), counts_U.tobytes()
        if key not in known:
            known[key] = chance(values_U, counts_U)
        return known[key]

    return of


def flip(path: Path, rng: random.Random) -> None:
    """Flip up to three bits of a file; half the time as a disk does, which tells nobody."""
    data, status = bytearray(path.read_bytes()), path.stat()
    for _ in range(rng.choice([1, 1, 2, 3])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    if rng.random() < 0.5:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
def test_flipped_bits_give_no_wrong_score_and_no_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(bench.store, "_READ_AT_ONCE", READ_AT_ONCE)
    monkeypatch.setattr(stats, "chance_above_zero", remembered(stats.chance_above_zero))
    whole, baseline = fill(tmp_path / "whole"), fill(tmp_path / "baseline", shift=-0.5)
    sizes = {path.stat().st_size > READ_AT_ONCE for path in (whole / "cells").rglob("*.parquet")}
    assert sizes == {True, False}
    wanted = looks(whole, baseline)  # its index remembers the scores from now on
    assert REFUSED not in wanted.values()
    assert wanted["verify"] is True
    rng, seen = random.Random(0), {True: 0, False: 0}
    for _ in range(TIMES):
        store = Path(shutil.copytree(whole, tmp_path / "runs", copy_function=shutil.copy2))
        if rng.random() < 0.5:
            (store / "index.sqlite").unlink()
        path = rng.choice(sorted(p for p in store.rglob("*") if p.is_file() and p.stat().st_size))
        flip(path, rng)
        found = looks(store, baseline)
        for name, value in found.items():
            if name == "table" and value != REFUSED:
                scores, costs = value
                assert scores == wanted["table"][0], path
                assert costs.items() <= wanted["table"][1].items(), path
            elif name != "verify":
                assert value in (REFUSED, wanted[name]), (name, path)
        if REFUSED in found.values():
            assert found["verify"] is not True, path
        seen[found["verify"] is True] += 1
        shutil.rmtree(store)
    assert min(seen.values()) > TIMES // 20  # both were met: what is noticed, and what changes nothing
