"""A published law fitted again to published points."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import law
from mmc_jax.report.points import read_columns
from mmc_jax.report.sections import Section, write_sections

# FLOPs of training a parameter on a token. Source: Hoffmann et al. 2022.
_FLOPS = 6


def chinchilla_points(
    path: str | os.PathLike[str], num_dropped: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns parameters N, tokens D and losses of a file of points: [X] each.

    Args:
      path: CSV file with columns `Model Size`, `Training FLOP` and `loss`, as
        in github.com/epoch-research/analyzing-chinchilla.
      num_dropped: Number of points of the largest losses that are left out, as
        there.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: A column is missing or a cell is no number; fewer points than
        are to be left out.
    """
    names = "Model Size", "Training FLOP", "loss"
    N, flops, losses = read_columns(path, names).values()
    if not 0 <= num_dropped < len(losses):
        raise ValueError(
            f"{path}: {num_dropped} points to drop of {len(losses)}."
        )
    kept = np.sort(np.argsort(losses)[: len(losses) - num_dropped])
    N, D = N[kept], (flops / (_FLOPS * N))[kept]
    return N, D, losses[kept]


def refit_section(found: law.Refit) -> Section:
    """Returns what a refit says.

    Args:
      found: Refit of published points.
    """
    fit = found.optimum
    rows = {
        "the optimum": (fit.parameters, fit.objective),
        "published": (law.PUBLISHED, found.published_objective),
        "the mean, SciPy's BFGS": (
            found.mean_parameters,
            found.mean_objective,
        ),
    }
    numbers = {
        "num_points": fit.num_points,
        "converged": fit.converged,
        "share_of_starts_at_the_optimum": found.share_at_optimum,
        **{
            name: {**parameters, "objective": objective}
            for name, (parameters, objective) in rows.items()
        },
    }
    lines = [
        f"{'':<24}{'A':>10}{'alpha':>10}{'B':>10}{'beta':>10}{'E':>10}"
        f"{'objective':>16}"
    ]
    for name, (parameters, objective) in rows.items():
        cells = "".join(f"{parameters[p]:10.6g}" for p in fit.parameters)
        lines.append(f"{name:<24}{cells}{objective:16.9g}")
    lines.append(
        f"{fit.num_points} points; {len(fit.start_objectives)} starts, "
        f"{found.share_at_optimum:.0%} of them end at the optimum"
    )
    return Section(numbers, sentences=lines)


def write_refit(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    num_dropped: int,
    num_starts: int,
    flags: Mapping[str, Any],
) -> str:
    """Writes the refit of a file of points and returns it in words.

    Args:
      path: CSV file, as `chinchilla_points` reads it.
      out: Result folder to write.
      num_dropped: Number of points of the largest losses that are left out.
      num_starts: Number of starts of each fit.
      flags: What the program was called with.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: A file that `chinchilla_points` refuses, or points that
        `law.refit` refuses.
    """
    points = chinchilla_points(path, num_dropped)
    found = law.refit(*points, num_starts=num_starts)
    return write_sections(out, [refit_section(found)], flags=flags)
