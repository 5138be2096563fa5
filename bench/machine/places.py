"""Where this user's things are kept, and paths as users write them."""

import os
from pathlib import Path

from bench.errors import BenchError


def user_cache() -> Path | None:
    """The project's folder under $XDG_CACHE_HOME, or under ~/.cache where that is not set; None without a home.

    Containers often run as a user without account or home.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # As its specification has it, a relative path counts as none.
        return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "rtbench"
    except RuntimeError:
        return None


def needed_cache() -> Path:
    """`user_cache`, for what must be kept somewhere.

    Raises:
        BenchError: there is no home.
    """
    cache = user_cache()
    if cache is None:
        raise BenchError("this user has no home to keep files in; set XDG_CACHE_HOME to a folder.")
    return cache


def user_path(place: str | Path, what: str) -> Path:
    """A path that a user wrote, whose `~` is the home.

    Args:
        place: the path.
        what: it is of, for messages.

    Raises:
        BenchError: it can be none.
    """
    text = str(place)
    if not text or "\0" in text:
        raise BenchError(f"{what} must be a path, not {text!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BenchError(f"{what} is {text}, but no home is known for that; write the path in full.") from None
