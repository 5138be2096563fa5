"""torch's global generators, for modules that draw from nothing else: seeded for a while, and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, from which modules draw first weights and dropout; put them back after.

    A module offers no other way in: `nn.init` and `nn.Dropout` take no generator.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_generators(seed, device)
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's global generator and the device's own.

    Args:
        seed: From -2^63 to 2^64 - 1.
        device: Where modules run.
    """
    # Not torch.manual_seed: it seeds every accelerator, and would leave the others changed.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
