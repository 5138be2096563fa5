"""A study's page: the claim, the design, tables and figures, in one HTML file that asks for nothing else."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.compare.tables import Section
from bench.report.curves import save
from bench.study.analysis import Trained
from bench.study.design import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(
    study: Study,
    trained: Sequence[Trained],
    tables: Sequence[Section],
    figures: "Sequence[tuple[str, Figure]]",
    command: str,
) -> str:
    """The page.

    Args:
        study: The design.
        trained: All its trainings.
        tables: Of `bench.study.tables.sections`.
        figures: Names and figures, in their order.
        command: What made it, as typed.
    """
    environment = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("study.html").render(
        study=study,
        trainings=len(trained),
        diverged=sum(1 for one in trained if one.diverged),
        tables=tables,
        figures=[(name, _embedded(figure)) for name, figure in figures],
        command=command,
        style=Markup(environment.loader.get_source(environment, "page.css")[0]),  # type: ignore[union-attr]
    )


def _embedded(figure: "Figure") -> str:
    """An SVG picture as the address of itself."""
    file = io.BytesIO()
    save(figure, file, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
