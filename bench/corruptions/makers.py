"""Who makes a perturbation: ours, or imagecorruptions-imaug under the same name."""

import functools
from dataclasses import replace

from bench.corruptions import CorruptFunction, Corruption, corruptions
from bench.corruptions.builtin import GROUPS
from bench.errors import BenchError
from bench.records import Perturbation

_REFERENCE_VERSION = 1


def corruption_of(perturbation: Perturbation) -> Corruption:
    """What makes a perturbation.

    Raises:
        BenchError: no corruption has its name, or the package has none of it.
    """
    corruption = corruptions.get(perturbation.corruption)
    return reference_of(corruption) if perturbation.reference else corruption


def reference_of(corruption: Corruption) -> Corruption:
    """The one of imagecorruptions-imaug that goes by this name.

    Raises:
        BenchError: it has none.
    """
    if all(corruption.name not in names for names in GROUPS.values()):
        raise BenchError(f"imagecorruptions-imaug has no {corruption.name!r}; leave --corruptions reference out.")
    load = functools.partial(_reference, corruption.name)
    return replace(corruption, version=_REFERENCE_VERSION, load=load, batched=False)


def _reference(name: str) -> CorruptFunction:
    from bench.corruptions.reference import Reference

    return Reference(name)
