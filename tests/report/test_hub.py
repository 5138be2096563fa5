"""What is published for the Hugging Face hub reads back as the hub's own library reads it."""

import inspect
import shlex
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import RepoCard, SpaceCard, parse_eval_result_entries
from huggingface_hub.utils import validate_repo_id

from bench import api
from bench.board.tables import read_csv
from bench.cli import main
from bench.datasets import datasets
from bench.report.hub import dataset_of

CHECKPOINTS = ("digits-resnet", "digits-resnet-sam")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = api.configure(cache="off", workers=0, device="cpu", limit=10).settings
        assert api.run(*api.select(["digits"], checkpoints=CHECKPOINTS), settings).ok
    return folder / "runs"


def publish(*options):
    return main(["publish", "--out", "results", "--suite", "digits", *options])


@pytest.fixture
def on_the_hub(monkeypatch):
    """The digits, as if they had a place on the hub."""
    monkeypatch.setitem(datasets._items, "digits", replace(datasets.get("digits"), hub="somebody/digits"))


def entries(folder, name):
    path = folder / "results" / "cards" / name / ".eval_results" / "digits-limit-10.yaml"
    return parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_a_headline_is_an_evaluation_result_of_its_data_set(folder, on_the_hub):
    assert publish() == 0
    table = read_csv(folder / "results" / "digits-limit-10.csv")
    for name in CHECKPOINTS:
        [entry] = entries(folder, name)
        headline = table[(table["checkpoint"] == name) & (table["score"] == "top-1")]
        assert (entry.dataset_id, entry.task_id) == ("somebody/digits", "digits-limit-10")
        assert entry.value == headline["value"].item()
        assert entry.notes == "top-1, 10-way, limit 10"
        assert entry.date.startswith("20")
        assert (entry.source_url, entry.source_name, entry.verify_token) == (None, None, None)


def test_where_the_results_can_be_read_is_their_source(folder, on_the_hub):
    assert publish("--source", "https://example.org/results") == 0
    [entry] = entries(folder, "digits-resnet")
    assert entry.source_url == "https://example.org/results"
    assert entry.source_name.startswith("rtbench ")


def test_publishing_twice_changes_nothing(folder, on_the_hub, capsys):
    publish("--space", "somebody/board")
    capsys.readouterr()
    assert publish("--space", "somebody/board") == 0
    assert capsys.readouterr().out.startswith("nothing has changed\n")


def test_what_is_not_on_the_hub_has_no_evaluation_results(folder):
    assert publish() == 0
    assert not list((folder / "results").rglob(".eval_results"))
    assert (folder / "results" / "cards" / "digits-resnet.yaml").exists()


def test_every_place_on_the_hub_is_one():
    hubs = {entry.name: entry.hub for entry in datasets if entry.hub}
    assert hubs["imagenet"] == "ILSVRC/imagenet-1k"
    for hub in hubs.values():
        validate_repo_id(hub)
        assert hub.count("/") == 1


@pytest.mark.parametrize(
    ("suite", "hub"),
    [
        ("imagenet", "ILSVRC/imagenet-1k"),
        ("imagenet-c-generated", "ILSVRC/imagenet-1k"),
        ("imagenet-sketch", "songweig/imagenet_sketch"),
        ("digits-c", ""),
        ("knn", ""),  # of many sets
    ],
)
def test_a_suites_place_is_that_of_its_headlines_data(suite, hub):
    [found] = api.select_suites([suite])
    assert dataset_of(found) == hub


def test_a_spaces_folder_holds_all_that_a_static_one_needs(folder, capsys):
    assert publish("--space", "somebody/digits-board") == 0
    space = folder / "results" / "space"
    head = SpaceCard.load(space / "README.md").data.to_dict()
    assert (head["sdk"], head["app_file"], head["title"]) == ("static", "index.html", "digits-board")
    page = (space / head["app_file"]).read_text(encoding="utf-8")
    assert page.startswith("<!")
    assert all(name in page for name in CHECKPOINTS)
    for file in ("digits-limit-10.csv", "digits-limit-10.board.csv", "digits-limit-10.meta.json"):
        assert (space / file).read_bytes() == (folder / "results" / file).read_bytes()
        assert f"[{file}]({file})" in (space / "README.md").read_text(encoding="utf-8")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "to upload: hf upload somebody/digits-board results/space . --repo-type space"


def test_the_command_that_uploads_is_one_of_the_hubs(folder, capsys):
    from huggingface_hub.cli.upload import upload

    publish("--space", "somebody/digits-board")
    hf, command, *words, option, kind = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": ")[2])
    assert (hf, command, option) == ("hf", "upload", "--repo-type")
    given = inspect.signature(upload).bind(*words, repo_type=kind).arguments
    assert given == {
        "repo_id": "somebody/digits-board", "local_path": "results/space", "path_in_repo": ".", "repo_type": "space"
    }  # fmt: skip


def test_what_was_written_by_hand_in_a_spaces_readme_stays(folder):
    publish("--space", "somebody/board")
    readme = folder / "results" / "space" / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8").replace("title: board", "title: Ours\nemoji: 🏁"), "utf-8")
    publish("--space", "somebody/board", "--checkpoint", "digits-resnet", "--update")
    assert RepoCard.load(readme).data.to_dict()["title"] == "Ours"
    assert "digits-resnet-sam" not in readme.read_text(encoding="utf-8")


def test_numbers_that_would_change_are_not_written_to_the_space_either(folder, capsys):
    publish("--space", "somebody/board")
    before = {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert publish("--space", "somebody/board", "--checkpoint", "digits-resnet") == 2
    assert "to upload" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (folder / "results").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["board", "some body/board", "a/b/c", "/board", "somebody/", "-x/board"])
def test_what_cannot_be_a_space_is_refused_before_anything_is_written(folder, capsys, name):
    assert publish(f"--space={name}") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: --space wants OWNER/NAME of a Space on the hub, not")
    assert not (folder / "results").exists()
