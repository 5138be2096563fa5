"""How timm feeds an architecture when it validates it: what an entry of one's own takes where it does not say.

    USER CACHE/rtbench/timm/VERSION.json    what timm of that version answered, by architecture

Importing timm takes seconds, and every command reads a user's entries: what timm has said once is kept.
"""

import contextlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from bench.foreign.sources import is_ours
from bench.machine.files import replacing
from bench.machine.places import user_cache
from bench.records import Interpolation


@dataclass(frozen=True, kw_only=True, slots=True)
class TimmConfig:
    """What timm's validation does to images before an architecture sees them."""

    name: str
    """Of the configuration: the architecture, and the tag that timm takes where none is given."""
    height: int
    width: int
    train_height: int
    """Pixels; `height` is more where validation shows larger images than training did."""
    crop_ratio: float
    train_crop_ratio: float
    crop_mode: str
    """As of `bench.crops.Crop`."""
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def values(self, input_size: int | None) -> dict[str, Any]:
        """Fields of a `Checkpoint` by name; `input_size` is what the entry gives, None where it gives none."""
        trained = input_size == self.train_height
        return {
            "input_size": self.height,
            "crop_ratio": self.train_crop_ratio if trained else self.crop_ratio,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }

    def out_of_reach(self, key: str) -> str:
        """What timm does for a field of a `Checkpoint` and rtbench can't; empty where it can."""
        if key == "input_size" and self.height != self.width:
            return f"images of {self.width}x{self.height} pixels"
        if key == "interpolation" and self.interpolation not in get_args(Interpolation):
            return f"interpolation {self.interpolation!r}"
        return f"{len(self.mean)} channels" if key in ("mean", "std") and len(self.mean) != 3 else ""


def timm_config(arch: str) -> TimmConfig | None:
    """Timm's configuration of an architecture, with or without a tag; None where timm does not know it or has none."""
    known = _known()
    if arch not in known:
        asked = _ask(arch)
        if asked is None:
            return None
        if _is_of_plugin(arch):  # whose next edit may say otherwise, with the same version of timm
            return asked
        known[arch] = asked
        kept = json.dumps({name: asdict(config) for name, config in known.items()})
        # A cache that can't be written only costs time.
        with contextlib.suppress(OSError), replacing(_place()) as half:
            half.write_text(kept, encoding="utf-8")
    return known[arch]


def _is_of_plugin(arch: str) -> bool:
    from timm.models import model_entrypoint

    module = model_entrypoint(arch).__module__
    return module.partition(".")[0] != "timm" and not is_ours(module)


def _place() -> Path:
    cache = user_cache()
    if cache is None:
        raise FileNotFoundError("this user has no home")
    return cache / "timm" / f"{importlib.metadata.version('timm')}.json"


def _known() -> dict[str, TimmConfig]:
    try:
        kept: Mapping[str, Any] = json.loads(_place().read_text(encoding="utf-8"))
        return {
            arch: TimmConfig(**{**config, "mean": tuple(config["mean"]), "std": tuple(config["std"])})
            for arch, config in kept.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none yet, or none that can be read
        return {}


def _ask(arch: str) -> TimmConfig | None:
    import timm
    import timm.data.config

    import bench.checkpoints.zoo.architectures  # noqa: F401 - timm then knows the shipped ones too

    try:
        config = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
    except RuntimeError:  # an unknown tag, which loading tells
        config = None
    if config is None:
        return None
    # As timm's validate.py asks, by default for the size that it tests at; and for that of training.
    resolve: Callable[..., dict[str, Any]] = timm.data.config.resolve_data_config
    values: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call]
    tested, trained = (resolve(pretrained_cfg=values, use_test_size=test) for test in (True, False))
    return TimmConfig(
        name=".".join(filter(None, (config.architecture or arch.split(".")[0], config.tag))),
        height=tested["input_size"][1],
        width=tested["input_size"][2],
        train_height=trained["input_size"][1],
        crop_ratio=float(tested["crop_pct"]),
        train_crop_ratio=float(trained["crop_pct"]),
        crop_mode=tested["crop_mode"],
        interpolation=tested["interpolation"],
        mean=tuple(map(float, tested["mean"])),
        std=tuple(map(float, tested["std"])),
    )
