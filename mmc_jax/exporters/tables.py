"""A score table as one file of rows and columns, and a file of its models.

Wide: one row a text, one column a model. Long: one row a text and model. What a
table knows besides stands in further columns (`scores.columns`). Numbers are
written so that reading gives the same bits. M models, X texts.
"""

import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from mmc_jax import at_once
from mmc_jax.scores import ScoreTable, columns

LAYOUTS = ("wide", "long")
# Names that together say what layout a file has.
_PAIRS = ({"model", "value"}, {"models", "values"})
_PACKED = {".gz": "gzip", ".zst": "zstd"}
# Rows that are turned into Python objects at a time.
_CHUNK = 1024


class Written(NamedTuple):
    """The files of an export.

    Attributes:
      scores: Path of the file of scores.
      models: Path of the file of facts about the models.
      value: What the numbers are, as `--value` of an import says it.
    """

    scores: pathlib.Path
    models: pathlib.Path
    value: str


def write(
    table: ScoreTable,
    path: str | os.PathLike[str],
    *,
    layout: str = "wide",
) -> Written:
    """Writes a table, and its models beside it in `<name>.models.csv`.

    An import of both is the same table: scores, counts, ids and facts, to the
    bit. Only the provenance has more entries. Texts that the table keeps go
    into a wide file that is no `.npz`.

    Args:
      table: The score table.
      path: File to write: `.csv`, `.tsv` (both also `.gz` or `.zst`),
        `.parquet`, `.jsonl` or `.npz`.
      layout: "wide" or "long".

    Raises:
      OSError: The file cannot be written, as on a full disk; the message names
        it. What was there before stays.
      ValueError: Another layout or kind of file, or a name that the file cannot
        hold.
    """
    path = pathlib.Path(path)
    if layout not in LAYOUTS:
        raise ValueError(
            f"no layout {layout!r}; there are {', '.join(LAYOUTS)}"
        )
    writer = _writer(path)
    _check_names(table)
    rows = _wide(table) if layout == "wide" else _long(table)
    if path.suffix.lower() == ".npz" and columns.TEXT in rows.column_names:
        rows = rows.drop_columns(columns.TEXT)
    models = path.with_name(f"{_stem(path)}.models.csv")
    # Both are of one table, also if another is written meanwhile.
    with at_once.alone(path.parent):
        _placed(
            models, lambda file: pyarrow.csv.write_csv(_models(table), file)
        )
        _placed(path, lambda file: writer(rows, file))
    return Written(path, models, table.unit or "raw")


def _stem(path: pathlib.Path) -> str:
    """Returns a file's name without its kind and how it is packed."""
    name = path.name
    if path.suffix.lower() in _PACKED:
        name = path.stem
    return name.rpartition(".")[0]


def _check_names(table: ScoreTable) -> None:
    names = [model.name for model in table.models]
    taken = {
        columns.TEXT_ID,
        columns.DOMAIN,
        columns.SHA256,
        columns.TEXT,
        columns.DATE,
        *columns.COUNTS,
        *columns.PER_MODEL.values(),
    }
    for kind, found in (("model", names), ("text", table.texts.ids)):
        for name in found:
            if "\0" in name:
                raise ValueError(
                    f"the {kind} {name!r} holds a character of the code 0, at "
                    "which files of columns end a name"
                )
            if not name or name != name.strip():
                raise ValueError(
                    f"the {kind} {name!r} has blanks around its name, which "
                    "files of columns do not keep"
                )
    for pair in _PAIRS:
        if pair <= set(names):
            raise ValueError(
                f"models are called {' and '.join(sorted(pair))}, as the "
                "columns of a table of another layout are"
            )
    for name in names:
        if name in taken or any(
            name.startswith(columns.of_model(column, ""))
            for column in columns.PER_MODEL.values()
        ):
            raise ValueError(
                f"the model {name!r} is called as a column of texts is"
            )


def _of_texts(table: ScoreTable) -> dict[str, pa.Array]:
    """Returns the columns that hold a value a text, [X] each."""
    texts = table.texts
    found = {columns.TEXT_ID: pa.array(texts.ids, pa.string())}
    if any(texts.domains):
        found[columns.DOMAIN] = pa.array(texts.domains, pa.string())
    for name in columns.COUNTS:
        if (getattr(texts, name) > 0).all():
            found[name] = pa.array(getattr(texts, name), pa.int64())
    if any(texts.sha256):
        found[columns.SHA256] = pa.array(texts.sha256, pa.string())
    if texts.dates is not None:
        found[columns.DATE] = pa.array(texts.dates, pa.string())
    if texts.texts is not None:
        found[columns.TEXT] = pa.array(texts.texts, pa.string())
    return found


def _of_cells(table: ScoreTable) -> dict[str, np.ndarray]:
    """Returns what is known a model and text besides scores, [M, X] each."""
    return {
        column: _written(getattr(table, field))
        for field, column in columns.PER_MODEL.items()
        if getattr(table, field) is not None
    }


def _written(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64) if values.dtype == bool else values


def _wide(table: ScoreTable) -> pa.Table:
    found = _of_texts(table)
    for column, values in _of_cells(table).items():
        for m, model in enumerate(table.models):
            found[columns.of_model(column, model.name)] = pa.array(values[m])
    for m, model in enumerate(table.models):
        found[model.name] = pa.array(table.nll_nats[m], pa.float64())
    return pa.table(found)


def _long(table: ScoreTable) -> pa.Table:
    num_models, num_texts = table.nll_nats.shape
    names = pa.array([model.name for model in table.models], pa.string())
    of_model = np.repeat(np.arange(num_models), num_texts)
    of_text = np.tile(np.arange(num_texts), num_models)
    texts = _of_texts(table)
    texts.pop(columns.TEXT, None)  # It would stand there once a model.
    found = {
        columns.TEXT_ID: texts.pop(columns.TEXT_ID).take(of_text),
        "model": names.take(of_model),
        "value": pa.array(table.nll_nats.reshape(-1), pa.float64()),
    }
    found |= {
        column: pa.array(values.reshape(-1))
        for column, values in _of_cells(table).items()
    }
    found |= {name: array.take(of_text) for name, array in texts.items()}
    return pa.table(found)


def _models(table: ScoreTable) -> pa.Table:
    """Returns the facts of the models, a row each."""
    models = table.models
    costs = dict.fromkeys(cost for model in models for cost in model.costs)
    found = {
        "model": pa.array([model.name for model in models]),
        "family": pa.array([model.family for model in models]),
        "kind": pa.array([model.kind for model in models]),
        **{
            cost: pa.array(
                [model.costs.get(cost) for model in models], pa.float64()
            )
            for cost in costs
        },
        columns.PROVENANCE: pa.array(
            [json.dumps(model.provenance, sort_keys=True) for model in models]
        ),
    }
    if table.chars_per_token is not None:
        found[columns.CHARS_PER_TOKEN] = pa.array(
            [float(table.chars_per_token)] * len(models)
        )
    return pa.table(found)


def _writer(path: pathlib.Path) -> Callable[[pa.Table, pa.NativeFile], None]:
    """Returns what writes rows into a file of the path's kind."""
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    if name.endswith(".csv"):
        return _write_delimited
    if name.endswith(".tsv"):
        return lambda rows, file: _write_delimited(rows, file, "\t")
    if name.endswith(".jsonl"):
        return _write_json_lines
    if name == path.name.lower():
        if name.endswith(".parquet"):
            return pyarrow.parquet.write_table
        if name.endswith(".npz"):
            return _write_arrays
    raise ValueError(
        f"{path}: give a .csv, .tsv, .jsonl (all also .gz or .zst), .parquet "
        "or .npz file"
    )


def _write_delimited(
    rows: pa.Table, file: pa.NativeFile, delimiter: str = ","
) -> None:
    for i, name in enumerate(rows.column_names):
        column = rows.column(i)
        if not pa.types.is_floating(column.type):
            continue
        values = column.to_numpy()
        # Arrow writes -0, which reads as a whole number without a sign.
        if (np.signbit(values) & (values == 0)).any():
            text = pa.array(map(repr, values.tolist()), pa.string())
            rows = rows.set_column(i, name, text)
    options = pyarrow.csv.WriteOptions(delimiter=delimiter)
    pyarrow.csv.write_csv(rows, file, options)


def _write_json_lines(rows: pa.Table, file: pa.NativeFile) -> None:
    for batch in rows.to_batches(_CHUNK):
        lines = (json.dumps(row) for row in batch.to_pylist())
        file.write(("\n".join(lines) + "\n").encode())


def _write_arrays(rows: pa.Table, file: pa.NativeFile) -> None:
    # Not np.savez, for which a column may not be called "file".
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in _arrays(rows):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _arrays(rows: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the columns as arrays; strings have a fixed width there."""
    for name in rows.column_names:
        column = rows.column(name)
        if pa.types.is_string(column.type):
            yield name, np.array(column.to_pylist(), str)
        else:
            yield name, column.to_numpy()


def _placed(
    path: pathlib.Path, write_to: Callable[[pa.NativeFile], None]
) -> None:
    """Writes a file that is complete as soon as it has its name."""
    packed = _PACKED.get(path.suffix.lower())
    with (
        at_once.replaced(path) as new,
        pa.output_stream(str(new), compression=packed) as file,
    ):
        write_to(file)
