"""Parquet files, their columns as they are typed."""

import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from mmc_jax import limits
from mmc_jax.corpus import files

_ROWS_AT_ONCE = 2**16


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
        _check_texts(path, file, names)
        return file.read(names)


def _check_texts(
    path: pathlib.Path,
    file: pyarrow.parquet.ParquetFile,
    names: Sequence[str] | None,
) -> None:
    """Refuses texts that take too much memory.

    One long text that stands in many rows is written once, in a dictionary. So
    it is read here, where it takes no more than in the file.
    """
    flat = {
        field.name
        for field in file.schema_arrow
        if not pa.types.is_nested(field.type)
    }
    wanted = flat if names is None else flat.intersection(names)
    leaves = map(file.schema.column, range(file.metadata.num_columns))
    texts = [
        leaf.path
        for leaf in leaves
        if leaf.physical_type == "BYTE_ARRAY" and leaf.path in wanted
    ]
    if not texts:
        return
    size = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as packed:
        for batch in packed.iter_batches(_ROWS_AT_ONCE, columns=texts):
            size += sum(map(_num_bytes, batch.columns))
            limits.check("unpacked", size, path)


def _num_bytes(column: pa.Array) -> int:
    """Returns the length of all texts of a column, in bytes."""
    if pa.types.is_nested(column.type):
        return 0  # The struct a, which has a field b, of a.b.
    if not pa.types.is_dictionary(column.type):
        return column.nbytes  # One name twice.
    lengths = pa.compute.binary_length(column.dictionary)
    lengths = pa.compute.take(lengths, column.indices)
    return pa.compute.sum(lengths).as_py() or 0
