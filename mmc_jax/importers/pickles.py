"""Pickles of plain data, read without running anything that they name.

A pickle is a program. This one is carried out here, instruction by instruction,
and only those that make numbers, strings, lists, tuples, sets, dicts and arrays
of numbers or strings are known. The few functions by which NumPy pickles its
arrays are names to us: what they would make is made here, from bytes that are
in the file.
So nothing is called, and no array is larger than the file.
"""

import io
import math
import pathlib
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mmc_jax import limits

# An instruction takes a microsecond; a bomb of many is cut off.
_MOST_INSTRUCTIONS = limits.LIMITS["pickle"].most
_PLAIN_TYPES = re.compile(
    # Numbers, truth values, strings of one width, and strings of any width.
    r"[<>|=]?[fiu][1248]|[<>|=]?b1|\?|[<>|=]?U\d{1,7}|[<>|=]?O8?"
)
_ORDERS = {"C": "C", "F": "F", "A": "C", "K": "C"}


class _Name:
    """A function or class that a pickle names; it is never called."""

    def __init__(self, name: str):
        self.name = name


class _Type:
    """A data type under construction."""

    def __init__(self, code: Any, where: str):
        if not isinstance(code, str) or not _PLAIN_TYPES.fullmatch(code):
            raise ValueError(
                f"{where}: an array of {str(code)[:20]!r}; arrays of strings "
                "and of numbers alone are read"
            )
        self.dtype = np.dtype(code)

    def build(self, state: Any, where: str) -> None:
        """Sets the order of the bytes."""
        order = (
            state[1] if isinstance(state, tuple) and len(state) > 1 else None
        )
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"{where}: a data type of unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction; `array` is None until it is built."""

    def __init__(self):
        self.array: np.ndarray | None = None

    def build(self, state: Any, where: str) -> None:
        """Makes the array of its shape, type and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError(f"{where}: an array of unknown form")
        _, shape, kind, by_columns, raw = state
        self.array = _array(
            raw, kind, shape, "F" if by_columns is True else "C", where
        )


def _array(
    raw: Any, kind: Any, shape: Any, order: Any, where: str
) -> np.ndarray:
    if isinstance(shape, int):
        shape = (shape,)
    if isinstance(kind, _Type) and kind.dtype.hasobject:
        # Strings of any width stand in a list.
        if (
            not isinstance(raw, list)
            or shape != (len(raw),)
            or not all(isinstance(item, str) for item in raw)
        ):
            raise ValueError(
                f"{where}: an array of objects; arrays of strings and of "
                "numbers alone are read"
            )
        return np.array(raw, object)
    if (
        not isinstance(kind, _Type)
        or not isinstance(raw, bytes | bytearray)
        or not isinstance(shape, tuple)
        or not all(type(n) is int and n >= 0 for n in shape)
        or len(shape) > 8
        or order not in _ORDERS
    ):
        raise ValueError(f"{where}: an array of unknown form")
    if math.prod(shape) * kind.dtype.itemsize != len(raw):
        raise ValueError(
            f"{where}: an array of shape {shape} in {len(raw)} bytes"
        )
    flat = np.frombuffer(raw, kind.dtype)
    return flat.reshape(shape, order=_ORDERS[order])


_NAMES = frozenset(
    """
    numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy.core.numeric._frombuffer numpy.ndarray numpy.dtype
    _codecs.encode builtins.set builtins.frozenset
    """.split()
)


def _global(module: Any, name: Any, where: str) -> _Name:
    """Returns a name that pickles of plain data need; refuses all others."""
    if isinstance(module, str) and isinstance(name, str):
        # NumPy 1 says core, NumPy 2 _core; Python 2 says __builtin__.
        known = module.replace("._core.", ".core.")
        known = known.replace("__builtin__", "builtins")
        if f"{known}.{name}" in _NAMES:
            return _Name(name)
    raise ValueError(
        f"{where}: the pickle calls {str(module)[:60]}.{str(name)[:60]}; "
        "arrays of numbers, numbers, strings and containers alone are read"
    )


def _key(key: Any, where: str) -> Any:
    """Refuses keys other than plain ones: hashing a deep one kills Python."""
    if not isinstance(key, str | int | float | bytes | None):
        raise ValueError(f"{where}: a key that is no string or number")
    return key


def _set(items: list[Any], frozen: bool, where: str) -> set | frozenset:
    made = {_key(item, where) for item in items}
    return frozenset(made) if frozen else made


def _made(function: Any, given: Any, where: str) -> Any:
    """Returns what a function would make of its arguments, without calling."""
    name = function.name if isinstance(function, _Name) else ""
    given = given if isinstance(given, tuple) else ()
    kinds = tuple(type(item) for item in given)
    if name == "_reconstruct" and kinds[:1] == (_Name,) and len(given) == 3:
        return _Array()
    if name == "dtype" and 1 <= len(given) <= 3:
        return _Type(given[0], where)
    if name == "scalar" and len(given) == 2:
        return _array(given[1], given[0], (), "C", where).item()
    if name == "_frombuffer" and len(given) == 4:
        made = _Array()
        made.array = _array(*given, where)
        return made
    # So old protocols write sets and bytes.
    if name in ("set", "frozenset") and kinds == (list,):
        return _set(given[0], name == "frozenset", where)
    if name == "encode" and kinds == (str, str) and given[1] == "latin1":
        return given[0].encode("latin1")
    raise ValueError(f"{where}: a call with unknown arguments")


class _Reader:
    """Carries out the instructions of one pickle."""

    def __init__(self, where: str):
        self.where = where
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop_marked(self) -> list[Any]:
        """Returns what was put on the stack after the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def set_items(self, items: list[Any]) -> None:
        """Puts keys and values into the dict on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError(f"{self.where}: items for no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key, self.where)] = _finished(value, self.where)

    def extend(self, items: list[Any]) -> None:
        """Appends to the list on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError(f"{self.where}: items for no list")
        target.extend(_finished(item, self.where) for item in items)

    def add(self, items: list[Any]) -> None:
        """Adds to the set on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, set):
            raise ValueError(f"{self.where}: items for no set")
        target.update(_key(item, self.where) for item in items)

    def push(self, item: Any) -> None:
        """Puts one thing on the stack."""
        self.stack.append(item)

    def build(self) -> None:
        """Gives the thing below the top its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array | _Type):
            raise ValueError(f"{self.where}: a state for something plain")
        target.build(state, self.where)


def _finished(item: Any, where: str) -> Any:
    """Returns an item of a container, an array in place of its construction."""
    if isinstance(item, _Array):
        if item.array is None:
            raise ValueError(f"{where}: an array without content")
        return item.array
    if isinstance(item, _Name | _Type):
        raise ValueError(f"{where}: a function or data type as a value")
    return item


def _tuple(reader: _Reader, items: list[Any]) -> None:
    # Arguments of calls, which may hold what is not finished.
    reader.push(tuple(items))


def _list(reader: _Reader, items: list[Any]) -> None:
    reader.push([])
    reader.extend(items)


def _dict(reader: _Reader, items: list[Any]) -> None:
    reader.push({})
    reader.set_items(items)


def _last(reader: _Reader, num: int) -> list[Any]:
    items = reader.stack[-num:]
    if len(items) < num:
        raise IndexError
    del reader.stack[-num:]
    return items


def _simple(argument: Any) -> Callable[[_Reader, Any], None]:
    return lambda reader, _: reader.push(argument)


def _value(reader: _Reader, argument: Any) -> None:
    reader.push(argument)


def _text_global(reader: _Reader, argument: str) -> None:
    module, _, name = argument.partition(" ")
    reader.push(_global(module, name, reader.where))


def _remember(reader: _Reader, place: Any) -> None:
    place = len(reader.memo) if place is None else int(place)
    reader.memo[place] = reader.stack[-1]


def _reduce(reader: _Reader, _: Any) -> None:
    function, given = _last(reader, 2)
    reader.push(_made(function, given, reader.where))


def _stack_global(reader: _Reader, _: Any) -> None:
    reader.push(_global(*_last(reader, 2), reader.where))


_VALUES = """
    INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING
    SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES
    SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
_INSTRUCTIONS: dict[str, Callable[[_Reader, Any], None]] = {
    **dict.fromkeys(_VALUES.split(), _value),
    "PROTO": lambda reader, _: None,
    "FRAME": lambda reader, _: None,
    "NONE": _simple(None),
    "NEWTRUE": _simple(True),
    "NEWFALSE": _simple(False),
    "EMPTY_TUPLE": _simple(()),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "EMPTY_SET": lambda reader, _: reader.push(set()),
    "ADDITEMS": lambda reader, _: reader.add(reader.pop_marked()),
    "FROZENSET": lambda reader, _: reader.push(
        _set(reader.pop_marked(), True, reader.where)
    ),
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    "DICT": lambda reader, _: _dict(reader, reader.pop_marked()),
    "LIST": lambda reader, _: _list(reader, reader.pop_marked()),
    "TUPLE": lambda reader, _: _tuple(reader, reader.pop_marked()),
    "TUPLE1": lambda reader, _: _tuple(reader, _last(reader, 1)),
    "TUPLE2": lambda reader, _: _tuple(reader, _last(reader, 2)),
    "TUPLE3": lambda reader, _: _tuple(reader, _last(reader, 3)),
    "APPEND": lambda reader, _: reader.extend(_last(reader, 1)),
    "APPENDS": lambda reader, _: reader.extend(reader.pop_marked()),
    "SETITEM": lambda reader, _: reader.set_items(_last(reader, 2)),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_marked()),
    "POP": lambda reader, _: reader.stack.pop(),
    "POP_MARK": lambda reader, _: reader.pop_marked(),
    "DUP": lambda reader, _: reader.push(reader.stack[-1]),
    "MEMOIZE": lambda reader, _: _remember(reader, None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _remember),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"),
        lambda reader, place: reader.push(reader.memo[int(place)]),
    ),
    "GLOBAL": _text_global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": lambda reader, _: reader.build(),
}


def plain(path: pathlib.Path) -> Any:
    """Returns what a pickle holds: arrays, numbers, strings and containers.

    Args:
      path: The file. Every protocol is read.

    Raises:
      ValueError: The pickle names a class or function other than those by which
        NumPy pickles arrays of numbers, holds an instruction that makes no
        plain data, is damaged, or has too many instructions.
    """
    limits.refuse_pipe(path)
    reader = _Reader(str(path))
    num = 0
    # In memory, so that a length beyond the end reserves nothing.
    with io.BytesIO(path.read_bytes()) as file:
        try:
            for instruction, argument, _ in pickletools.genops(file):
                num += 1
                if num > _MOST_INSTRUCTIONS:
                    raise ValueError(
                        f"{path}: more than {_MOST_INSTRUCTIONS:,} instructions"
                    )
                if instruction.name == "STOP":
                    return _finished(reader.stack.pop(), str(path))
                carry_out = _INSTRUCTIONS.get(instruction.name)
                if carry_out is None:
                    raise ValueError(
                        f"{path}: the pickle has the instruction "
                        f"{instruction.name}; plain data need none"
                    )
                carry_out(reader, argument)
        except (IndexError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(
                f"{path}: a damaged pickle ({error or 'nothing on the stack'})"
            ) from error
        except ValueError as error:
            said = str(error)
            if said.startswith(str(path)):
                raise
            raise ValueError(f"{path}: a damaged pickle ({said})") from error
    raise ValueError(f"{path}: a damaged pickle (it does not end)")
