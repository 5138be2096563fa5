"""Lists of numbers as settings of suites have them: joined by `+`."""

from bench.errors import BenchError


def whole_numbers(text: str, name: str) -> list[int]:
    """Ascending whole numbers of at least 1.

    Args:
        text: such as `1+5+20`.
        name: of the setting, for messages.

    Raises:
        BenchError: it is anything else.

    >>> whole_numbers("1+5+20", "ks")
    [1, 5, 20]
    """
    try:
        found = [int(part) for part in text.split("+")]
    except ValueError:
        found = []
    if not found or found[0] < 1 or found != sorted(set(found)):
        raise BenchError(
            f"{name} must be ascending whole numbers of at least 1 joined by +, such as 1+5+20, not {text!r}."
        )
    return found
