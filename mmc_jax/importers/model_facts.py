"""What a study knows of models whose scores others made. M models."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
from absl import logging

from mmc_jax.dates import date_span
from mmc_jax.importers.columns import cells, read_columns
from mmc_jax.scores import ScoredModel, columns

_SIZE = "num_params"
# No published model has so few parameters, and none has so many billions.
_FEW = 10_000
_FACTS = ("model", "family", "kind", columns.RELEASE_DATE)


def read_models(path: str | os.PathLike[str]) -> list[ScoredModel]:
    """Returns the models of a file of facts, one row a model.

    The provenance of a model that stands there twice holds all its families.

    Args:
      path: File of columns with a column `model`, `family`, `kind` and
        `release_date` if wanted, and any number of costs; "13B" is a number
        there. The date becomes part of the provenance.

    Raises:
      FileNotFoundError: The file is not there.
      ValueError: A cell that is no cost or date, or a model twice with other
        costs; the message names it.
    """
    path = pathlib.Path(path)
    table = read_columns(path, text_columns=[*_FACTS, columns.PROVENANCE])
    names, facts = _facts(table, path)
    table, provenance = _provenance(table, path)
    costs = _costs(table, path)
    models: dict[str, ScoredModel] = {}
    for i, name in enumerate(names):
        model = ScoredModel(
            name=name,
            family=facts["family"][i],
            kind=facts["kind"][i] or "base",
            costs={
                cost: float(values[i])
                for cost, values in costs.items()
                if not np.isnan(values[i])
            },
            provenance={**provenance[i], **_release(facts, i)},
        )
        if name not in models:
            models[name] = model
        elif model.costs != models[name].costs:
            raise ValueError(
                f"{cells.where(path, i + 1, 'model')}: {name!r} is there "
                "already, with other costs; keep one"
            )
        else:
            first = models[name]
            listed = first.provenance.get("families", [first.family])
            models[name] = dataclasses.replace(
                first,
                provenance={
                    **first.provenance,
                    "families": [*listed, model.family],
                },
            )
            logging.warning(
                "%s, row %d: %s is there twice; read once, as of the family %r",
                path,
                i + 1,
                name,
                models[name].family,
            )
    return list(models.values())


def _facts(
    table: pa.Table, path: pathlib.Path
) -> tuple[list[str], dict[str, list[str]]]:
    """Returns the models' names, and families and kinds, [M] each."""
    there = table.column_names
    cells.refuse_twice(path, there, there)
    if "model" not in there:
        raise ValueError(
            f"{path}: no column 'model'; it has {', '.join(map(repr, there))}"
        )
    read = {
        name: [
            cell.strip()
            for cell in cells.strings(table.column(name), path, name)
        ]
        if name in there
        else [""] * table.num_rows
        for name in _FACTS
    }
    for row, (name, kind) in enumerate(
        zip(read["model"], read["kind"], strict=True), start=1
    ):
        if not name:
            raise ValueError(f"{cells.where(path, row, 'model')}: empty")
        if kind not in ("", "base", "instruct"):
            raise ValueError(
                f"{cells.where(path, row, 'kind')}: {kind!r} is neither base "
                "nor instruct"
            )
        _check_date(read[columns.RELEASE_DATE][row - 1], path, row)
    return read.pop("model"), read


def _check_date(cell: str, path: pathlib.Path, row: int) -> None:
    """Raises the error of a cell that is neither a date nor empty."""
    try:
        if cell:
            date_span(cell)
    except ValueError as error:
        raise ValueError(
            f"{cells.where(path, row, columns.RELEASE_DATE)}: {error}"
        ) from error


def _release(facts: dict[str, list[str]], row: int) -> dict[str, str]:
    """Returns the date of a model's release under its name, where known."""
    date = facts[columns.RELEASE_DATE][row]
    return {columns.RELEASE_DATE: date} if date else {}


def _provenance(
    table: pa.Table, path: pathlib.Path
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Returns what an export knows of each model besides, and the rest.

    A column of that name which holds anything but JSON objects is another's.
    """
    nothing: list[dict[str, Any]] = [{}] * table.num_rows
    if columns.PROVENANCE not in table.column_names:
        return table, nothing
    column = table.column(columns.PROVENANCE)
    try:
        read = [
            json.loads(cell)
            for cell in cells.strings(column, path, columns.PROVENANCE)
        ]
    except (ValueError, RecursionError):
        return table, nothing
    if not all(isinstance(of_model, dict) for of_model in read):
        return table, nothing
    table = table.drop_columns(columns.PROVENANCE)
    if columns.CHARS_PER_TOKEN in table.column_names:
        name = columns.CHARS_PER_TOKEN
        constants = cells.numbers(table.column(name), path, name)
        for of_model, constant in zip(read, constants.tolist(), strict=True):
            of_model[name] = constant
        table = table.drop_columns(name)
    return table, read


def _costs(table: pa.Table, path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns each column of numbers, float64 [M], NaN where it is empty."""
    costs, ignored = {}, []
    for name in table.column_names:
        if name in _FACTS or cells.ROW_NUMBERS.fullmatch(name):
            continue
        column = table.column(name)
        if not name.startswith("num_") and cells.is_text(column):
            ignored.append(name)
            continue
        values = cells.numbers(column, path, name, empty=True, sizes=True)
        for i in np.flatnonzero(values < 0):
            raise ValueError(
                f"{cells.where(path, i + 1, name)}: {values[i]:g} is negative; "
                "costs add up over a subset"
            )
        if name == _SIZE and 0 < np.nanmax(values, initial=0) < _FEW:
            logging.warning(
                "%s, column %r: up to %g parameters; billions are written as "
                "7B or 7e9",
                path,
                name,
                np.nanmax(values),
            )
        costs[name] = values
    if ignored:
        logging.warning("%s: columns ignored: %s", path, ", ".join(ignored))
    return costs
