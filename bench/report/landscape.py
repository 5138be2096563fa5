"""The landscape of checkpoints as figures: surfaces, spectral densities, blocks, neurons, attention.

They are drawn from what the measures of the landscape store, in the style of `bench.report.curves`.
Legend: N images, G points of each side of a surface, P patches.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator

from bench.board.leaderboard import Board
from bench.board.tables import display_names
from bench.errors import BenchError
from bench.records import Array, Condition, Outcome
from bench.report.curves import literal
from bench.report.looks import COLOURS
from bench.store import Store, StoredCheckpoint
from bench.suite import Suite, suites

if TYPE_CHECKING:
    from bench.tools.landscape import Way

_ACROSS = 3
"""Panels side by side at most."""
_POWERS = LogFormatterSciNotation()
_LETTER = 0.075
"""Width of a letter of the title, inches, rounded up."""
_LEVELS = 14
"""Contours of a surface."""
_LEAST_LOSS = 1e-3
"""Nats below which losses have one colour."""
_DECADES = 7
"""Of the axis of a spectral density, downwards from the largest eigenvalue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A checkpoint with what a measure stored of it."""

    checkpoint: StoredCheckpoint
    name: str
    """As figures call it."""
    outcome: Outcome

    @property
    def attends(self) -> bool:
        """Whether it has attention between all tokens of an image."""
        return bool(self.outcome.columns.get("attention_heads", [""])[0])

    def same(self, column: str) -> Array:
        """What a column says that says the same in every row."""
        row: Array = self.outcome.columns[column][0]
        return row

    def words(self, column: str) -> list[str]:
        """The names of a column of text that says the same in every row."""
        return str(self.same(column)).split()


def shown(board: Board, store: Store, column: str) -> list[Shown]:
    """The checkpoints of a board of which a column is stored, family by family, those without SAM first.

    Args:
        board: of any suite; of those that are of no landscape, nothing is shown.
        store: where its outcomes are.
        column: of a measure of the landscape.
    """
    names = display_names(board.checkpoints)
    found: dict[str, Outcome] = {}
    for (model, condition), cell in board.cells.items():
        if condition.measure.name == _MEASURES[column]:
            outcome = store.read(cell.key)
            if column in outcome.columns:
                found[model] = outcome
    order = sorted(board.checkpoints, key=lambda entry: (entry.family, entry.sam != "none", entry.name))
    return [
        Shown(checkpoint=entry, name=literal(names[entry]), outcome=found[entry.model])
        for entry in order
        if entry.model in found
    ]


_MEASURES = {
    "surface": "surface",
    "density_values": "curvature",
    "block_names": "curvature",
    "active": "neurons",
    "rollout": "attention",
}
"""Column to the measure that gives it."""


def condition_of(suite: Suite, column: str) -> Condition:
    """The condition of a suite of the landscape under whose measure a column is stored."""
    return next(condition for condition in suite.conditions if condition.measure.name == _MEASURES[column])


def check_landscape(suite: Suite) -> None:
    """Make sure that a suite measures a landscape.

    Raises:
        BenchError: it does not; those that do are named.
    """
    if not _of_landscape(suite):
        names = ", ".join(known.name for known in suites if _of_landscape(known))
        raise BenchError(f"suite {suite.name!r} measures no landscape; one of these does: {names}.")


def _of_landscape(suite: Suite) -> bool:
    return any(condition.measure.name in _MEASURES.values() for condition in suite.conditions)


def figures(board: Board, store: Store) -> Iterator[tuple[str, Figure]]:
    """Every figure of a landscape that a board's outcomes hold, with the last word of its file's name.

    Args:
        board: of any suite.
        store: where its outcomes are.
    """
    for name, column, draw in (
        ("surface", "surface", surface_figure),
        ("density", "density_values", density_figure),
        ("blocks", "block_names", blocks_figure),
        ("neurons", "active", neurons_figure),
    ):
        checkpoints = shown(board, store, column)
        if checkpoints:
            yield name, draw(checkpoints, board)


# -- surfaces ----------------------------------------------------------------------------------------------------------


class Surfaces:
    """Mean losses over two random directions, on shared axes and colours.

    Args:
        checkpoints: all whose surfaces are to be compared.
    """

    def __init__(self, checkpoints: Sequence[Shown]) -> None:
        self._surfaces = {entry.checkpoint: _smooth(entry) for entry in checkpoints}
        self._extent = float(checkpoints[0].same("surface_axis")[-1])
        highest = max(10 * _LEAST_LOSS, *(float(surface.max()) for surface in self._surfaces.values()))
        self._norm, self._levels = LogNorm(_LEAST_LOSS, highest), np.geomspace(_LEAST_LOSS, highest, _LEVELS)

    def draw(self, axes: Axes, entry: Shown) -> ContourSet:
        """Draw that of a checkpoint, and give what a colour bar is of."""
        surface = self._surfaces[entry.checkpoint].clip(_LEAST_LOSS)
        ticks = np.linspace(-self._extent, self._extent, len(surface))
        filled = axes.contourf(ticks, ticks, surface, levels=self._levels, norm=self._norm, cmap="viridis")
        axes.contour(ticks, ticks, surface, levels=self._levels, colors="white", linewidths=0.3, alpha=0.6)
        axes.plot(0, 0, marker="+", color="white", markersize=7)
        axes.set_title(entry.name, fontsize=9)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
        return filled


def surface_figure(checkpoints: Sequence[Shown], board: Board) -> Figure:
    """The mean loss over two random directions, a panel a checkpoint."""
    surfaces = Surfaces(checkpoints)
    figure, grid = _panels(len(checkpoints), (2.5, 2.55), shared=True)
    drawn = [surfaces.draw(axes, entry) for axes, entry in zip(grid, checkpoints, strict=True)]
    colour_bar(figure, drawn[0], grid, "right")
    figure.supxlabel("first direction, in lengths of each filter", fontsize=8)
    figure.supylabel("second direction", fontsize=8)
    _title(figure, board, "The loss around the weights", checkpoints[0].outcome.n)
    return figure


def colour_bar(figure: Figure, drawn: ContourSet, grid: Sequence[Axes], location: Literal["right", "bottom"]) -> None:
    """Say which loss a colour is.

    Args:
        figure: with the panels.
        drawn: as `Surfaces.draw` gives it.
        grid: the panels.
        location: where it stands.
    """
    bar = figure.colorbar(
        drawn, ax=list(grid), location=location, shrink=0.85, pad=0.02, ticks=LogLocator(), format=_POWERS
    )
    bar.ax.tick_params(labelsize=7)
    bar.set_label("mean loss, nats", fontsize=8)


def _smooth(entry: Shown, points: int = 121) -> Array:
    """(points, points): the mean loss of a plane, or of a line spread over one, interpolated in its logarithm."""
    from scipy.interpolate import RectBivariateSpline  # type: ignore[import-untyped]  # it takes a while to import

    axis = entry.same("surface_axis").astype(np.float64)
    means = entry.outcome.columns["surface"].mean(axis=0, dtype=np.float64)
    losses_GG = np.broadcast_to(means.reshape(-1, len(axis)), (len(axis), len(axis)))
    spline = RectBivariateSpline(axis, axis, np.log(losses_GG.clip(1e-12)), kx=2, ky=2)
    fine = np.linspace(axis[0], axis[-1], points)
    smooth: Array = np.exp(spline(fine, fine)).T  # the first direction to the right
    return smooth.clip(means.min(), means.max())


# -- spectral densities ------------------------------------------------------------------------------------------------


class Spectra:
    """Shares of eigenvalues a decade of their size, on one axis; those below 0 to the left.

    Args:
        checkpoints: all whose spectra are to be compared.
    """

    def __init__(self, checkpoints: Sequence[Shown]) -> None:
        largest = max(float(np.abs(entry.same("density_values")).max()) for entry in checkpoints)
        self._last = math.ceil(math.log10(largest))

    def draw(self, axes: Axes, members: Sequence[Shown], every: int = 2) -> None:
        """Draw those of some checkpoints.

        Args:
            axes: of a panel.
            members: the checkpoints.
            every: decades from tick to tick.
        """
        for number, entry in enumerate(members):
            decades, negative, positive = self._log_density(entry)
            axes.plot(decades, positive, color=_colour(number), linewidth=1.3, label=entry.name)
            axes.plot(-decades, negative, color=_colour(number), linewidth=1.3)
        axes.axvline(0, color="#222222", linewidth=0.6)
        first, places = self._last - _DECADES, range(every, _DECADES + 1, every)
        axes.set_xticks(
            [*(-place for place in places), 0, *places],
            [
                *(f"$-10^{{{first + place}}}$" for place in places),
                rf"$\pm10^{{{first}}}$",
                *(f"$10^{{{first + place}}}$" for place in places),
            ],
        )
        axes.set_yscale("log")
        axes.set_ylim(1e-7, 3)
        _plain(axes)

    def _log_density(self, entry: Shown) -> tuple[Array, Array, Array]:
        """Decades from the axis's smallest size on, and the densities below and above 0 there."""
        import torch

        from bench.landscape.density import Density

        values, shares = (torch.from_numpy(np.array(entry.same(f"density_{what}"))) for what in ("values", "shares"))
        made = Density(values_M=values, shares_M=shares).on_log_axis(
            smallest=10.0 ** (self._last - _DECADES), largest=10.0**self._last, width=0.2
        )
        exponents = made.size_M.log10().numpy()
        return exponents - exponents[0], made.negative_M.numpy(), made.positive_M.numpy()


def density_figure(checkpoints: Sequence[Shown], board: Board) -> Figure:
    """The spectral densities, a panel a family."""
    spectra, families = Spectra(checkpoints), list(dict.fromkeys(entry.checkpoint.family for entry in checkpoints))
    figure, grid = _panels(len(families), (3.1, 2.7), shared=True)
    for axes, family in zip(grid, families, strict=True):
        spectra.draw(axes, [entry for entry in checkpoints if entry.checkpoint.family == family])
        axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.supxlabel("eigenvalue of the Hessian, nats", fontsize=8)
    figure.supylabel("share of all eigenvalues a decade", fontsize=8)
    _title(figure, board, "The spectrum of the Hessian", checkpoints[0].outcome.n)
    return figure


# -- blocks ------------------------------------------------------------------------------------------------------------


class Blocks:
    """The largest eigenvalue of each block of weights, on one axis.

    Args:
        checkpoints: all whose blocks are to be compared.
    """

    def __init__(self, checkpoints: Sequence[Shown]) -> None:
        values = np.concatenate([entry.same("block_eigenvalues") for entry in checkpoints])
        above = values[values > 0]
        self._ends = (above.min() / 2, above.max() * 2) if above.size else (0.1, 1.0)

    def draw(self, axes: Axes, members: Sequence[Shown]) -> None:
        """Draw those of some checkpoints of one architecture, a bar each."""
        blocks, height = members[0].words("block_names"), 0.8 / len(members)
        for number, entry in enumerate(members):
            places = np.arange(len(blocks)) + (number - (len(members) - 1) / 2) * height
            bars = entry.same("block_eigenvalues").clip(self._ends[0])
            axes.barh(places, bars, height=height, color=_colour(number), label=entry.name)
        axes.set_xscale("log")
        axes.set_xlim(*self._ends)
        axes.set_yticks(range(len(blocks)), [literal(block) for block in blocks], fontsize=7)
        axes.invert_yaxis()
        _plain(axes)


def blocks_figure(checkpoints: Sequence[Shown], board: Board) -> Figure:
    """The blocks, a panel an architecture."""
    groups: dict[tuple[str, ...], list[Shown]] = {}
    for entry in checkpoints:
        groups.setdefault(tuple(entry.words("block_names")), []).append(entry)
    figure, grid = _panels(len(groups), (3.3, 0.24 * max(map(len, groups)) + 1.2))
    blocks = Blocks(checkpoints)
    for axes, members in zip(grid, groups.values(), strict=True):
        blocks.draw(axes, members)
        axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.supxlabel("largest eigenvalue of the block's own Hessian, nats", fontsize=8)
    _title(figure, board, "The blocks of weights", checkpoints[0].outcome.n)
    return figure


# -- neurons -----------------------------------------------------------------------------------------------------------


def neurons_figure(checkpoints: Sequence[Shown], board: Board) -> Figure:
    """The share of values above zero after each activation, from the first layer to the last; a panel a family."""
    families = list(dict.fromkeys(entry.checkpoint.family for entry in checkpoints))
    figure, grid = _panels(len(families), (3.1, 2.7))
    for axes, family in zip(grid, families, strict=True):
        members = [entry for entry in checkpoints if entry.checkpoint.family == family]
        for number, entry in enumerate(members):
            shares = 100 * entry.outcome.columns["active"].mean(axis=0, dtype=np.float64)
            places = range(1, len(shares) + 1)
            axes.plot(places, shares, color=_colour(number), marker="o", markersize=3, linewidth=1.3, label=entry.name)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=7, frameon=False)
        _plain(axes)
    figure.supxlabel("activation, from the first", fontsize=8)
    figure.supylabel("values above zero, %", fontsize=8)
    _title(figure, board, "Active neurons", checkpoints[0].outcome.n)
    return figure


# -- attention ---------------------------------------------------------------------------------------------------------


def attention_figure(checkpoints: Sequence[Shown], board: Board, pictures: Mapping[str, Sequence[Array]]) -> Figure:
    """Rollout maps over pictures: a row a checkpoint, a column a picture.

    Args:
        checkpoints: with attention.
        board: of the suite.
        pictures: of each checkpoint by its name, the crops (h, w, 3) uint8 of the first samples that it saw, in the
            order of its outcome.
    """
    across = len(next(iter(pictures.values())))
    figure = Figure(figsize=(1.45 * across + 0.4, 1.5 * len(checkpoints) + 1.2), layout="constrained")
    grid = figure.subplots(len(checkpoints) + 1, across, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    first = pictures[checkpoints[0].checkpoint.name]
    for axes, picture in zip(grid[0], first, strict=True):
        axes.imshow(picture)
    for row, entry in zip(grid[1:], checkpoints, strict=True):
        rollout = entry.outcome.columns["rollout"]
        side = math.isqrt(rollout.shape[1])
        for column, (axes, picture) in enumerate(zip(row, pictures[entry.checkpoint.name], strict=True)):
            height, width = picture.shape[:2]
            axes.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            axes.imshow(
                rollout[column].reshape(side, side),
                cmap="inferno",
                alpha=0.6,
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                interpolation="bicubic",
            )
        row[0].set_ylabel(entry.name, fontsize=8)
    grid[0, 0].set_ylabel("picture", fontsize=8)
    _title(figure, board, "Where attention flows from (rollout)", None)
    return figure


# -- the way between two -----------------------------------------------------------------------------------------------


def way_figure(ways: "Sequence[Way]", board: Board, images: int) -> Figure:
    """A panel for each way."""
    figure, grid = _panels(len(ways), (3.3, 2.7))
    for axes, way in zip(grid, ways, strict=True):
        for number, (label, losses) in enumerate(way.losses.items()):
            axes.plot(way.at_T, losses, color=_colour(number), linewidth=1.4, label=label or None)
        axes.set_xticks([0, 0.5, 1], [literal(way.names[0]), "half", literal(way.names[1])], fontsize=7)
        if len(way.losses) > 1:
            axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
        _plain(axes)
        axes.set_ylim(bottom=0)
    figure.supylabel("mean loss, nats", fontsize=8)
    _title(figure, board, "The straight way between two", images)
    return figure


# -- what figures share ------------------------------------------------------------------------------------------------


def _panels(count: int, size: tuple[float, float], *, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of this width and height in inches."""
    across = min(count, _ACROSS)
    down = math.ceil(count / across)
    figure = Figure(figsize=(max(across * size[0] + 0.6, 4.4), down * size[1] + 0.7), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False, sharex=shared, sharey=shared).flat)
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _title(figure: Figure, board: Board, text: str, images: int | None) -> None:
    of = "" if images is None else f"; {images:,} images"
    below = textwrap.fill(f"{literal(board.suite.title)}{of}", int(figure.get_figwidth() / _LETTER))
    figure.suptitle(f"{text}\n{below}", fontsize=9)
