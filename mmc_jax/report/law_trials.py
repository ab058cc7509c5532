"""How often the intervals of laws hold the truth, in a result folder."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmc_jax import law
from mmc_jax.report.sections import Section, write_sections


def coverage_section(rows: Sequence[law.Coverage], num_sets: int) -> Section:
    """Returns what simulated sets say.

    Args:
      rows: Coverage for each number of points and noise.
      num_sets: Number of simulated sets of each row.
    """
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
    return Section(
        {"planted": law.PLANTED, "rows": list(rows)}, sentences=lines
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
      out: Result folder to write.
      num_sets: Number of simulated sets for each number of points and noise.
      num_points: Numbers of points of a set.
      noises: Standard deviations of log L.
      seed: Seed of the random noise.
      flags: What the program was called with.
    """
    rows = [
        law.coverage(num_sets, points, noise, seed)
        for points in num_points
        for noise in noises
    ]
    return write_sections(out, [coverage_section(rows, num_sets)], flags=flags)
