"""What may be a name, and what files are called after one."""

import io

import pandas as pd
import pytest

from bench.attacks import attacks
from bench.board.tables import to_csv
from bench.checkpoints import checkpoints
from bench.checkpoints.toml_file import read_registry
from bench.corruptions import corruptions
from bench.datasets import class_spaces, datasets
from bench.errors import BenchError
from bench.measure import measures
from bench.names import LONGEST, check_name, check_text, file_name
from bench.registry import Registry
from bench.suite import suites
from bench.text import markdown, plain, render, render_markdown

BREAKING = ["a\nb", "a\rb", "a\x1b[31mb", "a\x00b", "a\x85b", "a\u2028b", "a\u202eb", "\ud800", "a\tb", "a\x7f"]
HARMLESS = [
    "digits-vit",
    "vit_base_patch16_224.sam_in1k@288",
    "ViT-B/16",
    "é",
    "模型",
    "a b",
    "NA",
    "nan",
    "1e5",
    "$x$",
    "_x",
]


@pytest.mark.parametrize("name", [*BREAKING, "=1+1", "+a", "-a", "@SUM(1)", " a", "a ", "a\u3000", "x" * (LONGEST + 1)])
def test_no_text_that_breaks_an_output_is_a_name(name):
    with pytest.raises(BenchError) as caught:
        check_text("checkpoint", name)
    assert str(caught.value).isprintable()
    with pytest.raises(BenchError):
        check_name("suite", name)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_people_call_checkpoints_is_taken(name):
    check_name("checkpoint", name, slashes=True)


@pytest.mark.parametrize("name", ["../../../x", "a/b", "a\\b", "..", ".hidden", ""])
def test_nothing_else_is_registered_under_a_path(name):
    registry = Registry("suite")
    with pytest.raises(BenchError, match="suite"):
        registry.register(type("Named", (), {"name": name})())
    assert list(registry._items) == []


@pytest.mark.parametrize("registry", [checkpoints, datasets, class_spaces, suites, attacks, measures, corruptions])
def test_all_that_ships_bears_such_a_name(registry):
    for record in registry:
        check_name(registry.kind, record.name, slashes=registry.slashes)


@pytest.mark.parametrize(
    "name", [*BREAKING, "../up", "a/b", ".hidden", "-x", "x" * 300, "模" * 200, "a:b", "C:\\x", "a" * 121]
)
def test_a_file_stays_in_its_folder_and_can_be_made(tmp_path, name):
    safe = file_name(name)
    assert safe != file_name(name + "!")
    (tmp_path / f"{safe}-limit-200-seed-12345.board.csv").write_text("")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("key", ["family", "recipe", "pairs_with"])
@pytest.mark.parametrize("text", ["a\\nb", "\\u001b[31m", "=HYPERLINK(1)"])
def test_texts_of_an_entry_are_held_to_the_same(tmp_path, key, text):
    path = tmp_path / "mine.toml"
    path.write_text(f'[mine]\narch = "resnet18"\nweights = "w.safetensors"\nclasses = ["a", "b"]\n{key} = "{text}"\n')
    with pytest.raises(BenchError, match=f"line 5.*{key} "):
        read_registry(path, lambda name: datasets.get(name).class_space)


@pytest.mark.parametrize("name", HARMLESS)
def test_a_name_reads_back_from_csv_as_it_was(name):
    text = to_csv(pd.DataFrame({"checkpoint": [name], "value": [0.5]}))
    read = pd.read_csv(io.StringIO(text), dtype="string", keep_default_na=False, na_values=[""])
    assert read["checkpoint"].tolist() == [name]


@pytest.mark.parametrize("text", BREAKING)
def test_a_row_is_a_line_whatever_is_in_it(text):
    for table in (render(["name", "n"], [[text, 1]]), render_markdown(["name", "n"], [[text, 1]])):
        assert len(table.splitlines()) == 3
        assert all(line.isprintable() for line in table.splitlines())
    assert plain(text).isprintable()


def test_markdown_shows_a_text_and_does_nothing_with_it():
    cmark = pytest.importorskip("markdown_it")
    page = cmark.MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])
    for text in (
        "[x](http://a.b)",
        "<script>",
        "**b**",
        "_b_",
        "`c`",
        "~~s~~",
        "a|b",
        "![x](y)",
        "&amp;",
        "http://a.b",
    ):
        [inline] = [token for token in page.parse(markdown(text)) if token.type == "inline"]
        assert {child.type for child in inline.children} <= {"text", "text_special"}
        assert "".join(child.content for child in inline.children) == text


def test_words_with_underscores_stay_readable_in_markdown():
    assert markdown("vit_base_patch16_224.sam_in1k") == "vit_base_patch16_224.sam_in1k"
