"""RouterBench (github.com/withmartian/routerbench, arXiv 2403.12031).

A wide table: `sample_id`, `prompt`, `eval_name`, for each model a column of its
name (its score between 0 and 1), `<model>|total_cost` (US dollars) and
`<model>|model_response`. The published file is a pickle of pandas, which runs
code when it is read: it is refused, and read as Parquet or CSV. M models, X
texts.
"""

import pathlib

import numpy as np
from absl import logging

from mmc_jax.importers import prompts
from mmc_jax.importers.columns import cells, header, read_columns
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_COST = "|total_cost"
_RESPONSE = "|model_response"
_TEXT_COLUMNS = ("sample_id", "prompt", "eval_name")
_PICKLES = (".pkl", ".pickle")


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a path is RouterBench's table, or the pickle of it."""
    if path.suffix.lower() in _PICKLES:
        return path.name.lower().startswith("routerbench")
    names = header(path)
    return {"sample_id", "eval_name"} <= set(names) and bool(_models(names))


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns scores and costs of RouterBench; its tasks are the domains.

    Args:
      path: The table as Parquet or CSV.
      options: Whether prompts are kept.

    Raises:
      ValueError: The file is a pickle, or a column is missing.
    """
    if path.suffix.lower() in _PICKLES:
        raise ValueError(
            f"{path}: a pickle of pandas runs code when it is read; if you "
            'trust it: python -c "import pandas; '
            f"pandas.read_pickle('{path.name}').to_parquet("
            f"'{path.stem}.parquet')\""
        )
    names = header(path)
    models = _models(names)
    if not models:
        raise ValueError(f"{path}: no columns '<model>{_COST}'")
    _say_ignored(path, names, models)
    table = read_columns(
        path,
        text_columns=_TEXT_COLUMNS,
        only_columns=[
            *_TEXT_COLUMNS,
            *models,
            *(model + _COST for model in models),
        ],
    )
    for name in _TEXT_COLUMNS:
        if name not in table.column_names:
            raise ValueError(f"{path}: no column {name!r}")

    def numbers(suffix: str) -> np.ndarray:
        return np.stack(
            [
                cells.numbers(
                    table.column(model + suffix),
                    path,
                    model + suffix,
                    empty=True,
                )
                for model in models
            ]
        )

    ids, said, tasks = (
        cells.strings(table.column(name), path, name) for name in _TEXT_COLUMNS
    )
    values, costs = numbers(""), numbers(_COST)
    # A cell without a score is refused or left out later.
    unknown = np.isnan(costs) & ~np.isnan(values)
    for m, x in np.argwhere(costs < 0):
        raise ValueError(
            f"{cells.where(path, x + 1, models[m] + _COST)}: {costs[m, x]:g} "
            "is below 0"
        )
    if unknown.any():
        m, x = np.unravel_index(np.argmax(unknown), unknown.shape)
        logging.warning(
            "%s: no cost; costs of calls are left out",
            cells.where(path, x + 1, models[m] + _COST),
        )
    return Imported(
        path=path,
        models=tuple(ScoredModel(model) for model in models),
        text_ids=tuple(ids),
        values=values,
        unit="score",
        domains=tuple(tasks),
        query_costs=None if unknown.any() else costs,
        provenance={
            "file": path.name,
            "source": "RouterBench",
            "query_costs": "US dollars a call",
        },
        where=lambda m, x: cells.where(path, x + 1, models[m]),
        **prompts.facts([prompts.joined_turns(cell) for cell in said]),
    )


def _say_ignored(
    path: pathlib.Path, names: list[str], models: list[str]
) -> None:
    """Warns of columns that are neither of texts nor of a priced model."""
    ignored = [
        name
        for name in names
        if name not in (*_TEXT_COLUMNS, *models)
        and not name.endswith((_COST, _RESPONSE))
    ]
    if ignored:
        logging.warning(
            "%s: columns ignored, for no column '<name>%s' is there: %s",
            path,
            _COST,
            ", ".join(ignored),
        )


def _models(names: list[str]) -> list[str]:
    """Returns the columns of models, in their order."""
    priced = {
        name.removesuffix(_COST) for name in names if name.endswith(_COST)
    }
    return [name for name in names if name in priced]
