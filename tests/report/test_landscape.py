"""Figures of the landscape: what is stored of it is drawn, as files, on the page and by `bench landscape`."""

import base64
import io
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from bench import api
from bench.board.leaderboard import Board
from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.cli import main
from bench.datasets import Library, subset
from bench.errors import BenchError
from bench.report import curves, landscape
from bench.report.plots import figures
from bench.store import Store
from bench.suite import suites
from bench.tools.landscape import crops, pairs_of, way_between
from tests.contracts.test_suites import landscaped

SUITE = suites.get("digits-landscape")
NAMES = ("digits-vit", "digits-vit-sam", "digits-resnet")
LIMIT = 16
FLAGS = f"--limit {LIMIT} --device cpu"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of made-up outcomes, as if three checkpoints had been measured."""
    root = tmp_path_factory.mktemp("landscape") / "runs"
    store, settings = Store(root), api.configure(store=str(root), device="cpu", limit=LIMIT).settings
    store.prepare()
    chosen, entries = api.select([SUITE.name], None, list(NAMES))
    for cell in api.plan(chosen, entries, settings, Library()).cells:
        samples = Library().open("digits-train", "train").samples
        rows = subset(samples.ids, cell.n)
        ids, labels = samples.ids[rows], samples.labels[rows]
        columns = landscaped(cell.condition, ids, labels, 10, np.random.default_rng(len(cell.checkpoint.name)))
        if cell.condition.measure.name == "attention" and "resnet" in cell.checkpoint.name:
            columns |= {"attention_heads": np.full(cell.n, "")}
        store.record_checkpoint(cell.model_digest, cell.checkpoint)
        store.write(cell, ids, labels, columns)
    return root


@pytest.fixture
def board(filled: Path) -> Board:
    [found] = api.boards([SUITE], Store(filled))
    return found


def test_every_figure_is_drawn_of_what_is_stored(board: Board, filled: Path) -> None:
    drawn = dict(landscape.figures(board, Store(filled)))
    assert list(drawn) == ["surface", "density", "blocks", "neurons"]
    titles = [axes.get_title() for axes in drawn["surface"].axes[:3]]
    assert titles == ["digits-resnet", "digits-vit", "digits-vit-sam"]  # by family, without SAM first
    assert {name for name, _ in figures([board], Store(filled))} >= {f"digits-landscape-limit-{LIMIT}-surface"}


def test_surfaces_share_their_colours_and_hold_the_mean_losses(board: Board, filled: Path) -> None:
    entries = landscape.shown(board, Store(filled), "surface")
    figure = landscape.surface_figure(entries, board)
    limits = {axes.collections[0].get_clim() for axes in figure.axes[:3]}
    assert len(limits) == 1
    smooth = landscape._smooth(entries[0], points=9)  # at the points that were measured
    means = entries[0].outcome.columns["surface"].mean(axis=0).reshape(9, 9)
    np.testing.assert_allclose(smooth, np.maximum(means.T, means.min()), rtol=1e-4, atol=1e-6)


def test_the_page_has_a_picture_of_each_checkpoint(board: Board, filled: Path) -> None:
    page = api.report([board], Store(filled), Library())
    pictures = re.findall(r'class="landscape" src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == len(NAMES)
    assert all(Image.open(io.BytesIO(base64.b64decode(picture))).width > 200 for picture in pictures)


FIGURES = {"surface", "density", "blocks", "neurons", "attention", "way"}


def test_the_command_draws_what_is_stored_attention_and_the_way_between(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "save", lambda figure, place, kind: place.write_text(kind))
    command = f"landscape {' '.join(NAMES)} {FLAGS} --store {filled} --out {tmp_path / 'figures'}"
    assert main(shlex.split(command)) == 0
    found = {path.name: path.read_text() for path in (tmp_path / "figures").iterdir()}
    assert found == {f"{name}.{kind}": kind for name in FIGURES for kind in ("png", "svg")}
    assert f"{tmp_path / 'figures' / 'way'}.png, .svg" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_files_are_pictures(filled: Path, tmp_path: Path) -> None:
    assert main(shlex.split(f"landscape {' '.join(NAMES)} {FLAGS} --store {filled} --out {tmp_path}")) == 0
    for name in FIGURES:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 300
        ElementTree.parse(tmp_path / f"{name}.svg")


def test_a_suite_without_a_landscape_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(f"landscape digits-vit --suite digits --store {tmp_path} --out {tmp_path}")) == 2
    assert "suite 'digits' measures no landscape; one of these does: cifar10-landscape" in capsys.readouterr().err


def test_where_nothing_can_be_written_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(shlex.split(f"landscape digits-vit --store {tmp_path / 'runs'} --out {tmp_path / 'file'}")) == 2
    assert "file: it is not a folder; name another place." in capsys.readouterr().err
    assert not (tmp_path / "runs" / "cells").exists()


# -- what is not stored -----------------------------------------------------------------------------------------------


def condition(measure: str):
    return landscape.condition_of(SUITE, measure)


def test_the_way_begins_and_ends_at_the_checkpoints_own_losses() -> None:
    first, second = checkpoints.get("digits-resnet"), checkpoints.get("digits-resnet-sam")
    way = way_between(first, second, condition("surface"), Library(), LIMIT, "cpu")
    images = torch.from_numpy(crops(first, condition("surface"), Library(), LIMIT, LIMIT)).permute(0, 3, 1, 2) / 255
    samples = Library().open("digits-train", "train").samples
    labels = torch.from_numpy(samples.labels[subset(samples.ids, LIMIT)])
    losses = way.losses["statistics interpolated"]
    for entry, loss in ((first, losses[0]), (second, losses[-1])):
        logits = load(entry, "cpu")(images)
        assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-4, abs=1e-6)
    assert set(way.losses) == {"statistics interpolated", "statistics taken anew"}
    assert max(losses) > max(losses[0], losses[-1])


def test_there_is_no_way_between_two_architectures() -> None:
    first, second = checkpoints.get("digits-vit"), checkpoints.get("digits-mixer")
    with pytest.raises(BenchError, match="no straight way from VisionTransformer to MlpMixer"):
        way_between(first, second, condition("surface"), Library(), LIMIT, "cpu")


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("digits-vit-sam", "digits-mixer", "digits-vit"), [("digits-vit", "digits-vit-sam")]),
        (("digits-mixer", "digits-vit"), [("digits-mixer", "digits-vit")]),
        (("digits-mixer", "digits-vit", "digits-resnet"), []),
    ],
)
def test_ways_lead_between_partners_or_the_only_two(names: tuple[str, ...], pairs: list) -> None:
    found = pairs_of([checkpoints.get(name) for name in names])
    assert [(first.name, second.name) for first, second in found] == pairs
