"""Command lines and TOML files made up at random: whatever is typed, one sentence and a status that is documented.

The seed is fixed; there are two fifths as many files as command lines.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import parser
from tests.slow.fuzzing import times

COUNT = times(200)
TOGETHER = 20
"""In one process."""
STATUSES = {0, 1, 2, 3}

# No place outside of the test's folder: commands that write and remove are among these, and may be root's.
ODD = [
    *("", " ", "-", "--", ".", "a:b", "a=b", "=", "=x", "x=", "0", "-1", "1", "1e999", "nan", "-inf", "0x10", "٣", "½"),
    *("1" + "0" * 30, "9" * 5000, "1_000", "auto", "off", "none", "None", "1,2", "1,,2", ",", "1+2", "5", "6", "|"),
    *("\ud800", "\0", "a\0b", "\n", "a\nb", "\x1b[31m", "\x07", "\u202e", "\u2028", "é", "日本", "🙂", "\\", "'", '"'),
    *("%s%n", "{0..99999999}", "{a,b}{a,b}", "[x]", "*", "?", "$(x)", ";", "<script>", "=HYPERLINK(1)", "x" * 300),
    *("y" * 70_000, "../x", "~", "~no-such-user/x", "/dev/null", "/dev/full", "/dev/null/x", "/proc/self/mem"),
    *("file", "file/x", "folder", "gone.toml", "empty.toml", "s"),
]
VALID = {
    "suite": ["digits", "digits-c", "digits-pgd", "imagenet", "digits-transfer"],
    "checkpoint": ["digits-vit", "digits-resnet", "digits-vit-sam"],
    "track": ["digits", "imagenet"],
    "family": ["vit", "resnet"],
    "limit": ["1", "2"],
    "seed": ["0", "7"],
    "device": ["cpu", "auto", "cuda", "mps"],
    "workers": ["0"],
    "store": ["s", "new"],
    "cache": ["off"],
    "format": ["csv", "text", "markdown", "latex", "json"],
    "severity": ["1", "3,5"],
    "corruption": ["fog", "weather"],
    "set": ["steps=2", "eps=1", "ratios=0.5", "steps=x"],
    "out": ["made", "made/x"],
    "kind": ["suites", "checkpoints", "datasets", "corruptions", "attacks", "tracks", "recipes"],
    "data": ["digits", "imagenet=folder", "imagenet"],
}
SHORT = ["--limit", "1", "--workers", "0", "--cache", "off"]
BOUNDED = {"run": ["--limit", "1", "--workers", "0", "--suite", "digits"], "attack": ["--steps", "1"]}
"""What keeps valid lines short; the last of an option counts."""
LEFT_OUT = {"train", "doctor"}
"""They do much whatever is said: tried with words that they do not take, below."""

SCRIPT = """
import contextlib, io, json, os, resource, shutil, sys, traceback
from bench.cli import main
for number, argv in enumerate(json.load(open("lines.json"))):
    print(json.dumps(["begun", argv]), flush=True)
    out, err, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
    print(json.dumps(["ended", status, err.getvalue()[-3000:]]), flush=True)
"""


def commands() -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """Every command by its words."""

    def below(
        words: list[str], command: argparse.ArgumentParser
    ) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
        groups = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups:
            yield words, command
        for group in groups:
            for word, inner in group.choices.items():
                yield from below([*words, word], inner)

    return below([], parser())


def line(rng: random.Random) -> list[str]:
    """One command line: some options of a command, with values that fit and others."""
    words, command = rng.choice(list(commands()))
    made = list(words)
    for action in command._actions:
        if action.dest == "help" or (action.option_strings and not action.required and rng.random() > 0.35):
            continue
        made += action.option_strings[-1:]
        if action.nargs != 0:
            known = [*map(str, action.choices or ()), *VALID.get(action.dest, ())]
            made.append(rng.choice(known) if known and rng.random() < 0.6 else rng.choice(ODD))
    if rng.random() < 0.1:
        made.insert(rng.randrange(len(made) + 1), rng.choice(ODD))
    if words[0] in LEFT_OUT:
        made.append("--unknown")
    return made + BOUNDED.get(words[0], [])


def run_all(warm, folder: Path, lines: list[list[str]]) -> list[tuple[list[str], str]]:
    """The lines that ended in another way than they may, and how."""
    (folder / "file").write_text("not a folder")
    (folder / "empty.toml").touch()
    (folder / "folder").mkdir()
    wrong: list[tuple[list[str], str]] = []
    for start in range(0, len(lines), TOGETHER):
        (folder / "lines.json").write_text(json.dumps(lines[start : start + TOGETHER]))
        ended = warm.fork(SCRIPT, cwd=folder, environment={"BENCH_CONFIG": None, "HOME": str(folder)}).wait()
        told = [json.loads(text) for text in ended.out.splitlines()]
        for begun, after in zip(told[::2], [*told[1::2], ["hung", ended.status, ended.err]], strict=False):
            how, status, err = after
            if how != "ended" or status not in STATUSES or "Traceback" in err:
                wrong.append((begun[1], f"{how}, {status}: {err[-1500:]}"))
    return wrong


def said(wrong: list[tuple[list[str], str]]) -> str:
    return "\n\n".join(f"{[word[:80] for word in words]}\n{how}" for words, how in wrong[:20])


@pytest.mark.slow
def test_no_command_line_ends_in_a_traceback_or_never(warm, tmp_path):
    rng = random.Random(15)
    wrong = run_all(warm, tmp_path, [line(rng) for _ in range(COUNT)])
    assert not wrong, f"{len(wrong)} of {COUNT}:\n{said(wrong)}"


KEYS = [
    "arch",
    "weights",
    "dataset",
    "classes",
    "input_size",
    "crop_ratio",
    "mean",
    "std",
    "interpolation",
    "family",
    "sam",
    "pairs_with",
    "seed",
    "arch_args",
    "folder",
    "shards",
    "parquet",
    "hub",
    "train",
    "split",
    "metric",
    "about",
    "licence",
    "source",
    "image",
    "label",
    "revision",
    "config",
    "streaming",
    "store",
    "cache",
    "cache_budget_gb",
    "device",
    "precision",
    "batch_size",
    "workers",
    "seed",
    "limit",
    "on_error",
    "registry",
    "data",
]
VALUES = [
    *(
        "1",
        "-1",
        "0",
        "1" + "0" * 30,
        "1e999",
        "nan",
        "-inf",
        "1.5",
        "true",
        "[]",
        "{}",
        "[1, 2, 3]",
        "[0.5, 0.5, 0.5]",
    ),
    *("{a = 1}", "[" * 20 + "]" * 20, "1979-05-27T07:32:00Z", "07:32:00", '""', '"x"', '"\\u0000"', '"\\u001b[31m"'),
    *('"../x"', '"~"', '"~no-such-user/x"', '"/dev/zero"', '"folder"', '"file"', '"digits"', '"resnet18"', '"cpu"'),
    *('"{0..99999999}.tar"', '"{a,b}{a,b}{a,b}{a,b}"', '"*"', '"auto"', '"日本🙂"', f'"{"x" * 400}"', "'''\na\nb'''"),
    *("0xff", "[", "", "{", '"', "1 2", "= 3", '["a", 1]', '["a", "a"]', '["a\\nb"]', '"imagenet-1k"', '"digits_vit"'),
]
TABLES = [
    *(
        "",
        "[a]",
        "[datasets.b]",
        "[datasets]",
        "[data]",
        "[a.b]",
        "[[a]]",
        '["\\u0000"]',
        '["../x"]',
        '["a\\nb"]',
        "[é]",
    ),
    *("[", "[datasets.digits]"),
]
NOISE = [b"\xff", b"\x00", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\x1b", b"#", b'"', b"[", b"\n[a]\n"]


def toml(rng: random.Random) -> bytes:
    """One file: tables of ours and others, with values of every kind, and sometimes broken."""
    rows = []
    for _ in range(rng.randrange(1, 4)):
        rows.append(rng.choice(TABLES))
        rows += [f"{rng.choice(KEYS)} = {rng.choice(VALUES)}" for _ in range(rng.randrange(5))]
    data = "\n".join(rows).encode()
    if rng.random() < 0.3:
        place = rng.randrange(len(data) + 1)
        data = data[:place] + rng.choice(NOISE) + data[place:]
    return data


@pytest.mark.slow
def test_no_toml_file_ends_in_a_traceback_or_never(warm, tmp_path):
    rng = random.Random(16)
    lines = []
    for number in range(COUNT * 2 // 5):
        name = f"{number}.toml"
        (tmp_path / name).write_bytes(toml(rng))
        lines.append(
            rng.choice(
                [
                    ["list", "checkpoints", "--registry", name],
                    ["data", "list", "--registry", name],
                    [
                        "run",
                        "--registry",
                        name,
                        "--suite",
                        "digits",
                        "--limit",
                        "1",
                        "--workers",
                        "0",
                        "--cache",
                        "off",
                    ],
                    ["plan", "--registry", name, "--suite", "b", "--limit", "1"],
                    ["run", "--registry", name, "--suite", "b", "--checkpoint", "a", "--limit", "1", "--workers", "0"],
                ]
            )
        )
    wrong = run_all(warm, tmp_path, lines)
    assert not wrong, f"{len(wrong)} of {len(lines)}:\n{said(wrong)}"


@pytest.mark.slow
def test_no_configuration_ends_in_a_traceback_or_never(warm, tmp_path):
    rng = random.Random(17)
    wrong = []
    for number in range(max(4, COUNT // 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "bench.toml").write_bytes(toml(rng).replace(b"[a]", b"").replace(b"[datasets.b]", b"[data]"))
        wrong += run_all(warm, folder, [["list", "checkpoints"], ["data", "list"], ["plan", "--suite", "digits"]])
    assert not wrong, said(wrong)
