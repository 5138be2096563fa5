"""What holds for the tables of every registered suite: printed ones fit, published ones read back."""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.board.leaderboard import Board, Choice, ScoredRow
from bench.board.printed import board_text, summary_text
from bench.board.tables import COSTS, leaderboard, long_table, read_csv, to_csv, wide_table, without_constants
from bench.columns import KEPT
from bench.records import Estimate
from bench.store import StoredCheckpoint
from bench.store.log import Cost
from bench.suite import suites

NAMES = ("vit_base_patch16_224.sam_in1k", "swinv2_large_window12to24_192to384.ms_in22k_ft_in1k@416", "a, b: our own")
ENDLESS = f"vit_huge_patch14_{'and_so_on_' * 12}378"
"""A name that leaves no room for anything else."""


@functools.cache
def made_up(name, names=NAMES, missing=""):
    """A board of a suite, of numbers as wide as they come; the checkpoint `missing` has no headline."""
    suite = suites.get(name)
    rng = np.random.default_rng(0)
    checkpoints = tuple(
        StoredCheckpoint(name=name, model=f"{number:064x}", family="transformer", sam="none", pairs_with="")
        for number, name in enumerate(sorted(names))
    )
    rows = tuple(
        ScoredRow(checkpoint=checkpoint, score=score, estimate=estimate(rng))
        for checkpoint in checkpoints
        for score in suite.scores
        if not (checkpoint.name == missing and score is suite.headline)
    )
    return Board(
        suite=suite,
        choice=Choice(limit=None, seed=0, device="cuda", precision="bf16"),
        protocol=suite.protocol.taken_with(limit=None, seed=0, precision="bf16").name,
        rows=rows,
        cells={},
        checkpoints=checkpoints,
        notes=tuple(f"{name}, {suite.headline.column}: a note on it, as long as notes are at times" for name in names),
        costs={
            checkpoint: Cost(parameters=632_000_000, macs=10**12, images_per_second=12_345.6, peak_memory=2**36)
            for checkpoint in checkpoints
        },
    )


def estimate(rng) -> Estimate:
    value = round(rng.uniform(0.2, 0.8), 6)
    return Estimate(value=value, n=50_000, ci_low=round(value - 0.15, 6), ci_high=round(value + 0.1, 6))


@pytest.fixture(params=[suite.name for suite in suites])
def suite(request):
    return suites.get(request.param)


@pytest.mark.parametrize("width", [80, 120])
def test_a_printed_leaderboard_fits_and_names_what_it_leaves_out(suite, width):
    board = made_up(suite.name)
    text = board_text(board, "text", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f"{name}  " in text for name in NAMES)
    head = next(line for line in text.splitlines() if "  checkpoint  " in f"  {line}")
    assert suite.headline.column in head
    told = " ".join(text.split())
    for heading in leaderboard(board):
        if heading in COSTS:
            assert heading not in text
        elif heading not in head:
            assert f"{heading}," in told or f"{heading};" in told
    assert ("`bench table --columns all`" in text) == ("left out to fit" in text)


@pytest.mark.parametrize("width", [80, 120])
def test_a_name_wider_than_the_line_stands_whole_beside_the_headline(suite, width):
    text = board_text(made_up(suite.name, names=(*NAMES, ENDLESS)), "text", width=width)
    head, _, *rows = text.split("\n\n")[1].splitlines()
    assert head.split() == ["checkpoint", *suite.headline.column.split()]
    assert sum(row.startswith(f"{ENDLESS}  ") for row in rows) == 1


def test_all_columns_are_shown_where_they_are_asked_for(suite):
    board = made_up(suite.name)
    head = board_text(board, "text", "all", 80).split("\n\n")[1].splitlines()[0]
    assert all(heading in head for heading in leaderboard(board))


def test_costs_stand_beside_the_headline_where_they_are_asked_for(suite):
    table = board_text(made_up(suite.name), "md", "cost").split("\n\n")[1]
    assert table.splitlines()[0] == f"| rank | checkpoint | {suite.headline.column} | {' | '.join(COSTS)} |"


@pytest.mark.parametrize("style", ["md", "latex"])
def test_a_file_has_every_column_but_the_costs(suite, style):
    board = made_up(suite.name)
    text = board_text(board, style)
    separator = {"md": " | ", "latex": " & "}[style]
    head = next(line for line in text.splitlines() if f"rank{separator}" in line)
    assert len(head.strip("| \\").split(separator)) == len(set(leaderboard(board)) - set(COSTS))


@pytest.mark.parametrize("width", [80, 120])
def test_a_printed_summary_fits(width):
    boards = [made_up(suite.name) for suite in suites if "imagenet" in suite.name]
    text = summary_text(boards, "text", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "left out to fit" in text
    assert "  mean rank" in text


def test_a_published_table_reads_back_equal(suite, tmp_path):
    frame = long_table([made_up(suite.name)])
    rows, constants = without_constants(frame)
    assert set(KEPT) <= set(rows)
    assert {"suite", "version", "protocol", "sam"} <= constants.keys()
    assert not any(rows[name].isna().all() for name in set(rows) - set(KEPT))
    path = tmp_path / "table.csv"
    path.write_text(to_csv(rows))
    (tmp_path / "table.meta.json").write_text(json.dumps({"columns": constants}))
    pd.testing.assert_frame_equal(read_csv(path), frame)


def test_trainings_have_their_recipe_and_seed_in_the_table_and_others_no_such_column(tmp_path):
    board = made_up("digits")
    assert not {"training_recipe", "training_seed"} & set(long_table([board]))
    renamed = {c: replace(c, recipe="mine", seed=None if i else 3) for i, c in enumerate(board.checkpoints)}
    rows = tuple(replace(row, checkpoint=renamed[row.checkpoint]) for row in board.rows)
    frame = long_table([replace(board, checkpoints=tuple(renamed.values()), rows=rows, costs={})])
    kept, constants = without_constants(frame)
    trainings = kept[["checkpoint", "training_recipe", "training_seed"]].drop_duplicates().set_index("checkpoint")
    first, *others = sorted(NAMES)
    assert trainings.loc[first].tolist() == ["mine", 3]
    assert trainings.loc[others].isna().all(axis=None)  # as before a training with a seed stood beside them
    path = tmp_path / "table.csv"
    path.write_text(to_csv(kept))
    (tmp_path / "table.meta.json").write_text(json.dumps({"columns": constants}))
    pd.testing.assert_frame_equal(read_csv(path), frame)


def test_the_wide_table_has_the_leaderboards_order_and_the_long_tables_numbers(suite):
    board = made_up(suite.name, missing=NAMES[0])
    frame, shown = long_table([board]), leaderboard(board)
    wide = wide_table(frame, suite)
    assert shown["checkpoint"].iloc[-1] == NAMES[0]
    # Of a suite with one score, a checkpoint that lacks it has no row.
    listed = [name for name in shown["checkpoint"] if name in set(frame["checkpoint"])]
    assert len(listed) == (3 if len(suite.scores) > 1 else 2)
    assert wide["checkpoint"].tolist() == listed
    assert wide["rank"].tolist() == [1, 2, pd.NA][: len(listed)]
    assert set(shown) - set(COSTS) - {"cells"} <= set(wide)
    by_score = frame.dropna(subset="score").set_index(["checkpoint", "score"])
    for score in suite.board:
        for name in NAMES:
            if (name, score.column) in by_score.index:
                long, row = by_score.loc[(name, score.column)], wide.set_index("checkpoint").loc[name]
                assert (row[score.column], row[f"{score.column} ci_low"]) == (long["value"], long["ci_low"])
