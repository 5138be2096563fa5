"""The corruption `dusk`: darker and noisier with every severity."""

from typing import TYPE_CHECKING

from bench.corruptions import CorruptFunction, Corruption, corruptions

if TYPE_CHECKING:
    import torch

    from bench.rng import Draws


def load() -> CorruptFunction:
    """Return the function; torch is imported here."""
    import torch

    def dusk(images_NCHW: "torch.Tensor", severity: int, draws: "Draws") -> "torch.Tensor":
        noise_NCHW = 4 * severity * draws.normal(*images_NCHW.shape[1:])
        return (images_NCHW * (1 - 0.15 * severity) + noise_NCHW).clamp(0, 255).to(torch.uint8)

    return dusk


corruptions.register(Corruption(name="dusk", version=1, load=load, group="weather", about="evening falls"))
