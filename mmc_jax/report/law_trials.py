"""How often the intervals of laws hold the truth, on simulated points."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import law
from mmc_jax.report import result

# The planted law, near the paper's for single models: with 0.1 to 70 billion
# parameters, losses from 2.9 to 2.3.
PLANTED = {"A": 400.0, "alpha": 0.35, "L_inf": 2.21}
_LEAST_COST, _LARGEST_COST = 1e8, 7e10

# Starts of each fit of a simulated set: 3,000 points leave one optimum.
_NUM_STARTS = 8


def planted_points(
    num_sets: int, num_points: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns budgets [X], and losses [R, X] of the planted law with noise.

    Args:
      num_sets: R.
      num_points: X, evenly spread on a log scale.
      noise: The standard deviation of log L.
      seed: Of the noise.
    """
    costs = np.geomspace(_LEAST_COST, _LARGEST_COST, num_points)
    residuals = np.random.default_rng(seed).normal(
        0, noise, (num_sets, num_points)
    )
    return costs, law.power_law(costs, **PLANTED) * np.exp(residuals)


class Coverage(NamedTuple):
    """How the fits of simulated sets compare with the truth.

    Attributes:
      num_points: Of a set.
      noise: The standard deviation of log L.
      alpha_coverage: The share of sets whose interval holds the planted alpha.
      L_inf_coverage: The share whose interval holds the planted floor.
      alpha_error: The median of |fitted - planted| of the Huber fit.
      L_inf_error: The same of the floor.
      share_converged: Of the Huber fits.
    """

    num_points: int
    noise: float
    alpha_coverage: float
    L_inf_coverage: float
    alpha_error: float
    L_inf_error: float
    share_converged: float


def coverage(
    num_sets: int, num_points: int, noise: float, seed: int
) -> Coverage:
    """Returns how often intervals of simulated sets hold the planted values.

    Args:
      num_sets: Simulated sets.
      num_points: Of a set.
      noise: The standard deviation of log L.
      seed: Of the noise.
    """
    costs, losses = planted_points(num_sets, num_points, noise, seed)
    laws = law.fit_batch(costs, losses, num_starts=_NUM_STARTS)
    holds = {
        name: float(
            np.mean(
                law.deviances(
                    costs, losses, parameter=name, value=PLANTED[name]
                )
                <= law.threshold(num_points)
            )
        )
        for name in ("alpha", "L_inf")
    }
    return Coverage(
        num_points=num_points,
        noise=noise,
        alpha_coverage=holds["alpha"],
        L_inf_coverage=holds["L_inf"],
        alpha_error=float(np.median(np.abs(laws.alpha - PLANTED["alpha"]))),
        L_inf_error=float(np.median(np.abs(laws.L_inf - PLANTED["L_inf"]))),
        share_converged=float(laws.converged.mean()),
    )


def write_coverage(
    out: str | os.PathLike[str],
    *,
    num_sets: int,
    num_points: Sequence[int],
    noises: Sequence[float],
    seed: int,
    flags: Mapping[str, Any],
) -> str:
    """Writes how often the intervals hold the truth and returns it in words.

    Args:
      out: The result folder.
      num_sets: Simulated sets for each number of points and noise.
      num_points: Of a set.
      noises: Standard deviations of log L.
      seed: Of the noise.
      flags: What the program was called with.
    """
    rows = [
        coverage(num_sets, points, noise, seed)
        for points in num_points
        for noise in noises
    ]
    path = result.write_result(
        out,
        {"planted": PLANTED, "rows": [row._asdict() for row in rows]},
        flags=flags,
    )
    lines = [
        f"{'points':>7}{'noise':>7}{'holds alpha':>13}{'holds L_inf':>13}"
        f"{'error of alpha':>16}{'error of L_inf':>16}{'converged':>11}"
    ]
    for row in rows:
        lines.append(
            f"{row.num_points:>7}{row.noise:>7.0%}{row.alpha_coverage:>13.1%}"
            f"{row.L_inf_coverage:>13.1%}{row.alpha_error:>16.2g}"
            f"{row.L_inf_error:>16.2g}{row.share_converged:>11.1%}"
        )
    lines.append(
        f"{num_sets} sets each; errors are medians of |fitted - planted| of "
        "the Huber fit"
    )
    return "\n".join([*lines, f"numbers: {path}"])
