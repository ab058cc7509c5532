"""A table with one row a text and one column a model, as CSV or Parquet."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from absl import logging

from mmc_jax import corpus
from mmc_jax.scores import ScoredModel, ScoreTable

_COUNTS = ("num_bytes", "num_chars", "num_tokens")
_FACTS = ("model", "family", "kind")


def csv(
    path: str | os.PathLike[str],
    models: str | os.PathLike[str],
    *,
    text_id: str = "text_id",
    domain: str | None = None,
) -> ScoreTable:
    """Returns the score table of a wide file.

    The scores may be any numbers of which lower is better; `losses("raw")`
    takes them as they are. Where they are sums in nats and the file has columns
    `num_bytes`, `num_chars` or `num_tokens` (one count a text, so that of the
    tokens holds for all models), the normalisations that need them work too.

    Columns of no known meaning are ignored, logged, and listed in each model's
    provenance. A model that is listed twice, with two columns that are equal,
    is read once, with the facts of its first row; all families under which it
    stands are in its provenance, as "families".

    Args:
      path: One row a text and one column a model: `.csv`, `.csv.gz` or
        `.parquet`.
      models: One row a model, in a file of the same kinds: `model` (the name of
        its column), `family` and `kind` if wanted, and any number of numeric
        columns, each a cost (`num_params`, ...). An empty cell is a cost that
        is not known.
      text_id: The column of `path` that names the texts.
      domain: The column of `path` that holds their domains, if one does.

    Returns:
      The table, models in the order of `models`, texts in that of `path`.

    Raises:
      FileNotFoundError: One of the files is not there.
      ValueError: A model without a column, a text id that is empty or there
        twice, a cell that is empty, not a number or not finite, a count below
        1, a cost below 0. The message names file, row (the first below the
        header is 1) and column.
    """
    path = pathlib.Path(path)
    records = _models(pathlib.Path(models))
    table = _read(path)
    ids = _text_ids(table, path, text_id)
    domains = [""] * len(ids)
    if domain is not None:
        domains = _strings(table.column(_index(table, path, domain)))
    counts = {
        name: _counts(table, path, name)
        for name in _COUNTS
        if name in table.column_names
    }
    scores = np.stack([_scores(table, path, m.name) for m in records])
    used = {text_id, domain, *counts, *(model.name for model in records)}
    ignored = [name for name in table.column_names if name not in used]
    if ignored:
        logging.warning("%s: columns ignored: %s", path, ", ".join(ignored))
    provenance = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ignored_columns": ignored,
    }
    unknown = np.zeros(len(ids), np.int64)
    num_tokens = None
    if "num_tokens" in counts:
        num_tokens = np.tile(counts["num_tokens"], (len(records), 1))
    return ScoreTable(
        models=tuple(
            dataclasses.replace(m, provenance={**provenance, **m.provenance})
            for m in records
        ),
        texts=corpus.Corpus(
            ids=tuple(ids),
            domains=tuple(domains),
            num_bytes=counts.get("num_bytes", unknown),
            num_chars=counts.get("num_chars", unknown),
            sha256=("",) * len(ids),
            texts=None,
        ),
        nll_nats=scores,
        num_tokens=num_tokens,
        num_scored=num_tokens,
    )


def _read(path: pathlib.Path) -> pa.Table:
    """Returns a file's columns; those of a CSV file are strings."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                table = file.read()
        elif path.name.endswith((".csv", ".csv.gz")):
            with pyarrow.csv.open_csv(path, parse_options=parse) as header:
                names = header.schema.names
            # Strings first: then an error can name the cell.
            convert = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string())
            )
            table = pyarrow.csv.read_csv(
                path, parse_options=parse, convert_options=convert
            )
        else:
            raise ValueError(f"{path}: give a .csv, .csv.gz or .parquet file")
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"{path}: not readable: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{path}: no rows")
    return table


def _index(table: pa.Table, path: pathlib.Path, name: str) -> int:
    if name not in table.column_names:
        raise ValueError(
            f"{path}: no column {name!r}; it has "
            f"{', '.join(map(repr, table.column_names))}"
        )
    return table.column_names.index(name)


def _strings(column: pa.ChunkedArray) -> list[str]:
    return column.cast(pa.string()).fill_null("").to_pylist()


def _text_ids(table: pa.Table, path: pathlib.Path, name: str) -> list[str]:
    ids = _strings(table.column(_index(table, path, name)))
    first: dict[str, int] = {}
    for row, text_id in enumerate(ids, start=1):
        if not text_id:
            raise ValueError(f"{_cell(path, row, name)}: empty")
        if first.setdefault(text_id, row) != row:
            raise ValueError(
                f"{_cell(path, row, name)}: text id {text_id!r} "
                f"stands in row {first[text_id]} already; give the column that "
                "names each text once"
            )
    return ids


def _numbers(
    column: pa.ChunkedArray,
    path: pathlib.Path,
    name: str,
    *,
    empty: bool = False,
) -> np.ndarray:
    """Returns a column as float64, refusing what is no finite number.

    Args:
      column: Of strings or of numbers.
      path: The file that it is from, for errors.
      name: The column's name, for errors.
      empty: Whether an empty cell is let through, as NaN.
    """
    if not _is_number(column.type):
        column = pyarrow.compute.utf8_trim_whitespace(column.cast(pa.string()))
        if empty:
            blank = pyarrow.compute.equal(column, "")
            column = pyarrow.compute.if_else(blank, None, column)
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid:  # Now look for the cell.
        for row, cell in enumerate(column.to_pylist(), start=1):
            try:
                pa.array([cell]).cast(pa.float64())
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"{_cell(path, row, name)}: "
                    + (f"{cell!r} is not a number" if cell else "empty")
                ) from error
        raise
    known = numbers.is_valid().to_numpy()
    values = numbers.fill_null(np.nan).to_numpy()
    for i in np.flatnonzero(~np.isfinite(values)):
        if known[i] or not empty:
            raise ValueError(
                f"{_cell(path, i + 1, name)}: "
                + (f"{values[i]} is not finite" if known[i] else "empty")
            )
    return values


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _is_text(column: pa.ChunkedArray) -> bool:
    """Returns whether a column has cells that are no numbers, nor empty."""
    if _is_number(column.type):
        return False
    try:
        cells = pyarrow.compute.utf8_trim_whitespace(column.cast(pa.string()))
        cells.filter(pyarrow.compute.not_equal(cells, "")).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return True
    return False


def _cell(path: pathlib.Path, row: int, name: str) -> str:
    return f"{path}, row {row}, column {name!r}"


def _counts(table: pa.Table, path: pathlib.Path, name: str) -> np.ndarray:
    column = table.column(_index(table, path, name))
    values = _numbers(column, path, name)
    for i in np.flatnonzero((values < 1) | (values != np.floor(values))):
        raise ValueError(
            f"{_cell(path, i + 1, name)}: {values[i]:g} is not a count of 1 or "
            "more"
        )
    return values.astype(np.int64)


def _scores(table: pa.Table, path: pathlib.Path, name: str) -> np.ndarray:
    """Returns a model's column; where there are several, they must be equal."""
    first = _index(table, path, name)
    values = _numbers(table.column(first), path, name)
    for i in range(first + 1, table.num_columns):
        if table.column_names[i] != name:
            continue
        for row in np.flatnonzero(
            _numbers(table.column(i), path, name) != values
        ):
            raise ValueError(
                f"{path}, row {row + 1}: the columns of the name {name!r} "
                "differ; rename one"
            )
    return values


def _models(path: pathlib.Path) -> list[ScoredModel]:
    """Returns the models of a models file.

    Their provenance holds the families of those that stand there twice.
    """
    table = _read(path)
    for i, name in enumerate(table.column_names):
        if name in table.column_names[:i]:
            raise ValueError(f"{path}: there are two columns {name!r}")
    names = _strings(table.column(_index(table, path, "model")))
    facts = {
        name: _strings(table.column(name))
        for name in ("family", "kind")
        if name in table.column_names
    }
    costs, ignored = {}, []
    for name in table.column_names:
        if name in _FACTS:
            continue
        column = table.column(name)
        if not name.startswith("num_") and _is_text(column):
            ignored.append(name)
            continue
        values = _numbers(column, path, name, empty=True)
        for i in np.flatnonzero(values < 0):
            raise ValueError(
                f"{_cell(path, i + 1, name)}: {values[i]:g} is negative; costs "
                "add up over a subset"
            )
        costs[name] = values
    if ignored:
        logging.warning("%s: columns ignored: %s", path, ", ".join(ignored))
    models: dict[str, ScoredModel] = {}
    for i, name in enumerate(names):
        if not name:
            raise ValueError(f"{_cell(path, i + 1, 'model')}: empty")
        kind = facts["kind"][i] if "kind" in facts else ""
        if kind not in ("", "base", "instruct"):
            raise ValueError(
                f"{_cell(path, i + 1, 'kind')}: {kind!r} is neither base "
                "nor instruct"
            )
        model = ScoredModel(
            name=name,
            family=facts["family"][i] if "family" in facts else "",
            kind=kind or "base",
            costs={
                cost: float(values[i])
                for cost, values in costs.items()
                if not np.isnan(values[i])
            },
        )
        if name not in models:
            models[name] = model
        elif model.costs != models[name].costs:
            raise ValueError(
                f"{_cell(path, i + 1, 'model')}: {name!r} is there "
                "already, with other costs; keep one"
            )
        else:
            first = models[name]
            listed = first.provenance.get("families", [first.family])
            models[name] = dataclasses.replace(
                first, provenance={"families": [*listed, model.family]}
            )
            logging.warning(
                "%s, row %d: %s is there twice; read once, as of the family %r",
                path,
                i + 1,
                name,
                models[name].family,
            )
    return list(models.values())
