"""Curves: which scores are their points, how checkpoints are told apart, and the files that `bench curve` writes."""

import ast
import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import bench
from bench import api
from bench.board.leaderboard import Board, Choice, ScoredRow
from bench.cli import main
from bench.errors import BenchError
from bench.records import Estimate
from bench.report import curves
from bench.report.looks import Look, Palette
from bench.store import Store, StoredCheckpoint
from bench.suite import Score, Suite, suites

PGD = suites.get("digits-pgd")
RATIOS = "--suite digits-crop-ratio --set ratios=0.8+1.0"
NAMES = ("digits-resnet", "digits-vit")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints at two crop ratios, 20 images a set."""
    folder = tmp_path_factory.mktemp("stored") / "runs"
    names = " ".join(f"--checkpoint {name}" for name in NAMES)
    command = f"run {RATIOS} {names} --limit 20 --device cpu --workers 0 --cache off --store {folder}"
    assert main(shlex.split(command)) == 0
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)


@pytest.fixture
def board(store: Path) -> Board:
    [found] = api.boards([suites.get("digits-crop-ratio").changed({"ratios": "0.8+1.0"})], Store(store))
    return found


def checkpoint(name: str) -> StoredCheckpoint:
    return StoredCheckpoint(name=name, model=name * 2, family="other", sam="none", pairs_with="")


def drawn(board: Board) -> Figure:
    return curves.draw(board, Palette([board]))


def made_up(suite: Suite, names: list[str], value: Callable[[Score], float | None]) -> Board:
    """A board whose scores have the values of a function; None leaves a score out."""
    entries = tuple(map(checkpoint, names))
    rows = tuple(
        ScoredRow(checkpoint=entry, score=score, estimate=Estimate(value=given, n=10, ci_low=given, ci_high=given))
        for entry in entries
        for score in suite.scores
        if (given := value(score)) is not None
    )
    choice = Choice(limit=None, seed=0, device="cpu", precision="fp32")
    return Board(suite=suite, choice=choice, protocol="", rows=rows, cells={}, checkpoints=entries, notes=(), costs={})


# -- points ----------------------------------------------------------------------------------------------------------


def test_a_panel_a_data_set_a_line_a_checkpoint_a_point_a_ratio(board: Board) -> None:
    panels, frame = curves.panels(board), api.table([board])
    assert [panel.title for panel in panels] == ["digits", "digits-v2", "digits-r"]
    assert {panel.axis for panel in panels} == {"crop ratio"}
    points = frame[(frame.metric == "top1") & frame.crop_ratio.notna()]
    for panel in panels:
        assert [line.checkpoint for line in panel.lines] == board.ranking
        for line in panel.lines:
            mine = points[(points.dataset == panel.title) & (points.checkpoint == line.checkpoint.name)]
            assert [x for x, _ in line.points] == [0.8, 1.0] == mine.crop_ratio.tolist()
            assert [round(e.value, 6) for _, e in line.points] == mine.value.tolist()
            assert [round(e.ci_low or 0, 6) for _, e in line.points] == mine.ci_low.tolist()


def test_the_own_setting_stands_where_the_registry_has_it(board: Board) -> None:
    for panel in curves.panels(board):
        for line in panel.lines:
            assert line.own == line.points[-1]  # ratio 1.0: the same images


def test_a_checkpoint_that_is_not_registered_has_no_mark() -> None:
    [panel, *_] = curves.panels(made_up(suites.get("digits-resolution"), ["strange"], lambda score: 0.5))
    assert panel.lines[0].own is None
    assert [x for x, _ in panel.lines[0].points] == [16, 24, 32, 40, 48, 56, 64]


def test_attacks_count_all_together_and_begin_at_the_clean_accuracy() -> None:
    def value(score: Score) -> float:
        return 0.9 if score.metric.name == "top1" else 0.8 - 0.1 * len(score.conditions)

    linf, l2 = curves.panels(made_up(PGD, ["mine"], value))
    assert [(panel.title, panel.axis) for panel in (linf, l2)] == [("Linf", "eps, 255ths"), ("L2", "eps, L2 norm")]
    for panel, xs, together in ((linf, [0, 0.5, 1, 2, 4, 8], 0.5), (l2, [0, 0.25, 0.5, 1, 2], 0.6)):
        [line] = panel.lines
        assert [x for x, _ in line.points] == pytest.approx(xs)
        assert [e.value for _, e in line.points] == pytest.approx([0.9, *[together] * (len(xs) - 1)])


def test_one_attack_alone_does_not_stand_for_all() -> None:
    board = made_up(PGD, ["mine"], lambda score: 0.5 if len(score.conditions) == 1 else None)
    with pytest.raises(BenchError, match="no point of digits-pgd is stored as asked; `bench run --suite digits-pgd`"):
        curves.panels(board)


def test_a_suite_at_one_setting_is_not_drawn() -> None:
    board = made_up(suites.get("digits"), ["mine"], lambda score: 0.5)
    with pytest.raises(BenchError, match="suite 'digits' has no curve, as it measures at one setting alone; with one:"):
        api.curve(board, Path("a.png"), "png")


# -- the picture -----------------------------------------------------------------------------------------------------


def test_lines_are_told_apart_without_colour() -> None:
    looks = [curves.styled(Look(number=number, colour=0)) for number in range(36)]
    assert len({(look["marker"], look["linestyle"]) for look in looks}) == 36


@pytest.mark.parametrize("count", [1, 6, 30])
def test_the_legend_names_every_checkpoint_and_covers_no_panel(count: int) -> None:
    names = [f"some_architecture_patch16_{number}.sam_in1k" for number in range(count)]
    figure = drawn(made_up(suites.get("resolution"), names, lambda score: 0.5))
    figure.draw_without_rendering()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert {text.get_text() for text in legend.get_texts()} == set(names)
    assert len(figure.axes) == 3
    assert all(axes.get_window_extent().y0 > box.y1 for axes in figure.axes)
    assert all(axes.get_window_extent().height > 200 for axes in figure.axes)
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_checkpoints_with_warnings_are_marked_in_the_legend() -> None:
    board = made_up(PGD, ["mine"], lambda score: 0.5)
    for rows, label in ((board.rows, "mine (warning)"), ([r for r in board.rows if not r.score.metric.alarm], "mine")):
        [legend] = drawn(replace(board, rows=tuple(rows))).legends
        assert [text.get_text() for text in legend.get_texts()] == [label]


def test_values_are_in_percent_and_intervals_are_shaded(board: Board) -> None:
    figure = drawn(board)
    axes, line = figure.axes[0], curves.panels(board)[0].lines[0]
    assert axes.lines[0].get_ydata() == pytest.approx([100 * estimate.value for _, estimate in line.points])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    bounds = [100 * (bound or 0) for _, e in line.points for bound in (e.ci_low, e.ci_high)]
    assert (heights.min(), heights.max()) == pytest.approx((min(bounds), max(bounds)))
    assert axes.get_ylabel() == "top-1, %"


def test_points_without_an_interval_are_drawn() -> None:
    board = made_up(suites.get("digits-crop-ratio"), ["mine"], lambda score: 0.5)
    bare = tuple(replace(row, estimate=Estimate(value=0.5, n=1)) for row in board.rows)
    curves.save(drawn(replace(board, rows=bare)), Path("a.png"), "png")
    with Image.open("a.png") as image:
        assert image.size[0] > 1000


def test_the_same_board_gives_the_same_svg(board: Board) -> None:
    for name in ("a.svg", "b.svg"):
        api.curve(board, Path(name), "svg")
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()


def test_matplotlib_is_imported_where_figures_are_drawn_alone() -> None:
    root, found = Path(bench.__file__).parent, set()
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        unused = {node for branch in for_types for node in ast.walk(branch)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and node not in unused:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
                found |= {path.name for name in names if name.split(".")[0] == "matplotlib"}
    assert found == {"curves.py", "landscape.py", "landscape_columns.py", "plots.py"}


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_png(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(f"curve {RATIOS} --limit 20 --store {store} --out new/folder/curve.png")) == 0
    assert capsys.readouterr().out == "new/folder/curve.png: digits-crop-ratio-ratios-0.8+1.0\n"
    image = Image.open(io.BytesIO(Path("new/folder/curve.png").read_bytes()))
    assert image.format == "PNG"
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_the_command_writes_an_svg_without_torch(store: Path) -> None:
    command = f"curve {RATIOS} --checkpoint digits-vit --store {store} --out curve.svg"
    script = "import sys\nfrom bench.cli import main\nassert main(sys.argv[1:]) == 0\nassert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", script, *shlex.split(command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ElementTree.parse("curve.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--suite digits --out a.png", "suite 'digits' has no curve, as it measures at one setting alone; with one: "),
        ("--suite digits-crop-ratio --out a.pdf", "--out must end in .png or .svg, not 'a.pdf'."),
        ("--suite digits-crop-ratio --out curve", "--out must end in .png or .svg, not 'curve'."),
        (
            "--track digits-sizes --out a.png",
            "bench curve draws one suite, not 2 (digits-crop-ratio, digits-resolution); name it with --suite.",
        ),
        ("--suite digits-resolution --store none --out a.png", "none holds nothing of digits-resolution as asked"),
        ("--suite digits-resolution --set sizes=x --out a.png", "sizes of suite 'digits-resolution' must be"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(capsys: pytest.CaptureFixture[str], options: str, says: str) -> None:
    assert main(shlex.split(f"curve {options}")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(Path().glob("*.png"))


def test_suites_that_have_a_curve_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", "--suite", "digits-c", "--out", "a.png"]) == 2
    named = capsys.readouterr().err
    assert all(name in named for name in ("crop-ratio", "digits-crop-ratio", "digits-resolution", "digits-pgd"))
