"""Delimited text: CSV, TSV and their cousins, packed or not."""

import csv
import io
import pathlib

import pyarrow as pa
import pyarrow.csv

from mmc_jax.corpus import files

_DELIMITERS = ",;\t|"
_SUFFIXES = (".csv", ".tsv", ".tab")
_PACKED = (".gz", ".zst")
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


def read(path: pathlib.Path) -> pa.Table:
    """Returns the columns, all of them strings.

    What separates the cells is told by the first line, or by a line `sep=;`
    before it.
    """
    raw = files.in_utf8(path).read()
    first, _, rest = raw.partition(b"\n")
    said = first.strip()
    if said[:4].lower() == b"sep=" and len(said) <= len(b"sep=,"):
        raw, delimiter = rest, said[4:].decode() or "\t"
        first = rest.partition(b"\n")[0]
    else:
        delimiter = _delimiter(first.decode(errors="replace"))
    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True
    )
    block = max(_BLOCK_BYTES, _ROWS_PER_BLOCK * len(first))
    options = pyarrow.csv.ReadOptions(block_size=min(block, _MOST_BLOCK_BYTES))
    with pyarrow.csv.open_csv(
        pa.BufferReader(raw), read_options=options, parse_options=parse
    ) as header:
        names = header.schema.names
    # Strings first: then an error can name the cell.
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string())
    )
    return pyarrow.csv.read_csv(
        pa.BufferReader(raw),
        read_options=options,
        parse_options=parse,
        convert_options=convert,
    )


def _delimiter(header: str) -> str:
    """Returns what cuts the header into the most cells; a comma if nothing."""

    def num_cells(delimiter: str) -> int:
        return len(
            next(csv.reader(io.StringIO(header), delimiter=delimiter), "")
        )

    return max(_DELIMITERS, key=num_cells)
