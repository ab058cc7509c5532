"""JSON lines: one object a row, its keys the columns."""

import io
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json

from mmc_jax.corpus import files
from mmc_jax.importers import json_files

_PACKED = (".gz", ".zst")
_BLOCK_BYTES = 1 << 25
# Arrow reads an object within an object by calling itself: 30,000 of them end
# the process. So many are for it to read, more for Python, which refuses them.
_MOST_NESTED = 500
# A string, or what begins as one: so the time is that of one look at a line.
_STRING = re.compile(rb'"(?:[^"\\]|\\.|\\$)*(?:"|$)')


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of JSON lines."""
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name.endswith((".jsonl", ".ndjson"))


def header(path: pathlib.Path) -> list[str]:
    """Returns the keys of the first row."""
    for number, line in files.lines(path):
        if line.strip():
            return list(_row(path, number, line))
    return []


def read(
    path: pathlib.Path,
    text_columns: Sequence[str],
    only_columns: Sequence[str] | None,
) -> pa.Table:
    """Returns the columns; a key that a row does not have is null there.

    Raises:
      ValueError: A line is no JSON object; the message names it.
    """
    raw = files.in_utf8(path).read()
    if not _is_shallow(raw):
        return _row_by_row(path)

    def parsed(dates: list[str]) -> pa.Table:
        return pyarrow.json.read_json(
            pa.BufferReader(raw),
            read_options=pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(
                    [(name, pa.string()) for name in dates]
                )
            ),
        )

    try:
        table = parsed([])
        # Arrow takes texts such as 2020-01-01 for times, and rewrites them.
        dates = [
            field.name
            for field in table.schema
            if pa.types.is_timestamp(field.type)
        ]
        return parsed(dates) if dates else table
    except pa.ArrowException:
        # Slowly, to name the line, or because numbers and strings stand in one
        # column, or numbers are larger than 64 bits.
        return _row_by_row(path)


def _is_shallow(raw: bytes) -> bool:
    """Returns whether Arrow may read lines: none nests deeply.

    An object that goes over several lines is none, as the rows end with lines.
    """
    for line in io.BytesIO(raw):
        line = line.strip()
        if line and not (line.startswith(b"{") and line.endswith(b"}")):
            return False
        # Brackets within strings do not nest, but they take time to find.
        if _num_open(line) > _MOST_NESTED and (
            _num_open(_STRING.sub(b"", line)) > _MOST_NESTED
        ):
            return False
    return True


def _num_open(line: bytes) -> int:
    return line.count(b"[") + line.count(b"{")


def _row_by_row(path: pathlib.Path) -> pa.Table:
    rows = [
        _row(path, number, line)
        for number, line in files.lines(path)
        if line.strip()
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[name] = _column([row.get(name) for row in rows])
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{path}, column {name!r}: a cell is not valid Unicode "
                f"({error.reason})"
            ) from error
    return pa.table(columns)


def _row(path: pathlib.Path, number: int, line: bytes) -> dict[str, Any]:
    where = f"{path}, line {number}"
    row = json_files.parsed(line, where, unique_keys=True)
    if not isinstance(row, dict):
        raise ValueError(
            f"{where}: a {type(row).__name__}; each line holds an object"
        )
    return row


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        if all(isinstance(value, dict | None) for value in values):
            # Objects whose keys are the models, say.
            rows = [value or {} for value in values]
            keys = list(dict.fromkeys(key for row in rows for key in row))
            return pa.StructArray.from_arrays(
                [_column([row.get(key) for row in rows]) for key in keys],
                names=keys,
                mask=pa.array([value is None for value in values]),
            )
        return pa.array(
            [
                value
                if value is None or isinstance(value, str)
                # Numbers as text: a cell names its own fault.
                else json.dumps(value)
                for value in values
            ]
        )
