"""Recipes: all that decides a training but data, code and machine. No torch here, so listing them is fast.

A key of a table in `recipes.toml` is a field of one of these records; `bench.training.recipes` says of which, and in
what range.
"""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

AscentName = Literal["none", "sam", "gsam", "asam", "looksam"]
ObjectiveName = Literal["ce", "bce", "supcon", "tokens"]
OptimizerName = Literal["adamw", "sgd", "lamb"]
AugmentName = Literal[
    "rotate_shift", "flip", "inception_crop", "simple_crop", "three_augment", "rand_augment", "mixup", "cutmix",
    "mixup_or_cutmix", "mix_tokens", "attention_crop", "attention_drop",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Ascent:
    """From which point near the weights a step takes its gradient; see `bench.training.ascents`."""

    name: AscentName = "none"
    rho: float = 0.0
    """Radius, as an L2 norm over all parameters; GSAM's largest."""
    rho_min: float = 0.0
    """GSAM's radius where the learning rate is 0."""
    alpha: float = 0.0
    """GSAM: how much of the orthogonal part is taken off. LookSAM: length of what is added, in gradients' lengths."""
    eta: float = 0.0
    """ASAM: added to each weight's size."""
    every: int = 1
    """LookSAM: steps from one ascent to the next."""
    perturbation: Literal["device", "synchronised"] = "device"
    """Whether each of several processes climbs along the gradient of its own share, as SAM's authors do, or all along
    that of the whole step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is minimised; see `bench.training.objectives`."""

    name: ObjectiveName = "ce"
    smoothing: float = 0.0
    """Share of a target that is spread over all classes."""
    threshold: float = 0.0
    """Binary cross-entropy: targets above it are 1, others 0."""
    temperature: float = 0.1
    """Contrast: divides the cosines."""
    token_weight: float = 0.5
    """Token labels: weight of the tokens' cross-entropy beside the image's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """What adversarial training does to the images of a step; see `bench.training.adversarial`."""

    eps: float = 0.0
    """Farthest that each channel of a pixel in [0, 1] moves; 0 trains on clean images."""
    steps: int = 1
    """Of the attack, each along the sign of the gradient."""
    step: float = 1.25
    """Length of one, as a multiple of `eps`: of a single one, alpha of section 5 of "Fast is better than free"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """What is done to the images of a step, in order; see `bench.training.augments`."""

    names: tuple[AugmentName, ...] = ()
    degrees: float = 0.0
    """Largest random rotation either way, in degrees."""
    shift: float = 0.0
    """Largest random shift either way, in pixels, down and across."""
    area: float = 0.08
    """Inception's crop: least share of the image that it covers."""
    jitter: float = 0.3
    """3-Augment: most that brightness, contrast and saturation change by, as a share."""
    operations: int = 2
    """RandAugment: operations on each image."""
    magnitude: int = 9
    """RandAugment: strength, from 0 to 30."""
    mixup: float = 0.8
    """Alpha of the Beta distribution of mixup's share."""
    cutmix: float = 1.0
    """Alpha of the Beta distribution of CutMix's area."""
    attention: float = 0.5
    """Attention crop and drop: the share of the largest attention above which a place is attended to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    """How a gradient becomes a step; see `bench.training.optimizers`."""

    name: OptimizerName
    learning_rate: float
    """The largest, reached when the warm-up ends; it then falls to 0 along half a cosine."""
    weight_decay: float
    """Decay of parameters: decoupled from the gradient in AdamW and LAMB, added to it in SGD."""
    decay_norms: bool = True
    """Whether gains and biases, all that has one axis or none, decay too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One schedule: learning rates from 0 and back to 0."""

    epochs: int
    """Passes over the data set."""
    warmup_epochs: float
    """Passes over which the learning rate rises in a straight line from 0; fewer than `epochs`."""
    batch_size: int
    """Images in a step. The last step of an epoch takes what is left; no image is dropped."""
    clip_norm: float
    """Longest gradient to step along, as an L2 norm over all parameters; a longer one is shortened to it."""
    size: int = 0
    """Side of the images that the module is shown, pixels; 0 shows them as they are stored."""
    micro_batch: int = 0
    """Images whose gradient is computed, and whose statistics batch norm takes, at once; 0 takes those of a step."""
    repeats: int = 1
    """How often each image stands in a step, augmented anew: repeated augmentation."""
    ema: float = 0.0
    """Decay of the weights' moving average, which is then what is saved; 0 saves the last weights."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of autocast."""
    learns: Literal["all", "head"] = "all"
    """Which parameters: all of them, or the last layer's alone, as a linear probe does."""
    optimizer: Optimizer
    ascent: Ascent = field(default_factory=Ascent)
    objective: Objective = field(default_factory=Objective)
    attack: Attack = field(default_factory=Attack)
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one checkpoint is trained. Two that differ in name and ascent, or attack, alone make a pair."""

    name: str
    """Of the recipe. Its checkpoints are called after it and the seed."""
    architecture: str
    """A key of `bench.checkpoints.zoo.architectures.ARCHITECTURES`, or of timm."""
    dataset: str
    """Name of the dataset that is trained on, all of it."""
    seed: int = 0
    """Decides the first weights, the order of the images, their augmentation, dropout, and where attacks start."""
    drop_path: float = 0.0
    """Stochastic depth: share of images for which the last block is skipped."""
    layer_scale: float = 0.0
    """First value of LayerScale's gains; 0 leaves LayerScale out."""
    stages: tuple[Stage, ...]
    """One after another, on the same weights."""

    @property
    def ascent(self) -> Ascent:
        """The last stage's: what a table calls a checkpoint by."""
        return self.stages[-1].ascent

    @property
    def identity(self) -> dict[str, Any]:
        """All but the name, as JSON can hold it; defaults are left out, so that a new field changes no identity."""
        return {key: value for key, value in _departures(self).items() if key != "name"}

    def without_ascent(self) -> "Recipe":
        """Return the recipe that this one makes a pair with, called the same."""
        return replace(self, stages=tuple(replace(stage, ascent=Ascent()) for stage in self.stages))


def _departures(record: Any) -> Any:
    if not is_dataclass(record):
        return [_departures(part) for part in record] if isinstance(record, tuple) else record
    values = {part.name: (getattr(record, part.name), part) for part in fields(record)}
    return {
        name: _departures(value)
        for name, (value, part) in values.items()
        if value != part.default and not (is_dataclass(value) and _departures(value) == {})
    }
