"""How much a GGUF file says that it holds, before any of it is read.

The package `gguf` makes objects of every value that an array is said to have,
also where the file has ended: a file of a hundred bytes would take all memory.

Source: docs/gguf.md of github.com/ggml-org/ggml.
"""

import mmap
import os
import pathlib
import struct

from mmc_jax import limits

# Version 3 as the other byte order writes it.
_BIG_ENDIAN = b"\0\0\0\3"
_COUNTS_AT, _KEYS_AT = 8, 24
# Bytes of a value, by the number of its kind.
_SIZES = {
    **dict.fromkeys((0, 1, 7), 1),
    **dict.fromkeys((2, 3), 2),
    **dict.fromkeys((4, 5, 6), 4),
    **dict.fromkeys((10, 11, 12), 8),
}
_TEXT, _ARRAY = 8, 9


def check(path: pathlib.Path) -> None:
    """Refuses a file that states more tensors, keys or values than any has.

    What is no GGUF file, or a damaged one, passes: its reader says so.

    Args:
      path: GGUF file, or any other, which passes.

    Raises:
      ValueError: It states too many.
      OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _KEYS_AT:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Header(content, path).check()


class _Header:
    """What stands before the tensors.

    Args:
      content: Bytes of the GGUF file, mapped.
      path: Its path, named in errors.
    """

    def __init__(self, content: mmap.mmap, path: pathlib.Path):
        self._content, self._path = content, path
        self._order = ">" if content[4:8] == _BIG_ENDIAN else "<"
        self._num_values = 0

    def check(self) -> None:
        """Refuses too many tensors, keys or values."""
        num_tensors, num_keys = self._numbers("QQ", _COUNTS_AT)
        limits.check("gguf_tensors", num_tensors, self._path)
        limits.check("gguf_keys", num_keys, self._path)
        at = _KEYS_AT
        # The file may end too early, or have values of no known kind.
        try:
            for _ in range(num_keys):
                at = self._end_of_text(at)
                at = self._end_of_value(at + 4, *self._numbers("I", at))
        except (struct.error, OverflowError, KeyError, RecursionError):
            return

    def _numbers(self, kinds: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self._order}{kinds}", self._content, at)

    def _end_of_text(self, at: int) -> int:
        return at + 8 + self._numbers("Q", at)[0]

    def _end_of_value(self, at: int, kind: int) -> int:
        """Returns where the value ends that starts at a position."""
        if kind == _TEXT:
            return self._end_of_text(at)
        if kind != _ARRAY:
            return at + _SIZES[kind]
        kind, length = self._numbers("IQ", at)
        self._num_values += length
        limits.check("gguf_values", self._num_values, self._path)
        at += 12
        if kind in _SIZES:
            return at + length * _SIZES[kind]
        for _ in range(length):
            at = self._end_of_value(at, kind)
        return at
