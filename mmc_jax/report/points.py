"""Points of cost and loss from files.

X points.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mmc_jax import limits
from mmc_jax.importers.columns import cells
from mmc_jax.report import result

Points = tuple[np.ndarray, np.ndarray]


def read_points(path: str | os.PathLike[str]) -> dict[str, Points]:
    """Returns costs and losses of each group of points, float64 [X] each.

    Args:
      path: Result folder that trace_frontier wrote (groups `single models` and
        `pool`), or a CSV file with columns `cost`, `loss` and perhaps `group`.

    Raises:
      FileNotFoundError: Neither is there.
      ValueError: A column is missing, a cell is empty or no number, there are
        no points, or the folder is incomplete or of another program.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        try:
            arrays = result.read_arrays(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; give a folder that trace_frontier wrote"
            ) from error
        return {
            "single models": _points(path, arrays, "single"),
            "pool": _points(path, arrays, "frontier"),
        }
    columns = read_columns(path, ("cost", "loss"), ("group",))
    groups = columns.get("group", np.full(len(columns["cost"]), "points"))
    return {
        str(name): (
            columns["cost"][groups == name],
            columns["loss"][groups == name],
        )
        for name in dict.fromkeys(groups)
    }


def _points(
    path: pathlib.Path, arrays: dict[str, np.ndarray], group: str
) -> Points:
    """Returns the points of a result's arrays, checked: float64 [X] each."""
    found = [arrays.get(f"{group}_{name}") for name in ("costs", "losses")]
    if (
        any(
            a is None or a.ndim != 1 or a.dtype.kind not in "fiu" for a in found
        )
        or len(found[0]) != len(found[1])
        or not len(found[0])
        or not np.isfinite(found).all()
    ):
        raise ValueError(
            f"{path}: its arrays hold no points, {group}_costs and "
            f"{group}_losses; give a folder that trace_frontier wrote"
        )
    costs, losses = (a.astype(np.float64) for a in found)
    return costs, losses


def read_columns(
    path: str | os.PathLike[str],
    numbers: Sequence[str],
    names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Returns columns of a CSV file: float64 [X], or strings [X].

    Args:
      path: CSV file with a header.
      numbers: Names of the columns of numbers; all are needed.
      names: Names of the columns of strings; those that the file does not have
        are left out.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: A column is missing or there twice, a cell is empty or no
        number, or the file has no rows.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    limits.check_file("points", path)
    try:
        table = pyarrow.csv.read_csv(path)
        there = table.column_names
    # A name that is not in UTF-8 is noticed when it is asked.
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as CSV ({error})") from error
    for name in numbers:
        if name not in there:
            raise ValueError(
                f"{path}: no column {name!r}; it has "
                f"{', '.join(map(repr, there))}"
            )
    cells.refuse_twice(path, there, [*numbers, *names])
    if not table.num_rows:
        raise ValueError(f"{path}: a header and no rows: there are no points")
    names = [name for name in names if name in there]
    for name in (*numbers, *names):
        empty = table[name].is_null().to_numpy()
        if empty.any():
            raise ValueError(
                f"{path}, column {name!r}: no value in line "
                f"{int(empty.argmax()) + 2}; take the line out, or give one"
            )
    columns = {
        name: cells.numbers(table[name], path, name, sizes=True)
        for name in numbers
    }
    for name in names:
        columns[name] = np.array(cells.strings(table[name], path, name))
    return columns
