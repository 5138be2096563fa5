"""The landscape of each checkpoint as one picture of the page: its surface, its spectrum and its blocks."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from bench.board.leaderboard import Board
from bench.report.landscape import Blocks, Shown, Spectra, Surfaces, colour_bar, shown
from bench.store import Store

_SIZE = (3.2, 7.6)
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
    first, second, third = figure.subplots(3, 1, height_ratios=(3.4, 2.0, 2.6))
    colour_bar(figure, surfaces.draw(first, parts[0]), [first], "bottom")
    spectra.draw(second, parts[1:2], every=3)
    blocks.draw(third, parts[2:])
    first.set_title("over two directions", fontsize=8)
    second.set_title("share of eigenvalues a decade", fontsize=8)
    third.set_title("largest eigenvalue by block, nats", fontsize=8)
    return figure


def _data_uri(figure: Figure) -> str:
    saved = io.BytesIO()
    figure.savefig(saved, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(saved.getvalue()).decode()}"
