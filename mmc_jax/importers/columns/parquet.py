"""Parquet files, their columns as they are typed."""

import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet

from mmc_jax import limits
from mmc_jax.corpus import files


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of a Parquet file."""
    return path.name.lower().endswith((".parquet", ".pq"))


def header(path: pathlib.Path) -> list[str]:
    """Returns the names of the columns."""
    files.refuse_pointer(path)
    return pyarrow.parquet.read_schema(path).names


def read(
    path: pathlib.Path,
    text_columns: Sequence[str],
    only_columns: Sequence[str] | None,
) -> pa.Table:
    """Returns the columns of a Parquet file."""
    files.refuse_pointer(path)
    # Checksums of pages, where the file has them.
    with pyarrow.parquet.ParquetFile(
        path, page_checksum_verification=True
    ) as file:
        shape = file.metadata
        limits.check("cells", shape.num_rows * shape.num_columns, path)
        names = None
        if only_columns is not None:
            there = file.schema_arrow.names
            names = [name for name in there if name.strip() in only_columns]
        return file.read(names)
