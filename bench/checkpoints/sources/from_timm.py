"""Timm's checkpoints: `TAG`, `hf-hub:OWNER/NAME` and `local-dir:FOLDER`, as `timm.create_model` takes them.

Images are fed as the model's own configuration says: `timm.data.resolve_model_data_config`, at the size of training.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from bench.checkpoints.fetch import HUB, fetch
from bench.checkpoints.sources.heads import classes_of
from bench.errors import BenchError, UnknownNameError
from bench.records import Checkpoint, ClassSpace, Interpolation, Params

_HUB, _FOLDER = "hf-hub:", "local-dir:"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Files that timm looks for in a folder, the first first."""
_FAMILIES = {"vision_transformer": "vit", "mlp_mixer": "mixer"}
_OF_THE_ENTRY = ("num_classes", "img_size", "in_chans")
"""What was given to the architecture and follows from classes and image size."""
_NOTHING = ClassSpace(name="none", classes=())


def names() -> Iterable[str]:
    """Every trained tag."""
    import timm

    listed: list[str] = timm.list_models(pretrained=True)
    return listed


def find(rest: str) -> Checkpoint:
    """The checkpoint of a tag, a repository of the hub or a folder; see `bench.checkpoints.sources`."""
    if rest.startswith(_HUB):
        repository = rest.removeprefix(_HUB)
        config = Checkpoint(name=f"timm/{rest}", class_space=_NOTHING, weights=f"{HUB}{repository}/config.json")
        return _saved(rest, fetch(config, lambda text: None).parent, f"{HUB}{repository}/{_WEIGHTS[0]}")
    if rest.startswith(_FOLDER):
        folder = Path(rest.removeprefix(_FOLDER))
        there = [folder / file for file in _WEIGHTS if (folder / file).is_file()]
        if not (folder / "config.json").is_file() or not there:
            raise BenchError(
                f"checkpoint 'timm/{rest}' wants a folder with config.json and {_WEIGHTS[0]}, as timm's "
                f"save_for_hf writes it, and {folder} is none; name such a folder."
            )
        return _saved(rest, folder, str(there[0]))
    return _tagged(rest)


def _tagged(tag: str) -> Checkpoint:
    import timm

    try:
        config = timm.get_pretrained_cfg(tag) if timm.is_model(tag) else None
    except RuntimeError:  # what follows the dot is unknown
        config = None
    if config is None:
        raise UnknownNameError("checkpoint of timm", tag, names())
    if not config.has_weights:
        raise BenchError(
            f"timm has no trained weights for {tag}; `--checkpoint 'timm/{tag.split('.')[0]}*'` takes all."
        )
    arch = ".".join(filter(None, (config.architecture or tag.split(".")[0], config.tag)))
    if config.hf_hub_id:
        weights = f"{HUB}{config.hf_hub_id}/{config.hf_hub_filename or _WEIGHTS[0]}"
    else:
        weights = str(config.url)
    known = {"sam": "sam"} if (config.tag or "").startswith("sam_") else {}
    values: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call]
    return _made(tag, arch, weights, values, **known, published=(f"timm:{arch}",))


def _saved(rest: str, folder: Path, weights: str) -> Checkpoint:
    """Of a folder as timm's `save_for_hf` writes it."""
    from timm.models._hub import load_model_config_from_path

    config, arch, arguments = load_model_config_from_path(folder)
    own = {name: _value(name, value, rest) for name, value in (arguments or {}).items() if name not in _OF_THE_ENTRY}
    return _made(rest, arch, weights, config, arch_args=Params(own))


def _value(name: str, value: Any, rest: str) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_value(name, part, rest) for part in value)
    if isinstance(value, Mapping):
        raise BenchError(
            f"checkpoint 'timm/{rest}' was built with {name} = {value}, and rtbench passes on numbers, texts and lists "
            "alone; register it in a plug-in."
        )
    return value


def _made(rest: str, arch: str, weights: str, config: Mapping[str, Any], **known: Any) -> Checkpoint:
    import timm.data.config
    from timm.models import model_entrypoint

    resolve: Callable[..., dict[str, Any]] = timm.data.config.resolve_data_config
    feeds = resolve(pretrained_cfg=dict(config), use_test_size=False)
    channels, height, width = feeds["input_size"]
    if channels != 3 or height != width or feeds["interpolation"] not in get_args(Interpolation):
        raise BenchError(
            f"checkpoint 'timm/{rest}' takes {channels} channels of {width}x{height} pixels, resized by "
            f"{feeds['interpolation']}; rtbench has square RGB images, resized by {', '.join(get_args(Interpolation))}."
        )
    outputs = int(config.get("num_classes") or 0)
    if not outputs:
        raise BenchError(
            f"checkpoint 'timm/{rest}' has no classifier, only features; name one that was trained to classify, or "
            "write an entry for a head of your own."
        )
    space, head = classes_of(outputs, tuple(config.get("label_names") or ()), f"timm/{rest}")
    module = model_entrypoint(arch).__module__.rpartition(".")[2]
    return Checkpoint(
        name=f"timm/{rest}",
        class_space=space,
        head=head,
        arch=arch,
        weights=weights,
        family=_FAMILIES.get(module, module.removesuffix("_transformer").replace("_", "-")),
        input_size=height,
        crop_ratio=float(feeds["crop_pct"]),
        crop_mode=feeds["crop_mode"],
        interpolation=feeds["interpolation"],
        mean=tuple(map(float, feeds["mean"])),  # type: ignore[arg-type]  # three channels
        std=tuple(map(float, feeds["std"])),  # type: ignore[arg-type]
        **known,
    )


def at_size(checkpoint: Checkpoint, size: int) -> dict[str, Any]:
    """Fields of a checkpoint of timm at another size: where it is the size that timm tests at, its crop ratio too."""
    from bench.checkpoints.timm_config import timm_config

    config = timm_config(checkpoint.arch)
    tested = config is not None and config.height == size != config.train_height
    return {"crop_ratio": config.crop_ratio} if config is not None and tested else {}
