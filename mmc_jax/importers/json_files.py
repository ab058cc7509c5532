"""JSON files of other tools: one value, an array, or one object a line.

What a file is, is told by its content and not by its name.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from mmc_jax import limits
from mmc_jax.corpus import files


def value(path: pathlib.Path) -> Any:
    """Returns the one JSON value of a file.

    Raises:
      ValueError: It is not JSON; the message names file, line and column.
    """
    return parsed(files.in_utf8(path).read(), path)


def parsed(raw: bytes, where: Any, *, unique_keys: bool = False) -> Any:
    """Returns the JSON value of some bytes in UTF-8.

    Args:
      raw: Bytes of one JSON value.
      where: What errors name: a file, or a file and a line.
      unique_keys: Whether a key that an object has twice is refused; else the
        last value counts.

    Raises:
      ValueError: They are not JSON, not UTF-8, nested too deeply, or have a key
        twice.
    """
    hook = _object_of_unique_keys if unique_keys else None
    try:
        return json.loads(raw, parse_int=_integer, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{where}: not JSON ({error.msg} at {at})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error.reason})") from error
    except RecursionError as error:
        raise ValueError(
            f"{where}: lists or objects are nested too deeply"
        ) from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def objects(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields where each object of a file stands, and the object.

    Args:
      path: An array of objects, one object a line, or one object; packed by
        gzip or not.

    Raises:
      ValueError: Something is not JSON or no object; the message names it. A
        last line that is cut off is named as such.
    """
    raw = files.in_utf8(path).read()
    if raw.lstrip()[:1] == b"[":
        for i, item in enumerate(parsed(raw, path)):
            yield _object(f"{path}, item {i + 1}", item)
        return
    lines = raw.split(b"\n")
    # One object over several lines.
    if raw.lstrip()[:2] in (b"{\n", b"{\r"):
        yield _object(str(path), parsed(raw, path))
        return
    last = max((i for i, line in enumerate(lines) if line.strip()), default=-1)
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        where = f"{path}, line {i + 1}"
        try:
            item = parsed(line, where)
        except ValueError as error:
            if i == last and i and not line.rstrip().endswith(b"}"):
                raise ValueError(
                    f"{where}: the line is cut off; the file is not complete"
                ) from error
            raise
        yield _object(where, item)


def _object(where: str, item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, dict):
        raise ValueError(f"{where}: {_kind(item)}, not a JSON object")
    return where, item


def _kind(item: Any) -> str:
    return {
        list: "a list",
        dict: "an object",
        str: "a string",
        type(None): "null",
    }.get(type(item), "a number")


def number(item: Any, where: str, field: str) -> float:
    """Returns a number that stands there as a number, or as a string of one.

    Raises:
      ValueError: It is something else, or no finite number.
    """
    if isinstance(item, str | int | float) and not isinstance(item, bool):
        try:
            # Python alone reads 1_000 and the digits of other scripts.
            if isinstance(item, str) and ("_" in item or not item.isascii()):
                raise ValueError
            found = float(item)
        except (ValueError, OverflowError):
            found = float("nan")
            if not isinstance(item, str) or item.strip().lower() != "nan":
                raise ValueError(
                    f"{where}, {field}: {str(item)[:40]!r} is not a number"
                ) from None
        if found - found != 0:
            raise ValueError(f"{where}, {field}: {found} is not finite")
        return found
    if isinstance(item, bool):
        return float(item)
    raise ValueError(
        f"{where}, {field}: {_kind(item) if item is not None else 'null'} "
        "stands here, not a number"
    )


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands there twice")
            seen.add(key)
    return made


def _integer(digits: str) -> int:
    if len(digits) > limits.LIMITS["digits"].most:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)
