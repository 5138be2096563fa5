"""Pickles of numbers, texts, lists, dictionaries and arrays of bytes, which the authors' files of CIFAR are.

They are not unpickled. The instructions that such files consist of are followed here, one by one; there is none among
them that imports, calls or changes anything, and an array is made of its bytes alone.
"""

import math
import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.records import Array

_MOST_STEPS = 10_000_000
"""Instructions: CIFAR-100's 50,000 training images take 0.3 million."""


class ForeignNameError(Exception):
    """A pickle names something else than an array."""


@dataclass(slots=True, eq=False)
class _Name:
    """What a pickle calls by module and name, which here stands for itself."""

    text: str


@dataclass(slots=True, eq=False)
class _Type:
    """A NumPy type as it is pickled: its code, such as `u1`."""

    code: str


@dataclass(slots=True, eq=False)
class _Array:
    """An array, whose bytes come later; of another type than uint8 it stays None."""

    pixels: Array | None = None


_ARRAYS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NAMES = (*_ARRAYS, "numpy ndarray", "numpy dtype", "_codecs encode")


def read_pickle(data: bytes) -> Any:
    """What a pickle of plain values and uint8 arrays holds; texts of Python 2 come as bytes.

    An array of another type comes as None.

    Raises:
        ForeignNameError: it names a function or class that arrays do not need.
        Exception: it is damaged, or holds something else; of which kind depends on where.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > _MOST_STEPS:
            raise ValueError(f"more than {_MOST_STEPS:,} instructions")
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, argument)
    value = machine.stack.pop()
    if isinstance(value, dict):  # CIFAR's arrays stand directly in it
        return {key: part.pixels if isinstance(part, _Array) else part for key, part in value.items()}
    return value


@dataclass(slots=True, eq=False)
class _Machine:
    """The stack on which a pickle builds its value."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    """Heights of the stack at which parts of something begin."""
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction, by its name in `pickletools`."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "REDUCE" | "BUILD" | "GLOBAL" | "STACK_GLOBAL":
                self._name_or_call(name, argument)
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS":
                self._fill(name)
            case "POP":
                self.stack.pop()
            case _:
                self.stack.append(self._value(name, argument))

    def _value(self, name: str, argument: Any) -> Any:
        match name:
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4":
                return argument
            case "UNICODE" | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8":
                return argument
            case "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                return argument
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                return argument.encode("latin1")
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                return {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name]
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                return {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]()
            case "LIST":
                return self._since_mark()
            case "TUPLE":
                return tuple(self._since_mark())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                return tuple(self._last(int(name[-1])))
            case "DICT":
                pairs = self._since_mark()
                return dict(zip(pairs[::2], pairs[1::2], strict=True))
        raise ValueError(f"the instruction {name}")

    def _last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise ValueError("parts are missing")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def _since_mark(self) -> list[Any]:
        return self._last(len(self.stack) - self.marks.pop())

    def _fill(self, name: str) -> None:
        """Put values into the list, or pairs into the dictionary, below them."""
        count = {"APPEND": 1, "SETITEM": 2}.get(name)
        values = self._since_mark() if count is None else self._last(count)
        target = self.stack[-1]
        if name.startswith("APPEND") and isinstance(target, list):
            target.extend(values)
        elif name.startswith("SETITEM") and isinstance(target, dict):
            target.update(zip(values[::2], values[1::2], strict=True))
        else:
            raise TypeError(f"{name} into a {type(target).__name__}")

    def _name_or_call(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            self.stack.append(_named(argument))
        elif name == "STACK_GLOBAL":
            module, attribute = self._last(2)
            self.stack.append(_named(f"{module} {attribute}"))
        elif name == "REDUCE":
            function, arguments = self._last(2)
            self.stack.append(_called(function.text, arguments))
        else:
            [state] = self._last(1)
            _give_state(self.stack[-1], state)


def _named(text: str) -> _Name:
    if text not in _NAMES:
        raise ForeignNameError(text.replace(" ", "."))
    return _Name(text)


def _called(function: str, arguments: Any) -> Any:
    """The three calls that arrays and bytes are pickled as."""
    if function == "_codecs encode":
        text, encoding = arguments
        if encoding != "latin1":  # how Python 3 writes bytes in Python 2's protocol
            raise ValueError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")
    if function == "numpy dtype":
        code = arguments[0]
        return _Type(code.decode() if isinstance(code, bytes) else code)
    if function in _ARRAYS:
        return _Array()
    raise TypeError(f"a call of {function}")


def _give_state(value: Any, state: Any) -> None:
    if isinstance(value, _Array):
        _, shape, kind, by_columns, data = state
        if kind.code == "u1":
            value.pixels = _pixels(shape, bool(by_columns), data)
    elif not isinstance(value, _Type):  # the state of the type of bytes says nothing
        raise TypeError(f"a state of a {type(value).__name__}")


def _pixels(shape: tuple[int, ...], by_columns: bool, data: bytes) -> Array:
    if not all(type(length) is int and length >= 0 for length in shape) or math.prod(shape) != len(data):
        raise ValueError(f"{len(data):,} bytes for an array of another shape")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape, order="F" if by_columns else "C").copy()
