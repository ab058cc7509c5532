"""A table with one row a text and one column a model, as CSV or Parquet.

M models, X texts.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from absl import logging

from mmc_jax import corpus
from mmc_jax.importers import cells, tables
from mmc_jax.importers.model_facts import read_models
from mmc_jax.scores import ScoredModel, ScoreTable

_COUNTS = ("num_bytes", "num_chars", "num_tokens")
# What is proposed where a score is missing.
_CURE = (
    "; --only_models leaves models out, --skip_incomplete the texts that lack "
    "a score"
)


def csv(
    path: str | os.PathLike[str],
    models: str | os.PathLike[str],
    *,
    text_id: str = "text_id",
    domain: str | None = None,
    only_models: Sequence[str] | None = None,
    higher_is_better: bool | None = None,
    skip_incomplete: bool = False,
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
      path: One row a text and one column a model: `.csv`, `.tsv` (both also
        packed by gzip) or `.parquet`.
      models: One row a model, in a file of the same kinds: `model` (the name of
        its column, with or without the organisation in front), `family` and
        `kind` if wanted, and any number of numeric columns, each a cost
        (`num_params`, ...). "13B" is a number there. An empty cell is a cost
        that is not known.
      text_id: The column of `path` that names the texts.
      domain: The column of `path` that holds their domains, if one does.
      only_models: Names of the models to read; all if None.
      higher_is_better: Whether higher scores are better: then log-likelihoods
        are negated, and scores between 0 and 1 become 1 - score. If None, lower
        is better, and scores that look like log-likelihoods are refused.
      skip_incomplete: Whether texts that lack a score of some model are left
        out. Their number is logged.

    Returns:
      The table, models in the order of `models`, texts in that of `path`.

    Raises:
      FileNotFoundError: One of the files is not there.
      ValueError: A model without a column, a text id that is empty or there
        twice, a cell that is empty, not a number or not finite, a count below
        1, a cost below 0, one row a text and model (the long format), or scores
        that look like log-likelihoods. The message names file, row (the first
        below the header is 1) and column.
    """
    path = pathlib.Path(path)
    records = _chosen(read_models(pathlib.Path(models)), only_models, models)
    table = tables.read_table(path)
    columns = _columns_of_models(table, path, records)
    ids = _text_ids(table, path, text_id)
    domains = [""] * len(ids)
    if domain is not None:
        column = tables.column(table, path, domain)
        domains = cells.strings(column, path, domain)
    counts = {
        name: _counts(table, path, name)
        for name in _COUNTS
        if name in table.column_names
    }
    scores = np.stack(
        [_scores(table, path, name, skip_incomplete) for name in columns]
    )
    scores, sense = _lower_is_better(scores, path, higher_is_better)
    used = {text_id, domain, *counts, *columns}
    ignored = [name for name in table.column_names if name not in used]
    if ignored:
        logging.warning("%s: columns ignored: %s", path, ", ".join(ignored))
    provenance = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ignored_columns": ignored,
        **sense,
    }
    unknown = np.zeros(len(ids), np.int64)
    num_tokens = None
    if "num_tokens" in counts:
        num_tokens = np.tile(counts["num_tokens"], (len(records), 1))
    complete = _complete(scores, path, records)
    texts = corpus.Corpus(
        ids=tuple(ids),
        domains=tuple(domains),
        num_bytes=counts.get("num_bytes", unknown),
        num_chars=counts.get("num_chars", unknown),
        sha256=("",) * len(ids),
        texts=None,
    )
    return ScoreTable(
        models=tuple(
            dataclasses.replace(m, provenance={**provenance, **m.provenance})
            for m in records
        ),
        texts=texts.select(np.flatnonzero(complete)),
        nll_nats=scores[:, complete],
        num_tokens=None if num_tokens is None else num_tokens[:, complete],
        num_scored=None if num_tokens is None else num_tokens[:, complete],
    )


def _chosen(
    records: list[ScoredModel],
    only_models: Sequence[str] | None,
    path: str | os.PathLike[str],
) -> list[ScoredModel]:
    """Returns the models of those names, in the order of the names."""
    if only_models is None:
        return records
    by_name = {model.name: model for model in records}
    for name in only_models:
        if name not in by_name:
            raise ValueError(
                f"{path}: no model {name!r}; it has {', '.join(by_name)}"
            )
    return [by_name[name] for name in only_models]


def _columns_of_models(
    table: pa.Table, path: pathlib.Path, records: list[ScoredModel]
) -> list[str]:
    """Returns the name of each model's column.

    Where there is no column of a model's full name, the one of the same name
    without organisation counts, if it is the only one.
    """
    by_last_part: dict[str, set[str]] = {}
    for name in table.column_names:
        by_last_part.setdefault(_last_part(name), set()).add(name)
    columns, near = [], []
    for model in records:
        found = {model.name} & set(table.column_names)
        found = found or by_last_part.get(_last_part(model.name), set())
        if len(found) != 1:
            _refuse_long_format(table, path, records)
            # Says that there is none, and which there are.
            tables.column(table, path, model.name)
        (column,) = found
        columns.append(column)
        if column != model.name:
            near.append(f"{column} for {model.name}")
    if near:
        logging.warning("%s: columns taken: %s", path, ", ".join(near))
    return columns


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _refuse_long_format(
    table: pa.Table, path: pathlib.Path, records: list[ScoredModel]
) -> None:
    """Raises an error if models stand below one another in a column."""
    names = {_last_part(model.name) for model in records}
    for name in table.column_names:
        column = table.column(name)
        if cells.is_number(column.type) or pa.types.is_nested(column.type):
            continue
        there = {_last_part(cell) for cell in cells.strings(column, path, name)}
        if names & there:
            raise ValueError(
                f"{path}: the long format, one row a text and model (column "
                f"{name!r} holds models); give the wide one, one row a text "
                "and one column a model, as a pivot table makes it"
            )


def _text_ids(table: pa.Table, path: pathlib.Path, name: str) -> list[str]:
    ids = cells.strings(tables.column(table, path, name), path, name)
    first: dict[str, int] = {}
    for row, text_id in enumerate(ids, start=1):
        if not text_id:
            raise ValueError(f"{cells.where(path, row, name)}: empty")
        if first.setdefault(text_id, row) != row:
            raise ValueError(
                f"{cells.where(path, row, name)}: text id {text_id!r} stands "
                f"in row {first[text_id]} already; name the column whose cells "
                "all differ (--text_id)"
            )
    return ids


def _counts(table: pa.Table, path: pathlib.Path, name: str) -> np.ndarray:
    values = cells.numbers(tables.column(table, path, name), path, name)
    for i in np.flatnonzero((values < 1) | (values != np.floor(values))):
        raise ValueError(
            f"{cells.where(path, i + 1, name)}: {values[i]:g} is not a count "
            "of 1 or more"
        )
    return values.astype(np.int64)


def _scores(
    table: pa.Table, path: pathlib.Path, name: str, empty: bool
) -> np.ndarray:
    """Returns a model's column; where there are several, they must be equal."""
    first = tables.column_index(table, path, name)

    def of_column(i: int) -> np.ndarray:
        return cells.numbers(
            table.column(int(i)), path, name, empty=empty, cure=_CURE
        )

    values = of_column(first)
    for i in np.flatnonzero(np.array(table.column_names) == name)[1:]:
        others = of_column(i)
        same = (others == values) | (np.isnan(others) & np.isnan(values))
        for row in np.flatnonzero(~same):
            raise ValueError(
                f"{path}, row {row + 1}: the columns of the name {name!r} "
                "differ; rename one"
            )
    return values


def _lower_is_better(
    scores: np.ndarray, path: pathlib.Path, higher_is_better: bool | None
) -> tuple[np.ndarray, dict[str, str]]:
    """Returns scores of which lower is better, [M, X], and what was done."""
    known = scores[np.isfinite(scores)]
    if higher_is_better:
        if known.size and known.min() >= 0 and known.max() <= 1:
            return 1 - scores, {"losses": "1 - score"}
        return -scores, {"losses": "-score"}
    if higher_is_better is None and np.mean(known < 0) > 0.5:
        raise ValueError(
            f"{path}: most scores are negative, as log-likelihoods are, of "
            "which higher is better; say so with --higher_is_better, or "
            "--nohigher_is_better if lower is better all the same"
        )
    return scores, {}


def _complete(
    scores: np.ndarray, path: pathlib.Path, records: list[ScoredModel]
) -> np.ndarray:
    """Returns which texts have a score of every model, bool [X]."""
    missing = np.isnan(scores)
    complete = ~missing.any(axis=0)
    if not complete.any():
        worst = int(missing.sum(axis=1).argmax())
        raise ValueError(
            f"{path}: no text has a score of every model; "
            f"{records[worst].name!r} lacks most ({missing[worst].sum()} of "
            f"{len(complete)}); --only_models leaves models out"
        )
    if not complete.all():
        logging.warning(
            "%s: %d of %d texts lack a score of some model and are left out",
            path,
            (~complete).sum(),
            len(complete),
        )
    return complete
