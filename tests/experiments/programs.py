"""Programs as tests run them: as a user does, or in their own process."""

import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import ModuleType

import numpy as np

_ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns what `python -m` with the arguments says and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )


def imported(name: str) -> ModuleType:
    """Returns the program's module; others may be imported beside it."""
    return importlib.import_module(f"experiments.{name}")


def csv_files(
    losses: np.ndarray,
    costs: Sequence[int],
    **columns: Sequence[str | int],
) -> pathlib.Path:
    """Returns a folder with scores.csv and models.csv, as users have them.

    Models m0, m1, ... are of families x and y, texts t0, t1, ... of domains a
    and b (column `kind`), by turns.

    Args:
      losses: [M, X].
      costs: [M], num_params.
      **columns: [M] each, further facts of the models.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    names = [f"m{m}" for m in range(len(losses))]
    scores = [["id", "kind", *names]]
    scores += [
        [f"t{x}", "ab"[x % 2], *row] for x, row in enumerate(losses.T.tolist())
    ]
    models = [["model", "family", "num_params", *columns]]
    models += [
        [name, "xy"[m % 2], int(costs[m]), *(c[m] for c in columns.values())]
        for m, name in enumerate(names)
    ]
    for name, rows in (("scores", scores), ("models", models)):
        lines = (",".join(map(str, row)) for row in rows)
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return folder
