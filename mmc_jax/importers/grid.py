"""Tables of scores, whatever kind of file they lie in, wide or long.

Wide: one row a text and one column a model. Long: one row a text and model.
M models, X texts.
"""

import hashlib
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute
from absl import logging

from mmc_jax.importers import assembly
from mmc_jax.importers.columns import cells, kind_of, read_columns
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_COUNTS = ("num_bytes", "num_chars", "num_tokens")
_HASH_BYTES = 1 << 24


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
    texts = (options.text_id, options.domain, options.model_column)
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
    table = _Columns(columns, path, options)
    if options.model_column in table.index and (
        options.value_column in table.index
    ):
        return _long(table, options)
    return _wide(table, options)


class _Columns:
    """The columns of a table by name. Looking one up takes constant time."""

    def __init__(self, table: pa.Table, path: pathlib.Path, options: Options):
        self.table, self.path = table, path
        self.num_rows = table.num_rows
        self.names = table.column_names
        self.index: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            self.index.setdefault(name, []).append(i)
        self._decimal_comma = options.decimal_comma

    def column(self, name: str) -> pa.ChunkedArray:
        if name not in self.index:
            raise ValueError(
                f"{self.path}: no column {name!r}; it has "
                f"{assembly.listed(list(map(repr, self.index)))}"
            )
        return self.table.column(self.index[name][0])

    def strings(self, name: str) -> pa.Array:
        """Returns a column as text, "" where it is empty."""
        column = cells.texts(self.column(name), self.path, name)
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

    def counts(self, name: str) -> np.ndarray:
        values = cells.numbers(self.column(name), self.path, name)
        for i in np.flatnonzero((values < 1) | (values != np.floor(values))):
            raise ValueError(
                f"{cells.where(self.path, i + 1, name)}: {values[i]:g} is not "
                "a count of 1 or more"
            )
        return values.astype(np.int64)


def _wide(table: _Columns, options: Options) -> Imported:
    path = table.path
    known = {options.text_id, options.domain, *_COUNTS}
    candidates = [name for name in table.index if name not in known]
    chosen, ignored = _columns_of_models(table, candidates, options)
    ids = _text_ids(table, options.text_id)
    counts = {n: table.counts(n) for n in _COUNTS if n in table.index}
    domains = None
    if options.domain is not None:
        domains = tuple(table.strings(options.domain).to_pylist())
    values = np.empty((len(chosen), len(ids)))
    for m, name in enumerate(chosen):
        values[m] = table.numbers(name)
    num_tokens = counts.pop("num_tokens", None)
    if num_tokens is not None:
        num_tokens = np.tile(num_tokens, (len(chosen), 1))
    return Imported(
        path=path,
        models=tuple(ScoredModel(name) for name in chosen),
        text_ids=ids,
        values=values,
        domains=domains,
        num_tokens=num_tokens,
        provenance=_provenance(path, ignored),
        lists_all=False,
        where=lambda m, x: cells.where(path, x + 1, chosen[m]),
        **counts,
    )


def _columns_of_models(
    table: _Columns, candidates: list[str], options: Options
) -> tuple[list[str], list[str]]:
    """Returns the names of the columns that are models, and of the others."""
    if options.facts is not None:
        names = [fact.name for fact in options.facts]
        if options.only_models is not None:
            finder, facts = assembly.Finder(names), names
            names = [
                facts[assembly.found(finder, name, facts, options.models)]
                for name in options.only_models
            ]
    elif options.only_models is not None:
        names = list(options.only_models)
    else:
        _refuse_long_format(table, options, None)
        chosen = [
            name for name in candidates if cells.is_numeric(table.column(name))
        ]
        if not chosen:
            raise ValueError(
                f"{table.path}: no column of numbers; one row is a text and "
                "one column a model"
            )
        return _told_apart(table, candidates, chosen)
    finder = assembly.Finder(candidates)
    chosen = []
    for name in names:
        place = finder.place(name)
        if place is None:
            _refuse_long_format(table, options, set(names))
            # Says that there is none, and which there are.
            table.column(name)
            raise ValueError(
                f"{table.path}: the column {name!r} is no model; it holds "
                "names, domains or counts of the texts"
            )
        chosen.append(candidates[place])
    return _told_apart(table, candidates, list(dict.fromkeys(chosen)))


def _told_apart(
    table: _Columns, candidates: list[str], chosen: list[str]
) -> tuple[list[str], list[str]]:
    taken = set(chosen)
    ignored = [name for name in candidates if name not in taken]
    if ignored:
        logging.warning(
            "%s: columns ignored: %s", table.path, assembly.listed(ignored)
        )
    return chosen, ignored


def _refuse_long_format(
    table: _Columns, options: Options, names: set[str] | None
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


def _text_ids(table: _Columns, name: str) -> tuple[str, ...]:
    ids = table.strings(name)
    _refuse_empty(ids, table.path, name)
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


def _refuse_empty(column: pa.Array, path: pathlib.Path, name: str) -> None:
    row = pyarrow.compute.index(column, "").as_py()
    if row >= 0:
        raise ValueError(f"{cells.where(path, row + 1, name)}: empty")


def _long(table: _Columns, options: Options) -> Imported:
    path = table.path
    codes, names = {}, {}
    for name in (options.model_column, options.text_id):
        column = table.strings(name)
        _refuse_empty(column, path, name)
        encoded = column.dictionary_encode()
        codes[name] = encoded.indices.to_numpy().astype(np.int64)
        names[name] = tuple(encoded.dictionary.to_pylist())
    model_names = [name.strip() for name in names[options.model_column]]
    ids = names[options.text_id]
    of_model, of_text = codes[options.model_column], codes[options.text_id]
    values, rows = _pivoted(table, of_model, of_text, options, names)
    used = {options.text_id, options.model_column, options.value_column}
    by_text = {}
    for name in (*_COUNTS[:2], options.domain):
        if name is not None and name in table.index:
            by_text[name] = _of_each_text(table, name, of_text, ids)
    if options.domain is not None and options.domain not in by_text:
        table.column(options.domain)  # Says that there is none.
    num_tokens = None
    if "num_tokens" in table.index and (rows >= 0).all():
        num_tokens = table.counts("num_tokens")[rows]
        used.add("num_tokens")
    domains = by_text.pop(options.domain, None)
    ignored = [
        name
        for name in table.index
        if name not in used | {options.domain, *by_text}
    ]
    if ignored:
        logging.warning(
            "%s: columns ignored: %s", path, assembly.listed(ignored)
        )

    def where(m: int, x: int) -> str:
        if rows[m, x] >= 0:
            return cells.where(path, rows[m, x] + 1, options.value_column)
        return f"{path}, model {model_names[m]!r}, text {ids[x]!r}"

    return Imported(
        path=path,
        models=tuple(ScoredModel(name) for name in model_names),
        text_ids=ids,
        values=values,
        domains=None if domains is None else tuple(domains),
        num_tokens=num_tokens,
        provenance=_provenance(path, ignored),
        where=where,
        **by_text,
    )


def _pivoted(
    table: _Columns,
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


def _of_each_text(
    table: _Columns, name: str, of_text: np.ndarray, ids: tuple[str, ...]
) -> np.ndarray:
    """Returns a column of a long table by text, [X]; a text has one value."""
    column = (
        table.counts(name)
        if name in _COUNTS
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


def _provenance(path: pathlib.Path, ignored: list[str]) -> dict[str, object]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return {
        "file": path.name,
        "sha256": digest.hexdigest(),
        "ignored_columns": ignored,
    }
