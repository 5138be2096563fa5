"""The checkpoints that the project registers: the entries of `registry.toml`."""

from pathlib import Path

import bench.datasets.builtin  # noqa: F401 - entries name data sets, which must be registered first
from bench.checkpoints import checkpoints
from bench.checkpoints.sources import Source, sources
from bench.checkpoints.toml_file import read_registry
from bench.datasets import datasets


def _register() -> None:
    path = Path(__file__).parent / "registry.toml"
    for entry in read_registry(path, lambda name: datasets.get(name).class_space, ours=True):
        checkpoints.register(entry, origin=path.name)


_register()
for prefix, form, extra in (
    ("timm", "timm/TAG", ""),
    ("torchvision", "torchvision/MODEL.WEIGHTS", ""),
    ("transformers", "transformers/OWNER/NAME", "transformers"),
    ("open_clip", "open_clip/ARCH/PRETRAINED", "open_clip"),
):
    module = f"bench.checkpoints.sources.from_{prefix}"
    sources.register(Source(name=prefix, module=module, form=form, extra=extra), origin=__name__)
