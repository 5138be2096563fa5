"""Checkpoints: the registry of what can be evaluated. Loading lives in `bench.checkpoints.loading`."""

from bench.records import Checkpoint
from bench.registry import Registry

checkpoints: Registry[Checkpoint] = Registry("checkpoint", slashes=True)
