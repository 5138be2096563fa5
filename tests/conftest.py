"""What several tests share: registries that forget, the plug-in package, and pictures for it."""

import contextlib
import gc
import importlib
import itertools
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numba.core.event import TimingListener, install_listener
from PIL import Image, ImageDraw

from bench.attacks import attacks
from bench.checkpoints import checkpoints
from bench.corruptions import corrupt, corruptions
from bench.corruptions.builtin import GROUPS
from bench.corruptions.makers import reference_of
from bench.datasets import class_spaces, datasets
from bench.machine.places import user_cache
from bench.measure import measures
from bench.suite import suites
from tests.processes import Warm

if not torch.cuda.is_available():
    # Triton's kernels then run in its interpreter, which asks when they are defined.
    os.environ["TRITON_INTERPRET"] = "1"

PLUGIN = Path(__file__).parent / "plugin"
# A stranger's package, imported only where a test installs it; doctest collection must not register it here.
collect_ignore = ["plugin"]

LAMPS = {"red": (230, 40, 40), "amber": (230, 170, 40), "green": (40, 200, 80)}
SHAPE = (40, 56)  # height and width of the pictures: not square, so that a wrong crop shows


@pytest.fixture
def scratch_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    for registry in (suites, checkpoints, datasets, measures, corruptions, attacks):
        list(registry)  # load the plug-ins first: they are to stay
        monkeypatch.setattr(registry, "_items", dict(registry._items))
        monkeypatch.setattr(registry, "_origin", dict(registry._origin))


@pytest.fixture
def lights(scratch_registries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-in package's data set, checkpoint, corruption, attack and suite, in this process."""
    for name in [name for name in sys.modules if name.split(".")[0] == "bench_lights"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(PLUGIN)
    for name in ("data", "model", "corruption", "attack", "suite"):
        importlib.import_module(f"bench_lights.{name}")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG files of lamps, SPLIT/CLASS/NAME.jpg: 12 to learn from and 12 to test on."""
    folder = tmp_path_factory.mktemp("lights")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, colour in LAMPS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(4):
                _draw(colour, rng).save(folder / split / name / f"{split}-{number}.jpg", quality=95)
    return folder


def _draw(colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    height, width = SHAPE
    image = Image.fromarray(rng.integers(20, 50, (height, width, 3), dtype=np.uint8))
    x, y, r = width // 2 + rng.integers(-6, 6), height // 2 + rng.integers(-6, 6), rng.integers(11, 14)
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return image


@pytest.fixture(scope="session")
def reference_compiled() -> None:
    """The one loop that imagecorruptions compiles, anew in each process, is compiled."""
    entry = reference_of(corruptions.get("glass_blur"))
    corrupt(entry, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1, seed=0, ids=["0"])


MOST_SECONDS = 10 if "CI" not in os.environ else 120
"""That a test may take which is not marked as slow; where CI runs, machines are of any speed."""


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what all tests share: torch, timm and thousands of tests are looked at no more."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that takes too long: what everyone waits for stays short. To compile a kernel is no test's fault."""
    before = _cpu_seconds()
    with install_listener("numba:compile", TimingListener()) as compiling:
        yield
    took = _cpu_seconds() - before - (compiling.duration if compiling.done else 0.0)
    if took > MOST_SECONDS and not item.get_closest_marker("slow") and took > MOST_SECONDS * _slowness():
        pytest.fail(f"took {took:.1f} s of processor time: make it smaller, share what it prepares, or mark it slow")


def _slowness() -> float:
    """How many times as long as an idle machine of 2024 this one takes at present: a shared one may be slowed down."""
    start, texts = time.process_time(), {}
    for number in range(400_000):
        texts[str(number)] = number
    return max(1.0, (time.process_time() - start) / 0.12)


def _cpu_seconds() -> float:
    """Processor time of this process and its children so far.

    Not the time on the clock, which on a machine of two cores doubles when something else runs there.
    """
    ticks = 0  # of children that live, with those that they have waited for
    children = []
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            children += listed.read_text().split()
    for child in children:
        with contextlib.suppress(OSError):  # the child has
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return sum(os.times()[:4]) + (ticks / os.sysconf("SC_CLK_TCK") if ticks else 0)


@pytest.fixture(scope="session", autouse=True)
def _kernels() -> None:
    """Compile before the first test, whoever comes first; each worker of xdist takes its share."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for entry in list(corruptions)[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]:
        for severity in (1, 5):  # some have others for strong ones: water, and mud
            corrupt(entry, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), severity, seed=0, ids=["0"])


WNIDS = ("n01440764", "n01443537", "n01498041", "n01558993")
"""Tench; goldfish, a class of ImageNet-R; stingray, one of both 200s; robin, one of ImageNet-A."""


@pytest.fixture(scope="session")
def imagenet_family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few small files in the layout of each set of the ImageNet family, by the data set's name."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    numbers = itertools.count(1)

    def photograph(path: Path, size: tuple[int, int] = (250, 230)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)

    val = [f"{wnid}/ILSVRC2012_val_{next(numbers):08d}.JPEG" for wnid in WNIDS for _ in range(2)]
    for name in val:
        photograph(root / "val" / name)
    for wnid in WNIDS:
        index = class_spaces.get("imagenet-1k").classes.index(wnid)
        for variant in ("matched-frequency", "threshold0.7", "top-images"):
            photograph(root / f"v2/imagenetv2-{variant}-format-val/{index}/{variant}-{wnid}.jpeg")
        for part, picture in (("imagenet-r", "art_0.jpg"), ("imagenet-a", "0.01_fox _ fox_0.9.jpg")):
            if wnid in class_spaces.get(part).classes:
                photograph(root / part / wnid / picture)
        photograph(root / "sketch" / wnid / "sketch_0.JPEG")
    for group, names in GROUPS.items():
        for corruption, severity in itertools.product(names, range(1, 6)):
            for name in val:
                photograph(root / "c" / group / corruption / str(severity) / name, (224, 224))
    return {
        "imagenet": root / "val",
        "imagenet-v2": root / "v2",
        "imagenet-r": root / "imagenet-r",
        "imagenet-a": root / "imagenet-a",
        "imagenet-sketch": root / "sketch",
        "imagenet-c": root / "c",
    }


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a plug-in as pip would leave it: modules beside a .dist-info folder."""

    def _install(
        name: str, entry_points: dict[str, str], modules: dict[str, str], group: str = "bench.plugins"
    ) -> Path:
        site = tmp_path / "site" / name
        for file, text in modules.items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(text)
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry} = {module}" for entry, module in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        return site

    return _install


@pytest.fixture
def lights_site(install: Callable[..., Path]) -> list[Path]:
    """The folders that an installed plug-in package adds to sys.path, from its own pyproject.toml."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    return [install(project["name"], project["entry-points"]["bench.plugins"], {}), PLUGIN]


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """What starts real processes of `bench` at once."""
    warm = Warm(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()


@pytest.fixture
def bench(warm: Warm, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs the command line in a process of its own, in an empty folder."""

    def _bench(*arguments: object, path: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
        environment = {"BENCH_CONFIG": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        ended = warm.fork(list(map(str, arguments)), cwd=tmp_path, environment=environment, path=path).wait()
        return subprocess.CompletedProcess(arguments, ended.status, ended.out, ended.err)

    return _bench


@pytest.fixture
def cold_bench(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `bench`, but the process begins as a user's does: with the script that pip installs, and nothing imported."""

    def _bench(*arguments: object, path: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
        script = Path(sys.executable).with_name("bench")
        environment = {
            **{name: value for name, value in os.environ.items() if name != "BENCH_CONFIG"},
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(user_cache() / "numba")),  # compiled once for all
        }
        return subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return _bench


WRITE_AND_DIE = """
import os, pathlib, signal, sys
from bench.machine.files import replacing

with replacing(pathlib.Path(sys.argv[1])) as half:
    half.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed_while_writing() -> Callable[[Path], Path]:
    """A function that has a process killed while it writes a file, and gives what it leaves."""

    def _killed(path: Path) -> Path:
        before = set(path.parent.glob(".*"))
        done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path)], timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
        [left] = set(path.parent.glob(".*")) - before
        return left

    return _killed
