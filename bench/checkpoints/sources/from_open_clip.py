"""Open_clip's checkpoints, `ARCH/PRETRAINED`, as zero-shot classifiers: what texts of the classes give is the head.

The 1,000 class names and the templates are open_clip's for ImageNet. The head is computed once and kept:

    USER CACHE/rtbench/zero-shot/DIGEST.safetensors    (D, 1000), by weights, architecture, templates and class names
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkpoints.fetch import HUB
from bench.checkpoints.pipelines import fields_of
from bench.checkpoints.weights import weights_digest
from bench.datasets.spaces import IMAGENET
from bench.errors import BenchError, UnknownNameError
from bench.machine.files import replacing
from bench.machine.places import needed_cache
from bench.records import Checkpoint, Params, digest

if TYPE_CHECKING:
    import torch
    from torch import nn

_HUB_FILE = "open_clip_model.safetensors"
_PARTS = ("mean", "std", "interpolation", "resize_mode")
"""Of how images are fed, what a checkpoint of open_clip says beside its architecture."""


def names() -> Iterable[str]:
    """Every architecture with every name of its weights."""
    import open_clip

    return ("/".join(pair) for pair in open_clip.list_pretrained())


def find(rest: str) -> Checkpoint:
    """The zero-shot classifier of an architecture and its weights; see `bench.checkpoints.sources`."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    name, (arch, _, pretrained) = f"open_clip/{rest}", rest.partition("/")
    config = open_clip.get_model_config(arch)
    if config is None:
        raise UnknownNameError("architecture of open_clip", arch, open_clip.list_models())
    told = open_clip.get_pretrained_cfg(arch, pretrained) if pretrained else {}
    if not told and not Path(pretrained).is_file():
        raise UnknownNameError(
            f"weights of open_clip's {arch}, and no file,", pretrained, open_clip.list_pretrained_tags_by_model(arch)
        )
    feeds = asdict(PreprocessCfg()) | {part: told[part] for part in _PARTS if told.get(part)}
    feeds["size"] = config["vision_cfg"].get("image_size", 224)
    pipeline = image_transform_v2(PreprocessCfg(**feeds), is_train=False)
    templates, class_names = _texts()
    return Checkpoint(
        name=name,
        class_space=IMAGENET,
        loader=f"{__name__}:load",
        arch_args=Params(arch=arch, templates=digest(templates)[:16], class_names=digest(class_names)[:16]),
        weights=_address(told) if told else pretrained,
        family="clip",
        how=f"zero-shot with {len(templates)} templates {digest(templates)[:6]} and class names "
        f"{digest(class_names)[:6]} of open_clip",
        **fields_of(pipeline, f"of {name}"),
    )


def _address(told: dict[str, Any]) -> str:
    """Where open_clip would fetch weights from: the hub before any other address."""
    hub, url = told.get("hf_hub"), told.get("url")
    if hub:
        return f"{HUB}{hub}{_HUB_FILE if hub.endswith('/') else ''}"
    return str(url)


def _texts() -> tuple[list[str], list[str]]:
    """Templates with a place for the class, and class names, of ImageNet."""
    import open_clip

    return [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES], list(open_clip.IMAGENET_CLASSNAMES)


def load(checkpoint: Checkpoint, path: Path | None) -> "nn.Module":
    """The module of a checkpoint: normalised images (N, 3, H, W) to logits (N, 1000)."""
    import open_clip
    import torch
    from torch import nn

    templates, class_names = _texts()
    if digest(templates)[:16] != checkpoint.arch_args["templates"]:
        raise BenchError(f"checkpoint {checkpoint.name!r}: open_clip's templates have changed; start this anew.")
    arch = str(checkpoint.arch_args["arch"])
    weights = None if path is None else str(path)
    model: Any = open_clip.create_model(arch, pretrained=weights, pretrained_text=False).eval()
    features = model.visual.output_dim if hasattr(model.visual, "output_dim") else model.text_projection.shape[1]
    head = torch.zeros(features, len(class_names))
    if path is not None:
        head = _kept_head(model, arch, path, templates, class_names)

    class ZeroShot(nn.Module):
        """Cosines of an image with the classes' texts, scaled as in training."""

        head: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.clip = model
            self.register_buffer("head", head)

        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            features_ND = self.clip.encode_image(images_NCHW, normalize=True)
            logits_NK: torch.Tensor = self.clip.logit_scale.exp() * (features_ND @ self.head)
            bias = getattr(self.clip, "logit_bias", None)
            return logits_NK if bias is None else logits_NK + bias

    return ZeroShot()


def _kept_head(model: Any, arch: str, path: Path, templates: list[str], class_names: list[str]) -> "torch.Tensor":
    """(D, 1000): the head, computed where it is not kept."""
    import open_clip
    from safetensors.torch import load_file, save_file

    made_of = digest([weights_digest(path), arch, templates, class_names])
    place = needed_cache() / "zero-shot" / f"{made_of[:32]}.safetensors"
    if place.is_file():
        kept: torch.Tensor = load_file(place)["head"]
        return kept
    try:
        tokenizer = open_clip.get_tokenizer(arch)
    except Exception as error:  # some architectures have theirs on the hub, whose client has errors of its own
        raise BenchError(
            f"the tokenizer of open_clip's {arch} is not here and can't be fetched ({type(error).__name__}); run again "
            "with a network."
        ) from error
    head: torch.Tensor = open_clip.build_zero_shot_classifier(model, tokenizer, class_names, templates).contiguous()
    with replacing(place) as half:
        save_file({"head": head}, half)
    return head
