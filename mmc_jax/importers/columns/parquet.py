"""Parquet files, their columns as they are typed."""

import pathlib

import pyarrow as pa
import pyarrow.parquet

from mmc_jax.corpus import files


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of a Parquet file."""
    return path.name.lower().endswith((".parquet", ".pq"))


def read(path: pathlib.Path) -> pa.Table:
    """Returns the columns of a Parquet file."""
    files.refuse_pointer(path)
    with pyarrow.parquet.ParquetFile(path) as file:
        return file.read()
