"""The kinds of files that hold columns, and the reading of any of them."""

import importlib
import os
import pathlib
import zlib
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa

from mmc_jax import limits

# Kind of file to the module of this package that reads it.
KINDS = {
    "csv": "delimited",
    "jsonl": "json_lines",
    "parquet": "parquet",
    "excel": "excel",
    "npz": "arrays",
}
# What reading a damaged file raises; the last is that of gzip's content.
_UNREADABLE = (pa.ArrowException, OSError, EOFError, zlib.error)
_SUFFIXES = ".csv, .tsv, .jsonl, .parquet, .xlsx or .npz"


def kind_of(path: pathlib.Path) -> str | None:
    """Returns which kind of file a path is, None if no kind of `KINDS`."""
    for kind in KINDS:
        if _module(kind).recognises(path):
            return kind
    return None


def header(path: pathlib.Path) -> list[str]:
    """Returns the names of a file's columns; none where they are not known.

    A file that cannot be read has none: reading it says why.

    Args:
      path: Any path; nothing needs to be there.
    """
    kind = kind_of(path) if path.is_file() else None
    if kind is None:
        return []
    try:
        names = _module(kind).header(path)
    except (*_UNREADABLE, ValueError):
        return []
    return [name.strip() for name in names]


def read_columns(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    text_columns: Sequence[str] = (),
    only_columns: Sequence[str] | None = None,
) -> pa.Table:
    """Returns a file's columns, their names without blanks around them.

    A column of a text file in which some cell is no number is one of strings,
    so that errors can name the cell.

    Args:
      path: File to read.
      kind: A key of `KINDS`; None if the file's name tells it.
      text_columns: Names of columns whose cells are text, numbers or not.
      only_columns: Names of the columns to read, where that saves memory; all
        if None.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: The file is damaged, has no rows, or is of another kind.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: a folder; give a {_SUFFIXES} file")
    limits.refuse_pipe(path)
    kind = kind or kind_of(path)
    if kind is None:
        raise ValueError(
            f"{path}: give a {_SUFFIXES} file (text may be packed as .gz or "
            ".zst)"
        )
    try:
        table = _module(kind).read(path, text_columns, only_columns)
        names = [name.strip() for name in table.column_names]
    # Names of columns that are not in UTF-8 are noticed when they are asked.
    except (*_UNREADABLE, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not readable: {limits.reason(error)}"
        ) from error
    if not table.num_rows:
        raise ValueError(f"{path}: no rows")
    return table.rename_columns(names)


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{KINDS[kind]}")
