"""What is made from what one has: checkpoints by recipes, a generated ImageNet-C, images and pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.datasets import Library
from bench.progress import Progress, Silent
from bench.records import Checkpoint, Settings
from bench.suite import Suite

if TYPE_CHECKING:
    from PIL import Image

    from bench.checkpoints.train import Done
    from bench.corruptions import Corruption
    from bench.tools.attack_picture import AttackedPicture
    from bench.tools.images import Format, Shown
    from bench.tools.make_c import MadeC


def train(
    recipes: str | Sequence[str],
    out: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    device: str = "cpu",
    workers: int | None = None,
    progress: Any = None,
    places: Mapping[str, Path] | None = None,
) -> "list[Done]":
    """Make checkpoints by recipes, one for each seed; see `bench.checkpoints.train`.

    Args:
        recipes: their names.
        out: a folder; gets RECIPE-seedK.safetensors of each, and registry.toml for `--registry`.
        changes: keys of the recipes that are set otherwise, see `bench.training.recipes.changed`.
        seeds: of the trainings.
        device: where to train.
        workers: processes at most; None takes one a core.
        progress: called with a line of text now and then, in the processes that train.
        places: where data sets are, by name.

    Raises:
        BenchError: a name, a key or a value is not possible, data are not here, or the folder cannot be written.
    """
    from bench.checkpoints.train import Training, train_all
    from bench.training.recipes import recipe

    names = [recipes] if isinstance(recipes, str) else recipes
    chosen = [recipe(name, changes) for name in dict.fromkeys(names)]
    told = {} if progress is None else {"progress": progress}
    trainings = [
        Training(recipe=replace(given, seed=seed), out=out, device=device, places=places or {}, **told)
        for given in chosen
        for seed in dict.fromkeys(seeds)
    ]
    return list(train_all(trainings, workers=workers))


def make_c(
    out: Path,
    settings: Settings,
    names: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    progress: Progress | None = None,
) -> "MadeC":
    """Write the files of a generated ImageNet-C that are not there yet; see `bench.tools.make_c.make_c`."""
    from bench.tools.make_c import make_c as make

    return make(out, Library(settings.places), settings, progress or Silent(), names, severities)


def images(
    suite: Suite,
    out: Path,
    settings: Settings,
    *,
    crop: "str | Checkpoint" = "",
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
    format: "Format" = "png",
    progress: Progress | None = None,
) -> "list[Shown]":
    """Write the exact images that a suite shows, with ids and labels in a CSV; see `bench.tools.images.write_images`.

    What other code predicts of them `import_predictions` takes in.

    Args:
        suite: whose they are.
        out: a folder; gets one for each condition.
        settings: where data are; seed, workers and cache count.
        crop: a checkpoint, whose crop and size are taken, or a crop as `SIZE/RATIO/INTERPOLATION`; empty where
            the suite fixes it.
        corruptions: names or groups; without any, and without severities, all conditions.
        severities: of them.
        format: `png`, or `npz` for one file a condition.
        progress: told of what is done.

    Raises:
        BenchError: the suite has no such images, its data are not here, or the folder holds others.
    """
    from bench.tools.images import crop_of, write_images

    own, size = (
        (crop.crop, crop.input_size) if isinstance(crop, Checkpoint) else (crop_of(crop) if crop else None, None)
    )
    return write_images(
        suite,
        out,
        Library(settings.places),
        settings,
        progress or Silent(),
        crop=own,
        size=size,
        corruptions=corruptions,
        severities=severities,
        format=format,
    )


def select_corruptions(names: Sequence[str] = ()) -> "list[Corruption]":
    """Corruptions by name or group (`weather`), without names all that are registered; group by group.

    Raises:
        BenchError: a name is unknown.
    """
    from bench.corruptions.builtin import GROUPS
    from bench.tools.gallery import in_groups

    return in_groups([name for given in names for name in GROUPS.get(given, (given,))])


def corrupt(
    picture: Path, chosen: "Sequence[Corruption]", severities: Sequence[int], *, seed: int = 0
) -> "Iterator[tuple[Corruption, int, Image.Image]]":
    """A picture at its own size under each corruption and severity; see `bench.tools.gallery.corrupted`."""
    from bench.tools.gallery import corrupted

    return corrupted(picture, chosen, severities, seed=seed)


def contact_sheet(
    picture: Path, chosen: "Sequence[Corruption]", severities: Sequence[int], *, seed: int = 0
) -> "Image.Image":
    """A picture's crop under each corruption (a row) and severity (a column); see `bench.tools.gallery`."""
    from bench.tools.gallery import contact_sheet as lay_out

    return lay_out(picture, chosen, severities, seed=seed)


def attack(
    pictures: Sequence[Path], checkpoint: Checkpoint, settings: Settings, *, eps: str, **how: Any
) -> "Iterator[AttackedPicture]":
    """Attack pictures, each away from what a checkpoint predicts of it; see `bench.tools.attack_picture`."""
    from bench.tools.attack_picture import attack_pictures

    return attack_pictures(pictures, checkpoint, settings, eps=eps, **how)
