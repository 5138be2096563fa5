"""The pages hold together: links lead somewhere, commands are commands, and the site has every page."""

import re
import shlex
from pathlib import Path

import pytest

from bench.cli import parser

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = ("README.md", "ARCHITECTURE.md", "benchmarks/README.md", "results/README.md", "results/studies/README.md")
PAGES = [*(ROOT / name for name in OTHERS), *DOCS]
LONGEST_README = 150  # lines


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """What headings are called in links, as GitHub has it."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))
    return [link for link in found if not re.match(r"https?://", link)]


def commands(page: Path) -> list[str]:
    """Lines of code blocks that call `bench`, whole and without comments."""
    blocks = re.findall(r"^```(?:bash|console)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    calls = [call.strip() for line in lines for call in line.partition(" #")[0].split("&&")]
    return [call for call in calls if call.startswith("bench ") and "…" not in call]


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=names)
def test_commands_are_taken_by_the_parser(page, capsys):
    for command in commands(page):
        try:
            parser().parse_args(shlex.split(command)[1:])
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


def test_the_site_has_every_page():
    shown = re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == [page.name for page in DOCS]
