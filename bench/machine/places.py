"""Where this user's things are kept."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The project's folder under $XDG_CACHE_HOME, or under ~/.cache where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtbench"
