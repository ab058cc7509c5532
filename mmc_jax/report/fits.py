"""Points of cost and loss in; their laws out, as numbers and a figure."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from matplotlib.figure import Figure

from mmc_jax import law
from mmc_jax.report import figures, result

Points = tuple[np.ndarray, np.ndarray]


def read_points(path: str | os.PathLike[str]) -> dict[str, Points]:
    """Returns (costs, losses) of each group of points, float64 [X] each.

    Args:
      path: A result folder with arrays.npz (groups `single models` and `pool`),
        or a CSV file with columns `cost`, `loss` and perhaps `group`.

    Raises:
      FileNotFoundError: Neither is there.
      ValueError: A column is missing or a cell is no number.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        file = path / "arrays.npz"
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: missing; give a folder that trace_frontier wrote"
            )
        with np.load(file, allow_pickle=False) as arrays:
            return {
                "single models": (
                    arrays["single_costs"],
                    arrays["single_losses"],
                ),
                "pool": (arrays["frontier_costs"], arrays["frontier_losses"]),
            }
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    try:
        table = pyarrow.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not readable as CSV ({error})") from error
    columns = {}
    for name in ("cost", "loss"):
        if name not in table.column_names:
            raise ValueError(
                f"{path}: no column {name!r}; it has "
                f"{', '.join(map(repr, table.column_names))}"
            )
        try:
            columns[name] = table[name].cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}, column {name!r}: {error}") from error
    groups = np.full(table.num_rows, "points")
    if "group" in table.column_names:
        groups = np.array(table["group"].cast(pa.string()).to_pylist())
    return {
        str(name): (
            columns["cost"][groups == name],
            columns["loss"][groups == name],
        )
        for name in dict.fromkeys(groups)
    }


def write_fits(
    groups: Mapping[str, Points],
    fits: Mapping[str, law.Fit],
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
) -> str:
    """Writes the fits as a result folder and returns them as a table in words.

    Args:
      groups: As `read_points` returns them.
      fits: The law of each group.
      out: The result folder.
      flags: What the program was called with.
    """
    path = result.write_result(
        out,
        {"laws": {name: result.law_numbers(fit) for name, fit in fits.items()}},
        flags=flags,
        figures={"laws": _figure(groups, fits)},
    )
    rows = [f"{'group':<16}{'A':>12}{'alpha':>9}{'L_inf':>9}{'R^2':>9}{'n':>6}"]
    for name, fit in fits.items():
        rows.append(
            f"{name:<16}{fit.A:12.5g}{fit.alpha:9.4f}{fit.L_inf:9.4f}"
            f"{fit.r_squared:9.4f}{fit.num_points:6d}"
            + ("" if fit.converged else "  did not converge")
        )
    return "\n".join([*rows, "", f"numbers: {path}"])


def _figure(
    groups: Mapping[str, Points], fits: Mapping[str, law.Fit]
) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, (costs, losses)) in enumerate(groups.items()):
        color = figures.COLORS[i % len(figures.COLORS)]
        axes.scatter(costs, losses, s=12, color=color)
        figures.draw_law(axes, fits[name], name, costs, losses.min(), color)
    figures.label_laws(axes, "Cost", "Loss")
    axes.set_title("Points and their laws, L(P) = A P^-alpha + L_inf")
    return figure
