"""torch's global generators, for modules that draw from nothing else: seeded for a while, and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.rng import keys


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


def seed_by(seed: int, purpose: str, number: str, device: torch.device) -> None:
    """Seed as `seed_generators` does, by a key: what was drawn before does not matter.

    Args:
        seed: Of the training.
        purpose: What is drawn.
        number: Which time.
        device: Where modules run.
    """
    seed_generators(key_of(seed, purpose, number), device)


def key_of(seed: int, purpose: str, number: str) -> int:
    """A seed for torch's generators, from 0 to 2^63 - 1, by what is drawn and which time; see `seed_by`."""
    first, second = keys(seed, purpose, [number]).words_N2[0].tolist()
    return int((first % (1 << 31)) << 32 | second % (1 << 32))
