"""Image classifiers of transformers: `OWNER/NAME` on the hub, or a folder; the image processor makes the images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkpoints.fetch import HUB, fetch
from bench.checkpoints.pipelines import fields_of
from bench.checkpoints.sources.heads import classes_of
from bench.checkpoints.weights import read_weights
from bench.errors import BenchError
from bench.records import Checkpoint, ClassSpace, Params, digest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""
_NOTHING = ClassSpace(name="none", classes=())


def find(rest: str) -> Checkpoint:
    """The checkpoint of a repository of the hub or of a folder; see `bench.checkpoints.sources`."""
    import transformers  # noqa: F401 - said first where it is not installed

    name, folder = f"transformers/{rest}", Path(rest)
    if folder.is_dir():
        there = [folder / file for file in _WEIGHTS if (folder / file).is_file()]
        lacking = [file for file in (_CONFIG, _PROCESSOR) if not (folder / file).is_file()]
        if lacking or not there:
            raise BenchError(
                f"checkpoint {name!r}: {folder} lacks {', '.join(lacking or _WEIGHTS[:1])}; save the model and its "
                "image processor there by save_pretrained."
            )
        weights = str(there[0])
    elif rest.count("/") == 1 and not rest.startswith("."):
        for file in (_CONFIG, _PROCESSOR):
            asked = Checkpoint(name=name, class_space=_NOTHING, weights=f"{HUB}{rest}/{file}")
            folder = fetch(asked, lambda text: None).parent
        weights = f"{HUB}{rest}/{_WEIGHTS[0]}"
    else:
        raise BenchError(f"checkpoint {name!r} is neither OWNER/NAME on the hub nor a folder that is here; correct it.")
    return _made(name, folder, weights)


def _made(name: str, folder: Path, weights: str) -> Checkpoint:
    text = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    config = _config(name, text)
    processor = _Processor(folder)
    labels = [str(config.id2label[index]) for index in range(config.num_labels)]
    told = () if all(label.startswith("LABEL_") for label in labels) else labels
    space, head = classes_of(config.num_labels, tuple(told), name)
    fields = fields_of(processor, f"of {name}", understood=False)
    return Checkpoint(
        name=name,
        class_space=space,
        head=head,
        loader=f"{__name__}:load",
        arch_args=Params(config=json.dumps(text, sort_keys=True)),
        weights=weights,
        family=str(text.get("model_type", "other")),
        **fields,
        **processor.recipe(fields["input_size"]),
        assumed="" if told else f"its classes have no names: taken as those of {space.name}, as their number is",
    )


def _config(name: str, text: Mapping[str, Any]) -> Any:
    """The configuration, of a model that classifies images and whose code is transformers' own."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    kind, (architecture, *_) = text.get("model_type"), text.get("architectures") or [""]
    known = [one for names in CLASSIFIERS.values() for one in ([names] if isinstance(names, str) else names)]
    if kind not in CONFIG_MAPPING or architecture not in known:
        raise BenchError(
            f"checkpoint {name!r} is a {architecture or kind or 'model of a kind that its config.json leaves out'}, "
            "which is no image classifier of transformers; name one that is."
        )
    return CONFIG_MAPPING[kind].from_dict(dict(text))


class _Processor:
    """An image processor as a transform: from a picture to the numbers that the model takes."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor

        self._processor: Any = AutoImageProcessor.from_pretrained(folder)
        self.settings = digest([type(self._processor).__name__, self._processor.to_json_string()])

    def __call__(self, picture: "Image") -> Any:
        return self._processor(images=picture, return_tensors="pt")["pixel_values"]

    def recipe(self, size: int) -> dict[str, Any]:
        """The nearest crop recipe: what suites of other sizes and crops start from."""
        sizes = self._processor.size
        short = sizes.get("shortest_edge") if hasattr(sizes, "get") else None
        filter_name = _RESAMPLE.get(getattr(self._processor.resample, "value", self._processor.resample), "bicubic")
        return {"interpolation": filter_name, "crop_mode": "center" if short else "squash"}


def load(checkpoint: Checkpoint, path: Path | None) -> "nn.Module":
    """The module of a checkpoint, with the weights of its file; it gives logits alone."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    text = json.loads(str(checkpoint.arch_args["config"]))
    made: Any = getattr(transformers, text["architectures"][0])
    config = _config(checkpoint.name, text)
    if path is None:
        model: Any = made(config)
    else:
        model, told = made.from_pretrained(None, config=config, state_dict=read_weights(path), output_loading_info=True)
        lacking = sorted(told["missing_keys"]) + sorted(map(str, told.get("mismatched_keys", ())))
        if lacking:
            raise BenchError(
                f"checkpoint {checkpoint.name!r}: {path} lacks {', '.join(lacking[:3])}, so its classifier was never "
                "trained; name a model that was trained to classify."
            )
    # A hook and not a module around it, which would hide the model's parts from who looks inside.
    model.register_forward_hook(lambda module, arguments, output: output.logits)
    return model  # type: ignore[no-any-return]
