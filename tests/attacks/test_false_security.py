"""Checkpoints that mask their gradients are told, each by its signs; ordinary ones show none."""

import contextlib

import numpy as np
import pytest
import torch

from bench.errors import BenchError, RunError
from bench.measure.attacked import Attacked
from bench.measure.autoattacked import AutoAttacked
from bench.records import Outcome
from bench.suite.attacked import FLAGS, SIGNS, SQUARE_LAST

GRIDS = {"linf": "2/255+8/255", "l2": "0.5+1"}


class Masked(torch.nn.Module):
    """A checkpoint behind something that hides its gradients."""

    def __init__(self, module, front=lambda images: images, back=lambda logits: logits):
        super().__init__()
        self.module, self.front, self.back = module, front, back

    def forward(self, images_NCHW):
        return self.back(self.module(self.front(images_NCHW)))


MASKS = {
    "quantised": {"front": lambda images: torch.round(images * 8) / 8},
    "saturated logits": {"back": lambda logits: logits * 1000},
    "saturated front": {"front": lambda images: torch.sigmoid((images - 0.5) * 400)},
    "random": {"front": lambda images: images + 0.05 * torch.randn_like(images)},
    "of the batch": {"front": lambda images: images - 0.2 * images.mean(0)},
}
SHOWN = {
    "quantised": {"zero_gradients", "loss_not_raised", "unbounded_withstood", "square_beats_white_box"},
    "saturated logits": {"zero_gradients", "loss_not_raised", "unbounded_withstood", "square_beats_white_box"},
    "saturated front": {"unbounded_withstood"},
    "random": {"unsteady_logits"},
    "of the batch": {"unsteady_logits"},
}
"""The least that each must show."""


@pytest.fixture(autouse=True)
def steps(request, monkeypatch):
    """Of the attacks: fewer than usual but in what is marked as slow; of the black box, too."""
    if request.node.get_closest_marker("slow"):
        return None
    monkeypatch.setattr("bench.measure.signs.QUERIES", 20)
    return 10


def warned(columns, loader, signs=SIGNS):
    """The signs whose value is above their threshold."""
    outcome = Outcome(ids=loader.ids, labels=loader.labels, columns=columns)
    found = set()
    for sign in signs:
        with contextlib.suppress(BenchError):  # nothing was tried that tells
            estimate = sign.function(outcome)
            if estimate.value > sign.alarm.above and estimate.value * estimate.n > sign.alarm.images - 0.5:
                found.add(sign.name)
    return found


def attacked(module, loader, pace, norm="linf", loss="ce", grid=None, **how):
    return Attacked("pgd", norm=norm, loss=loss, grid=grid or GRIDS[norm], **how).run(module, loader, {}, 0, pace)


def sizes(few, many):
    """Numbers of images: few that show it, and many."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@sizes(4, 12)
@pytest.mark.parametrize(
    ("name", "norm", "loss"),
    [("digits-resnet", "linf", "ce"), ("digits-vit-sam", "l2", "dlr"), ("digits-mixer", "linf", "dlr")],
)
def test_ordinary_checkpoints_show_no_sign(name, norm, loss, count, steps, shipped, first, pace):
    loader = first(count)
    assert not warned(attacked(shipped(name), loader, pace, norm, loss, steps=steps), loader)


@pytest.mark.parametrize("queries", ["few", pytest.param("all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mask", list(MASKS))
def test_a_masked_checkpoint_shows_its_signs(mask, queries, steps, shipped, first, pace):
    loader = first(20)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        masked = Masked(shipped("digits-resnet"), **MASKS[mask])
        columns = attacked(masked, loader, pace, grid="8/255+16/255", steps=steps)
    # With few queries the black box finds nothing behind most masks.
    assert warned(columns, loader) >= SHOWN[mask] - ({"square_beats_white_box"} if queries == "few" else set())


@sizes(2, 10)
def test_a_saturated_softmax_does_not_hide_from_dlr(count, steps, shipped, first, pace):
    loader, plain = first(count), shipped("digits-resnet")
    masked = Masked(plain, **MASKS["saturated logits"])
    how = {"loss": "dlr", "grid": "8/255+16/255", "steps": steps}
    before, after = (attacked(module, loader, pace, **how) for module in (plain, masked))
    assert not warned(after, loader)
    assert (before["smallest_eps"] == after["smallest_eps"]).mean() >= 0.9


class Moat(torch.nn.Module):
    """Wrong only where the mean is raised by 0.005 to 0.0095; the gradient points into that band from both sides."""

    def forward(self, images_NCHW):
        raised_N = images_NCHW.mean((1, 2, 3)) - 0.5
        margin_N = ((raised_N - 0.00725) / 0.00225) ** 2 - 1
        return torch.stack([margin_N, torch.zeros_like(margin_N)], dim=1)


def grey(loader_type, count):
    return loader_type(
        np.array([f"grey {i}" for i in range(count)]),
        np.zeros(count, dtype=np.int64),
        torch.full((count, 3, 16, 16), 0.5),
    )


def test_accuracy_that_rises_with_eps_is_told(loader_type, pace):
    loader = grey(loader_type, 50)
    columns = attacked(Moat(), loader, pace, grid="0.01+0.08")
    fresh = columns["fresh"][columns["fresh"][:, 0] >= 0]
    assert fresh[:, 0].mean() > fresh[:, 1].mean()  # the steps at the larger eps leap over the band
    assert "rising_with_eps" in warned(columns, loader)
    # What fooled once counts at every larger eps, whatever the attack does there.
    assert (columns["smallest_eps"][columns["fresh"][:, 0] == 1] < 0.02).all()


def test_too_few_steps_are_told(shipped, first, pace):
    loader = first(20)
    columns = attacked(shipped("digits-resnet"), loader, pace, grid="16/255", steps=1)
    assert "not_converged" in warned(columns, loader)


@pytest.mark.usefixtures("short_autoattack")
def test_autoattack_says_what_it_saw_and_square_alone_saw(small, pace):
    module, loader = small
    masked = Masked(module, **MASKS["quantised"])
    columns = AutoAttacked(norm="linf", eps="32/255").run(masked, loader, {}, 0, pace)
    signs = (SQUARE_LAST, FLAGS, *SIGNS)
    assert {"square_after_white_box", "autoattack_flags", "zero_gradients"} <= warned(columns, loader, signs)
    assert set("+".join(columns["flags"]).split("+")) == {"zero gradients"}


def test_one_dynamic_model_does_not_make_the_next_one_so(small, pace):
    # pyautoattack counts what models call together for all that it has seen.
    class Dynamic(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images_NCHW):
            with torch.enable_grad():
                images = images_NCHW.detach().requires_grad_()
                torch.autograd.grad(self.module(images).sum(), images)
            return self.module(images_NCHW)

    plain, loader = small
    flags = [
        set(AutoAttacked(norm="linf", eps="32/255").run(module, loader, {}, 0, pace)["flags"].tolist())
        for module in (Dynamic(plain), plain)
    ]
    assert flags == [{"dynamic"}, {""}]


def test_a_checkpoint_without_gradients_has_a_score_and_says_so(shipped, first, pace):
    def cut(logits):
        return logits.detach()

    columns = attacked(Masked(shipped("digits-resnet"), back=cut), first(4), pace)
    assert set(columns["flat"][columns["correct"]]) == {1}
    assert "zero_gradients" in warned(columns, first(4))


class Constant(torch.nn.Module):
    """The same logit for every class."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, images_NCHW):
        return images_NCHW.new_zeros(len(images_NCHW), self.classes)


@pytest.mark.parametrize(("classes", "norm"), [(1, "linf"), (3, "linf"), (3, "l2")])
def test_nothing_to_attack_ends_with_a_flag(first, loader_type, pace, classes, norm):
    few = first(2)
    loader = loader_type(few.ids, np.zeros(2, dtype=np.int64), few.images_NCHW[:, :, ::4, ::4])
    columns = AutoAttacked(norm=norm, eps="8/255").run(Constant(classes), loader, {}, 0, pace)
    assert columns["correct"].all()
    assert np.isinf(columns["smallest_eps"]).all()
    assert "autoattack_flags" in warned(columns, loader, [FLAGS])


def test_gradients_that_are_not_numbers_are_an_error(shipped, first, pace):
    def root(images):
        return images + torch.sqrt(images * 0)

    with pytest.raises(RunError, match="gradients of 4 of 4 images are NaN or infinite"):
        attacked(Masked(shipped("digits-resnet"), front=root), first(4), pace)


def test_small_gradients_of_a_sure_model_do_not_stall_l2(shipped, first, pace):
    loader = first(12)
    sure = Masked(shipped("digits-resnet"), back=lambda logits: 6 * logits)
    columns = attacked(sure, loader, pace, norm="l2", grid="2")
    assert np.isinf(columns["smallest_eps"]).mean() <= 0.2  # 0.8 where 1e-12 is taken for zero
    assert "loss_not_raised" not in warned(columns, loader)


def test_one_gradient_says_nothing_of_the_loss_after_it(shipped, first, pace):
    columns = attacked(shipped("digits-resnet"), first(6), pace, grid="8/255", steps=1)
    assert (columns["stuck"] == -1).all()
