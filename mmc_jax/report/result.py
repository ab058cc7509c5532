"""Result folders: result.json, arrays beside it, figures as SVG and PNG."""

import importlib.metadata
import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from mmc_jax import law

_PACKAGES = ("mmc_jax", "jax", "flax", "optax", "transformers", "numpy")
_DOTS_PER_INCH = 160


def write_result(
    folder: str | os.PathLike[str],
    numbers: Mapping[str, Any],
    *,
    flags: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> pathlib.Path:
    """Writes a result folder and returns the path of its result.json.

    Args:
      folder: Is made if it is missing; files of the same names are replaced.
      numbers: What was found, as JSON; units in the names.
      flags: What the program was called with.
      arrays: Written to arrays.npz, without pickles.
      figures: Each written as <name>.svg and <name>.png.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (figures or {}).items():
        figure.savefig(folder / f"{name}.svg")
        figure.savefig(folder / f"{name}.png", dpi=_DOTS_PER_INCH)
    if arrays:
        np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
    content = {
        "flags": dict(flags),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "device": {
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "cpu_cores": os.cpu_count(),
        },
        **numbers,
    }
    # Last: a folder that holds it is complete.
    path = folder / "result.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    partial.rename(path)
    return path


def law_numbers(fit: law.Fit) -> dict[str, Any]:
    """Returns a fitted law as JSON."""
    return {
        # Beyond float64 for a steep law at large P; the next two never are.
        "A": fit.A if math.isfinite(fit.A) else None,
        "A_at_scale": fit.A_at_scale,
        "scale": fit.scale,
        "alpha": fit.alpha,
        "L_inf": fit.L_inf,
        "objective": fit.objective,
        "converged": bool(fit.converged),
        "r_squared": fit.r_squared,
        "num_points": fit.num_points,
        "huber_delta": fit.delta,
    }


def plain(numbers: Any) -> Any:
    """Returns numbers as JSON holds them; what is not finite becomes None."""
    match numbers:
        case law.Interval():
            return plain(numbers._asdict())
        case dict():
            return {key: plain(value) for key, value in numbers.items()}
        case list() | tuple():
            return [plain(value) for value in numbers]
        case np.ndarray() | np.generic():
            return plain(numbers.tolist())
        case float() if not math.isfinite(numbers):
            return None
    return numbers
