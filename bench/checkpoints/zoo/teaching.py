"""How timm comes to know architectures of ours, so that a registry entry names them and needs no builder."""

from collections.abc import Callable

from timm.models import register_model
from torch import nn


def teach_timm(name: str, build: Callable[..., nn.Module], *, module: str) -> None:
    """Make `timm.create_model(name, ...)` call a builder with the caller's arguments.

    Args:
        name: That timm is to know it by.
        build: Returns an untrained module; an argument that it does not take is a TypeError.
        module: Where it is called from; timm takes a configuration from this module's `default_cfgs`.
    """

    def entry_point(
        pretrained: bool = False,
        pretrained_cfg: object = None,
        pretrained_cfg_overlay: object = None,
        cache_dir: object = None,
        **arguments: object,
    ) -> nn.Module:
        return build(**arguments)

    entry_point.__name__ = entry_point.__qualname__ = name
    entry_point.__module__ = module
    register_model(entry_point)
