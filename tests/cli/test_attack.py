"""`bench attack`: what an attack does to pictures of one's own, and the picture that shows it; a plug-in's attack."""

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import api
from bench.attacks import Attack, attacks
from bench.attacks.balls import ball_of
from bench.attacks.engine import Engine, Pictures
from bench.attacks.steps import Step
from bench.checkpoints import checkpoints
from bench.checkpoints.loading import load
from bench.cli import main
from bench.datasets import Library
from bench.images.crop import crop_image
from bench.measure import measures, register_attack
from bench.measure.attacked import Attacked
from bench.metrics.classification import TOP1
from bench.records import Checkpoint, ClassSpace, Condition, Data, Measurement, Params, Protocol
from bench.suite import Score, Suite, suites
from bench.tools.attack_picture import AttackedPicture, Guess, class_name, difference
from bench.tools.gallery import PictureError

MODEL = "digits-resnet"
EPS = "16/255"  # fools it on the digits below


@pytest.fixture(scope="session")
def digits() -> list[Image.Image]:
    samples = Library({}).open("digits", "test").samples
    return [Image.fromarray(np.asarray(samples.read(row))) for row in range(2)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: list[Image.Image]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    digits[0].save("seven.png")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, list[str], list[str]]]:
    """A function that runs `bench attack` in this process: status, lines of output, lines of complaint."""

    def _call(options: str) -> tuple[int, list[str], list[str]]:
        status = main(["attack", "--device", "cpu", *shlex.split(options)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out.splitlines(), captured.err.splitlines()

    return _call


def attacked(path: str = "seven.png", *, name: str = MODEL, eps: str = EPS, seed: int = 0, **how) -> AttackedPicture:
    settings = api.configure(device="cpu", seed=seed).settings
    [found] = api.attack([Path(path)], checkpoints.get(name), settings, eps=eps, **how)
    return found


def guess(module: torch.nn.Module, image_HWC: np.ndarray) -> tuple[int, float]:
    images_NCHW = torch.from_numpy(image_HWC.astype(np.float32)).permute(2, 0, 1)[None]
    probabilities_K = module(images_NCHW)[0].softmax(0)
    return int(probabilities_K.argmax()), float(probabilities_K.max())


# -- what is attacked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", "2")])
def test_a_picture_is_attacked_within_eps_and_plain_passes_say_what_came_of_it(norm, eps):
    found = attacked(norm=norm, eps=eps)
    assert found.perturbed_HWC.min() >= 0
    assert found.perturbed_HWC.max() <= 1
    change_HWC = found.perturbed_HWC.astype(np.float64) - found.clean_HWC / 255
    size = np.abs(change_HWC).max() if norm == "linf" else np.linalg.norm(change_HWC)
    assert size == pytest.approx(found.ending.norm, abs=1e-6)
    assert 0 < size <= found.spec.grid[0] + 1e-6
    module = load(checkpoints.get(MODEL), "cpu")
    for said, image_HWC in (
        (found.clean, found.clean_HWC / 255),
        (found.perturbed, found.perturbed_HWC),
        (found.rounded, found.bytes_HWC / 255),
    ):
        prediction, probability = guess(module, image_HWC)
        assert (said.prediction, said.name) == (prediction, str(prediction))
        assert said.probability == pytest.approx(probability, abs=1e-4)
    assert found.ending.fooled
    assert found.perturbed.prediction != found.clean.prediction


def test_the_checkpoints_own_crop_is_attacked():
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((61, 43), Image.Resampling.BICUBIC)
    picture.save("bird.png")
    found = attacked("bird.png", steps=1)
    np.testing.assert_array_equal(found.clean_HWC, crop_image(np.array(picture), checkpoints.get(MODEL).crop))


def test_the_random_start_goes_by_seed_and_file_name_alone():
    Path("same.png").write_bytes(Path("seven.png").read_bytes())
    first, again, seed, name = (
        attacked(path, seed=n, steps=2).perturbed_HWC
        for path, n in (("seven.png", 0), ("seven.png", 0), ("seven.png", 1), ("same.png", 0))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != seed).any()
    assert (first != name).any()
    fgsm = [attacked(attack="fgsm", seed=n).perturbed_HWC for n in (0, 1)]
    np.testing.assert_array_equal(*fgsm)


def test_steps_are_the_attacks_own_unless_asked_for():
    assert [attacked(attack=name).spec.steps for name in ("pgd", "fgsm")] == [20, 1]
    few = attacked(eps="0.001", steps=3)
    assert (few.spec.steps, few.ending.steps, few.verdict) == (3, 3, "withstood 3 steps")


def test_it_is_fp32_unless_the_user_names_a_precision():
    settings = api.configure(device="cpu").settings
    for asked, used in ((False, "fp32"), (True, "bf16")):
        how = dataclasses.replace(settings, precision="bf16", precision_asked=asked)
        [found] = api.attack([Path("seven.png")], checkpoints.get(MODEL), how, eps=EPS, steps=1)
        assert found.precision == used
        assert (found.perturbed == attacked(steps=1).perturbed) == (used == "fp32")


def test_the_engine_tells_how_each_trial_ended_and_of_which_image():
    measure = Attacked("pgd", "linf", "0.001+0.002", steps=2)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(27, 3)).requires_grad_(False)
    images_NCHW = torch.rand((4, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    labels_N = module(images_NCHW).argmax(1)
    told = []
    engine = Engine(module, measure.spec, attacks.get("pgd").load(), ended=lambda *what: told.append(what))
    found = engine.run([Pictures(rows=range(4), ids="abcd", labels_N=labels_N, images_NCHW=images_NCHW)])
    for row in range(4):
        last, image_CHW = [(ending, image_CHW) for of, ending, image_CHW in told if of == row][-1]
        assert last is found[row].finding.ending
        assert float((image_CHW - images_NCHW[row]).abs().max()) == pytest.approx(last.norm, abs=1e-7)
    assert len(told) >= 4


# -- the picture ----------------------------------------------------------------------------------------------


def test_the_picture_shows_clean_perturbed_and_difference_side_by_side(call):
    status, [line], err = call(f"seven.png --checkpoint {MODEL} --eps {EPS} --out made")
    assert (status, err) == (0, [])
    assert [path.name for path in Path("made").iterdir()] == ["seven.pgd-linf-16_255.png"]
    found = attacked()
    assert line == f"made/seven.pgd-linf-16_255.png: {found.summary}"
    with Image.open("made/seven.pgd-linf-16_255.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        shown = np.asarray(picture)
    np.testing.assert_array_equal(shown, np.asarray(found.draw()))
    places = []
    for panel_HWC in (found.clean_HWC, found.bytes_HWC, difference(found.clean_HWC, found.perturbed_HWC)[1]):
        large_HWC = panel_HWC.repeat(8, axis=0).repeat(8, axis=1)
        rows = np.lib.stride_tricks.sliding_window_view(shown, (1, 256, 3))[:, :, 0, 0]
        [first, *_] = np.argwhere((rows == large_HWC[0]).all((-1, -2)))
        y, x = map(int, first)
        np.testing.assert_array_equal(shown[y : y + 256, x : x + 256], large_HWC)
        places.append((y, x))
    assert len({y for y, _ in places}) == 1
    assert sorted(places) == places


def test_the_summary_says_predictions_steps_and_what_bytes_keep():
    clean, other = (Guess(prediction=n, name=str(n), probability=0.5) for n in (7, 4))
    found = dataclasses.replace(attacked(), clean=clean, perturbed=other, rounded=other)

    def ended(steps: int, *, fooled: bool, rounded: Guess) -> str:
        ending = dataclasses.replace(found.ending, steps=steps, fooled=fooled)
        return dataclasses.replace(found, ending=ending, rounded=rounded).summary.removeprefix(
            "7 (50.0%) → 4 (50.0%), "
        )

    assert ended(3, fooled=True, rounded=other) == "fooled after 3 steps; rounded to bytes: still fooled"
    assert ended(1, fooled=True, rounded=clean) == "fooled after 1 step; rounded to bytes: no longer fooled"
    assert ended(0, fooled=True, rounded=other) == "fooled by its random start; rounded to bytes: still fooled"
    assert ended(20, fooled=False, rounded=clean) == "withstood 20 steps; rounded to bytes: withstood too"
    assert ended(20, fooled=False, rounded=other) == "withstood 20 steps; rounded to bytes: fooled"


def test_a_change_below_half_a_byte_does_not_outlast_rounding():
    found = attacked(eps="0.4/255")
    np.testing.assert_array_equal(found.bytes_HWC, found.clean_HWC)
    assert found.rounded == found.clean


def test_the_change_is_said_in_the_attacks_norm():
    assert attacked().change == "Linf 16/255"
    assert re.fullmatch(r"L2 (0\.\d+|1)", attacked(norm="l2", eps="1").change)


@pytest.mark.parametrize(
    ("change", "times"), [(4 / 255, 30), (1 / 255, 100), (0.01, 50), (0.3, 1), (0.7, 0.7), (1e-6, 500_000), (0, 1)]
)
def test_the_difference_is_enlarged_by_a_round_number_that_about_fills_the_range(change, times):
    clean_HWC = np.zeros((2, 2, 3), np.uint8)
    perturbed_HWC = np.zeros((2, 2, 3), np.float32)
    perturbed_HWC[0, 0, 0] = change
    found, shown_HWC = difference(clean_HWC, perturbed_HWC)
    assert found == pytest.approx(times)
    assert shown_HWC[0, 0, 0] == pytest.approx(255 * min(1, 0.5 + times * change), abs=1)
    assert (shown_HWC[1] == 128).all()


def test_an_unchanged_picture_is_grey_whatever_its_pixels():
    clean_HWC = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    times, shown_HWC = difference(clean_HWC, clean_HWC.astype(np.float32) / 255)
    assert times == 1
    assert (shown_HWC == 128).all()


def test_words_do_not_run_into_each_other():
    found = attacked()
    usual = found.draw().width
    long = dataclasses.replace(found, clean=dataclasses.replace(found.clean, name="Staffordshire bullterrier " * 9))
    assert usual < long.draw().width <= usual + 400 - 256
    assert dataclasses.replace(found, path=Path("a very long name " * 9)).draw().width > 2 * usual


def test_wnids_are_shown_as_words():
    assert class_name("n02100236") == "German short-haired pointer"
    assert class_name("n99999999") == "n99999999"


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--checkpoint digits-resnt", "no checkpoint 'digits-resnt'. Did you mean 'digits-resnet'"),
        ("--attack pdg", "no attack 'pdg'. Did you mean 'pgd'? See: bench list attacks"),
        ("--norm l1", "no norm 'l1'. Did you mean"),
        ("--loss dl", "no loss 'dl'. Did you mean 'dlr'"),
        ("--eps 4", "eps 4 under linf could mean 4/255 or 4 times the range"),
        ("--eps 0", "eps must be more than 0, not '0'"),
        ("--eps=-4/255", "eps must be more than 0, not '-4/255'"),
        ("--eps 1/255+2/255", "eps must be a number such as 4/255 or 0.0157, not '1/255+2/255'"),
        ("--steps 0", "steps of pgd must be more than 0, not 0"),
        ("--seed -1", "seed must be at least 0, not -1"),
        ("--device gpu", "unknown device 'gpu'"),
        ("sub/seven.jpg", "seven.png and sub/seven.jpg would be written to the same files"),
        ("--out seven.png", "seven.png is not a folder; name another place"),
    ],
)
def test_a_call_that_must_change_is_one_sentence_and_writes_nothing(call, tmp_path, options, says):
    status, out, [sentence] = call(f"--checkpoint {MODEL} --eps {EPS} --out made seven.png {options}")
    assert (status, out) == (2, [])
    assert sentence.startswith("bench: ")
    assert says in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["seven.png"]


@pytest.mark.parametrize("option", ["--eps", "--checkpoint", "--out"])
def test_what_must_be_said_is_asked_for(call, capsys, option):
    given = {"--eps": EPS, "--checkpoint": MODEL, "--out": "made"}
    with pytest.raises(SystemExit) as ended:
        call("seven.png " + " ".join(f"{name} {value}" for name, value in given.items() if name != option))
    assert ended.value.code == 2
    assert f"the following arguments are required: {option}" in capsys.readouterr().err


def test_bad_pictures_are_named_and_stop_no_others(call):
    Path("notes.txt").write_text("not a picture")
    Path("folder.png").mkdir()
    bad = {"notes.txt": "does not decode as an image", "gone.png": "can't be read", "folder.png": "is a folder"}
    status, [line], err = call(f"{' '.join(bad)} seven.png --checkpoint {MODEL} --eps {EPS} --steps 1 --out made")
    assert status == 1
    assert line.startswith("made/seven.pgd-linf-16_255.png: ")
    for complaint, (name, says) in zip(err, bad.items(), strict=True):
        assert complaint.startswith(f"bench: {name} ")
        assert says in complaint
    with pytest.raises(PictureError, match="gone.png can't be read"):
        attacked("gone.png")


TINY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.calls = nn.Linear(3, 2), 0

    def forward(self, images_NCHW):
        self.calls += 1
        logits_NK = self.head(images_NCHW.mean((2, 3)))
        {body}
        return logits_NK
"""


@pytest.fixture
def tiny(scratch_registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that registers a checkpoint `tiny` whose forward does something to its logits."""

    def _tiny(body: str) -> None:
        monkeypatch.syspath_prepend(tmp_path / "code")
        monkeypatch.delitem(sys.modules, "tiny_model", raising=False)
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "tiny_model.py").write_text(TINY.format(body=body))
        save_file({"head.weight": torch.eye(2, 3), "head.bias": torch.tensor([0.0, 0.1])}, "tiny.safetensors")
        space = ClassSpace(name="two", classes=("dark", "light"))
        entry = Checkpoint(name="tiny", class_space=space, builder="tiny_model:Tiny", weights="tiny.safetensors")
        checkpoints.register(dataclasses.replace(entry, input_size=8))

    return _tiny


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("logits_NK = logits_NK.detach()", "the checkpoint gives no gradients"),
        ("logits_NK = logits_NK * (-1) ** self.calls", "'tiny' predicts another class of seven.png when it is shown"),
        ("logits_NK = logits_NK * float('nan') ** (self.calls > 1)", "a logit is NaN or infinite"),
        ("logits_NK.numpy()", "pgd on tiny fails on seven.png: RuntimeError: Can't call numpy()"),
    ],
)
def test_a_checkpoint_that_cannot_be_attacked_says_why(call, tiny, body, says):
    tiny(body)
    status, out, [sentence] = call("seven.png --checkpoint tiny --eps 4/255 --out made")
    assert (status, out) == (1, [])
    assert says in sentence
    assert not Path("made").exists()


def test_too_few_classes_for_the_loss_is_one_sentence(call, tiny):
    tiny("pass")
    status, _, [sentence] = call("seven.png --checkpoint tiny --eps 4/255 --loss dlr --out made")
    assert status == 1
    assert "the loss dlr needs at least 3 classes, not 2" in sentence


@pytest.mark.parametrize(
    ("weights", "says"),
    [("gone.safetensors", "there is no weights file"), ("https://localhost:1/x.safetensors", "can't be reached")],
)
def test_weights_that_are_not_here_are_fetched_or_asked_for(
    call, scratch_registries, tmp_path, monkeypatch, weights, says
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("mine.toml").write_text(f'[mine]\narch = "resnet18"\nweights = "{weights}"\ndataset = "digits"\n')
    status, out, err = call("seven.png --checkpoint mine --registry mine.toml --eps 4/255 --out made")
    assert (status, out) == (2, [])
    assert says in err[-1]


# -- a plug-in's attack ---------------------------------------------------------------------------------------


def test_a_plugins_attack_is_listed_beside_ours(bench, lights_site):
    rows = {row["name"]: row for row in json.loads(bench("list", "attacks", "--json", path=lights_site).stdout)}
    without = {row["name"] for row in json.loads(bench("list", "attacks", "--json").stdout)}
    assert rows.keys() - without == {"drift"}
    assert {"fgsm", "pgd"} <= without
    assert rows["drift"]["steps"] == 10
    assert (rows["drift"]["random start"], rows["pgd"]["random start"]) == ("no", "yes")


def test_a_plugins_attack_attacks_pictures(call, lights):
    status, [line], err = call(f"seven.png --checkpoint {MODEL} --attack drift --eps {EPS} --out made")
    assert (status, err) == (0, [])
    assert line.startswith("made/seven.drift-linf-16_255.png: 7 (")
    assert "fooled after" in line


def test_a_plugins_attack_is_a_measure_too(lights):
    params = Params(norm="linf", grid=f"{EPS}+32/255", loss="ce")
    condition = Condition(data=Data(dataset="digits"), measure=Measurement(name="drift", params=params))
    protocol = Protocol(terms=("10-way",))
    scores = (Score(metric=TOP1, conditions=(condition,), column="clean"),)
    suites.register(
        Suite(name="drifted", version=1, title="", paper="", track="mine", protocol=protocol, scores=scores)
    )
    settings = api.configure(store="runs", cache="off", workers=0, device="cpu", limit=1).settings
    result = api.run(*api.select(["drifted"], checkpoints=[MODEL]), settings)
    assert result.ok
    rows = api.outcomes(result.boards[0], api.Store(settings.store))
    assert len(rows) == 1
    assert (rows["gradients"] <= 20).all()
    assert np.isfinite(rows["smallest_eps"][rows["correct"]]).any()


def test_momentum_adds_gradients_of_norm_one_up(lights):
    rule, memory = attacks.get("drift").load(), {}
    images_NCHW = torch.full((1, 3, 1, 1), 0.5)
    at_NCHW, velocity = images_NCHW, torch.zeros(3)
    for gradient in (torch.tensor([2.0, -1.0, 1.0]), torch.tensor([-3.0, 0.0, 1.0]), torch.zeros(3)):
        one = torch.tensor([0.1])
        step = Step(
            images_NCHW=images_NCHW, at_NCHW=at_NCHW, gradient_NCHW=gradient.view(1, 3, 1, 1), eps_N=one, length_N=one,
            taken_N=torch.zeros(1, dtype=torch.int64), ball=ball_of("linf"), memory=memory,
        )  # fmt: skip
        velocity = velocity + (gradient / gradient.abs().sum() if gradient.any() else 0)
        wanted = at_NCHW.flatten() + 0.1 * velocity.sign()
        at_NCHW = rule(step)
        torch.testing.assert_close(at_NCHW.flatten(), wanted)
    torch.testing.assert_close(velocity, torch.tensor([-0.25, -0.25, 0.5]))


def test_a_rule_that_fails_on_a_picture_names_both(call, scratch_registries):
    def load_broken():
        return lambda step: 1 / 0

    register_attack(Attack(name="broken", version=1, load=load_broken))
    assert "broken" in {entry.name for entry in measures}
    status, out, [sentence] = call(f"seven.png --checkpoint {MODEL} --attack broken --eps {EPS} --out made")
    assert (status, out) == (1, [])
    assert sentence.startswith(f"bench: broken on {MODEL} fails on seven.png: ZeroDivisionError: division by zero (")
    assert "test_attack.py, line " in sentence
