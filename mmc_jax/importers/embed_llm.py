"""EmbedLLM (github.com/richardzhuang0412/EmbedLLM, arXiv 2410.02223).

A long table: `prompt_id`, `model_name` (or `model_id` alone), `label` (1 if the
answer is right), and perhaps `prompt` and `category`. There are no costs.
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa

from mmc_jax.importers import grid, prompts
from mmc_jax.importers.columns import cells, header, read_columns
from mmc_jax.importers.frame import Imported, Options

_NEEDED = frozenset(("prompt_id", "label"))


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file is a table of EmbedLLM."""
    names = set(header(path))
    return _NEEDED < names and bool({"model_name", "model_id"} & names)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the labels of a table of EmbedLLM; its categories are domains.

    Args:
      path: `train.csv`, `val.csv` or `test.csv`, or a file of other kinds with
        the same columns.
      options: Whether prompts are kept; the column is not read otherwise.

    Raises:
      ValueError: A column is missing, a model has two labels for a prompt, or
        (where prompts are kept) an id has two prompts.
    """
    names = header(path)
    model = "model_name" if "model_name" in names else "model_id"
    options = dataclasses.replace(
        options,
        text_id="prompt_id",
        model_column=model,
        value_column="label",
        domain="category" if "category" in names else None,
    )
    wanted = ["prompt_id", model, "label", "category"]
    if options.keep_texts:
        wanted.append("prompt")
    table = read_columns(
        path, text_columns=["prompt_id", model, "prompt"], only_columns=wanted
    )
    for name in ("prompt_id", model, "label"):
        if name not in table.column_names:
            raise ValueError(f"{path}: no column {name!r}")
    table = table.select([n for n in wanted if n in table.column_names])
    kept = {}
    if options.keep_texts and "prompt" in table.column_names:
        kept = prompts.facts(_prompts(table, path))
        table = table.drop_columns("prompt")
    imported = grid.imported(table, path, options)
    return dataclasses.replace(
        imported,
        unit="score",
        provenance={**imported.provenance, "source": "EmbedLLM"},
        **kept,
    )


def _prompts(table: pa.Table, path: pathlib.Path) -> list[str]:
    """Returns the prompt of each text, in the order of their first rows."""
    ids = cells.texts(table.column("prompt_id"), path, "prompt_id")
    encoded = ids.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    _, rows = np.unique(codes, return_index=True)
    said = cells.texts(table.column("prompt"), path, "prompt")
    said = said.combine_chunks().dictionary_encode()
    of_row = said.indices.to_numpy()
    for row in np.flatnonzero(of_row != of_row[rows][codes]):
        raise ValueError(
            f"{cells.where(path, row + 1, 'prompt')}: another prompt than in "
            f"row {rows[codes[row]] + 1} of the same prompt_id"
        )
    return said.dictionary.take(pa.array(of_row[rows])).to_pylist()
