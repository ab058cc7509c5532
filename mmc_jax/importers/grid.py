"""Tables of scores, whatever kind of file they lie in, wide or long.

Wide: one row a text and one column a model; in JSON lines and Parquet one
column may hold them all, an object a text whose keys are the models. Long: one
row a text and model. M models, X texts.
"""

import pathlib

import pyarrow as pa

from mmc_jax.importers import long_tables, wide_tables
from mmc_jax.importers.columns import header, kind_of, read_columns
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.importers.named_columns import NamedColumns
from mmc_jax.scores import columns as written


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a path is a file of columns."""
    return path.is_file() and kind_of(path) is not None


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of a table.

    Columns of no known meaning are ignored, logged, and listed in the
    provenance. A model with two columns that are equal is read once.

    Args:
      path: File of columns: delimited text, JSON lines, Parquet, Excel, NumPy.
      options: Names of the columns, and the file of facts, which says what
        columns of a wide table are models. Without one all columns of numbers
        are, but those of counts.

    Raises:
      FileNotFoundError: The file is not there.
      ValueError: A text id that is empty, or twice in a wide table; two values
        for one text and model; a cell that is no number; a count below 1; a
        column that is not there. The message names file, row (the first below
        the header is 1) and column.
    """
    texts = (
        options.text_id,
        options.domain,
        options.model_column,
        written.SHA256,
        written.TEXT,
        written.DATE,
    )
    if options.decimal_comma:
        # As written: whether 1.234 is a thousand cannot be told of a number.
        texts += tuple(header(path))
    columns = read_columns(
        path, options.file_kind, text_columns=[t for t in texts if t]
    )
    return imported(columns, path, options)


def imported(
    columns: pa.Table, path: pathlib.Path, options: Options
) -> Imported:
    """Returns the scores of a table whose columns are read already.

    Args:
      columns: Columns of the table, their names without blanks around them.
      path: The file that they are from.
      options: Names of the columns, and the file of facts, as for `read`.

    Raises:
      ValueError: Anything that `read` refuses in a file's content.
    """
    columns = wide_tables.spread(columns, options.value_column, path)
    table = NamedColumns(columns, path, options)
    if options.model_column in table.index and (
        options.value_column in table.index
    ):
        return long_tables.of_columns(table, options)
    return wide_tables.of_columns(table, options)
