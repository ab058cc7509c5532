"""Fits of simulated sets of points, ours and SciPy's: seconds of each."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import law
from mmc_jax.law import planted_points
from mmc_jax.report import result

from ..peers import law_fits


def write(
    out: str | os.PathLike[str],
    *,
    num_sets: int,
    num_peer_sets: int,
    num_starts: int,
    num_points: int,
    noise: float,
    flags: Mapping[str, Any],
) -> str:
    """Writes how fast resampled laws are fitted and returns it in words.

    Args:
      out: The result folder.
      num_sets: Sets of points in one compiled call.
      num_peer_sets: The first of these that SciPy fits too.
      num_starts: Number of starts of each fit.
      num_points: Number of points of each set.
      noise: The standard deviation of log L.
      flags: What the program was called with.
    """
    costs, losses = planted_points(num_sets, num_points, noise)
    delta = law.HUBER_DELTA
    begin = time.perf_counter()
    law.fit_batch(costs, losses, delta=delta, num_starts=num_starts)
    first_seconds = time.perf_counter() - begin
    ours, theirs = [], []
    half = -(-num_peer_sets // 2)
    for chunk in (losses[:half], losses[half:num_peer_sets]):
        begin = time.perf_counter()
        found = law.fit_batch(costs, losses, delta=delta, num_starts=num_starts)
        ours.append(time.perf_counter() - begin)
        if len(chunk):
            theirs.append(law_fits.peer_fits(costs, chunk, num_starts, delta))
    peer_parameters = np.concatenate([fit.parameters for fit in theirs])
    peer_objective = np.concatenate([fit.objective for fit in theirs])
    num_peer = len(peer_objective)
    peer_seconds = sum(fit.seconds for fit in theirs) * num_sets / num_peer
    parameters = np.stack(found[:3], axis=1)[:num_peer]
    numbers = {
        "num_fits": num_sets * num_starts,
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
