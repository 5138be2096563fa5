"""What is said on standard error."""

import contextlib
import sys


def complain(text: object) -> None:
    """Say what is wrong, with no character that a terminal would obey; unheard, the exit status alone tells."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))
    with contextlib.suppress(OSError):
        print(f"bench: {shown}", file=sys.stderr, flush=True)
