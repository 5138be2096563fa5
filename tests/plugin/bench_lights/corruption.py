"""The corruption `dusk`: darker and noisier with every severity."""

from typing import TYPE_CHECKING

from bench.corruptions import CorruptFunction, Corruption, corruptions

if TYPE_CHECKING:
    import torch

    from bench.rng import Keys


def load() -> CorruptFunction:
    """Return the function; torch is imported here."""
    import torch

    from bench import rng

    def dusk(images_NCHW: "torch.Tensor", severity: int, keys: "Keys") -> "torch.Tensor":
        noise_NCHW = 4 * severity * rng.normal(keys, tuple(images_NCHW.shape[1:]))
        return (images_NCHW * (1 - 0.15 * severity) + noise_NCHW).clamp(0, 255).to(torch.uint8)

    return dusk


corruptions.register(Corruption(name="dusk", version=1, load=load, group="weather", about="evening falls"))
