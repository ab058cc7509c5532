"""Files of rows and columns: delimited text, JSON lines, Parquet, Excel, NumPy.

One kind of file a module, each with `recognises(path)` and `read(path)`, which
returns an Arrow table with the names of the columns.
"""

from mmc_jax.importers.columns.kinds import KINDS, kind_of, read_columns

__all__ = ["KINDS", "kind_of", "read_columns"]
