"""A published law fitted again to published points."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize

from mmc_jax import law
from mmc_jax.law.forms import FORMS
from mmc_jax.law.starts import starts
from mmc_jax.report import result
from mmc_jax.report.fits import read_columns

# Besiroglu et al. 2024 (arXiv 2404.10102), table 1: the refit of Hoffmann et
# al. 2022 on the points of its figure 4.
PUBLISHED = {
    "A": 482.01,
    "alpha": 0.3478,
    "B": 2085.43,
    "beta": 0.3658,
    "E": 1.8169,
}

# FLOPs of training a parameter on a token. Source: Hoffmann et al. 2022.
_FLOPS = 6


def chinchilla_points(
    path: str | os.PathLike[str], num_dropped: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns parameters N, tokens D and losses of a file of points: [X] each.

    Args:
      path: A CSV file with `Model Size`, `Training FLOP` and `loss`, as in
        github.com/epoch-research/analyzing-chinchilla.
      num_dropped: The points of the largest losses, which are left out there.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: A column is missing or a cell is no number; fewer points than
        are to be dropped.
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


def fit_of_mean(
    N: np.ndarray, D: np.ndarray, losses: np.ndarray, num_starts: int
) -> tuple[dict[str, float], float]:
    """Returns where SciPy's BFGS ends that minimises the mean of the losses.

    The trap: its default tolerance is absolute, and the mean of 240 Huber
    losses of delta 1e-3 is so flat that it stops far from the optimum.

    Args:
      N: [X].
      D: [X].
      losses: [X].
      num_starts: As `law.fit_form` takes them.

    Returns:
      The parameters of the best start, and their objective, the sum.
    """
    form = FORMS["two_variable"]
    scales = [np.exp(np.log(v).mean()) for v in (N, D)]
    n, d = N / scales[0], D / scales[1]
    log_L, delta = np.log(losses), law.HUBER_DELTA

    def mean_and_grad(logs):
        A, alpha, B, beta, E = np.exp(logs)
        of_n, of_d = A * n**-alpha, B * d**-beta
        predicted = of_n + of_d + E
        residuals = np.log(predicted) - log_L
        size = np.abs(residuals)
        quadratic = np.minimum(size, delta)
        slope = np.clip(residuals, -delta, delta) / predicted
        grad = np.array(
            [
                slope @ of_n,
                -alpha * (slope * of_n) @ np.log(n),
                slope @ of_d,
                -beta * (slope * of_d) @ np.log(d),
                E * slope.sum(),
            ]
        )
        value = quadratic @ (size - quadratic / 2)
        return value / len(losses), grad / len(losses)

    ends = [
        scipy.optimize.minimize(mean_and_grad, start, jac=True, method="BFGS")
        for start in starts(form, (n, d), losses, num_starts)
    ]
    best = min(ends, key=lambda end: end.fun)
    A, alpha, B, beta, E = np.exp(best.x)
    parameters = {
        "A": A * scales[0] ** alpha,
        "alpha": alpha,
        "B": B * scales[1] ** beta,
        "beta": beta,
        "E": E,
    }
    return parameters, float(best.fun * len(losses))


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
      path: As for `chinchilla_points`.
      out: The result folder.
      num_dropped: As for `chinchilla_points`.
      num_starts: Of the fit.
      flags: What the program was called with.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: As for `chinchilla_points`.
    """
    N, D, losses = chinchilla_points(path, num_dropped)
    fit = law.fit_form("two_variable", (N, D), losses, num_starts=num_starts)
    mean_parameters, mean_objective = fit_of_mean(N, D, losses, num_starts)
    rows = {
        "the optimum": (fit.parameters, fit.objective),
        "published": (
            PUBLISHED,
            law.objective("two_variable", PUBLISHED, (N, D), losses),
        ),
        "the mean, SciPy's BFGS": (mean_parameters, mean_objective),
    }
    numbers = {
        "num_points": len(losses),
        "converged": fit.converged,
        "share_of_starts_at_the_optimum": float(
            np.mean(fit.start_objectives <= fit.objective * (1 + 1e-9))
        ),
        **{
            name: {**parameters, "objective": objective}
            for name, (parameters, objective) in rows.items()
        },
    }
    written = result.write_result(out, numbers, flags=flags)
    names = list(FORMS["two_variable"].parameters)
    lines = [
        f"{'':<24}{'A':>10}{'alpha':>10}{'B':>10}{'beta':>10}{'E':>10}"
        f"{'objective':>16}"
    ]
    for name, (parameters, objective) in rows.items():
        cells = "".join(f"{parameters[p]:10.6g}" for p in names)
        lines.append(f"{name:<24}{cells}{objective:16.9g}")
    lines.append(
        f"{len(losses)} points; {len(fit.start_objectives)} starts, "
        f"{numbers['share_of_starts_at_the_optimum']:.0%} of them end at the "
        "optimum"
    )
    return "\n".join([*lines, f"numbers: {written}"])
