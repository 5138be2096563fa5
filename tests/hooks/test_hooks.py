"""What hooks are told of a run, and that none of them can harm it."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

from bench import api
from bench.api import telling
from bench.errors import BenchError, BenchWarning, RunError
from bench.hooks import LoggedScore
from bench.hooks.finding import find_hooks
from bench.progress import Silent
from bench.suite import suites

EVENTS = ("started", "progress", "score", "table", "page", "ended")


class Recorder:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def started(self, config):
        self.told.append(("started", config))

    def progress(self, done, total):
        self.told.append(("progress", (done, total)))

    def score(self, score):
        self.told.append(("score", score))

    def table(self, suite, frame):
        self.told.append(("table", (suite, frame)))

    def page(self, html):
        self.told.append(("page", html))

    def ended(self, ok):
        self.told.append(("ended", ok))

    def of(self, event):
        return [what for kind, what in self.told if kind == event]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that measures two suites on three digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(telling, "EVERY", 0.0)
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=3).settings

    def _run(log, progress=None, checkpoints=("digits-resnet",), settings=settings):
        return api.run(*api.select(["digits", "digits-v2"], checkpoints=checkpoints), settings, progress, log=log)

    return _run


def test_a_hook_is_told_of_the_run_in_order(run):
    hook = Recorder()
    result = run([hook])
    assert hook.told[0][0] == "started"
    assert hook.told[-1] == ("ended", True)
    config = hook.told[0][1]
    assert (config.suites, config.checkpoints, config.limit) == (("digits", "digits-v2"), ("digits-resnet",), 3)
    assert config.flat["versions.numpy"] == np.__version__
    assert config.flat["suites"] == "digits, digits-v2"
    assert hook.of("progress")[-1] == (result.plan.images, result.plan.images)
    [page] = hook.of("page")
    assert "digits-v2" in page
    assert page.startswith("<!")


def test_every_score_of_the_leaderboards_is_told_once_with_its_protocol(run):
    hook = Recorder()
    result = run([hook])
    frame = api.table(result.boards)
    frame = frame[frame["score"].notna()]
    wanted = {(row.suite, row.score): (row.protocol, row.value, row.n) for row in frame.itertuples()}
    told = hook.of("score")
    assert len(told) == len(wanted)
    assert {(s.suite, s.heading): (s.protocol, round(s.value, 6), s.n) for s in told} == wanted
    assert [s.name for s in told if s.headline] == ["digits/top-1", "digits-v2/top-1"]
    for suite, table in hook.of("table"):
        values = table.set_index("checkpoint")["top-1"]
        assert values["digits-resnet"] == wanted[suite, "top-1"][1]


def test_a_score_is_told_as_soon_as_its_cells_are_stored(run):
    hook = Recorder()
    run([hook])
    kinds = [kind for kind, _ in hook.told]
    last = len(kinds) - 1 - kinds[::-1].index("progress")
    assert [s.suite for kind, s in hook.told[:last] if kind == "score"] == ["digits"] * 4


def test_what_was_stored_before_is_told_too(run):
    run([])
    hook = Recorder()
    run([hook])
    assert len(hook.of("score")) == 10
    assert hook.of("progress") == []
    assert hook.told[0][1].stored == 2


def harmful(event, harm):
    """A hook that does harm when it is told of an event, and records."""

    def told(self, *what):
        getattr(Recorder, event)(self, *what)
        harm()

    return type("Harmful", (Recorder,), {event: told})()


def _exit():
    sys.exit(3)


def _fail():
    raise ValueError("no room\nat all")


def _refuse():
    raise BenchError("it asks for a key.")


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("harm", [_exit, _fail, _refuse])
def test_a_hook_that_fails_is_named_once_and_ends_nothing(run, event, harm):
    bad, good = harmful(event, harm), Recorder()
    with pytest.warns(BenchWarning) as warned:
        result = run([bad, good])
    assert result.ok
    [warning] = warned
    says = {_exit: "sys.exit(3)", _fail: "ValueError: no room", _refuse: "it asks for a key."}[harm]
    assert re.fullmatch(
        rf"the hook 'Harmful' failed, and is told no more; the run goes on: .*{re.escape(says)}.*", str(warning.message)
    )
    assert len(good.of("score")) == 10
    assert good.told[-1] == ("ended", True)
    assert len(bad.of(event)) == 1
    assert bad.of("ended") == {"started": [], "ended": [True]}.get(event, [False])


def test_what_a_hook_changes_of_the_process_changes_no_number(run, tmp_path):
    def harm():
        np.random.seed(0)
        np.seterr(all="raise")
        sys.stdout = None

    state, out = np.random.get_state()[1].tolist(), sys.stdout
    hook = harmful("progress", harm)
    with_hook = api.table(run([hook]).boards)
    assert hook.of("progress")
    assert (np.random.get_state()[1].tolist(), sys.stdout) == (state, out)
    assert np.geterr()["over"] == "warn"
    (tmp_path / "runs").rename(tmp_path / "before")
    pd.testing.assert_frame_equal(api.table(run([]).boards), with_hook)


def test_a_hook_that_edits_its_table_edits_nobody_elses(run):
    class Editor(Recorder):
        def table(self, suite, frame):
            frame["top-1"] = 0.125

    hook = Recorder()
    run([Editor(), hook])
    assert [suite for suite, _ in hook.of("table")] == ["digits", "digits-v2"]
    assert not any((frame["top-1"] == 0.125).any() for _, frame in hook.of("table"))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RunError])
def test_the_end_is_told_after_a_fault_and_ctrl_c(run, stop):
    class Stopping(Silent):
        def advance(self, count, doing):
            raise stop("now")

    hook = Recorder()
    with pytest.raises(stop):
        run([hook], Stopping())
    assert hook.told[-1] == ("ended", False)


def test_a_page_that_cannot_be_made_is_said_and_ends_nothing(run, monkeypatch):
    def render(*arguments):
        raise OSError("no font")

    monkeypatch.setattr("bench.report.page.render", render)
    hook = Recorder()
    with pytest.warns(BenchWarning, match="the page for the hooks could not be made: OSError: no font"):
        assert run([hook]).ok
    assert hook.of("page") == []
    assert hook.told[-1] == ("ended", True)


def test_a_model_in_memory_is_told_of_too(tmp_path):
    import torch

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    hook = Recorder()
    from torchvision import transforms

    pipeline = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    api.evaluate(
        model, "digits", transform=pipeline, log=[hook], progress=Silent(), limit=3, cache="off", workers=0,
        store=str(tmp_path / "runs"),
    )  # fmt: skip
    assert hook.of("score")[0].protocol == "10-way, limit 3, in memory"
    assert hook.told[-1] == ("ended", True)


# -- by name ------------------------------------------------------------------------------------------------------

LINES = """
import json, pathlib

class Lines:
    def __init__(self):
        self.file = pathlib.Path("told.jsonl").open("w")
    def told(self, *what):
        print(json.dumps([str(each) for each in what]), file=self.file, flush=True)
    started = progress = score = table = page = ended = told

class Lame(Lines):
    ended = None

def broken():
    import not_there_at_all
"""


@pytest.fixture
def site(install):
    entries = {"lines": "bench_lines:Lines", "lame": "bench_lines:Lame", "broken": "bench_lines:broken"}
    return [install("bench-lines", entries, {"bench_lines.py": LINES}, group="bench.hooks")]


def test_a_strangers_hook_is_told_by_its_name(bench, site, tmp_path):
    done = bench(
        *("run", "--limit", 3, "--suite", "digits", "--checkpoint", "digits-resnet", "--cache", "off"),
        *("--workers", 0, "--log", "lines", "--log", "lines"),
        path=site,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert told[0][0].startswith("RunConfig(suites=('digits',)")
    assert told[-1] == ["True"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("line", "no hook 'line'. Did you mean 'lines' or "),
        ("broken", "--log broken needs not_there_at_all, which is not installed; install it, as bench-lines says."),
        ("lame", "the hook 'lame' has no method ended; one has started, progress, score, table, page, ended"),
    ],
)
def test_a_hook_that_cannot_be_had_ends_the_command_before_anything_is_measured(bench, site, tmp_path, name, says):
    done = bench("run", "--limit", 3, "--log", name, path=site)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"bench: {says}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_ours_say_what_to_install_where_their_package_is_not(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BenchError, match=rf"--log {name} needs {name}, which .*: pip install 'rtbench\[{name}\]'\."):
        find_hooks([name])


def test_names_of_scores_are_told_apart_and_fit_every_backend():
    for suite in suites:
        names = [_score(suite.name, score.column).name for score in suite.board]
        assert len(set(names)) == len(names), suite.name
        assert all(re.fullmatch(r"[a-z0-9._-]+/[a-z0-9]([a-z0-9._-]*[a-z0-9])?", name) for name in names), names


@pytest.mark.parametrize(
    ("suite", "heading", "name"),
    [
        ("imagenet-c", "mCE", "imagenet-c/mce"),
        ("imagenet-c", "rel. mCE", "imagenet-c/rel_mce"),
        ("digits-pgd", "Linf 8/255", "digits-pgd/linf_8_255"),
        ("imagenet-a", "clean, same 200", "imagenet-a/clean_same_200"),
        ("digits-landscape", "noise 0.05", "digits-landscape/noise_0.05"),
    ],
)
def test_the_name_of_a_score_is_made_of_suite_and_heading(suite, heading, name):
    assert _score(suite, heading).name == name


def _score(suite, heading):
    return LoggedScore(
        checkpoint="x", suite=suite, heading=heading, headline=True, protocol="", unit="fraction", value=0.5,
        ci_low=0.4, ci_high=None, n=9,
    )  # fmt: skip


def test_the_interval_stands_beside_the_value():
    assert _score("a", "b").numbers == {"a/b": 0.5, "a/b.ci_low": 0.4}
