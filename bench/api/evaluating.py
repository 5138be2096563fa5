"""A model in memory, on suites: one call gives a data frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.configuration import configure
from bench.api.runs import run
from bench.api.scores import table
from bench.checkpoints import checkpoints, memory
from bench.errors import BenchError, RunError
from bench.foreign.state import undisturbed
from bench.hooks.finding import Log
from bench.machine.processes import start_method
from bench.names import check_name
from bench.progress import Progress, for_stream
from bench.records import Checkpoint, ClassSpace
from bench.run.choice import predicted_by, select_suites
from bench.suite import Suite

if TYPE_CHECKING:
    import pandas as pd
    import torch

_PRECISIONS = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}


def evaluate(
    model: "Callable[[torch.Tensor], Any]",
    suites: Sequence[str],
    *,
    transform: Callable[[Any], Any] | None = None,
    name: str = "mine",
    data: Mapping[str, str | Path] | None = None,
    progress: Progress | None = None,
    log: Log = (),
    **settings: Any,
) -> "pd.DataFrame":
    """Measure a model that is in memory, as it is, and score it.

    Its cells are stored by the digest of its arrays, its source and its transform, so that the same model is not
    measured twice, and its protocol says `in memory`. Afterwards its mode, its gradients and all random generators are
    what they were.

    Args:
        model: a module or any callable, from normalised images (N, 3, S, S) to logits (N, K) for the suites' classes.
        suites: names, as of `bench list suites`; all of models with the same classes.
        transform: from a picture (RGB, of Pillow) to the numbers that the model takes, (3, S, S). A pipeline of
            torchvision is understood, any other callable is run as it is. None: as timm's configuration of the model
            says, where it has one.
        name: what tables call it.
        data: data set name to the place where it is.
        progress: told of what is done; None shows a bar or lines on standard error.
        log: who else is told of the scores: `mlflow`, `tensorboard`, `wandb`, or hooks themselves; see `bench.hooks`.
        settings: keys of `bench.toml`: limit, store, cache, workers, batch_size, seed, device.

    Returns:
        The long table, one row a score; see `bench.board.tables.long_table`.

    Raises:
        BenchError: the suites are of other classes than the model or each other, the transform can't be used, a
            setting is none, or a hook.
        RunError: something could not be measured; what could is stored.
    """
    import torch

    from bench.checkpoints.in_memory import InMemory, borrowed, device_of, dtype_of, identity_of

    check_name(checkpoints.kind, name, slashes=checkpoints.slashes)
    if not callable(model):
        raise BenchError(f"a module or another callable was wanted as the model, not a value of type {type(model)}.")
    chosen = select_suites([suites] if isinstance(suites, str) else suites)
    flags = {"device": device_of(model), "precision": _PRECISIONS.get(str(dtype_of(model))), **settings}
    flags["data"] = {key: str(place) for key, place in (data or {}).items()}
    configured = configure(**flags).settings
    # Where processes are not forked, a script without a guard would be run again in each.
    if "workers" not in settings and start_method() != "fork":
        configured = replace(configured, workers=0)
    devices = [torch.device(configured.device)] if configured.device.startswith("cuda") else []
    # The wrapper is made first: it remembers the default device, which is not the engine's.
    with undisturbed(), torch.random.fork_rng(devices=devices), borrowed(model):
        wrapped, digest = InMemory(model), identity_of(model)
        checkpoint = Checkpoint(
            name=name,
            class_space=_classes(chosen),
            weights=memory.hold(digest, wrapped),
            how="in memory",
            **_feeds(model, transform),
        )
        try:
            result = run(chosen, [checkpoint], configured, progress or for_stream(), log=log)
        finally:
            memory.release(digest)
    faults = [*dict.fromkeys(failure.message for failure in result.failures), *result.plan.unavailable.values()]
    if faults:
        raise RunError(f"{name} could not be measured on all of {', '.join(s.name for s in chosen)}: {faults[0]}")
    return table(result.boards)


def _classes(suites: Sequence[Suite]) -> ClassSpace:
    """The classes that models of these suites predict."""
    spaces = {space.digest: space for suite in suites for space in predicted_by(suite)}
    if len(spaces) != 1:
        names = ", ".join(space.name for space in spaces.values()) or "none"
        raise BenchError(
            f"a model predicts one set of classes, and these suites are of several ({names}); leave some out."
        )
    return next(iter(spaces.values()))


def _feeds(model: object, transform: Callable[[Any], Any] | None) -> dict[str, Any]:
    """Fields of a `Checkpoint` that say how images are made for the model."""
    from bench.checkpoints.pipelines import fields_of

    if transform is None:
        return _as_timm_says(model)
    given = getattr(transform, "__qualname__", None) or type(transform).__qualname__
    return fields_of(transform, given)


def _as_timm_says(model: object) -> dict[str, Any]:
    config = getattr(model, "pretrained_cfg", None)
    if not isinstance(config, Mapping):
        raise BenchError(
            "the model does not say how images are made for it; give transform=, the function from a picture to the "
            "numbers that it takes."
        )
    import timm.data.config
    import timm.data.transforms_factory

    from bench.checkpoints.pipelines import fields_of

    resolve: Callable[..., dict[str, Any]] = timm.data.config.resolve_model_data_config
    make: Callable[..., Any] = timm.data.transforms_factory.create_transform
    return fields_of(make(**resolve(model), is_training=False), "of timm's configuration")
