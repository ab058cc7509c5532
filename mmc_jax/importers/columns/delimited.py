"""Delimited text: CSV, TSV and their cousins, packed or not."""

import pathlib
import re
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from mmc_jax import limits
from mmc_jax.corpus import files
from mmc_jax.importers.columns import cells

_DELIMITERS = ",;\t|"
_SUFFIXES = (".csv", ".tsv", ".tab")
_PACKED = (".gz", ".zst")
_QUOTED = re.compile(r'"[^"]*"')
# Arrow's words; the header is its row 1.
_OTHER_LENGTH = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
# A block must hold a row, and each block is a piece of every column.
_BLOCK_BYTES = 1 << 25
_ROWS_PER_BLOCK = 64
_MOST_BLOCK_BYTES = (1 << 31) - 1


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of delimited text."""
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return name.endswith(_SUFFIXES)


def header(path: pathlib.Path) -> list[str]:
    """Returns the names of the columns."""
    _, names, _ = _beginning(path)
    return names


def read(
    path: pathlib.Path,
    text_columns: Sequence[str],
    only_columns: Sequence[str] | None,
) -> pa.Table:
    """Returns the columns: of numbers where all cells are, else of strings.

    What separates the cells is told by the first line, or by a line `sep=;`
    before it.
    """
    options, names, length = _beginning(path)
    limits.check("columns", len(names), path)
    block = max(_BLOCK_BYTES, _ROWS_PER_BLOCK * length)
    options["read_options"].block_size = min(block, _MOST_BLOCK_BYTES)
    texts = set(text_columns)
    included = []
    if only_columns is not None:
        included = [name for name in names if name.strip() in only_columns]
    convert = pyarrow.csv.ConvertOptions(
        # An id of 007 is no number.
        column_types={
            name: pa.string() for name in names if name.strip() in texts
        },
        null_values=cells.MISSING_AS_WRITTEN,
        include_columns=included,
    )

    def parsed(threads: bool) -> pa.Table:
        options["read_options"].use_threads = threads
        if _is_plain(path):
            source = pa.OSFile(str(path))
        else:
            source = pa.BufferReader(files.in_utf8(path).read())
        return pyarrow.csv.read_csv(source, convert_options=convert, **options)

    try:
        return parsed(threads=True)
    except pa.ArrowInvalid as error:
        message = str(error)
        if "Empty CSV file" in message:  # A header and nothing else.
            return pa.table({name: pa.nulls(0) for name in names})
        if "UTF8" in message:  # Says where.
            files.decoded(files.in_utf8(path).read(), path, 1)
        if "straddling" in message:
            message = (
                f"a row is longer than {options['read_options'].block_size:,} "
                "bytes; is a quotation mark missing?"
            )
    try:
        return parsed(threads=False)
    except pa.ArrowInvalid as error:
        _refuse_row(str(error), path, options["read_options"].skip_rows)
        raise ValueError(f"{path}: not readable: {message}") from error


def _refuse_row(message: str, path: pathlib.Path, skipped: int) -> None:
    """Raises the error of a row of another length, if Arrow says of one."""
    found = _OTHER_LENGTH.search(message)
    if found is not None:
        row, expected, there = map(int, found.groups())
        raise ValueError(
            f"{path}, row {row - 1 - skipped}: {there} cells, and the header "
            f"has {expected}; quote cells that hold the separator"
        )


def _is_plain(path: pathlib.Path) -> bool:
    """Returns whether Arrow can read the file as it is: UTF-8, not packed."""
    with files.opened(path) as opened, open(path, "rb") as raw:
        first = raw.read(4)
        return opened.read(4) == first and files.encoding_mark(first) is None


def _beginning(path: pathlib.Path) -> tuple[dict[str, object], list[str], int]:
    """Returns Arrow's options, the names of the columns, the header's bytes."""
    with files.opened(path) as file:
        first, second = _record(file), _record(file)
        while second and not first.strip():  # Arrow leaves blank rows out too.
            first, second = second, _record(file)
    if files.encoding_mark(first[:4]) is None:
        first = files.without_mark(first, path)
    else:
        converted = files.in_utf8(path)
        first, second = _record(converted), _record(converted)
    said = first.strip()
    read = pyarrow.csv.ReadOptions()
    if said[:4].lower() == b"sep=" and len(said) <= len(b"sep=,"):
        read = pyarrow.csv.ReadOptions(skip_rows=1)
        delimiter, line = said[4:].decode("latin-1") or "\t", second
        if not "\t" <= delimiter <= "~":
            raise ValueError(
                f"{path}, line 1: {delimiter!r} separates no cells; a comma, "
                "a semicolon, a tab or another ASCII character does"
            )
    else:
        delimiter, line = _delimiter(first.decode(errors="replace")), first
    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True
    )
    options = {"read_options": read, "parse_options": parse}
    if not line.strip():
        raise ValueError(f"{path}: not readable: Empty CSV file")
    files.decoded(line, path, 1)  # Names the file if it is no UTF-8.
    alone = pyarrow.csv.read_csv(
        pa.BufferReader(line.rstrip(b"\r\n") + b"\n"),
        read_options=pyarrow.csv.ReadOptions(
            block_size=max(1 << 16, 2 * len(line))
        ),
        parse_options=parse,
    )
    return options, alone.column_names, len(line)


def _record(file: BinaryIO) -> bytes:
    """Returns a row, of several lines if a quoted cell holds their ends."""
    row = file.readline()
    while row.count(b'"') % 2 and len(row) < _BLOCK_BYTES:
        more = file.readline()
        if not more:
            break
        row += more
    return row


def _delimiter(header: str) -> str:
    """Returns what cuts the header into the most cells; a comma if nothing."""
    return max(_DELIMITERS, key=_QUOTED.sub("", header).count)
