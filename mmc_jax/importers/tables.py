"""Tables on disk, delimited or Parquet, as columns."""

import csv
import io
import pathlib

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from mmc_jax.corpus import files

_DELIMITERS = ",;\t|"
_DELIMITED = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def read_table(path: pathlib.Path) -> pa.Table:
    """Returns a file's columns; those of a delimited file are strings.

    What separates the cells is told by the first line, or by a line `sep=;`
    before it; names of columns lose the blanks around them.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: The file is damaged, has no rows, or is of another kind.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            files.refuse_pointer(path)
            with pyarrow.parquet.ParquetFile(path) as file:
                table = file.read()
        elif name.endswith(_DELIMITED):
            table = _delimited(files.in_utf8(path).read())
        else:
            raise ValueError(
                f"{path}: give a .csv, .csv.gz, .tsv, .tsv.gz or .parquet file"
            )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"{path}: not readable: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{path}: no rows")
    return table.rename_columns([name.strip() for name in table.column_names])


def column(table: pa.Table, path: pathlib.Path, name: str) -> pa.ChunkedArray:
    """Returns the first column of that name.

    Raises:
      ValueError: There is none; the message lists those that there are.
    """
    return table.column(column_index(table, path, name))


def column_index(table: pa.Table, path: pathlib.Path, name: str) -> int:
    """Returns the place of the first column of that name.

    Raises:
      ValueError: There is none; the message lists those that there are.
    """
    if name not in table.column_names:
        raise ValueError(
            f"{path}: no column {name!r}; it has "
            f"{', '.join(map(repr, table.column_names))}"
        )
    return table.column_names.index(name)


def _delimited(raw: bytes) -> pa.Table:
    first, _, rest = raw.partition(b"\n")
    said = first.strip()
    if said[:4].lower() == b"sep=" and len(said) <= len(b"sep=,"):
        raw, delimiter = rest, said[4:].decode() or "\t"
    else:
        delimiter = _delimiter(first.decode(errors="replace"))
    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True
    )
    with pyarrow.csv.open_csv(
        pa.BufferReader(raw), parse_options=parse
    ) as header:
        names = header.schema.names
    # Strings first: then an error can name the cell.
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string())
    )
    return pyarrow.csv.read_csv(
        pa.BufferReader(raw), parse_options=parse, convert_options=convert
    )


def _delimiter(header: str) -> str:
    """Returns what cuts the header into the most cells; a comma if nothing."""

    def num_cells(delimiter: str) -> int:
        return len(
            next(csv.reader(io.StringIO(header), delimiter=delimiter), "")
        )

    return max(_DELIMITERS, key=num_cells)
