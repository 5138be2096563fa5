import tomllib
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.toml_lines import load_toml, locate

TEXT = '''# registries
top = 1

["my.vit"]  # a comment
arch = "x"
note = """
[other]
arch = "in a string"
"""
classes = [
  "cat",  # one
  "dog",
]
args = { a = 1, b = { c = 2 } }

[other.deep]
arch = "y"
dotted.key = 3
[[list]]
name = "z"
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("top",), 2),
        (("my.vit",), 4),
        (("my.vit", "arch"), 5),
        (("my.vit", "note"), 6),
        (("my.vit", "classes"), 10),
        (("my.vit", "args"), 14),
        (("my.vit", "args", "b", "c"), 14),
        (("other",), 16),
        (("other", "deep", "arch"), 17),
        (("other", "deep", "dotted", "key"), 18),
        (("list",), 19),
        (("list", "name"), 20),
    ],
)
def test_each_key_is_found_where_it_is_written(keys: tuple[str, ...], line: int) -> None:
    assert locate(TEXT, *keys) == line


def test_a_missing_key_is_placed_at_the_table_that_should_have_it() -> None:
    assert locate(TEXT, "my.vit", "weights") == 4
    assert locate(TEXT, "nowhere", "weights") == 1
    assert locate(TEXT) == 1


def test_a_file_gives_its_table_and_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())  # as Windows editors save it
    table, lines = load_toml(path)
    assert table["other"]["deep"]["dotted"]["key"] == 3
    assert lines("other", "deep", "arch") == 17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nx = \n", r"bad.toml, line 2: not valid TOML: Invalid value; correct it there"),
        ("[a]\nx = 1\nx = 2\n", "line 3: not valid TOML: Cannot overwrite a value"),
        ("[a]\nx = [1,\n2,", "line 3: not valid TOML: "),
        ("", None),
    ],
)
def test_a_syntax_error_names_file_and_line(tmp_path: Path, text: str, message: str | None) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    if message is None:
        assert load_toml(path)[0] == {}
        return
    with pytest.raises(BenchError, match=message):
        load_toml(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"there is no file .*none\.toml; check the path"):
        load_toml(tmp_path / "none.toml")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"can't be read \(Is a directory\); a TOML file was wanted"):
        load_toml(tmp_path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "café"'.encode("latin-1"))
    with pytest.raises(BenchError, match="must be text in UTF-8"):
        load_toml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nx = 1" + "0" * 30, "line 2: a.x must be a whole number of at most 64 bits"),
        ("x = 1" + "0" * 9000, "a number of thousands of digits"),
        ("x = 1\ny = 1e999", "line 2: y must be a number with an end, not inf"),
        ("x = [1.0, nan]", "line 1: x must be a number with an end, not nan"),
        ("[a]\nb = { c = [{ d = -inf }] }", "line 2: a.b.c.d must be a number"),
        ('[a]\nb = "x\\u0000y"', "line 2: .* holds a NUL"),
        ('["a\\u0000"]\nb = 1', "line 1: .* holds a NUL"),
        ("x = " + "[" * 100 + "]" * 100, "line 1: x holds tables in tables more than 16 deep"),
        ("x = " + "[" * 10**5 + "]" * 10**5, "brackets in brackets"),
        (".".join("a" * 50) + " = 1", "line 1: a holds tables in tables more than 16 deep"),
        ("# " + "x" * 2**21, "larger than 2 MiB"),
        (b"x = '\xff'", "must be text in UTF-8"),
        (b"x = '\x00'", "not valid TOML"),
        (b"\xff\xfex\x00=\x001\x00", "must be text in UTF-8"),
    ],
)
def test_what_no_setting_can_be_is_one_sentence(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BenchError, match=message):
        load_toml(path)


@pytest.mark.parametrize("place", [".", "/dev/zero", "/dev/null/x", "a" * 300])
def test_what_is_no_file_is_not_read(place: str) -> None:
    with pytest.raises(BenchError, match="TOML file|check the path"):
        load_toml(Path(place))


def test_lines_of_a_long_file_are_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parsed in all must not grow with the square of the length; counted, not timed."""
    parsed: list[int] = []
    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: parsed.append(len(text)) or loads(text))
    rows = "".join(f'  "name {i}", # [{{\n' for i in range(2000))
    text = f"[a]\nclasses = [\n{rows}]\n" + "".join(f"[t{i}]\nx = {{ y = {i} }}\n" for i in range(2000))
    assert locate(text, "t1999", "x", "y") == 4 + 2000 + 2 * 1999 + 1
    assert sum(parsed) <= len(text)
