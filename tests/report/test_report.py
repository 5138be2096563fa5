"""`bench report`: what the page says is what is stored, it asks for nothing else, and names are only names."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from bench import api
from bench.board.leaderboard import Want
from bench.board.tables import leaderboard, shown
from bench.cli import main
from bench.compare import texts
from bench.compare.pairs import compare_pairs
from bench.datasets import Library, subset
from bench.measure.classify import describe
from bench.records import Checkpoint, Estimate
from bench.report.charts import Frame, place_labels
from bench.report.looks import Look, Palette
from bench.report.marks import dashes, shape
from bench.report.matrix import matrix
from bench.report.page import embedded_json, render
from bench.report.plots import figures
from bench.report.scatter import scatters
from bench.store import Store
from bench.store.log import measured
from bench.suite import suites

EVIL = "<script>alert(1)</script>"
ENTRIES = (  # name, family, SAM, its match, how often it is right
    (EVIL, "vit", "none", "vit-sam", 0.6),
    ("vit-sam", "vit", "sam", EVIL, 0.8),
    ("mixer", "mixer", "none", 'mixer"&$am$', 0.5),
    ('mixer"&$am$', "mixer", "sam", "mixer", 0.7),
    ("resnet", "resnet", "none", "", 0.9),
)
SUITES = ("digits", "digits-c", "digits-r", "digits-crop-ratio")
LIMIT = 24


def fill(root, names=SUITES, *, without=lambda entry, condition: False, fingerprint=None):
    """A store of made-up outcomes of digits, as a run would leave it."""
    store, library = Store(root), Library()
    store.prepare()
    settings = api.configure(store=str(root), device="cpu", limit=LIMIT).settings
    chosen, planned = api.select(list(names), checkpoints=["digits-resnet"])
    cells = api.plan(chosen, planned, settings, library).cells
    for name, family, sam, match, right in ENTRIES:
        space = planned[0].class_space
        entry = Checkpoint(name=name, class_space=space, family=family, sam=sam, pairs_with=match, pair_differs="a & b")
        model = f"{len(name):02d}{family}{sam}"
        store.record_checkpoint(model, entry)
        for number, cell in enumerate(cells):
            if without(entry, cell.condition):
                continue
            prints = (fingerprint,) if fingerprint else cell.fingerprints
            cell = replace(cell, checkpoint=entry, model_digest=model, fingerprints=prints)
            samples = library.open(cell.condition.data.dataset, cell.condition.image_set.plain.split).samples
            kept = subset(samples.ids, cell.n)
            rng = np.random.default_rng(number)
            severity = cell.condition.columns()["severity"] or 0
            correct = rng.random(cell.n) < right - 0.08 * severity
            labels = samples.labels[kept]
            logits = torch.eye(10)[torch.as_tensor(np.where(correct, labels, (labels + 1) % 10))]
            columns = {name: column.numpy() for name, column in describe(logits, torch.as_tensor(labels)).items()}
            store.write(cell, samples.ids[kept], labels, columns)
            line = {"key": cell.key, "when": f"2026-01-0{1 + number % 2}T00:00:00+00:00", "device": "x"}
            store.log({**line, "versions": {"torch": "2", "rtbench": "1"}})
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("report") / "runs")


def boards_of(store, names=SUITES):
    return api.boards([suites.get(name) for name in names], store, want=Want())


@pytest.fixture(scope="module")
def boards(store):
    return boards_of(store)


@pytest.fixture(scope="module")
def page(store, boards):
    return Parsed(render(boards, store, Library()))


class Parsed(HTMLParser):
    """The page's elements: tag, attributes, text with that of its children."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self.open = text, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("meta", "br", "img"):
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag  # nothing is left open or closed twice

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def all(self, tag, **wanted):
        """Text of the elements of a tag whose attributes have these values."""
        return [
            " ".join(" ".join(text).split())
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key.rstrip("_").replace("_", "-")) == v for key, v in wanted.items())
        ]

    def pictures(self):
        return json.loads(
            next("".join(t) for tag, a, t in self.elements if tag == "script" and a.get("id") == "pictures")
        )


def test_the_page_asks_for_nothing_else(page):
    assert not page.open
    for tag, attributes, _ in page.elements:
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
        assert tag not in ("link", "iframe", "object", "base")
    assert not re.search(r"url\(|@import|https?://", page.text.replace("http-equiv", ""))
    [policy] = [a["content"] for tag, a, _ in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'")


def test_a_checkpoint_named_script_is_only_a_name(page):
    assert EVIL not in page.text
    assert page.all("button", class_="open").count(EVIL) == len(SUITES)
    assert len(page.all("script")) == 2
    assert f"{EVIL} → vit-sam" in page.all("button", class_="open")
    assert "mixer differs" not in page.text or 'mixer"&$am$' in page.text


def test_embedded_json_cannot_end_its_script():
    text = str(embedded_json({"</script><!--": "&"}))
    assert "<" not in text
    assert json.loads(text) == {"</script><!--": "&"}


def test_one_store_gives_the_same_bytes(store, page, boards):
    again = Store(store.root)
    assert render(boards_of(again), again, Library()) == page.text


def test_leaderboards_say_what_bench_table_says(page, boards):
    cells = {("".join(text)).strip() for tag, _, text in page.elements if tag == "td"}
    for board in boards:
        frame = leaderboard(board)
        assert set(frame.drop(columns="checkpoint").astype(str).to_numpy().ravel().tolist()) <= cells
    headings = [a["data-sort"] for tag, a, _ in page.elements if tag == "th" and "data-sort" in a]
    assert [name for name in ("mean of 15", "clean", "top-1", "rel. drop") if name not in headings] == []


def test_every_number_has_its_protocol_n_date_and_versions(page, boards):
    details = page.all("tr", class_="more")
    numbers = [text for text in details if "score value 95% interval n cells measured" in text]
    assert len(numbers) == sum(len(board.checkpoints) for board in boards)
    for text in numbers:
        assert f"limit {LIMIT}, seed 0, cpu fp32" in text
        assert re.search(r"Measured 2026-01-01(?: to 2026-01-02)? on x; rtbench 1, torch 2", text)
    assert any(
        "mean of 15 (mean_accuracy)" in text and f"{LIMIT} 75 2026-01-01 to 2026-01-02" in text for text in numbers
    )
    # Pairs too; all of it behind buttons, which a keyboard reaches.
    pairs = [text for text in details if text not in numbers and "versions are not" not in text]
    assert all("measured 2026-01-0" in text or "independent" in text for text in pairs)
    assert len(page.all("button", class_="open", aria_expanded="false")) == len(details)


def test_heat_maps_hold_the_accuracy_of_every_condition(page, boards):
    [board] = [board for board in boards if board.suite.name == "digits-c"]
    rows = [row for row in board.rows if row.score.metric.name == "top1" and row.score.columns()["severity"]]
    drawn = [
        text for tag, a, text in page.elements if tag == "td" and re.fullmatch(r"--h:\d\.\d\d", a.get("style", ""))
    ]
    assert sorted(f"{100 * row.estimate.value:.1f}" for row in rows) == sorted("".join(text) for text in drawn)
    assert len(drawn) == 75 * len(ENTRIES)


def test_the_table_of_pairs_is_that_of_bench_compare(page, boards, store):
    compared = compare_pairs(boards, store)
    rows = page.all("tr")
    for pair, found in compared.rows:
        start = f"{pair.before.name} → {pair.after.name} {found.suite} {found.score.column} "
        [row] = [row for row in rows if row.startswith(start)]
        numbers = f"{100 * found.value:+.1f} [{100 * found.ci_low:+.1f}, {100 * found.ci_high:+.1f}]"
        assert re.sub(r"[+-](0\.0)", r"\1", numbers) in row  # nothing has no sign
        assert " ".join(texts.tested(found)) in row
    assert "vit-sam differs from <script>alert(1)</script> in more than SAM: a & b." in page.all("p", class_="hint")
    assert "Do ViT and Mixer gain more by SAM than ResNet" in page.text


def test_a_half_finished_suite_is_shown_as_such_without_headline(tmp_path):
    gone = lambda entry, condition: condition.columns()["corruption"] == "fog"  # noqa: E731
    store = fill(tmp_path / "runs", ["digits-c"], without=gone)
    text = render(boards_of(store, ["digits-c"]), store, Library())
    assert "Half-finished." in text
    assert "5 of 5 checkpoints lack cells (at most 71 of 76 are stored)" in text
    assert "nothing has the headline score, mean of 15, yet" in text
    page = Parsed(text)
    column = [a["data-sort"] for tag, a, _ in page.elements if tag == "th" and "data-sort" in a].index("mean of 15")
    bodies = [row for row in text.split("<tbody data-family") if "71/76 cells" in row]
    assert len(bodies) == 5
    assert all(re.findall(r"<td[^>]*>([^<]*)", body)[column - 1] == "–" for body in bodies)
    assert "lacks 5 of 75 cells" in text  # of the pairs: why there is no table


def test_pictures_are_those_of_the_data_set(page):
    pictures = page.pictures()
    assert len(pictures) > 20
    samples = {split: Library().open(split, "test").samples for split in ("digits", "digits-r", "digits-v2")}
    for key, uri in pictures.items():
        dataset, _, sample = key.split("/", 2)
        shown = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
        index = samples[dataset].ids.tolist().index(sample)
        assert np.array_equal(np.asarray(shown), samples[dataset].read(index))
    assert {a["data-picture"] for tag, a, _ in page.elements if tag == "img"} == pictures.keys()


def test_pictures_stop_at_their_limit_and_say_so(store, boards):
    page = Parsed(render(boards, store, Library(), pictures=20_000))
    assert 0 < sum(map(len, page.pictures().values())) <= 20_000
    assert "19.5 KiB of pictures are shown; of the other images, ids alone." in page.all("p", class_="hint")
    assert len(page.all("code")) > len(page.all("img"))


def test_no_picture_comes_from_other_contents_than_were_measured(tmp_path):
    store = fill(tmp_path / "runs", ["digits-r"], fingerprint="another copy")
    page = Parsed(render(boards_of(store, ["digits-r"]), store, Library()))
    assert page.pictures() == {}
    assert "digits-r has other contents here than were measured: of its images, ids alone are shown." in page.text
    assert "r-" in " ".join(page.all("code"))


def test_a_scatter_names_its_line(boards, store):
    [board] = [board for board in boards if board.suite.name == "digits-c"]
    [found] = scatters(board, store)
    assert found.line is not None
    assert found.line.n == len(found.dots) == 5
    assert "least squares through the 5 checkpoints of this table; slope" in found.about


def test_labels_cover_neither_each_other_nor_points():
    rng = np.random.default_rng(0)
    inner = Frame(0, 0, 400, 300)
    for count in (1, 6, 40):
        places = [tuple(place) for place in rng.uniform((10, 10), (390, 290), (count, 2))]
        labels = place_labels(["digits-resnet"] * count, places, inner)
        boxes = [Frame(x, y - 10, x + 13 * 6.3, y + 3) for x, y in filter(None, labels)]
        assert boxes
        for number, box in enumerate(boxes):
            assert inner.holds(box)
            assert not any(map(box.meets, boxes[:number]))
            assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in places)


def test_looks_differ_without_colour():
    looks = {(shape(look), dashes(look)) for look in (Look(number=n, colour=0) for n in range(36))}
    assert len(looks) == 36


# -- the summary -------------------------------------------------------------------------------------------------


def test_the_summary_has_every_headline_and_is_tinted_from_the_worst_to_the_best(boards):
    found = matrix(boards, Palette(boards))
    assert [column.suite for column in found.columns] == [board.suite.name for board in boards]
    assert {line.name for line in found.lines} == {entry[0] for entry in ENTRIES}
    for place, board in enumerate(boards):
        fields = {line.name: line.fields[place] for line in found.lines}
        best, *_, worst = (fields[checkpoint.name] for checkpoint in board.ranking)
        assert (best.tint, worst.tint, best.is_best, worst.is_best) == ("1.00", "0.00", True, False)
        for row in board.rows:
            if row.score is board.suite.headline:
                field = fields[row.checkpoint.name]
                assert f"{field.text} {field.beside}".strip() == shown(row.score, row.estimate)


def test_where_lower_is_better_the_lowest_is_the_best(boards):
    [board] = [board for board in boards if board.suite.name == "digits"]
    turned = replace(board.suite.headline, metric=replace(board.suite.headline.metric, higher_is_better=False))
    scores = tuple(turned if score is board.suite.headline else score for score in board.suite.scores)
    rows = tuple(replace(row, score=turned) if row.score is board.suite.headline else row for row in board.rows)
    lower = replace(board, suite=replace(board.suite, scores=scores), rows=rows)
    found = matrix([lower, boards[1]], Palette(boards))
    values = {float(line.fields[0].value): line.fields[0] for line in found.lines}
    assert (values[min(values)].tint, values[min(values)].is_best) == ("1.00", True)
    assert (values[max(values)].tint, found.columns[0].best) == ("0.00", "low")


def test_equal_scores_have_no_tint_and_a_missing_one_is_a_dash(boards):
    board, other = boards[:2]
    rows = tuple(replace(row, estimate=replace(row.estimate, value=0.5)) for row in board.rows)
    gone = board.ranking[0]
    rows = tuple(row for row in rows if row.checkpoint != gone)
    found = matrix([replace(board, rows=rows), other], Palette(boards))
    assert {line.fields[0].tint for line in found.lines} == {""}
    [line] = [line for line in found.lines if line.name == gone.name]
    assert (line.fields[0].text, line.fields[0].value, line.mean_rank) == ("–", "", "–")


def test_one_suite_needs_no_summary(store, boards):
    assert matrix(boards[:1], Palette(boards)) is None
    assert "<h2>Summary" not in render(boards[:1], store, Library())


def test_a_family_has_one_colour_in_every_chart(page, boards):
    classes = {}
    for tag, attributes, _ in page.elements:
        if tag == "g" and attributes.get("data-family"):
            classes.setdefault(attributes["data-family"], set()).add(attributes["class"].split()[0])
    assert {family: len(found) for family, found in classes.items()} == dict.fromkeys(("vit", "mixer", "resnet"), 1)
    assert len(set.union(*classes.values())) == 3
    chips = {family: {look.colour for look in looks} for family, looks in _looks(boards).items()}
    assert classes == {family: {f"c{number}" for number in found} for family, found in chips.items()}
    for number in range(len(boards)):  # whichever suites are shown
        assert {k: {look.colour for look in v} for k, v in _looks(boards[number:]).items()} == chips


def _looks(boards):
    palette, found = Palette(boards), {}
    for board in boards:
        for looks in (palette.of_each(board.ranking), palette.of_families(board.ranking)):
            for checkpoint, look in looks.items():
                found.setdefault(checkpoint.family, set()).add(look)
    return found


def test_a_log_that_says_nothing_gives_nothing():
    told = measured({}, ["a"])
    assert (told.dates, told.devices, told.versions) == ("", "", "")


def test_plots_repeat_and_take_names_as_they_are(store, boards):
    from bench.report.curves import save

    drawn = dict(figures(boards, store))
    suffix = f"-limit-{LIMIT}"
    assert list(drawn) == [
        f"digits-c{suffix}-scatter", f"digits-c{suffix}-heat", f"digits-r{suffix}-scatter",
        f"digits-crop-ratio{suffix}-curve", "pairs-sam",
    ]  # fmt: skip
    written = []
    for figure in (drawn["pairs-sam"], dict(figures(boards, store))["pairs-sam"]):
        place = io.BytesIO()
        save(figure, place, "svg")
        written.append(place.getvalue())
    assert written[0] == written[1]


# -- the command -------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = main(["report", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command_shows_every_suite_that_was_measured(store, page, tmp_path, capsys):
    out = tmp_path / "new" / "page.html"
    code, text, errors = run(capsys, "--store", str(store.root), "--out", str(out))
    # All of digits-v2 is part of digits-crop-ratio; of digits-resolution and attacks only the clean cells are here.
    assert (code, text, errors) == (0, f"{out}: digits, digits-c, digits-crop-ratio, digits-r, digits-v2\n", "")
    assert Parsed(out.read_text(encoding="utf-8")).pictures().keys() >= page.pictures().keys()
    assert out.stat().st_size < 5_000_000


def test_plots_are_written_beside(store, tmp_path, capsys):
    arguments = ("--store", str(store.root), "--out", str(tmp_path / "page.html"), "--suite", "digits-r")
    code, text, _ = run(capsys, *arguments, "--plots", str(tmp_path / "plots"))
    assert code == 0
    assert f"{tmp_path / 'plots' / 'pairs-sam'}.png, .svg" in text
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    stem = f"digits-r-limit-{LIMIT}-scatter"
    assert names == [f"{stem}.png", f"{stem}.svg", "pairs-sam.png", "pairs-sam.svg"]
    with Image.open(tmp_path / "plots" / "pairs-sam.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "page.pdf"], "--out must end in .html, not 'page.pdf'."),
        (
            ["--out", "page.html", "--store", "nowhere"],
            "nowhere holds nothing as asked of any suite; `bench run` measures it",
        ),
        (["--out", "page.html", "--suite", "digits-pgd", "--limit", "7"], "holds nothing of digits-pgd as asked"),
        (["--out", "page.html", "--checkpoint", "digits-vitt"], "no checkpoint in the store 'digits-vitt'"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(store, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    here = [] if "--store" in arguments else ["--store", str(store.root)]
    code, _, errors = run(capsys, *arguments, *here)
    assert code == 2
    assert errors.startswith("bench: ")
    assert said in errors
    assert not (tmp_path / "page.html").exists()


def test_estimates_without_interval_are_drawn_without():
    from bench.report.marks import bounds, percent

    assert bounds(Estimate(value=0.5, n=3)) == (0.5, 0.5)
    assert percent(Estimate(value=0.5, n=3)) == "50.0%, n 3"
