"""The light augmentation of the recipes."""

import torch

from bench.training.augment import flip, rotate_and_shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture() -> torch.Tensor:
    """Four images in [0, 1] of a bright square off the centre, on black."""
    images_NCHW = torch.zeros(4, 3, 32, 32)
    images_NCHW[:, :, 8:14, 16:22] = 1.0
    return images_NCHW


def centre(image_CHW: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass, in pixels."""
    mass_HW = image_CHW.sum(dim=0)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return ((mass_HW * rows).sum() / mass_HW.sum()).item(), ((mass_HW * columns).sum() / mass_HW.sum()).item()


def test_no_motion_leaves_images_as_they_are() -> None:
    images_NCHW = torch.rand(4, 3, 32, 32, generator=generator())
    still_NCHW = rotate_and_shift(images_NCHW, degrees=0, shift=0, generator=generator())
    torch.testing.assert_close(still_NCHW, images_NCHW, rtol=0, atol=1e-5)


def test_images_stay_in_range_and_shape() -> None:
    images_NCHW = torch.rand(4, 3, 32, 32, generator=generator())
    moved_NCHW = rotate_and_shift(images_NCHW, degrees=30, shift=8, generator=generator())
    assert moved_NCHW.shape == images_NCHW.shape
    assert moved_NCHW.min() >= 0
    assert moved_NCHW.max() <= 1 + 1e-6
    assert not torch.equal(moved_NCHW, images_NCHW)


def test_shift_is_measured_in_pixels() -> None:
    images_NCHW = picture()
    moved_NCHW = rotate_and_shift(images_NCHW, degrees=0, shift=3, generator=generator(1))
    # The same draws: angles, motions across, motions down. They say where in the input an output pixel
    # looks, so what is seen moves the other way.
    _, across_N, down_N = (torch.rand((3, 4), generator=generator(1)) * 2 - 1) * 3
    for image, moved, across, down in zip(images_NCHW, moved_NCHW, across_N, down_N, strict=True):
        row, column = centre(image)
        torch.testing.assert_close(centre(moved), (row - down.item(), column - across.item()), rtol=0, atol=1e-3)


def test_rotation_turns_about_the_centre_by_at_most_the_angle() -> None:
    images_NCHW = picture()
    turned_NCHW = rotate_and_shift(images_NCHW, degrees=20, shift=0, generator=generator(2))
    wanted_N = (torch.rand((3, 4), generator=generator(2)) * 2 - 1)[0] * 20
    for image, turned, wanted in zip(images_NCHW, turned_NCHW, wanted_N, strict=True):
        before, after = (torch.tensor(centre(each)) - 15.5 for each in (image, turned))
        degrees = torch.rad2deg(torch.atan2(after[0], after[1]) - torch.atan2(before[0], before[1]))
        torch.testing.assert_close(-degrees, wanted, rtol=0, atol=0.3)
        torch.testing.assert_close(after.norm(), before.norm(), rtol=0.01, atol=0)


def test_each_image_moves_by_its_own_amounts() -> None:
    moved_NCHW = rotate_and_shift(picture(), degrees=10, shift=2, generator=generator())
    assert len({image.sum(dim=0).numpy().tobytes() for image in moved_NCHW}) == 4


def test_flipping_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    images_NCHW = torch.rand(400, 1, 2, 3, generator=generator())
    flipped_NCHW = flip(images_NCHW, generator(1))
    mirrored_N = (flipped_NCHW == images_NCHW.flip(-1)).all(dim=(1, 2, 3))
    kept_N = (flipped_NCHW == images_NCHW).all(dim=(1, 2, 3))
    assert (mirrored_N ^ kept_N).all()
    assert 160 < mirrored_N.sum() < 240  # of 400 at a half: four standard deviations


def test_flipping_repeats_under_a_seed() -> None:
    images_NCHW = torch.rand(40, 3, 8, 8, generator=generator())
    first, again, other = (flip(images_NCHW, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
