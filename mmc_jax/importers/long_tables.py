"""Tables with one row a text and model. M models, X texts."""

import numpy as np
import pyarrow.compute

from mmc_jax.importers.columns import cells
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.importers.named_columns import (
    COUNTS,
    NamedColumns,
    dates_of,
    ignored_columns,
    provenance_of,
    refuse_empty,
)
from mmc_jax.scores import ScoredModel
from mmc_jax.scores import columns as written


def of_columns(table: NamedColumns, options: Options) -> Imported:
    """Returns the scores of a long table, as `grid.read` does."""
    path = table.path
    codes, found = {}, {}
    for name in (options.model_column, options.text_id):
        column = table.strings(name)
        if name == options.model_column:
            column = pyarrow.compute.utf8_trim_whitespace(column)
        refuse_empty(column, path, name)
        encoded = column.dictionary_encode()
        codes[name] = encoded.indices.to_numpy().astype(np.int64)
        found[name] = tuple(encoded.dictionary.to_pylist())
    models = found[options.model_column]
    ids = found[options.text_id]
    of_model, of_text = codes[options.model_column], codes[options.text_id]
    values, rows = _pivoted(table, of_model, of_text, options, found)
    if options.domain is not None:
        table.column(options.domain)  # Says if there is none.
    by_text = {
        name: _of_each_text(table, name, of_text, ids)
        for name in (*written.COUNTS, written.SHA256, options.domain)
        if name is not None and name in table.index
    }
    # A cell without a row has no score: it is refused or left out later.
    by_cell = {
        field: table.more(field, column)[rows]
        for field, column in written.PER_MODEL.items()
        if column in table.index
    }
    dates = _dates(table, of_text, ids)
    used = {options.text_id, options.model_column, options.value_column}
    used |= set() if dates is None else {written.DATE}
    used |= {*by_text, *(written.PER_MODEL[field] for field in by_cell)}
    ignored = ignored_columns(table, [n for n in table.index if n not in used])
    domains, hashes = (
        None if name not in by_text else tuple(by_text.pop(name))
        for name in (options.domain, written.SHA256)
    )

    def where(m: int, x: int) -> str:
        if rows[m, x] >= 0:
            return cells.where(path, rows[m, x] + 1, options.value_column)
        return f"{path}, model {models[m]!r}, text {ids[x]!r}"

    return Imported(
        path=path,
        models=tuple(ScoredModel(name) for name in models),
        text_ids=ids,
        values=values,
        domains=domains,
        sha256=hashes,
        dates=dates,
        provenance=provenance_of(path, ignored),
        where=where,
        **by_text,
        **by_cell,
    )


def _pivoted(
    table: NamedColumns,
    of_model: np.ndarray,
    of_text: np.ndarray,
    options: Options,
    names: dict[str, tuple[str, ...]],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns values and the row of each, [M, X]; NaN and -1 for none."""
    models, texts = names[options.model_column], names[options.text_id]
    shape = len(models), len(texts)
    cell = of_model * shape[1] + of_text
    rows = np.full(shape[0] * shape[1], -1)
    # Backwards, so that the first row of a cell is the one that stays.
    rows[cell[::-1]] = np.arange(table.num_rows)[::-1]
    twice = np.flatnonzero(rows[cell] != np.arange(table.num_rows))
    if len(twice):
        row = int(twice[0])
        raise ValueError(
            f"{table.path}, row {row + 1}: the model "
            f"{models[of_model[row]]!r} has a score of the text "
            f"{texts[of_text[row]]!r} in row {rows[cell[row]] + 1} already; "
            "keep one"
        )
    values = np.full(shape[0] * shape[1], np.nan)
    values[cell] = table.numbers(options.value_column)
    return values.reshape(shape), rows.reshape(shape)


def _dates(
    table: NamedColumns, of_text: np.ndarray, ids: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Returns the date of each text, [X]; None where a text has several.

    A column of the name may say when a model was asked.
    """
    if written.DATE not in table.index:
        return None
    column = np.array(table.strings(written.DATE).to_pylist(), object)
    dates = np.empty(len(ids), object)
    dates[of_text] = column
    if (dates[of_text] != column).any():
        return None
    return dates_of(dates, table.path)


def _of_each_text(
    table: NamedColumns, name: str, of_text: np.ndarray, ids: tuple[str, ...]
) -> np.ndarray:
    """Returns a column of a long table by text, [X]; a text has one value."""
    column = (
        table.counts(name)
        if name in COUNTS
        else np.array(table.strings(name).to_pylist(), object)
    )
    values = np.empty(len(ids), column.dtype)
    values[of_text[::-1]] = column[::-1]
    for row in np.flatnonzero(values[of_text] != column):
        text = ids[of_text[row]]
        raise ValueError(
            f"{cells.where(table.path, row + 1, name)}: {column[row]!r}, and "
            f"{values[of_text[row]]!r} in an earlier row of the text {text!r}"
        )
    return values
