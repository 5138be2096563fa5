"""The kernel of fine-tuning: what each step shows, what a step does, going on after a stop, several processes."""

import itertools
import math
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.transforms import RandomResizedCrop

from bench.errors import BenchError, RunError, UnknownNameError
from bench.training import unfinished
from bench.training.pictures import TRIES, Pictures, Steps, augmented, batches, crop, crop_box, order
from bench.transfer import finetune
from bench.transfer.finetune import Means, fine_tune, with_new_head
from bench.transfer.recipes import DEFAULT, load_recipes, recipe_for

CLASSES, SIDE = 3, 8


class Tiny(nn.Module):
    """A model with a head, as timm's have one."""

    def __init__(self, norm: bool = False, dropout: float = 0.0, classes: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 12, 3, stride=2)
            self.norm = nn.BatchNorm2d(12) if norm else nn.Identity()
            self.drop = nn.Dropout(dropout)
            self.head = nn.Linear(12, classes)

    def reset_classifier(self, classes: int) -> None:
        self.head = nn.Linear(12, classes)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.conv(x_NCHW)).relu().mean((2, 3))))


class Pixels(nn.Module):
    """What the engine hands over: images in [0, 1] to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval().requires_grad_(False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return self.model((images_NCHW - 0.5) / 0.5)


class Lamps:
    """Pictures of three colours, of various shapes."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(count)
        self.labels = np.arange(count) % CLASSES
        colours = np.eye(3)[self.labels] * 120 + 60
        shapes = [(8, 8), (12, 9), (9, 14)]
        self.pictures = [
            np.clip(c + rng.normal(0, 40, (*shapes[i % 3], 3)), 0, 255).astype(np.uint8) for i, c in enumerate(colours)
        ]
        self.ids = np.array([f"lamp {i}" for i in range(count)])

    def __call__(self, row: int) -> np.ndarray:
        return self.pictures[row]

    def images(self) -> torch.Tensor:
        shown = [crop(p, (0, 0, *p.shape[:2]), SIDE, "bilinear") for p in self.pictures]
        return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 255


TRAIN, VALIDATION = Lamps(50), Lamps(21)
PICTURES = Pictures(ids=TRAIN.ids, labels=TRAIN.labels, picture=TRAIN, size=SIDE, interpolation="bilinear")
RECIPE = replace(load_recipes()["letters"], epochs=3, batch_size=16, learning_rate=0.1, flip=True)


def shown(start: int = 0, step: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(VALIDATION.images()[start::step], torch.from_numpy(VALIDATION.labels)[start::step])]


def means(folder: Path, **changes) -> Means:
    given = {
        "batch_size": 64, "fixed": False, "workers": 0, "state": folder / "state",
        "note": lambda text: None, "done": lambda share: None,
    }  # fmt: skip
    return Means(**given | changes)


def tune(folder: Path, model: nn.Module | None = None, recipe=RECIPE, seed: int = 0, **changes):
    module = Pixels(model or Tiny())
    return fine_tune(
        module, PICTURES, shown(), VALIDATION.ids, recipe, classes=CLASSES, seed=seed, means=means(folder, **changes)
    )


def assert_same(one, other) -> None:
    assert (one.history, one.best_epoch) == (other.history, other.best_epoch)
    for (name, mine), theirs in zip(one.module.state_dict().items(), other.module.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


class Stopped(Exception):
    """Of a test, in the middle of a training."""


def stop_at(share: float):
    def done(so_far: float) -> None:
        if so_far >= share - 1e-9:
            raise Stopped

    return done


# -- recipes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "steps", "warmup"),
    [(1_020, 500, 100), (19_999, 500, 100), (45_000, 10_000, 500), (499_999, 10_000, 500), (1_281_167, 20_000, 500)],
)
def test_the_number_of_images_chooses_the_steps_of_the_papers(images, steps, warmup):
    recipe = recipe_for(DEFAULT, images)
    assert recipe.steps_of(images) == steps
    assert recipe.warmup * steps == pytest.approx(warmup)
    assert (recipe.batch_size, recipe.momentum, recipe.clip_norm, recipe.flip) == (512, 0.9, 1, True)


def test_letters_are_not_mirrored():
    recipe = recipe_for("letters", 1_400)
    assert not recipe.flip
    assert recipe.steps_of(1_400) == recipe.epochs * 22


def test_an_unknown_recipe_is_named():
    with pytest.raises(UnknownNameError, match="no fine-tuning recipe 'leters'. Did you mean 'letters'"):
        recipe_for("leters", 10)


def test_a_recipe_of_no_length_is_refused():
    with pytest.raises(ValueError, match="'letters' wants steps to be more than 0 where epochs is 0"):
        replace(RECIPE, epochs=0)


# -- what is shown ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "batch"), [(50, 16), (33, 16), (16, 16), (7, 16), (1000, 7)])
def test_an_epoch_shows_every_image_once_in_steps_of_nearly_one_size(images, batch):
    steps = Steps(images=images, batch_size=batch, total=10_000)
    parts = [np.arange(images)[steps.part(step)] for step in range(steps.an_epoch)]
    assert np.concatenate(parts).tolist() == list(range(images))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch


def test_orders_are_permutations_and_differ_from_epoch_to_epoch():
    ids = np.array([str(i) for i in range(500)])
    orders = [order(0, 0, ids), order(0, 1, ids), order(1, 0, ids)]
    assert all(sorted(rows.tolist()) == list(range(500)) for rows in orders)
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations(orders, 2))
    # By the id alone: among fewer, those that are left keep their order.
    assert np.array_equal(order(0, 0, ids[:100]), orders[0][orders[0] < 100])


def test_crops_are_of_the_ranges_and_spread_as_torchvisions():
    recipe, (height, width) = replace(RECIPE, area=(0.05, 1.0), aspect=(3 / 4, 4 / 3)), (300, 400)
    draws = np.random.default_rng(0).random((4_000, TRIES, 4))
    boxes = np.array([crop_box(height, width, tries, recipe) for tries in draws])
    top, left, h, w = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, height, width)
        theirs = [RandomResizedCrop.get_params(image, [0.05, 1.0], [3 / 4, 4 / 3]) for _ in range(4_000)]
    their_top, their_left, their_h, their_w = np.array(theirs).T
    pairs = [
        (top, their_top),
        (left, their_left),
        (h * w, their_h * their_w),
        (np.log(w / h), np.log(their_w / their_h)),
    ]
    for mine, other in pairs:
        error = math.hypot(mine.std(), other.std()) / math.sqrt(4_000)
        assert abs(mine.mean() - other.mean()) < 4 * error


@pytest.mark.parametrize("shape", [(10, 200), (200, 10)])
def test_of_a_long_picture_the_middle_is_taken_as_torchvision_does(shape):
    recipe = replace(RECIPE, area=(0.9, 1.0), aspect=(3 / 4, 4 / 3))
    theirs = RandomResizedCrop.get_params(torch.empty(3, *shape), [0.9, 1.0], [3 / 4, 4 / 3])
    assert crop_box(*shape, np.full((TRIES, 4), 0.5), recipe) == tuple(theirs)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_crop_is_resized_as_pillow_does(interpolation):
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    # Wider than high: of higher parts some versions of Pillow take the two passes in the other order.
    part = Image.fromarray(picture[5:22, 3:28]).resize((16, 16), Image.Resampling[interpolation.upper()])
    assert np.array_equal(crop(picture, (5, 3, 17, 25), 16, interpolation), np.asarray(part))


def test_a_crop_depends_on_seed_epoch_and_id_alone():
    rows = np.arange(20)
    together = augmented(PICTURES, rows, 1, 0, RECIPE)
    alone = np.concatenate([augmented(PICTURES, rows[[i]], 1, 0, RECIPE) for i in reversed(rows)])[::-1]
    assert np.array_equal(together, alone)
    for epoch, seed in [(2, 0), (1, 1)]:
        assert not np.array_equal(together, augmented(PICTURES, rows, epoch, seed, RECIPE))


def test_half_of_the_crops_are_mirrored():
    whole = replace(RECIPE, area=(1.0, 1.0), aspect=(1.0, 1.0))
    wide = np.tile(np.arange(SIDE, dtype=np.uint8)[None, :, None] * 20, (SIDE, 1, 3))
    ids = np.array([str(i) for i in range(400)])
    pictures = Pictures(
        ids=ids, labels=np.zeros(400, int), picture=lambda row: wide, size=SIDE, interpolation="nearest"
    )
    mirrored = augmented(pictures, np.arange(400), 0, 0, whole)[:, 0, 0, 0] > 0
    assert 160 < mirrored.sum() < 240
    assert not augmented(pictures, np.arange(400), 0, 0, replace(whole, flip=False))[:, 0, 0, 0].any()


def test_neither_workers_nor_a_late_start_change_a_batch():
    steps = Steps(images=50, batch_size=16, total=10)

    def made(workers: int, start: int) -> list:
        return list(batches(PICTURES, steps, RECIPE, seed=0, start=start, stride=(0, 1), workers=workers, pin=False))

    straight = made(0, 0)
    assert len(straight) == 10
    for other, start in [(made(2, 0), 0), (made(0, 6), 6)]:
        for (images, labels), (images_there, labels_there) in zip(straight[start:], other, strict=True):
            assert torch.equal(images, images_there)
            assert torch.equal(labels, labels_there)


def test_processes_share_a_step_without_a_gap():
    steps = Steps(images=50, batch_size=16, total=5)

    def labels(rank: int, processes: int) -> list[list[int]]:
        made = batches(PICTURES, steps, RECIPE, seed=0, start=0, stride=(rank, processes), workers=0, pin=False)
        return [labels_B.tolist() for _, labels_B in made]

    for whole, first, second in zip(labels(0, 1), labels(0, 2), labels(1, 2), strict=True):
        assert [whole[0::2], whole[1::2]] == [first, second]


def test_a_picture_that_does_not_decode_is_named(tmp_path, monkeypatch):
    def broken(self, row):
        raise RunError("lamp 3 does not decode as an image; fetch it again.")

    monkeypatch.setattr(Lamps, "__call__", broken)
    with pytest.raises(RunError, match="lamp 3 does not decode"):
        tune(tmp_path)


# -- steps -----------------------------------------------------------------------------------------------------


def test_a_training_is_that_of_a_plain_loop(tmp_path):
    tuned = tune(tmp_path, recipe=replace(RECIPE, clip_norm=0.2))
    module = with_new_head(Pixels(Tiny()), CLASSES)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9)
    total, losses, accuracies = 12, [], []
    for epoch in range(3):
        rows = order(0, epoch, TRAIN.ids)
        for place in range(4):
            part = rows[50 * place // 4 : 50 * (place + 1) // 4]
            images = torch.from_numpy(augmented(PICTURES, part, epoch, 0, RECIPE)).permute(0, 3, 1, 2) / 255
            loss = F.cross_entropy(module(images), torch.from_numpy(TRAIN.labels[part]))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.2)
            step = 4 * epoch + place + 0.5
            rise, fall = step / (0.1 * total), 0.5 * (1 + math.cos(math.pi * (step - 1.2) / (total - 1.2)))
            optimizer.param_groups[0]["lr"] = 0.1 * (rise if rise < 1 else fall)
            optimizer.step()
            losses += [loss.item()] * len(part)
        [(images, labels)] = shown()
        accuracies.append((module(images).argmax(1) == labels).float().mean().item())
    found = [epoch.validation_accuracy for epoch in tuned.history]
    assert found == pytest.approx(accuracies)
    assert [epoch.loss for epoch in tuned.history] == pytest.approx(np.reshape(losses, (3, 50)).mean(1), rel=1e-5)
    assert found[-1] > 0.6


def test_the_best_epoch_on_validation_is_kept(tmp_path):
    tuned = tune(tmp_path, recipe=replace(RECIPE, epochs=6, learning_rate=3.0))
    ranks = [(epoch.validation_accuracy, -epoch.validation_loss) for epoch in tuned.history]
    assert tuned.best_epoch == 1 + ranks.index(max(ranks))
    assert tuned.best_epoch < 6  # or the test shows nothing
    [(images, labels)] = shown()
    with torch.no_grad():
        accuracy = (tuned.module(images).argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(tuned.history[tuned.best_epoch - 1].validation_accuracy)
    assert not tuned.module.training


def test_the_module_that_is_handed_over_stays_as_it_is(tmp_path):
    model = Tiny(norm=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tune(tmp_path, model=model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_new_head_begins_at_zero():
    module = with_new_head(Pixels(Tiny()), CLASSES)
    assert module(torch.rand(2, 3, SIDE, SIDE)).tolist() == [[0.0] * CLASSES] * 2
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_torchs_global_randomness_is_put_back(tmp_path):
    before = torch.get_rng_state()
    tune(tmp_path, model=Tiny(dropout=0.5))
    assert torch.equal(before, torch.get_rng_state())


def test_recipes_in_steps_end_within_an_epoch(tmp_path):
    tuned = tune(tmp_path, recipe=replace(RECIPE, epochs=0, steps=6))
    assert len(tuned.history) == 2


def test_micro_batches_give_the_gradient_of_the_whole(tmp_path):
    whole, cut = tune(tmp_path / "whole"), tune(tmp_path / "cut", batch_size=5)
    for mine, theirs in zip(whole.module.parameters(), cut.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


class Small(Tiny):
    """Has memory for four images."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x_NCHW)  # BatchNorm has seen them by then
        if len(x_NCHW) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return logits


def test_where_memory_runs_out_the_batch_is_halved_until_it_fits(tmp_path):
    small, cut = (
        tune(tmp_path / "small", model=Small()),
        tune(tmp_path / "cut", model=Tiny(), batch_size=3),
    )
    # 12 or 13 images: halved to 6, then 3.
    assert_same(small, cut)


def test_batch_normalisation_takes_the_statistics_of_as_many_whatever_the_users_batch_size(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "_NORMALISED_TOGETHER", 6)
    few, many = (tune(tmp_path / str(size), model=Tiny(norm=True), batch_size=size) for size in (3, 12))
    assert_same(few, many)


def test_where_the_statistics_do_not_fit_memory_the_step_is_to_be_made_smaller(tmp_path):
    with pytest.raises(
        RunError, match=r"out of memory with 12 images at once, whose statistics .* --set batch_size=16"
    ):
        tune(tmp_path, model=Small(norm=True))


def test_a_users_batch_size_is_not_cut(tmp_path):
    with pytest.raises(RunError, match="out of memory with 12 images at once; use a smaller --batch-size"):
        tune(tmp_path, model=Small(), fixed=True)


def test_a_model_without_a_head_is_refused(tmp_path):
    with pytest.raises(BenchError, match="Conv2d has no head that can be replaced"):
        tune(tmp_path, model=nn.Conv2d(3, 3, 3))


def test_a_loss_that_is_not_finite_names_a_lower_rate(tmp_path):
    class Broken(Tiny):
        def forward(self, x_NCHW):
            return super().forward(x_NCHW) * math.inf

    with pytest.raises(RunError, match=r"loss of fine-tune is nan in epoch 1.*--set learning_rate=0.03"):
        tune(tmp_path, model=Broken())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_learns_as_well(tmp_path, dtype):
    with torch.autocast("cpu", dtype=dtype):
        tuned = tune(tmp_path)
    # The surrounding autocast's cache of weights would hold those of the first step.
    assert [epoch.loss for epoch in tuned.history] == pytest.approx(
        [epoch.loss for epoch in tune(tmp_path / "fp32").history], abs=0.03
    )
    assert next(tuned.module.parameters()).dtype == torch.float32


def as_if_compiling_paid(monkeypatch) -> None:
    """Compile, as on CUDA in a long training."""
    forward, cuda = finetune._Forward, torch.device("cuda")
    monkeypatch.setattr(finetune, "_COMPILED_FROM", 0)
    monkeypatch.setattr(finetune, "_Forward", lambda module, images, _, note: forward(module, images, cuda, note))


@pytest.mark.parametrize(("macs", "pays"), [(17_600_000_000, True), (3_000_000, False)])
def test_a_training_is_compiled_where_that_pays(monkeypatch, macs, pays):
    module = Tiny()
    module.macs = macs
    monkeypatch.setattr(torch, "compile", lambda module: module)
    forward = finetune._Forward(module, 600_000, torch.device("cuda"), print)
    assert (forward.compiled is not None) == pays
    assert finetune._Forward(module, 600_000, torch.device("cpu"), print).compiled is None


def test_where_compiling_fails_it_goes_on_without(tmp_path, monkeypatch):
    def compiled(module):
        def fails(images):
            raise RuntimeError("no C compiler found")

        return fails

    notes = []
    monkeypatch.setattr(torch, "compile", compiled)
    as_if_compiling_paid(monkeypatch)
    found = tune(tmp_path / "compiled", note=notes.append)
    assert "torch.compile failed (RuntimeError: no C compiler found)" in notes[0]
    monkeypatch.undo()
    assert_same(found, tune(tmp_path / "plain"))


def test_a_compiled_module_learns_what_the_plain_one_does(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    as_if_compiling_paid(monkeypatch)
    found = tune(tmp_path / "compiled", note=notes.append)
    assert not [note for note in notes if "compile" in note]
    monkeypatch.undo()
    assert_same(found, tune(tmp_path / "plain"))


def test_notes_do_not_flood(tmp_path, monkeypatch):
    notes = []
    tune(tmp_path, recipe=replace(RECIPE, epochs=5), note=notes.append)
    assert [note.split(",")[0] for note in notes] == ["fine-tune: epoch 1/5", "fine-tune: epoch 5/5"]
    assert notes[-1].split(", ")[1].startswith("loss 0.")
    assert notes[-1].endswith("%")


# -- going on --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1 / 3, 7 / 12])
def test_stopped_and_begun_again_it_ends_at_the_same_weights(tmp_path, monkeypatch, share):
    monkeypatch.setattr(unfinished, "_SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "_SHARE", 1.0)  # every step
    model, notes = Tiny(norm=True, dropout=0.3), []
    with pytest.raises(Stopped):
        tune(tmp_path / "cut", model=model, done=stop_at(share))
    told = []
    resumed = tune(tmp_path / "cut", model=model, note=notes.append, done=told.append)
    assert notes[0] == f"fine-tune: it goes on after step {round(share * 12)} of 12"
    assert told[0] == pytest.approx(share + 1 / 12)
    assert_same(resumed, tune(tmp_path / "straight", model=model))


def test_a_best_epoch_before_the_stop_is_kept(tmp_path):
    recipe = replace(RECIPE, epochs=6, learning_rate=3.0)
    straight = tune(tmp_path / "straight", recipe=recipe)
    with pytest.raises(Stopped):
        tune(tmp_path / "cut", recipe=recipe, done=stop_at((4 * straight.best_epoch + 1) / 24))
    assert_same(tune(tmp_path / "cut", recipe=recipe), straight)


def test_within_an_epoch_a_state_is_kept_after_minutes_alone(tmp_path):
    with pytest.raises(Stopped):
        tune(tmp_path, done=stop_at(7 / 12))
    notes = []
    tune(tmp_path, note=notes.append)
    assert notes[0] == "fine-tune: it goes on after step 4 of 12"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    torch.save([1, 2], path)


@pytest.mark.parametrize("spoil", [damage, empty, foreign])
def test_a_damaged_state_is_noted_and_not_gone_on_from(tmp_path, spoil):
    with pytest.raises(Stopped):
        tune(tmp_path / "cut", done=stop_at(0.5))
    spoil(tmp_path / "cut/state/fine-tune.pt")
    notes = []
    again = tune(tmp_path / "cut", note=notes.append)
    assert "its kept state is damaged" in notes[0]
    assert "begins anew" in notes[0]
    assert_same(again, tune(tmp_path / "straight"))


@pytest.mark.parametrize("other", [{"seed": 1}, {"recipe": replace(RECIPE, learning_rate=0.2)}])
def test_a_state_of_other_settings_is_noted_and_not_gone_on_from(tmp_path, other):
    with pytest.raises(Stopped):
        tune(tmp_path / "cut", done=stop_at(0.5))
    notes = []
    again = tune(tmp_path / "cut", note=notes.append, **other)
    assert notes[0] == "fine-tune: its kept state is of other settings; it begins anew."
    assert_same(again, tune(tmp_path / "straight", **other))


def test_a_state_that_cannot_be_kept_is_noted_once(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    notes = []
    tune(tmp_path, note=notes.append)
    assert sum("cannot be kept" in note for note in notes) == 1


SCRIPT = """
import importlib.util, os, sys, time
from pathlib import Path
import torch

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("told", {file!r})
told = importlib.util.module_from_spec(spec)
spec.loader.exec_module(told)
"""


def script(text: str) -> str:
    return SCRIPT.format(file=__file__) + text


@pytest.fixture
def one_thread():
    """As in the processes of `script`: the number of threads decides how sums round."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_killed_it_goes_on_to_the_same_weights(tmp_path, one_thread, warm):
    model = Tiny(norm=True, dropout=0.3)
    slow = (
        f"told.tune(Path({str(tmp_path / 'cut')!r}), model=told.Tiny(norm=True, dropout=0.3),"
        " done=lambda share: time.sleep(0.1))"
    )
    process = warm.fork(script(slow))
    until = time.monotonic() + 60
    while not (tmp_path / "cut/state/fine-tune.pt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait().status == -signal.SIGKILL
    notes = []
    resumed = tune(tmp_path / "cut", model=model, note=notes.append)
    assert "it goes on after step" in notes[0]
    assert_same(resumed, tune(tmp_path / "straight", model=model))


# -- several processes -----------------------------------------------------------------------------------------


TOGETHER = """
from bench.machine.distributed import joined, own_rows, rank

def run(folder, **changes):
    own = told.shown(rank(), 2)
    return told.fine_tune(
        told.Pixels(told.Tiny()), told.PICTURES, own, told.VALIDATION.ids, told.RECIPE,
        classes=told.CLASSES, seed=0, means=told.means(Path(folder), **changes),
    )

with joined("cpu") as device:
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory, warm) -> Path:
    """A folder with what each of two processes ended with; they have been started once for all tests."""
    folder = tmp_path_factory.mktemp("two")
    text = f"""
    from bench.machine.distributed import broadcast, gather_rows

    tuned = run({str(folder / "state")!r})
    joined_rows = []
    for count in (7, 1):
        rows = own_rows(count)
        joined_rows.append(gather_rows({{"pair": told.np.stack([rows, -rows], 1)}} if len(rows) else {{}}))
    kept = {{
        "weights": tuned.module.state_dict(),
        "losses": [epoch.loss for epoch in tuned.history],
        "validated": len(told.shown(rank(), 2)[0][1]),
        "rows": [columns["pair"].tolist() for columns in joined_rows],
        "told": broadcast(f"by {{rank()}}"),
    }}
    torch.save(kept, Path({str(folder)!r}) / str(rank()))
"""
    assert [(done.status, done.err) for done in warm.fork_two(script(TOGETHER + text))] == [(0, "")] * 2
    return folder


def test_two_processes_end_where_one_does(two, tmp_path):
    alone = tune(tmp_path)
    first, second = (torch.load(two / str(rank)) for rank in range(2))
    assert first["validated"] + second["validated"] == len(VALIDATION.ids)
    assert first["losses"] == pytest.approx([epoch.loss for epoch in alone.history], abs=1e-5)
    for name, tensor in alone.module.state_dict().items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        torch.testing.assert_close(first["weights"][name], tensor, rtol=0, atol=1e-5)


def test_rows_of_processes_are_joined_in_order(two):
    for rank in range(2):
        kept = torch.load(two / str(rank))
        assert kept["rows"] == [[[i, -i] for i in range(count)] for count in (7, 1)]
        assert kept["told"] == "by 0"


def test_a_fault_of_one_process_ends_the_other(tmp_path, warm):
    text = f"""
    def broken(self, row):
        raise told.RunError("lamp does not decode")
    if rank() == 1:
        told.Lamps.__call__ = broken
    run({str(tmp_path)!r})
"""
    first, second = warm.fork_two(script(TOGETHER + text))
    assert "process 1 of this run failed: lamp does not decode" in first.err
    assert "RunError: lamp does not decode" in second.err
