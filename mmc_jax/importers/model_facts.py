"""What a study knows of models whose scores others made."""

import dataclasses
import pathlib

import numpy as np
from absl import logging

from mmc_jax.importers import cells, tables
from mmc_jax.scores import ScoredModel

_FACTS = ("model", "family", "kind")


def read_models(path: pathlib.Path) -> list[ScoredModel]:
    """Returns the models of a file of facts, one row a model.

    The provenance of a model that stands there twice holds all its families.

    Args:
      path: A table with a column `model`, `family` and `kind` if wanted, and
        any number of costs; "13B" is a number there.

    Raises:
      ValueError: A cell that is no cost, or a model twice with other costs; the
        message names it.
    """
    table = tables.read_table(path)
    for i, name in enumerate(table.column_names):
        if name in table.column_names[:i]:
            raise ValueError(f"{path}: there are two columns {name!r}")
    names = [
        name.strip()
        for name in cells.strings(
            tables.column(table, path, "model"), path, "model"
        )
    ]
    facts = {
        name: cells.strings(table.column(name), path, name)
        for name in ("family", "kind")
        if name in table.column_names
    }
    costs, ignored = {}, []
    for name in table.column_names:
        if name in _FACTS:
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
        costs[name] = values
    if ignored:
        logging.warning("%s: columns ignored: %s", path, ", ".join(ignored))
    models: dict[str, ScoredModel] = {}
    for i, name in enumerate(names):
        if not name:
            raise ValueError(f"{cells.where(path, i + 1, 'model')}: empty")
        kind = facts["kind"][i] if "kind" in facts else ""
        if kind not in ("", "base", "instruct"):
            raise ValueError(
                f"{cells.where(path, i + 1, 'kind')}: {kind!r} is neither base "
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
                f"{cells.where(path, i + 1, 'model')}: {name!r} is there "
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
