"""Points of a known law with noise, and how often intervals hold it.

X points, R sets of points.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.law.batches import fit_batch
from mmc_jax.law.forms import power_law
from mmc_jax.law.profiles import deviances, threshold

# The planted law is near the paper's for single models: with 0.1 to 70 billion
# parameters losses from 2.9 to 2.3.
PLANTED = {"A": 400.0, "alpha": 0.35, "L_inf": 2.21}
_LEAST_COST, _LARGEST_COST = 1e8, 7e10

# Starts of each fit of a simulated set: 3,000 points leave one optimum.
_NUM_STARTS = 8


class Coverage(NamedTuple):
    """How the fits of simulated sets compare with the truth.

    Attributes:
      num_points: Number of points of a set.
      noise: Standard deviation of log L.
      alpha_coverage: Share of sets whose interval holds the planted alpha.
      L_inf_coverage: Share of sets whose interval holds the planted floor.
      alpha_error: Median of |fitted - planted| alpha of the Huber fit.
      L_inf_error: Median of |fitted - planted| floor of the Huber fit.
      share_converged: Share of the Huber fits that converged.
    """

    num_points: int
    noise: float
    alpha_coverage: float
    L_inf_coverage: float
    alpha_error: float
    L_inf_error: float
    share_converged: float


def planted_points(
    num_sets: int, num_points: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns budgets [X], and losses [R, X] of the planted law with noise.

    Args:
      num_sets: Number of sets R.
      num_points: Number of points X of a set, evenly spread on a log scale.
      noise: Standard deviation of log L.
      seed: Seed of the random noise.
    """
    costs = np.geomspace(_LEAST_COST, _LARGEST_COST, num_points)
    residuals = np.random.default_rng(seed).normal(
        0, noise, (num_sets, num_points)
    )
    return costs, power_law(costs, **PLANTED) * np.exp(residuals)


def coverage(
    num_sets: int, num_points: int, noise: float, seed: int
) -> Coverage:
    """Returns how often intervals of simulated sets hold the planted values.

    The intervals are the 95 percent profile likelihood intervals of `profile`.

    Args:
      num_sets: Number of simulated sets R.
      num_points: Number of points X of a set.
      noise: Standard deviation of log L.
      seed: Seed of the random noise.
    """
    costs, losses = planted_points(num_sets, num_points, noise, seed)
    laws = fit_batch(costs, losses, num_starts=_NUM_STARTS)
    holds = {
        name: float(
            np.mean(
                deviances(costs, losses, parameter=name, value=PLANTED[name])
                <= threshold(num_points)
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
