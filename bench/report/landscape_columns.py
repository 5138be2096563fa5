"""The landscape of each checkpoint as one picture of the page: its surface, its spectrum and its blocks."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from bench.board.leaderboard import Board
from bench.report.landscape import Blocks, Shown, Spectra, Surfaces, shown
from bench.store import Store

_SIZE = (3.0, 8.0)
"""Width and height, inches."""
_DOTS_PER_INCH = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A checkpoint's picture."""

    name: str
    family: str
    sam: str
    picture: str
    """A data URI."""


def columns(board: Board, store: Store) -> Iterator[Column]:
    """A picture for each checkpoint whose landscape is stored whole, all on the same axes.

    Args:
        board: of any suite.
        store: where its outcomes are.
    """
    parts = [shown(board, store, column) for column in ("surface", "density_values", "block_names")]
    if not all(parts):
        return
    surfaces, spectra, blocks = Surfaces(parts[0]), Spectra(parts[1]), Blocks(parts[2])
    of = [{entry.checkpoint: entry for entry in part} for part in parts]
    for checkpoint in of[0]:
        if all(checkpoint in part for part in of):
            figure = _column(surfaces, spectra, blocks, [part[checkpoint] for part in of])
            yield Column(
                name=of[0][checkpoint].name, family=checkpoint.family, sam=checkpoint.sam, picture=_data_uri(figure)
            )


def _column(surfaces: Surfaces, spectra: Spectra, blocks: Blocks, parts: list[Shown]) -> Figure:
    figure = Figure(figsize=_SIZE, layout="constrained")
    first, second, third = figure.subplots(3, 1, height_ratios=(3.0, 2.0, 3.0))
    drawn = surfaces.draw(first, parts[0])
    bar = figure.colorbar(drawn, ax=first, shrink=0.8)
    bar.ax.tick_params(labelsize=6)
    spectra.draw(second, parts[1:2])
    blocks.draw(third, parts[2:])
    for axes, title in (
        (first, "mean loss, nats, over two directions"),
        (second, "share of eigenvalues a decade"),
        (third, "largest eigenvalue by block, nats"),
    ):
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=6)
    return figure


def _data_uri(figure: Figure) -> str:
    saved = io.BytesIO()
    figure.savefig(saved, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(saved.getvalue()).decode()}"
