"""The engine: who is in the batch, what a course is told, and what happens when memory runs out."""

import numpy as np
import pytest
import torch

from bench.attacks.autoattack import autoattack
from bench.attacks.balls import ball_of
from bench.attacks.course import Ending, Spec, course
from bench.attacks.engine import Engine, Pictures
from bench.attacks.losses import cross_entropy, dlr, loss_of
from bench.attacks.rules import pgd
from bench.errors import BenchError, RunError, UnknownNameError
from bench.measure.attacked import Attacked
from bench.measure.autoattacked import AutoAttacked


def spec(**changes):
    values = {
        "name": "pgd", "norm": "linf", "loss": "ce", "grid": (0.002, 0.01, 0.05), "steps": 4, "restarts": 1,
        "step_size": 2.5, "random_start": True, "iterative": True,
    }  # fmt: skip
    return Spec(**{**values, **changes})


def pictures_of(loader):
    labels = torch.from_numpy(loader.labels)
    return Pictures(rows=range(len(labels)), ids=list(loader.ids), labels_N=labels, images_NCHW=loader.images_NCHW)


# -- courses ------------------------------------------------------------------------------------------------------


def ending(fooled, **changes):
    values = {"prediction": 1, "loss": 1.0, "norm": 0.1, "steps": 4, "rise": 0.5, "flat": False}
    return Ending(fooled=fooled, **{**values, **changes})


def walk(way, answers):
    """The trials that a course asks for when they end as `answers` says, and what it finds."""
    trials = [next(way)]
    for answer in answers:
        try:
            trials.append(way.send(answer))
        except StopIteration as stop:
            return trials, stop.value
    raise AssertionError("the course goes on")


def test_an_image_that_is_fooled_is_not_attacked_at_a_larger_eps():
    trials, found = walk(course(spec(), 1.0, afresh=False), [ending(False), ending(True)])
    assert [trial.eps for trial in trials] == [0.002, 0.01]
    assert (found.first, found.steps, found.ending.fooled) == (1, 8, True)
    assert found.fresh == [-1, -1, -1]


def test_restarts_go_on_until_one_fools():
    trials, found = walk(
        course(spec(grid=(0.01,), restarts=3), 1.0, afresh=False), [ending(False), ending(True, steps=2)]
    )
    assert [trial.start.rpartition("/")[2] for trial in trials] == ["0", "1"]
    assert (found.first, found.steps) == (0, 6)


def test_an_image_attacked_afresh_goes_through_the_grid_and_beyond():
    answers = [ending(True), ending(False), ending(False, rise=-0.1), ending(True), ending(False)]
    trials, found = walk(course(spec(), 1.0, afresh=True), answers)
    assert [(trial.eps, trial.steps) for trial in trials] == [(0.002, 4), (0.01, 4), (0.05, 4), (0.05, 20), (1.0, 4)]
    assert (found.first, found.fresh) == (0, [1, 0, 0])
    assert (found.stuck, found.longer, found.unbounded) == (1, 1, 0)
    assert found.steps == 4  # what is tried for its signs is not counted


def test_one_step_attacks_show_no_signs_of_more_steps():
    trials, found = walk(course(spec(iterative=False), 1.0, afresh=True), [ending(False)] * 3)
    assert len(trials) == 3
    assert (found.longer, found.unbounded) == (-1, -1)


# -- the batch ----------------------------------------------------------------------------------------------------


def test_progress_counts_every_image_once(small):
    module, loader = small
    told = []
    Engine(module, spec(), pgd, done=told.append, width=3).run([pictures_of(loader)])
    assert sum(told) == len(loader.ids)


class Cramped(torch.nn.Module):
    """Has memory for few images at a time."""

    def __init__(self, module, most):
        super().__init__()
        self.module, self.most, self.sizes = module, most, []

    def forward(self, images_NCHW):
        self.sizes.append(len(images_NCHW))
        if len(images_NCHW) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.module(images_NCHW)


def test_out_of_memory_halves_the_batch_and_changes_nothing(small):
    module, loader = small
    plain = Engine(module, spec(), pgd, width=8).run([pictures_of(loader)])
    cramped = Cramped(module, 3)
    found = Engine(cramped, spec(), pgd, width=8).run([pictures_of(loader)])
    assert max(cramped.sizes) == 8
    assert {row: r.finding.first for row, r in found.items()} == {row: r.finding.first for row, r in plain.items()}


def test_one_image_is_tried_alone_before_memory_is_given_up(small):
    module, loader = small
    found = Engine(Cramped(module, 1), spec(), pgd, width=64).run([pictures_of(loader.at(np.arange(1)))])
    assert found[0].finding is not None


def test_autoattack_shows_no_more_images_than_the_user_chose(small):
    module, loader = small
    cramped = Cramped(module, 2)
    autoattack(
        cramped, loader.images_NCHW[:5], torch.from_numpy(loader.labels[:5]), norm="linf", eps=0.05, seed=0, most=2
    )
    assert max(cramped.sizes) == 2


def test_a_batch_size_that_the_user_chose_is_not_halved(small):
    module, loader = small
    with pytest.raises(RunError, match="out of memory with 8 images at once; use a smaller --batch-size, or auto"):
        Engine(Cramped(module, 3), spec(), pgd, width=8, fixed=True).run([pictures_of(loader)])


def test_autoattack_within_little_memory_is_the_same(small):
    module, loader = small
    images, labels = loader.images_NCHW[:5], torch.from_numpy(loader.labels[:5])
    plain, cramped = (
        autoattack(m, images, labels, norm="linf", eps=0.02, seed=0) for m in (module, Cramped(module, 2))
    )
    assert plain.fooled_by == cramped.fooled_by
    assert any(plain.fooled_by)


def test_what_only_looked_fooled_in_a_batch_goes_on(small):
    """The plain forward pass decides: a model whose answers change with the gradient's pass fools nobody by that."""
    module, loader = small

    class TwoFaced(torch.nn.Module):
        def forward(self, images_NCHW):
            logits_NK = module(images_NCHW)
            return logits_NK.roll(1, 1) if images_NCHW.requires_grad else logits_NK

    results = Engine(TwoFaced(), spec(grid=(1e-6,)), pgd).run([pictures_of(loader)])
    assert all(result.finding.first == 1 for result in results.values())
    assert all(result.finding.steps == 4 for result in results.values())


def test_a_rule_that_makes_nan_is_told_from_the_model(small):
    module, loader = small
    with pytest.raises(RunError, match="the attack pgd made values that are NaN; mend its update rule"):
        Engine(module, spec(), lambda step: step.at_NCHW * torch.nan).run([pictures_of(loader)])


def test_a_rule_finds_again_what_it_remembers_of_each_image(small):
    module, loader = small

    def counting(step):
        count = step.remember("count")
        assert torch.equal(count[:, 0, 0, 0].long(), step.taken_N)
        count += 1
        return pgd(step)

    Engine(module, spec(restarts=2), counting, width=3).run([pictures_of(loader)])


def test_pieces_in_threads_fool_the_same_images(first, shipped, monkeypatch):
    loader, module = first(48), shipped("digits-resnet")
    found = []
    for a_thread in (16, 1000):
        monkeypatch.setattr("bench.attacks.engine._A_THREAD", a_thread)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            results = Engine(module, spec(grid=(8 / 255, 16 / 255)), pgd).run([pictures_of(loader)])
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
        found.append([result.finding and result.finding.first for _, result in sorted(results.items())])
    assert found[0] == found[1]


# -- losses, balls, measures ----------------------------------------------------------------------------------------


def test_dlr_is_the_authors():
    from pyautoattack.autopgd_base import APGDAttack

    logits, labels = torch.randn((50, 7), generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7
    torch.testing.assert_close(dlr(logits, labels), APGDAttack.dlr_loss(None, logits, labels))
    torch.testing.assert_close(dlr(1000 * logits, labels), dlr(logits, labels))
    with pytest.raises(RunError, match="dlr needs at least 3 classes, not 2"):
        dlr(logits[:, :2], labels % 2)


def test_unknown_losses_and_norms_are_answered_with_the_known_ones():
    assert loss_of("ce") is cross_entropy
    with pytest.raises(UnknownNameError, match="no loss 'cw'"):
        loss_of("cw")
    with pytest.raises(UnknownNameError, match="Did you mean 'l2'"):
        ball_of("l3")


def test_random_starts_in_l2_fill_the_ball():
    from bench.rng import Draws, keys

    starts = ball_of("l2").random(Draws(keys(0, "x", [str(i) for i in range(4000)])), (1, 1, 2))
    radius = ball_of("l2").size(starts).numpy()
    assert radius.max() <= 1 + 1e-6
    np.testing.assert_allclose((radius**2).mean(), 0.5, atol=0.02)  # uniform in a disk


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"steps": 0}, "steps of pgd must be more than 0, not 0"),
        ({"step_size": float("nan")}, "step_size of pgd must be more than 0, not nan"),
        ({"grid": "4"}, "could mean 4/255 or 4 times"),
        ({"norm": "l0"}, "no norm 'l0'"),
    ],
)
def test_a_measure_refuses_what_cannot_be(how, says):
    with pytest.raises(BenchError, match=says):
        Attacked("pgd", **{"norm": "linf", "grid": "1/255", **how})


def test_a_one_step_attack_takes_no_more_steps():
    with pytest.raises(BenchError, match="fgsm takes one step, not 5"):
        Attacked("fgsm", norm="linf", grid="1/255", steps=5)


def test_restarts_of_an_attack_without_random_starts_are_refused():
    with pytest.raises(BenchError, match="fgsm begins at the image itself"):
        Attacked("fgsm", norm="linf", grid="1/255", restarts=2)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_autoattack_takes_few_classes(classes, small, pace, loader_type):
    module, _ = small

    class Few(torch.nn.Module):
        def forward(self, images_NCHW):
            return module(images_NCHW)[:, :classes]

    images = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    labels = Few()(images).argmax(1).numpy()
    loader = loader_type(np.array(["a", "b", "c"]), labels, images)
    columns = AutoAttacked(norm="linf", eps="16/255").run(Few(), loader, {}, 0, pace)
    assert set(columns["flags"]) == ({"without apgd-t"} if classes < 4 else {""})
    assert any(columns["fooled_by"])
