"""Files of rows and columns: delimited text, JSON lines, Parquet, Excel, NumPy.

One kind of file a module, each with `recognises(path)`, `header(path)` and
`read(path, ...)`, which returns an Arrow table.
"""

from mmc_jax.importers.columns.kinds import KINDS, header, kind_of, read_columns

__all__ = ["KINDS", "header", "kind_of", "read_columns"]
