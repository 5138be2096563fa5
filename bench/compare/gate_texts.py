"""What a gate found, as text, as Markdown, as JUnit XML and as JSON."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from bench import __version__
from bench.compare.differences import Difference
from bench.compare.drop import POWER, UNPAIRED
from bench.compare.gate import Report, Row
from bench.compare.texts import interval, p_value, signed
from bench.records import Estimate
from bench.text import markdown, plain, render, render_markdown

FORMAT = 2
"""Of the JSON; bumped when a key changes its meaning or goes. Since 2 p is that the drop is at most the tolerance."""
_HEADINGS = (
    "suite", "checkpoint", "score", "before", "after", "difference", "95% interval", "p", "tolerance", "n", "test",
    "verdict",
)  # fmt: skip
_DIGITS, _P_DIGITS = 2, 4
"""Behind the point: more than in tables, as a drop is held against a tolerance, and p against an alpha of any size."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold even escaped."""


def as_text(report: Report) -> str:
    """The table, what could not be compared, what got worse and where, and the verdict in one line."""
    table = render(_HEADINGS, [_cells(row) for row in report.rows]) if report.rows else ""
    details = ["\n".join([_title(row), *(f"  {line}" for line in _details(row))]) for row in _worse(report)]
    lines = "\n".join(_said(report))
    return "\n\n".join(part for part in (table, *details, lines, f"{_about(report)}\n{verdict(report)}") if part)


def as_markdown(report: Report) -> str:
    """The same for a page of GitHub's."""
    table = render_markdown(_HEADINGS, [_cells(row) for row in report.rows]) if report.rows else ""
    details = [
        "\n".join([f"**{markdown(_title(row))}**", "", *(f"- {markdown(line)}" for line in _details(row))])
        for row in _worse(report)
    ]
    lines = "\n".join(f"- {markdown(line)}" for line in _said(report))
    head = f"### bench gate: {markdown(verdict(report))}"
    return "\n\n".join(part for part in (head, table, *details, lines, markdown(_about(report))) if part) + "\n"


def as_junit(report: Report) -> str:
    """JUnit XML: a test case a row; a failure where it got worse, an error where it cannot be compared."""
    failures, errors = len(_worse(report)), len(report.faults) + sum(bool(row.reason) for row in report.rows)
    counts = {
        "tests": str(len(report.rows) + len(report.faults)),
        "failures": str(failures),
        "errors": str(errors),
    }
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": "bench gate", **counts})
    for row in report.rows:
        name = f"{_named(row)}, {row.score.column}"
        case = ET.SubElement(suite, "testcase", {"classname": _xml(f"gate.{row.suite.name}"), "name": _xml(name)})
        if row.verdict == "GOT WORSE":
            failure = ET.SubElement(case, "failure", {"type": "regression", "message": _xml(_title(row))})
            failure.text = _xml("\n".join(_details(row)))
        elif row.difference is None:
            ET.SubElement(case, "error", {"type": "cannot compare", "message": _xml(row.reason)})
    for fault in report.faults:
        case = ET.SubElement(suite, "testcase", {"classname": "gate", "name": "gate"})
        ET.SubElement(case, "error", {"type": "cannot compare", "message": _xml(fault)})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def as_json(report: Report) -> str:
    """Every number, in the scores' own units: fractions, not percent."""
    text = json.dumps(
        {
            "format": FORMAT,
            "rtbench": __version__,
            "status": _status(report),
            "exit_status": report.exit_status,
            "baseline": report.baseline,
            "candidate": report.candidate,
            "alpha": report.alpha,
            "rows": [_row(row) for row in report.rows],
            "faults": report.faults,
            "notes": report.notes,
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair, which JSON has as an escape


def verdict(report: Report) -> str:
    """One line."""
    worse, unknown = len(_worse(report)), sum(row.difference is None for row in report.rows)
    compared = len(report.rows) - unknown
    if report.faults:
        return "cannot compare, which is no pass"
    blind = _unpaired(report)
    if worse:
        text = f"{worse} of {compared} scores got worse"
    elif blind:
        text = f"no significant drop; scores compared: {compared}; {_unseen(max(blind, key=_least_seen))}"
    else:
        text = f"nothing got worse; scores compared: {compared}"
    return f"{text}; cannot compare {unknown}, which is no pass" if unknown else text


def _status(report: Report) -> str:
    """The exit status in words."""
    passed = "no significant drop" if _unpaired(report) else "nothing got worse"
    return {0: passed, 1: "something got worse"}.get(report.exit_status, "cannot compare")


def _about(report: Report) -> str:
    """What was compared with what, and by which rule."""
    tests = sum(row.difference is not None for row in report.rows)
    return plain(
        f"{report.candidate} against {report.baseline}. GOT WORSE: p at most {report.alpha:g}; p is that the true drop "
        f"is at most the tolerance, one-sided, and adjusted by Holm (rows: {tests})."
    )


def _cells(row: Row) -> tuple[str, ...]:
    difference, scale = row.difference, _scale(row)
    head = (row.suite.name, _named(row), row.score.column)
    if difference is None:
        return (*head, *["–"] * (len(_HEADINGS) - 4), row.verdict)
    return (
        *head,
        f"{scale * difference.before.value:z.2f}",
        f"{scale * difference.after.value:z.2f}",
        signed(difference.value, scale, _DIGITS),
        interval(difference.ci_low, difference.ci_high, scale, _DIGITS),
        p_value(difference.p_adjusted, _P_DIGITS),
        f"{scale * row.tolerance:g}",
        f"{difference.after.n:,}",
        difference.how + ("" if difference.lost is None else f" −{difference.lost} +{difference.gained}"),
        row.verdict,
    )


def _title(row: Row) -> str:
    """What got worse, in a line."""
    difference, scale = row.difference, _scale(row)
    if difference is None:
        return plain(f"{row.suite.name}, {_named(row)}")
    change = signed(difference.value, scale, _DIGITS) + (" points" if scale == 100 else "")
    return plain(
        f"{row.suite.name}, {_named(row)}: {row.score.column} {scale * difference.before.value:z.2f} → "
        f"{scale * difference.after.value:z.2f} ({change}, p {p_value(difference.p_adjusted, _P_DIGITS)} by Holm)"
    )


def _details(row: Row) -> Iterator[str]:
    """The worst conditions and some of the images that flipped, a line each."""
    for change in row.worst:
        fall = 100 * (change.after - change.before)
        yield plain(f"{change.condition}: {100 * change.before:z.1f} → {100 * change.after:z.1f} ({fall:+z.1f} points)")
    for flip in row.flips:
        where = f", lost in {flip.lost} of {flip.conditions} conditions" if flip.conditions > 1 else ""
        yield plain(f"image {flip.id} ({flip.label}): {flip.before} → {flip.after}{where}")


def _said(report: Report) -> list[str]:
    """What is to be known beside the table, a line each."""
    return list(map(plain, (*_reasons(report), *_blind(report), *report.faults, *report.notes)))


def _reasons(report: Report) -> list[str]:
    """Why rows cannot be compared, each reason once."""
    rows: dict[str, list[Row]] = {}
    for row in report.rows:
        if row.difference is None:
            rows.setdefault(row.reason, []).append(row)
    return [
        f"cannot compare {alike[0].suite.name}, {', '.join(_named(row) for row in alike)}: {reason}"
        for reason, alike in rows.items()
    ]


def _blind(report: Report) -> list[str]:
    """Which scores could not be tested image by image, and what that hides."""
    lines = []
    for row in _unpaired(report):
        why = row.difference.untested.rstrip(".") if row.difference else ""
        lines.append(
            f"{row.suite.name}, {_named(row)}: tested as two separate samples{f' ({why})' if why else ''}; "
            f"{_unseen(row)}"
        )
    return lines


def _unseen(row: Row) -> str:
    """What would have stayed hidden."""
    unit = "points" if _scale(row) == 100 else row.score.metric.unit
    return f"a drop under {_least_seen(row):.2g} {unit} could not have been seen (at a power of {POWER:.0%})"


def _least_seen(row: Row) -> float:
    return _scale(row) * (row.detectable or 0.0)


def _unpaired(report: Report) -> list[Row]:
    """What was compared by value alone."""
    return [row for row in report.rows if row.difference is not None and row.difference.how == UNPAIRED]


def _row(row: Row) -> dict[str, Any]:
    return {
        "suite": row.suite.name,
        "suite_version": row.suite.version,
        "checkpoint": row.checkpoint,
        "against": row.against,
        "score": row.score.column,
        "metric": row.score.metric.name,
        "unit": row.score.metric.unit,
        "higher_is_better": row.score.metric.higher_is_better,
        "verdict": row.verdict.lower(),
        "reason": row.reason,
        "tolerance": row.tolerance,
        "detectable": _finite(row.detectable),
        **(_numbers(row.difference) if row.difference else {}),
        "worst_conditions": [{"condition": c.condition, "before": c.before, "after": c.after} for c in row.worst],
        "flipped": [
            {"id": f.id, "label": f.label, "before": f.before, "after": f.after, "conditions": f.lost}
            for f in row.flips
        ],
    }


def _numbers(difference: Difference) -> dict[str, Any]:
    return {
        "before": _estimate(difference.before),
        "after": _estimate(difference.after),
        "difference": difference.value,
        "ci_low": _finite(difference.ci_low),
        "ci_high": _finite(difference.ci_high),
        "p": difference.p,
        "p_adjusted": difference.p_adjusted,
        "lost": difference.lost,
        "gained": difference.gained,
        "test": difference.how,
        "untested": difference.untested,
    }


def _estimate(estimate: Estimate) -> dict[str, float | int | None]:
    return {
        "value": estimate.value,
        "ci_low": _finite(estimate.ci_low),
        "ci_high": _finite(estimate.ci_high),
        "n": estimate.n,
    }


def _finite(number: float | None) -> float | None:
    """A number as JSON has it; an interval without an end there has none."""
    return number if number is not None and math.isfinite(number) else None


def _worse(report: Report) -> list[Row]:
    return [row for row in report.rows if row.verdict == "GOT WORSE"]


def _named(row: Row) -> str:
    return row.checkpoint if row.checkpoint == row.against else f"{row.checkpoint} (was {row.against})"


def _scale(row: Row) -> int:
    return 100 if row.score.metric.unit == "fraction" else 1


def _xml(text: str) -> str:
    return _NOT_XML.sub("�", text)
