"""The columns of a table of scores by their names, checked as they are read.

M models, X texts.
"""

import hashlib
import pathlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute
from absl import logging

from mmc_jax.dates import known_dates
from mmc_jax.importers import assembly
from mmc_jax.importers.columns import cells
from mmc_jax.importers.frame import Options
from mmc_jax.scores import columns as written

COUNTS = (*written.COUNTS, "num_tokens")
_HASH_BYTES = 1 << 24


class NamedColumns:
    """The columns of a table by name. Looking one up takes constant time."""

    def __init__(self, table: pa.Table, path: pathlib.Path, options: Options):
        self.table, self.path = table, path
        self.num_rows = table.num_rows
        self.names = table.column_names
        self.index: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            self.index.setdefault(name, []).append(i)
        # What to do where such a column is not there.
        self._cures = {
            options.text_id: "; --text_id names the column of the texts",
            options.domain: "; --domain names the column of the domains",
        }
        self._decimal_comma = options.decimal_comma

    def column(self, name: str) -> pa.ChunkedArray:
        """Returns the first column of a name; the error lists the others."""
        if name not in self.index:
            raise ValueError(
                f"{self.path}: no column {name!r}; it has "
                f"{assembly.listed(list(map(repr, self.index)))}"
                + self._cures.get(name, "")
            )
        return self.table.column(self.index[name][0])

    def _one(self, name: str) -> pa.ChunkedArray:
        """Returns a column of a name; several must be equal."""
        first = self.column(name)
        for i in self.index[name][1:]:
            if not self.table.column(i).equals(first):
                raise ValueError(
                    f"{self.path}: the columns of the name {name!r} differ; "
                    "rename one"
                )
        return first

    def strings(self, name: str) -> pa.Array:
        """Returns a column as text, "" where it is empty."""
        column = cells.texts(self._one(name), self.path, name)
        return column.combine_chunks()

    def numbers(self, name: str) -> np.ndarray:
        """Returns a column of scores, NaN where it is empty.

        Where there are several of the name, they must be equal.
        """
        first, *others = (
            cells.numbers(
                self.table.column(i),
                self.path,
                name,
                empty=True,
                decimal_comma=self._decimal_comma,
            )
            for i in self.index[name]
        )
        for other in others:
            same = (other == first) | (np.isnan(other) & np.isnan(first))
            for row in np.flatnonzero(~same):
                raise ValueError(
                    f"{self.path}, row {row + 1}: the columns of the name "
                    f"{name!r} differ; rename one"
                )
        return first

    def _known_numbers(self, name: str) -> np.ndarray:
        """Returns a column of numbers of which none is missing."""
        return cells.numbers(
            self._one(name),
            self.path,
            name,
            decimal_comma=self._decimal_comma,
        )

    def more(self, field: str, name: str) -> np.ndarray:
        """Returns a column of counts, truth values or costs of a model."""
        values = self._known_numbers(name)
        bad, what = values < 0, "a cost of 0 or more"
        if field != "query_costs":
            bad, what = bad | (values != np.floor(values)), "a count"
        if field == "round_trips":
            bad, what = bad | (values > 1), "0 or 1"
        for i in np.flatnonzero(bad):
            raise ValueError(
                f"{cells.where(self.path, i + 1, name)}: {values[i]:g} is not "
                f"{what}"
            )
        dtypes = {"query_costs": np.float64, "round_trips": np.bool_}
        return values.astype(dtypes.get(field, np.int64))

    def counts(self, name: str) -> np.ndarray:
        """Returns a column of whole numbers of 1 or more."""
        values = self._known_numbers(name)
        for i in np.flatnonzero((values < 1) | (values != np.floor(values))):
            raise ValueError(
                f"{cells.where(self.path, i + 1, name)}: {values[i]:g} is not "
                "a count of 1 or more"
            )
        return values.astype(np.int64)


def dates_of(
    texts: Iterable[str], path: pathlib.Path
) -> tuple[str, ...] | None:
    """Returns the dates of a column, having warned of cells that are none."""
    found, num_bad = known_dates(texts)
    if num_bad:
        logging.warning(
            "%s, column %r: %d cells are no dates such as 2023-04-03 and are "
            "left out",
            path,
            written.DATE,
            num_bad,
        )
    return found


def refuse_empty(column: pa.Array, path: pathlib.Path, name: str) -> None:
    """Raises a ValueError at the first empty cell of a column of text."""
    row = pyarrow.compute.index(column, "").as_py()
    if row >= 0:
        raise ValueError(f"{cells.where(path, row + 1, name)}: empty")


def ignored_columns(table: NamedColumns, ignored: list[str]) -> list[str]:
    """Returns the columns that are ignored, having named them."""
    if ignored:
        logging.warning(
            "%s: columns ignored: %s", table.path, assembly.listed(ignored)
        )
    return ignored


def provenance_of(path: pathlib.Path, ignored: list[str]) -> dict[str, object]:
    """Returns what is kept of a table: its name, hash, and ignored columns."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return {
        "file": path.name,
        "sha256": digest.hexdigest(),
        "ignored_columns": ignored,
    }
