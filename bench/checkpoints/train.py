"""`bench train`: a registered recipe on its data set, and an entry for `--registry` beside the weights."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from bench.checkpoints.zoo.architectures import ARCHITECTURES, IMAGE_SIZE, family, timm_name
from bench.datasets import Library
from bench.datasets.crops import picture_of
from bench.errors import BenchError, UnknownNameError
from bench.machine.files import replacing
from bench.machine.torch_defaults import torch_defaults
from bench.training.loop import Epoch, save, train
from bench.training.recipe import Recipe
from bench.training.recipes import load_recipes

MEAN = STD = (0.5, 0.5, 0.5)
"""Of the small checkpoints: [0, 1] becomes [-1, 1]."""
_SECONDS_A_LINE = 10


@torch_defaults()
def train_recipe(
    name: str, out: Path, *, device: str, progress: Callable[[str], None], places: Mapping[str, Path] | None = None
) -> Path:
    """Make a checkpoint by a recipe.

    Args:
        name: of the recipe.
        out: folder for NAME.safetensors, NAME.csv (the training log) and NAME.toml (a registry entry).
        device: where to train.
        progress: called with a line of text every few seconds, at the end of an epoch.
        places: where data sets are that do not ship with the package, by name.

    Returns:
        The registry file. Its entry is called NAME-retrained, beside the shipped one.

    Raises:
        UnknownNameError: there is no such recipe.
        AbsentError: the recipe's data are not on this machine.
        BenchError: the data cannot be read, or the folder cannot be written.
    """
    recipes = load_recipes()
    if name not in recipes:
        raise UnknownNameError("recipe", name, recipes, see="bench list recipes")
    recipe, weights = recipes[name], out / f"{name}.safetensors"
    images, labels = _training_data(recipe, places or {})
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _one_thread():
            trained = train(
                recipe,
                ARCHITECTURES[recipe.architecture],
                images,
                labels,
                mean=MEAN,
                std=STD,
                device=device,
                progress=_reporter(recipe, progress),
            )
        save(trained, weights)
        registry = out / f"{name}.toml"
        with replacing(registry) as half:
            half.write_text(_entry(recipe, weights), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{out} cannot be written: {error.strerror or error}. Give another --out.") from error
    return registry


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The weights must not depend on the number of cores: sums are split among threads, and rounding differs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _training_data(recipe: Recipe, places: Mapping[str, Path]) -> tuple[torch.Tensor, torch.Tensor]:
    samples = Library(places).open(recipe.dataset, "train").samples
    images_NHWC = np.stack([picture_of(samples, index) for index in range(len(samples.ids))])
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(samples.labels)


def _reporter(recipe: Recipe, progress: Callable[[str], None]) -> Callable[[Epoch], None]:
    """Tells of the last epoch, and of the others no more often than a reader wants."""
    last = time.monotonic()

    def report(epoch: Epoch) -> None:
        nonlocal last
        if epoch.number == recipe.epochs or time.monotonic() - last >= _SECONDS_A_LINE:
            last = time.monotonic()
            progress(f"{recipe.name}: epoch {epoch.number}/{recipe.epochs}, loss {epoch.loss:.4f}")

    return report


def _entry(recipe: Recipe, weights: Path) -> str:
    return f"""[{recipe.name}-retrained]
arch = "{timm_name(recipe.architecture)}"
weights = "{weights.name}"
dataset = "{recipe.dataset}"
input_size = {IMAGE_SIZE}
crop_ratio = 1.0
interpolation = "bicubic"
mean = {list(MEAN)}
std = {list(STD)}
family = "{family(recipe.architecture)}"
sam = "{"sam" if recipe.sam_rho else "none"}"
recipe = "{recipe.name}"
"""
