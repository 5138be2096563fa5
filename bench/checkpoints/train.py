"""`bench train`: recipes on their data sets, a training a process, and a registry file of all that a folder holds."""

import contextlib
import functools
import hashlib
import inspect
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import timm
import torch
from safetensors.torch import save as to_safetensors

from bench.checkpoints.trainings import (
    REGISTRY,
    Record,
    check_registry,
    digest_of,
    finished,
    training_name,
    write_record,
    write_registry,
)
from bench.checkpoints.zoo.architectures import ARCHITECTURES, IMAGE_SIZE, family, timm_name
from bench.datasets import Library, OpenedSplit, Samples
from bench.datasets.crops import picture_of
from bench.errors import DISK_FULL, BenchError, RunError, UnknownNameError
from bench.machine.distributed import is_main, joined, together, world_size
from bench.machine.files import make_folder, tidy
from bench.machine.processes import in_processes
from bench.machine.threads import one_thread
from bench.machine.torch_defaults import torch_defaults
from bench.records import Array
from bench.training.core import DivergedError
from bench.training.loop import Epoch, Trained, save, train
from bench.training.pictures import Pictures
from bench.training.recipe import Recipe

MEAN = STD = (0.5, 0.5, 0.5)
"""Of the small checkpoints: [0, 1] becomes [-1, 1]."""
_SECONDS_A_LINE = 10
_VERSION = 1
"""Of the code: what changes weights by more than rounding makes another version, and trainings are done again."""


def _silent(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training; may be handed to another process, where `carry_out` does it."""

    recipe: Recipe
    """With its seed."""
    out: Path
    """Folder for all that it writes; see `bench.checkpoints.trainings`."""
    device: str = "cpu"
    """Where to train."""
    places: Mapping[str, Path] = field(default_factory=dict)
    """Where data sets are that do not ship with the package, by name."""
    progress: Callable[[str], None] = _silent
    """Called with a line of text every few seconds, at the end of an epoch, in the process that trains."""

    @property
    def name(self) -> str:
        """Of the training and its checkpoint."""
        return training_name(self.recipe)


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What became of a training."""

    record: Record
    registry: Path
    """The file that has its entry."""
    anew: bool
    """Whether it was carried out now, and not before."""


def train_all(trainings: Sequence[Training], *, workers: int | None = None) -> Iterator[Done]:
    """Carry out trainings, one a process; those that the folder has are not done again.

    Args:
        trainings: Of any recipes and seeds, into folders that can be written.
        workers: Processes at most; None takes one a core, and 0 trains in this one, as do the processes of torchrun.

    Yields:
        What became of each, in their order; a training that diverged is no error.

    Raises:
        UnknownNameError: There is no such architecture or data set.
        AbsentError: The data are not on this machine.
        BenchError: The data cannot be read, the folder cannot be written, or the recipe is none for its architecture.
        RunError: A process died; finished trainings are kept.
    """
    for out in {training.out for training in trainings}:
        make_folder(out)
        check_registry(out)
        tidy(out)
    if workers is None:
        # On an accelerator, trainings would share its memory.
        workers = (
            min(os.cpu_count() or 1, len(trainings)) if all(training.device == "cpu" for training in trainings) else 0
        )
    if world_size() > 1:
        with joined(trainings[0].device if trainings else "cpu") as device:
            yield from (_carry_out(training, device) for training in trainings)
        return
    yield from in_processes(
        carry_out, trainings, 0 if workers == 1 else workers, doing="trains", begin=one_thread, ahead=workers or 1
    )


def carry_out(training: Training) -> Done:
    """Do one training, or go on with it, unless it is finished; write its files and its entry.

    Raises:
        BenchError: As `train_all` does.
    """
    return _carry_out(training, training.device)


@torch_defaults()
def _carry_out(training: Training, device: str) -> Done:
    """As `carry_out`; all processes of torchrun call this, each with its own device."""
    recipe, out = training.recipe, training.out
    opened = together(lambda: Library(dict(training.places)).open(recipe.dataset, "train"))
    decides = [opened.fingerprint, device.split(":")[0], world_size(), _VERSION]
    digest = digest_of(recipe.identity, *decides)
    record = together(lambda: finished(out, training.name, digest))
    if record is not None:
        if is_main():
            write_registry(out)
        return Done(record=record, registry=out / REGISTRY, anew=False)
    module = _Module.of(recipe, len(opened.dataset.class_space.classes))
    data = together(lambda: _training_data(opened) if module.ours else _streamed(opened, recipe))
    trained = _attempt(training, module, data, device)
    state_dict = None if isinstance(trained, str) else trained.state_dict
    record = Record(
        name=training.name,
        recipe=recipe.name,
        seed=recipe.seed,
        ascent=recipe.ascent.name,
        digest=digest,
        pair=digest_of(recipe.without_ascent().identity, *decides),
        weights="" if state_dict is None else hashlib.sha256(to_safetensors(state_dict)).hexdigest(),
        diverged=trained if isinstance(trained, str) else "",
        ema=recipe.stages[-1].ema,
        entry=_entry(recipe, module, recipe.stages[-1].size or _size_of(data)),
        identity=recipe.identity,
    )
    if is_main():
        _write(out, record, trained)
    return Done(record=record, registry=out / REGISTRY, anew=True)


def _attempt(training: Training, module: "_Module", data: "_Data", device: str) -> Trained | str:
    """What a training gives, or in words why it diverged."""
    try:
        with _one_thread():
            return train(
                training.recipe,
                module.build,
                *((data,) if isinstance(data, Pictures) else data),
                mean=MEAN,
                std=STD,
                device=device,
                progress=_reporter(training),
                state=_state_of(training.out, training.name),
                note=training.progress,
                readers=_readers(),
            )
    except DivergedError as error:
        return str(error)


def _state_of(out: Path, name: str) -> Path:
    return out / f"{name}.training.pt"


def _write(out: Path, record: Record, trained: Trained | str) -> None:
    """Write the files of a training that is over; its record is the last, which makes it finished.

    Raises:
        BenchError: One cannot be written.
        RunError: The disk is full.
    """
    try:
        if not isinstance(trained, str):
            save(trained, out / f"{record.name}.safetensors")
        write_record(out, record)
        _state_of(out, record.name).unlink(missing_ok=True)
    except OSError as error:
        kind = RunError if error.errno in DISK_FULL else BenchError
        raise kind(f"{out} cannot be written: {error.strerror or error}. Make room, or give another --out.") from error


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The weights must not depend on the number of cores: sums are split among threads, and rounding differs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Module:
    """What a recipe's architecture is, untrained and as a registry file names it."""

    build: Callable[[], torch.nn.Module]
    arch: str
    """Timm's name."""
    arguments: Mapping[str, Any]
    """That its weights are loaded with."""
    family: str
    ours: bool

    @classmethod
    def of(cls, recipe: Recipe, classes: int) -> "_Module":
        """The architecture of a recipe.

        Raises:
            UnknownNameError: There is none of that name.
            BenchError: It takes no LayerScale or stochastic depth, and the recipe wants it.
        """
        name = recipe.architecture
        if name not in ARCHITECTURES and not timm.is_model(name):
            raise UnknownNameError("architecture", name, [*ARCHITECTURES, *timm.list_models()])
        ours = name in ARCHITECTURES
        keys = ("layer_scale", "drop_path") if ours else ("init_values", "drop_path_rate")
        values = (recipe.layer_scale, recipe.drop_path)
        given = {key: value for key, value in zip(keys, values, strict=True) if value}
        build = functools.partial(ARCHITECTURES[name] if ours else functools.partial(timm.create_model, name), **given)
        if ours and (strange := [key for key in given if key not in inspect.signature(ARCHITECTURES[name]).parameters]):
            raise BenchError(f"architecture {name!r} takes no {strange[0]}; leave it out of recipe {recipe.name!r}.")
        return cls(
            build=functools.partial(build, num_classes=classes),
            arch=timm_name(name) if ours else name,
            # Stochastic depth does nothing to what is not in training.
            arguments={key: value for key, value in given.items() if key == keys[0]},
            family=family(name) if ours else name.split("_")[0],
            ours=ours,
        )


_Data: TypeAlias = tuple[torch.Tensor, torch.Tensor] | Pictures
"""Images (N, 3, S, S) uint8 and labels (N,), for the small architectures; or pictures that are read when shown."""
_SIZE = 224
"""Side of the crops of pictures where a recipe says none, pixels."""
_MOST_READERS = 8


_decoded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
"""The last data set that this process has learnt from, by its fingerprint: other seeds learn from it too."""


def _training_data(opened: OpenedSplit) -> tuple[torch.Tensor, torch.Tensor]:
    if opened.fingerprint not in _decoded:
        _decoded.clear()
        _decoded[opened.fingerprint] = _decode(opened)
    return _decoded[opened.fingerprint]


def _decode(opened: OpenedSplit) -> tuple[torch.Tensor, torch.Tensor]:
    samples = opened.samples
    first = picture_of(samples, 0)
    images_NHWC = np.empty((len(samples.ids), *first.shape), np.uint8)
    for index, image_HWC in enumerate(images_NHWC):
        picture_HWC = picture_of(samples, index)
        if picture_HWC.shape != first.shape or first.shape[0] != first.shape[1]:
            raise BenchError(
                f"the small architectures learn from square pictures of one size, and {samples.ids[index]} of "
                f"{opened.dataset.name} has {picture_HWC.shape[1]} by {picture_HWC.shape[0]} pixels; take an "
                "architecture of timm, such as vit_small_patch16_224."
            )
        image_HWC[:] = picture_HWC
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(samples.labels)


@dataclass(frozen=True, slots=True)
class _Picture:
    """From a row to its picture; may be copied to the processes that read."""

    samples: Samples

    def __call__(self, row: int) -> Array:
        """(h, w, 3) uint8."""
        return picture_of(self.samples, row)


def _streamed(opened: OpenedSplit, recipe: Recipe) -> Pictures:
    samples = opened.samples
    return Pictures(
        ids=samples.ids,
        labels=samples.labels,
        picture=_Picture(samples),
        size=recipe.stages[0].size or _SIZE,
        interpolation="bicubic",
    )


def _size_of(data: _Data) -> int:
    return data.size if isinstance(data, Pictures) else data[0].shape[-1]


def _readers() -> int:
    """Processes that read pictures beside this one; one that is itself a worker may have none."""
    if multiprocessing.parent_process() is not None:
        return 0
    return min(_MOST_READERS, max(1, (os.cpu_count() or 1) // world_size()))


def _reporter(training: Training) -> Callable[[Epoch], None]:
    """Tells of the last epoch, and of the others no more often than a reader wants."""
    last = time.monotonic()
    epochs = sum(stage.epochs for stage in training.recipe.stages)

    def report(epoch: Epoch) -> None:
        nonlocal last
        if epoch.number == epochs or time.monotonic() - last >= _SECONDS_A_LINE:
            last = time.monotonic()
            training.progress(f"{training.name}: epoch {epoch.number}/{epochs}, loss {epoch.loss:.4f}")

    return report


def _entry(recipe: Recipe, module: _Module, size: int) -> dict[str, Any]:
    """What the registry file says of a checkpoint, beside what its record does."""
    arguments = {**module.arguments, **({"img_size": size} if module.ours and size != IMAGE_SIZE else {})}
    return {
        "arch": module.arch,
        **({"arch_args": arguments} if arguments else {}),
        "dataset": recipe.dataset,
        "input_size": size,
        "crop_ratio": 1.0 if module.ours else 0.875,
        "interpolation": "bicubic",
        "mean": list(MEAN),
        "std": list(STD),
        "family": module.family,
    }
