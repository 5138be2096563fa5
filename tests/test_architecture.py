"""What holds the project together: imports point down, start-up stays free of torch, files stay short."""

import argparse
import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench import api
from bench.cli import parser

ROOT = Path(__file__).parents[1]
LONGEST_SUITE, LONGEST_MODULE = 120, 450  # lines
MOST_FLAT = 10  # modules beside the rooms
HEAVY = ("torch", "timm", "torchvision", "sklearn", "scipy", "cv2", "imagecorruptions")
LATER = {*HEAVY, "scipy.stats", "scipy.optimize"} - {"scipy"}
"""What scores and their tables may not import either: of scipy, its special functions alone start at once."""

LAYERS = """
bench
columns crops errors progress
records text toml_lines
names foreign
registry reference
machine
rng
metrics
store
config
images
attacks
corruptions
training
datasets
suite
checkpoints
transfer
landscape
measure
run board
compare tools
report hooks
study
api
cli
"""
"""From the ground up: what stands in a room imports from its own room and from the lines above. Rooms that share a line
do not know each other."""

NEVER = """
compare → run
tools → compare
"""
"""Beside what LAYERS says."""

KERNELS = ("corruptions", "attacks", "training", "transfer", "landscape")
"""Numerical code: it sees tensors, never what is being measured."""


def modules() -> dict[str, Path]:
    """Every module of the package by name."""
    found = {}
    for path in sorted((ROOT / "bench").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> dict[str, int]:
    """What a module imports anywhere in it, of any package: dotted name to line."""
    found = {}
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name: node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[inner if inner in MODULES else str(node.module)] = node.lineno
    return found


def room(name: str) -> str:
    """The folder, or the module beside the folders, that a module stands in."""
    return [*name.split("."), "bench"][1]


def layer(name: str) -> int:
    """The line of LAYERS on which a module's room stands."""
    for number, row in enumerate(LAYERS.split("\n")):
        if room(name) in row.split():
            return number
    raise AssertionError(f"{room(name)} has no place in LAYERS; give it one")


def rooms() -> dict[str, set[str]]:
    """Each room to the others that it imports from."""
    found: dict[str, set[str]] = {room(name): set() for name in MODULES}
    for name in MODULES:
        found[room(name)] |= {room(other) for other in imports(name) if other in MODULES} - {room(name)}
    return found


@pytest.mark.parametrize("name", list(MODULES))
def test_imports_point_down(name):
    upward = [
        f"line {line}: {other} does not stand below {name}"
        for other, line in imports(name).items()
        if other in MODULES and room(other) != room(name) and layer(other) >= layer(name)
    ]
    assert not upward


def test_rooms_that_must_not_know_each_other_do_not():
    arrows = rooms()
    for line in NEVER.strip().splitlines():
        room_of, _, other = line.partition(" → ")
        assert other not in arrows[room_of], line


def test_every_place_is_taken():
    words = LAYERS.split()
    assert set(words) == rooms().keys()
    assert len(set(words)) == len(words)


def test_rooms_form_no_circle():
    TopologicalSorter(rooms()).prepare()


def test_few_modules_lie_flat():
    flat = [name for name in MODULES if name.count(".") == 1 and MODULES[name].name != "__init__.py"]
    assert len(flat) <= MOST_FLAT


def test_no_modules_import_each_other():
    # A package's own modules may import what its __init__ declares, which imports none of them back.
    TopologicalSorter({name: imports(name).keys() & MODULES.keys() - {name} for name in MODULES}).prepare()


@pytest.mark.parametrize("name", list(MODULES))
def test_the_engine_names_no_suite(name):
    assert not {"suites", "rtbench_suites"} & {other.split(".")[0] for other in imports(name)}


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in KERNELS])
def test_kernels_see_no_cells(name):
    forbidden = {"Cell", "Checkpoint", "Condition", "Outcome", "Settings"}
    tree = ast.parse(MODULES[name].read_text())
    used = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not used & forbidden
    for other in imports(name):
        assert other not in MODULES or layer(other) <= layer(f"bench.{name.split('.')[1]}")


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.py")), ids=lambda path: path.name)
def test_a_suites_file_is_short_and_light(path):
    assert len(path.read_text().splitlines()) <= LONGEST_SUITE
    tree = ast.parse(path.read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {str(name).split(".")[0] for name in names | plain} & set(HEAVY)
    assert not any(str(name).startswith("bench.measure") for name in names)  # a suite names measures


@pytest.mark.parametrize("name", list(MODULES))
def test_a_module_is_not_too_long(name):
    assert len(MODULES[name].read_text().splitlines()) <= LONGEST_MODULE


# -- the torch-free zone --------------------------------------------------------------------------------------

SCRIPT = """
import contextlib, io, json, sys
from bench.cli import main

heavy = set(json.loads(sys.argv[1]))
for arguments in [[], *json.loads(sys.argv[2])]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if arguments:
            assert main(arguments) == 0, arguments
            assert printed.getvalue()
        else:
            import bench.api
    loaded = sorted(heavy & set(sys.modules))
    assert not loaded, f"bench {' '.join(arguments)} imported {loaded}"
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store that holds a small run of the whole track."""
    folder = tmp_path_factory.mktemp("stored")
    flags = {"store": str(folder / "runs"), "cache": "off", "workers": 0, "device": "cpu", "limit": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = api.run(*api.select(checkpoints=["digits-resnet"]), api.configure(**flags).settings)
    assert result.ok
    return folder


@pytest.mark.parametrize(
    "commands",
    [
        [
            *(
                "list suites",
                "list checkpoints",
                "list datasets",
                "list corruptions",
                "list tracks --json",
                "list recipes",
            ),
            *(
                "data list",
                "list attacks",
                "explain digits-c",
                "explain imagenet mean_per_class_accuracy",
                "plan --limit 3 --device cpu --checkpoint digits-resnet",
            ),
        ],
        [
            "compare digits-resnet digits-resnet --suite digits --limit 3",
            "gate runs --checkpoint digits-resnet --against digits-resnet --limit 3",
            *("publish --limit 3 --out results", "table --summary"),
        ],
        [
            *("table --limit 3", "table --suite digits --format csv", "outcomes --suite digits --out rows.parquet"),
            *("store ls", "store verify", "cache ls --cache ."),
        ],
        ["run --limit 3 --device cpu --checkpoint digits-resnet --cache off"],
    ],
    ids=lambda commands: commands[0].split(" -")[0],
)
def test_what_lists_plans_and_tabulates_imports_no_torch(stored, commands):
    arguments = [json.dumps(sorted(LATER)), json.dumps([command.split() for command in commands])]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=stored, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_imports_next_to_nothing(arguments):
    script = (
        "import sys\nfrom bench.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'pandas', 'numpy', 'pyarrow', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "set()\n")


# -- the command line -----------------------------------------------------------------------------------------

CHOICE = "--suite --track --corruptions --set --checkpoint --checkpoint-file --family --registry --plugin"
CELLS = "--limit --seed --device --precision"
STORED = f"--suite --track --corruptions --set --checkpoint --registry --plugin {CELLS}"
COMMANDS = {
    "list": "KIND --registry --plugin --json",
    "plan": f"{CHOICE} --data {CELLS} --store",
    "run": f"{CHOICE} --data {CELLS} --store --batch-size --workers --cache --on-error --yes --log",
    "table": f"{STORED} --store --format --summary --by --columns --published --out",
    "outcomes": f"{STORED} --store --out",
    "explain": "SUITE COLUMN --set --registry --plugin",
    "compare": "CHECKPOINT --pair --by --line --suite --track --corruptions --set --family --registry --plugin "
    f"{CELLS} --store --flips --format --out",
    "curve": f"{STORED} --store --out",
    "landscape": f"CHECKPOINT --suite --set --registry --plugin --data {CELLS} --store --out",
    "report": f"{STORED} --store --data --out --plots",
    "gate": f"BASELINE --suite --track --corruptions --set --checkpoint --against --registry --plugin {CELLS} --store "
    "--alpha --tolerance --junit --json",
    "publish": f"{STORED} --store --out --update --source --space",
    "images": "SUITE --checkpoint --crop --corruption --severity --format --out --workers --cache --registry --plugin "
    "--data",
    "import": "ROWS --suite --checkpoint --family --corruption --severity --registry --plugin --data --store",
    "data list": "--registry --plugin",
    "data fetch": "DATA --out --url --plugin",
    "data verify": "DATA --workers --registry --plugin",
    "data make-c": "DATA --corruption --severity --limit --seed --out --workers --cache --plugin",
    "corrupt": "IMAGE --corruption --severity --out --seed --sheet --plugin",
    "attack": "IMAGE --checkpoint --attack --eps --norm --loss --steps --seed --device --registry --plugin --out",
    "store ls": "--store",
    "store verify": "--store",
    "store merge": "SOURCE --store",
    "store rm": "KEY --damaged --store",
    "cache ls": "--cache",
    "cache clear": "--cache",
    "doctor": "--plugin",
    "study": "STUDY --out --draws --seeds --only --device --workers --data --plugin",
    "train": "RECIPE --set --seeds --seed --out --device --workers --data --plugin",
}
"""Every command, and all that it takes beside `--traceback`. A change here is a change for users: mind the README and
the changelog."""


def declared(command: argparse.ArgumentParser, name: str = "") -> dict[str, str]:
    """The commands below `command`, in the form of COMMANDS."""
    groups = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        taken = [action for action in command._actions if action.dest not in ("help", "traceback")]
        return {name: " ".join(" ".join(a.option_strings) or a.dest.upper() for a in taken)}
    inner = [(f"{name} {word}".strip(), sub) for group in groups for word, sub in group.choices.items()]
    return {word: options for deeper, sub in inner for word, options in declared(sub, deeper).items()}


def test_commands_and_options_are_the_ones_agreed_on():
    assert declared(parser()) == COMMANDS


def test_the_list_of_commands_is_grouped_by_what_users_do(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    titles = ("measure", "look", "publish", "look after")
    blocks = [block for block in capsys.readouterr().out.split("\n\n") if block.startswith(titles)]
    assert [block.partition(",")[0] for block in blocks] == list(titles)
    assert sorted(re.findall(r"^  (\w+)", "\n".join(blocks), re.MULTILINE)) == sorted(
        {name.split()[0] for name in COMMANDS}
    )
    for block in blocks:
        [example] = re.findall("`bench (.*?)`:", block)
        parser().parse_args(example.split())


def test_every_command_explains_itself():
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*name.split(), "--help"])
        assert ended.value.code == 0


# -- what must not be in the repository -----------------------------------------------------------------------

PRIVATE = {
    "a folder of some machine": r"(?<![\w.$~-])/(?:work|home|root|Users|opt)/\w",
    "a package index": r"(?:extra-)?index-" + r"url|/simple/?(?:\s|$|\")|https?://\d+\.\d+\.\d+",
}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_tracked_file_names_a_machine_or_a_package_index():
    found = []
    for path in tracked():
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data or path == Path(__file__):
            continue
        for number, line in enumerate(data.decode().splitlines(), start=1):
            found += [f"{path}:{number}: {what}: {line}" for what, text in PRIVATE.items() if re.search(text, line)]
    assert not found
