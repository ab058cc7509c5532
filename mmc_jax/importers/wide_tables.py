"""Tables with one row a text and one column a model. M models, X texts."""

import pathlib

import numpy as np
import pyarrow as pa

from mmc_jax.importers import assembly
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

# Columns of 0, 1, 2, ... are numbers of rows if they have so many rows.
_NUMBERED_ROWS = 10


def spread(columns: pa.Table, name: str, path: pathlib.Path) -> pa.Table:
    """Returns a table with a column for each model of a column of objects.

    Args:
      columns: Columns of a table.
      name: Column whose cells may be objects, their keys the models. Of any
        other kind, or not there, it changes nothing.
      path: The file that they are from.

    Raises:
      ValueError: The objects hold lists or objects, not scores.
    """
    places = [
        i for i, other in enumerate(columns.column_names) if other == name
    ]
    if len(places) != 1 or not pa.types.is_struct(columns.field(name).type):
        return columns
    cell = columns.column(name)
    models = [field.name for field in cell.type]
    for field in cell.type:
        if pa.types.is_nested(field.type):
            raise ValueError(
                f"{path}, column {name!r}: {field.name!r} holds lists or "
                "objects; it holds one score a model"
            )
    others = columns.remove_column(places[0])
    for model, scores in zip(models, cell.flatten(), strict=True):
        others = others.append_column(model, scores)
    return others


def of_columns(table: NamedColumns, options: Options) -> Imported:
    """Returns the scores of a wide table, as `grid.read` does."""
    path = table.path
    known = {
        options.text_id,
        options.domain,
        *COUNTS,
        written.SHA256,
        written.DATE,
    }
    if options.keep_texts:
        known.add(written.TEXT)
    prefixes = tuple(
        written.of_model(column, "") for column in written.PER_MODEL.values()
    )
    candidates = [
        name
        for name in table.index
        if name not in known and not name.startswith(prefixes)
    ]
    chosen, ignored = _columns_of_models(table, candidates, options)
    ids = _text_ids(table, options.text_id)
    counts = {n: table.counts(n) for n in COUNTS if n in table.index}
    domains = None
    if options.domain is not None:
        domains = tuple(table.strings(options.domain).to_pylist())
    values = np.empty((len(chosen), len(ids)))
    for m, name in enumerate(chosen):
        values[m] = table.numbers(name)
    of_cells = {
        field: _of_each_model(table, field, column, chosen)
        for field, column in written.PER_MODEL.items()
    }
    num_tokens = counts.pop("num_tokens", None)
    if of_cells["num_tokens"] is None and num_tokens is not None:
        of_cells["num_tokens"] = np.tile(num_tokens, (len(chosen), 1))
    texts = None
    if options.keep_texts and written.TEXT in table.index:
        texts = tuple(table.strings(written.TEXT).to_pylist())
    return Imported(
        path=path,
        models=tuple(ScoredModel(name) for name in chosen),
        text_ids=ids,
        values=values,
        domains=domains,
        texts=texts,
        sha256=_hashes(table),
        dates=dates_of(table.strings(written.DATE).to_pylist(), path)
        if written.DATE in table.index
        else None,
        provenance=provenance_of(path, ignored),
        lists_all=False,
        where=lambda m, x: cells.where(path, x + 1, chosen[m]),
        **counts,
        **of_cells,
    )


def _hashes(table: NamedColumns) -> tuple[str, ...] | None:
    if written.SHA256 not in table.index:
        return None
    return tuple(table.strings(written.SHA256).to_pylist())


def _of_each_model(
    table: NamedColumns, field: str, column: str, chosen: list[str]
) -> np.ndarray | None:
    """Returns what a wide table holds of each model besides, [M, X]."""
    found = [written.of_model(column, model) for model in chosen]
    if not all(name in table.index for name in found):
        return None
    return np.stack([table.more(field, name) for name in found])


def _columns_of_models(
    table: NamedColumns, candidates: list[str], options: Options
) -> tuple[list[str], list[str]]:
    """Returns the names of the columns that are models, and of the others."""
    if options.facts is not None:
        wanted = [fact.name for fact in options.facts]
        if options.only_models is not None:
            finder, facts = assembly.Finder(wanted), wanted
            wanted = [
                facts[assembly.found(finder, name, facts, options.models)]
                for name in options.only_models
            ]
    elif options.only_models is not None:
        wanted = list(options.only_models)
    else:
        _refuse_long_format(table, options, None)
        chosen = [
            name
            for name in candidates
            if not cells.ROW_NUMBERS.fullmatch(name)
            and cells.is_numeric(table.column(name))
            and not _numbers_rows(table.column(name))
        ]
        if not chosen:
            _refuse_objects(table, None)
            raise ValueError(
                f"{table.path}: no column of numbers; one row is a text and "
                "one column a model"
            )
        return _told_apart(table, candidates, chosen)
    finder = assembly.Finder(candidates)
    chosen = []
    for name in wanted:
        place = finder.place(name)
        if place is None:
            _refuse_long_format(table, options, set(wanted))
            _refuse_objects(table, set(wanted))
            # Says that there is none, and which there are.
            table.column(name)
            raise ValueError(
                f"{table.path}: the column {name!r} is no model; it holds "
                "names, domains or counts of the texts"
            )
        chosen.append(candidates[place])
    return _told_apart(table, candidates, list(dict.fromkeys(chosen)))


def _numbers_rows(column: pa.ChunkedArray) -> bool:
    """Returns whether a column, as of an index, numbers its rows."""
    num = len(column)
    if num < _NUMBERED_ROWS or not pa.types.is_integer(column.type):
        return False
    first = column[0].as_py()
    return first in (0, 1) and column.equals(
        pa.chunked_array([pa.array(range(first, first + num), column.type)])
    )


def _told_apart(
    table: NamedColumns, candidates: list[str], chosen: list[str]
) -> tuple[list[str], list[str]]:
    taken = set(chosen)
    ignored = [name for name in candidates if name not in taken]
    return chosen, ignored_columns(table, ignored)


def _refuse_objects(table: NamedColumns, names: set[str] | None) -> None:
    """Raises an error if the models are keys of one column's objects.

    Args:
      table: The columns, none of which is a model.
      names: Models that are looked for; None if any may be there.
    """
    wanted = names and {assembly.last_word(name) for name in names}
    for column in table.index:
        kind = table.column(column).type
        if not pa.types.is_struct(kind):
            continue
        for field in kind:
            if not cells.is_number(field.type):
                continue
            if wanted is None or assembly.last_word(field.name) in wanted:
                raise ValueError(
                    f"{table.path}: column {column!r} holds objects with "
                    f"numbers, such as {field.name!r}; if their keys are the "
                    f"models, say so by --value_column={column}"
                )


def _refuse_long_format(
    table: NamedColumns, options: Options, names: set[str] | None
) -> None:
    """Raises an error if models stand below one another in a column."""
    others = [
        name
        for name in table.index
        if name not in (options.text_id, options.domain)
        and not cells.is_number(table.column(name).type)
        and not pa.types.is_nested(table.column(name).type)
    ]
    if names is None:
        # Without names of models: text ids that repeat, and a column "model".
        holds = [n for n in others if n.lower() in ("model", "model_name")]
    else:
        last = {assembly.last_word(name) for name in names}
        holds = [
            name
            for name in others
            if last
            & {
                assembly.last_word(cell)
                for cell in table.strings(name).unique().to_pylist()
            }
        ]
    for name in holds:
        raise ValueError(
            f"{table.path}: the long format, one row a text and model: column "
            f"{name!r} holds models; say so by --model_column={name}, and "
            "which column holds the scores by --value_column"
        )


def _text_ids(table: NamedColumns, name: str) -> tuple[str, ...]:
    ids = table.strings(name)
    refuse_empty(ids, table.path, name)
    names = ids.to_pylist()
    if len(ids.unique()) < len(ids):
        first: dict[str, int] = {}
        for row, text_id in enumerate(names, start=1):
            if first.setdefault(text_id, row) != row:
                raise ValueError(
                    f"{cells.where(table.path, row, name)}: text id "
                    f"{text_id!r} stands in row {first[text_id]} already; name "
                    "the column whose cells all differ (--text_id)"
                )
    return tuple(names)
