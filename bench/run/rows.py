"""What a measure gave, as columns that can be stored: whoever wrote it, a row a sample, of numbers or text, our own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.columns import RESERVED
from bench.errors import RunError, one_line
from bench.records import Array

_KINDS = {"b": "truth", "i": "whole numbers", "u": "whole numbers", "f": "numbers", "U": "text"}


def columns_of(measure: str, rows: Any, n: int) -> dict[str, Array]:
    """Copies of a measure's columns: a buffer that it fills anew with the next batch changes nothing here.

    Args:
        measure: its name.
        rows: what it gave: name to a tensor or array (n, …).
        n: samples that it was shown.

    Raises:
        RunError: there is no column, or one of no rows, of too many or too few, or of what is neither number nor text.
    """
    if not isinstance(rows, Mapping) or not rows:
        raise RunError(
            f"measure {measure!r} gave {_in_words(rows)}; it must give columns by name, with a row a sample."
        )
    return {_checked_name(measure, name): _column(measure, name, column, n) for name, column in rows.items()}


def _in_words(rows: Any) -> str:
    return "no column" if isinstance(rows, Mapping) else f"a value of type {type(rows).__name__}"


def _checked_name(measure: str, name: Any) -> str:
    if not isinstance(name, str) or not name or name in RESERVED:
        raise RunError(f"measure {measure!r} cannot have a column {name!r}: give it another name.")
    return name


def _column(measure: str, name: str, column: Any, n: int) -> Array:
    what = f"measure {measure!r} gave {name!r}"
    try:
        array = _array(column)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise RunError(
            f"{what} as what is no array ({one_line(error)}); it must be one, with a row a sample."
        ) from error
    if array.ndim == 0 or len(array) != n:
        rows = f"{len(array):,} rows" if array.ndim else "a single value"
        raise RunError(f"{what} {rows} for {n:,} samples; it must give one a sample.")
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        return array
    if array.dtype.kind not in _KINDS or (n and array[0].size == 0):
        kind = array.dtype if array.dtype.kind not in _KINDS else "rows of nothing"
        raise RunError(f"{what} as {kind}; a column is of numbers, truth or text, at least one a row.")
    return array


def _array(column: Any) -> Array:
    if isinstance(column, torch.Tensor):
        column = column.detach()
        # NumPy has no bfloat16.
        return np.array((column.float() if column.dtype == torch.bfloat16 else column).cpu().numpy(), copy=True)
    return np.array(column, copy=True)
