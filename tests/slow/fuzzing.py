"""How often is tried what is tried by force."""

import os

_FACTOR = float(os.environ.get("RTBENCH_FUZZ", "1"))


def times(count: int) -> int:
    """`count`, or as many times as much as RTBENCH_FUZZ says, and at least 1; the seed is fixed, so that more goes on
    where fewer end."""
    return max(1, round(count * _FACTOR))
