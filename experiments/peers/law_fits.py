"""The law's fits in a loop over SciPy's BFGS, and their race against ours.

R sets of X points.
"""

import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize

from mmc_jax import law
from mmc_jax.law import planted_points
from mmc_jax.law.forms import FORMS
from mmc_jax.law.starts import start_logs
from mmc_jax.report import result

# Where SciPy stops: the gradient of the objective in the unit that our
# optimizers use, so that both sides are as exact.
_PEER_GRADIENT_TOLERANCE = 1e-9


class PeerFit(NamedTuple):
    """The optima of SciPy.

    Attributes:
      parameters: [R, 3], A_at_scale, alpha and L_inf of the best start.
      objective: [R].
      seconds: Of all fits.
    """

    parameters: np.ndarray
    objective: np.ndarray
    seconds: float


def peer_fits(
    costs: np.ndarray, losses: np.ndarray, num_starts: int, delta: float
) -> PeerFit:
    """Returns the fits of a loop over SciPy's BFGS.

    With exact derivatives, in NumPy, from the starts that `fit_batch` takes and
    with the objective in the same unit.

    Args:
      costs: [X].
      losses: [R, X].
      num_starts: Of each set.
      delta: As for `law.fit`.
    """
    p = costs / np.exp(np.log(costs).mean())
    log_p = np.log(p)
    unit = delta * len(p)

    def value_and_grad(logs, log_L):
        A, alpha, L_inf = np.exp(logs)
        powers = A * np.exp(-alpha * log_p)
        predicted = powers + L_inf
        residuals = np.log(predicted) - log_L
        size = np.abs(residuals)
        quadratic = np.minimum(size, delta)
        slope = np.clip(residuals, -delta, delta) / predicted
        by_A = slope * powers
        value = quadratic @ (size - quadratic / 2)
        return value / unit, np.array(
            [by_A.sum(), -alpha * (by_A @ log_p), L_inf * slope.sum()]
        ) / unit

    parameters, objectives = [], []
    begin = time.perf_counter()
    with np.errstate(all="ignore"):
        for row in losses:
            ends = [
                scipy.optimize.minimize(
                    value_and_grad,
                    start,
                    args=(np.log(row),),
                    jac=True,
                    method="BFGS",
                    options={
                        "gtol": _PEER_GRADIENT_TOLERANCE,
                        "maxiter": 1000,
                    },
                )
                for start in start_logs(
                    FORMS["power_law"], (p,), row, num_starts
                )
            ]
            best = min(ends, key=lambda end: end.fun)
            parameters.append(np.exp(best.x))
            objectives.append(best.fun * unit)
    seconds = time.perf_counter() - begin
    return PeerFit(np.array(parameters), np.array(objectives), seconds)


def write_law_benchmark(
    out: str | os.PathLike[str],
    *,
    num_resamples: int,
    num_peer_resamples: int,
    num_starts: int,
    num_points: int,
    noise: float,
    flags: Mapping[str, Any],
) -> str:
    """Writes how fast resampled laws are fitted and returns it in words.

    Args:
      out: The result folder.
      num_resamples: Sets of points in one compiled call.
      num_peer_resamples: The first of these that SciPy fits too.
      num_starts: Of each fit.
      num_points: Of each set.
      noise: The standard deviation of log L.
      flags: What the program was called with.
    """
    costs, losses = planted_points(num_resamples, num_points, noise)
    delta = law.HUBER_DELTA
    begin = time.perf_counter()
    law.fit_batch(costs, losses, delta=delta, num_starts=num_starts)
    first_seconds = time.perf_counter() - begin
    ours, theirs = [], []
    half = -(-num_peer_resamples // 2)
    for chunk in (losses[:half], losses[half:num_peer_resamples]):
        begin = time.perf_counter()
        found = law.fit_batch(costs, losses, delta=delta, num_starts=num_starts)
        ours.append(time.perf_counter() - begin)
        if len(chunk):
            theirs.append(peer_fits(costs, chunk, num_starts, delta))
    peer_parameters = np.concatenate([fit.parameters for fit in theirs])
    peer_objective = np.concatenate([fit.objective for fit in theirs])
    num_peer = len(peer_objective)
    peer_seconds = sum(fit.seconds for fit in theirs) * num_resamples / num_peer
    parameters = np.stack(found[:3], axis=1)[:num_peer]
    numbers = {
        "num_fits": num_resamples * num_starts,
        "seconds": min(ours),
        "first_seconds_with_compilation": first_seconds,
        "scipy_seconds_scaled": peer_seconds,
        "scipy_num_fits": num_peer * num_starts,
        "times_faster": peer_seconds / min(ours),
        "times_faster_with_compilation": peer_seconds / first_seconds,
        "share_converged": float(found.converged.mean()),
        "largest_relative_difference": {
            "objective": _difference(
                found.objective[:num_peer], peer_objective
            ),
            **{
                name: _difference(parameters[:, i], peer_parameters[:, i])
                for i, name in enumerate(("A_at_scale", "alpha", "L_inf"))
            },
        },
    }
    path = result.write_result(out, numbers, flags=flags)
    return "\n".join(
        [
            f"{numbers['num_fits']:,} fits of {num_points} points: "
            f"{numbers['seconds']:.3g} s in one call, SciPy "
            f"{peer_seconds:.4g} s (scaled from {num_peer * num_starts:,})",
            f"{numbers['times_faster']:.4g} times faster "
            f"({numbers['times_faster_with_compilation']:.3g} times with its "
            "compilation)",
            "largest relative difference: "
            + ", ".join(
                f"{name} {value:.2g}"
                for name, value in numbers[
                    "largest_relative_difference"
                ].items()
            ),
            f"numbers: {path}",
        ]
    )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours / theirs - 1).max())
