"""Files as people have them: what they are is told by their first bytes."""

import gzip
import io
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mmc_jax import limits

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LFS = b"version https://git-lfs.github.com/spec/"
_BOM = b"\xef\xbb\xbf"
# UTF-32 first: its mark begins with that of UTF-16.
_OTHER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_MARK_LENGTH = 4


def refuse_pointer(path: pathlib.Path) -> None:
    """Raises a ValueError for a pointer of Git LFS, or a pipe, in its place."""
    path = pathlib.Path(path)
    limits.refuse_pipe(path)
    with open(path, "rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise ValueError(
                f"{path}: a pointer of Git LFS stands here, not the file; run "
                "`git lfs pull` where it comes from"
            )


def json_object(
    path: pathlib.Path,
    *,
    limit: str = "settings",
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    """Returns the object of a JSON file; a byte order mark is no part of it.

    Args:
      path: The JSON file, in UTF-8.
      limit: Key in `limits.LIMITS` of the largest size that is parsed.
      object_hook: Is called with each object inside, and returns what stands
        in its place; None keeps the objects.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is a Git LFS pointer, is too large, is not JSON, or
        holds no object. The message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: no {path.name}")
    limits.check_file(limit, path)
    refuse_pointer(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = json.loads(text, object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not readable as JSON: {limits.reason(error)}"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: not readable as an object of keys and values: it is a "
            f"{type(content).__name__}"
        )
    return content


def encoding_mark(raw: bytes) -> str | None:
    """Returns the encoding that a mark at the beginning names, if not UTF-8."""
    for mark, name in _OTHER_MARKS:
        if raw.startswith(mark):
            return name
    return None


def opened(path: pathlib.Path) -> BinaryIO:
    """Returns a file's bytes for reading, unpacked if they are gzip or zstd."""
    refuse_pointer(path)
    with open(path, "rb") as file:
        first = file.read(len(_ZSTD))
    if first == _ZSTD:
        # Of pyarrow, for Python has it from 3.14 on.
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    if first.startswith(_GZIP):
        return gzip.open(path, "rb")
    return open(path, "rb")


def lines(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of a text file in UTF-8, numbered from 1.

    The file may be packed by gzip, begin with a byte order mark (which is no
    text), and end its lines by LF, CR LF or CR.

    Raises:
      ValueError: The file is a Git LFS pointer, damaged, or in UTF-16 or
        UTF-32; the message names it.
    """
    number = 0
    with opened(path) as file:
        try:
            most = limits.LIMITS["line"].most
            while raw := file.readline(most + 1):
                limits.check("line", len(raw), f"{path}, line {number + 1}")
                if not number:
                    raw = without_mark(raw, path)
                for line in raw.rstrip(b"\r\n").split(b"\r"):
                    number += 1
                    yield number, line
        # Arrow's OSError of damaged Zstandard names no file.
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path}, after line {number}: damaged, not readable as gzip "
                f"or Zstandard ({error}); get the file again"
            ) from error


def without_mark(raw: bytes, path: pathlib.Path) -> bytes:
    """Returns the beginning of a text file without UTF-8's byte order mark.

    Raises:
      ValueError: The mark is that of another encoding.
    """
    encoding = encoding_mark(raw[:_MARK_LENGTH])
    if encoding is not None:
        raise ValueError(
            f"{path}: in {encoding}; convert it to UTF-8 (iconv -f {encoding} "
            "-t UTF-8)"
        )
    return raw.removeprefix(_BOM)


def decoded(raw: bytes, path: pathlib.Path, first_line: int) -> str:
    """Returns the text of some lines of a file.

    Args:
      raw: Bytes in UTF-8.
      path: The file that they are from, for errors.
      first_line: Number of their first line in the file.

    Raises:
      ValueError: They are not UTF-8; the message names file, line and byte.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte 0x{raw[error.start]:02x} at "
            f"offset {error.start}); convert the file to UTF-8"
        ) from error


def in_utf8(path: pathlib.Path) -> BinaryIO:
    """Returns a text file's bytes in UTF-8 without a mark, unpacked.

    A file in UTF-16 or UTF-32 that says so by its mark is converted.
    """
    with opened(path) as file:
        try:
            most = limits.LIMITS["unpacked"].most
            raw = file.read(most + 1)
            limits.check("unpacked", len(raw), path)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path}: damaged, not readable as gzip or Zstandard "
                f"({error}); get the file again"
            ) from error
    encoding = encoding_mark(raw[:_MARK_LENGTH])
    if encoding is not None:
        raw = decoded_as(raw, encoding, path).encode()
    return io.BytesIO(raw.removeprefix(_BOM))


def decoded_as(raw: bytes, encoding: str, path: pathlib.Path) -> str:
    """Returns the text of bytes in another encoding."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: begins as {encoding} and is not ({error.reason} at byte "
            f"{error.start})"
        ) from error


def text_files(
    folder: pathlib.Path, suffixes: tuple[str, ...]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Returns the files below a folder with such suffixes, and the others.

    Links are followed, each folder once. Upper and lower case are the same.
    """
    found, others, seen = [], [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            path = pathlib.Path(where, name)
            is_text = path.suffix.lower() in suffixes and path.is_file()
            (found if is_text else others).append(path)
    return sorted(found), sorted(others)
