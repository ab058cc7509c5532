"""When texts were written, from a corpus or a file of facts about texts."""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import pyarrow as pa

from mmc_jax.dates import date_span
from mmc_jax.importers.columns import cells, read_columns
from mmc_jax.scores import columns

_DATE = "date"
# Columns that name texts: of score tables, and of corpora.
_IDS = (columns.TEXT_ID, "id")
# Digits of a text's hash that name it where it has no id, as in `corpus.read`.
_DIGITS = 16


def read_text_dates(
    path: str | os.PathLike[str], ids: Sequence[str] = ()
) -> dict[str, str]:
    """Returns the date of each text of a file that has one, by its id.

    Args:
      path: File of columns with a column `date` and a column `text_id` or
        `id`, such as a corpus in JSON lines. Of a corpus without ids, texts
        are named as `corpus.read` names them.
      ids: Ids of the texts of which one or more must have a date; none for no
        such check.

    Raises:
      FileNotFoundError: The file is not there.
      ValueError: No column of dates or ids; a cell that is no date; a text
        twice with other dates, or dates of other texts alone. The message
        names the cell.
    """
    path = pathlib.Path(path)
    table = read_columns(path, text_columns=[_DATE, *_IDS, columns.TEXT])
    there = table.column_names
    if _DATE not in there:
        raise ValueError(
            f"{path}: no column {_DATE!r}; it has {', '.join(map(repr, there))}"
        )
    cells.refuse_twice(path, there, [_DATE, *_IDS, columns.TEXT])
    found: dict[str, str] = {}
    dates = cells.strings(table.column(_DATE), path, _DATE)
    for row, (name, cell) in enumerate(
        zip(_names(table, path), dates, strict=True), start=1
    ):
        cell = cell.strip()
        if not cell:
            continue
        try:
            date_span(cell)
        except ValueError as error:
            raise ValueError(
                f"{cells.where(path, row, _DATE)}: {error}"
            ) from error
        if found.setdefault(name, cell) != cell:
            raise ValueError(
                f"{cells.where(path, row, _DATE)}: text {name!r} is there "
                f"already, with the date {found[name]}; keep one"
            )
    if not found:
        raise ValueError(f"{path}, column {_DATE!r}: all cells are empty")
    if ids and found.keys().isdisjoint(ids):
        raise ValueError(
            f"{path}: no text of the table has a date; its ids are such as "
            f"{next(iter(found))!r}, those of the table such as {ids[0]!r}"
        )
    return found


def _names(table: pa.Table, path: pathlib.Path) -> list[str]:
    for column in _IDS:
        if column in table.column_names:
            return cells.strings(table.column(column), path, column)
    if columns.TEXT not in table.column_names:
        raise ValueError(
            f"{path}: no column {_IDS[0]!r} or {_IDS[1]!r} that names the "
            "texts; it has "
            f"{', '.join(map(repr, table.column_names))}"
        )
    texts = cells.strings(table.column(columns.TEXT), path, columns.TEXT)
    return [
        hashlib.sha256(text.encode()).hexdigest()[:_DIGITS] for text in texts
    ]
