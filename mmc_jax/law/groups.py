"""Whether groups of points share an exponent, an amplitude or a floor.

G groups, X points of all groups.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from mmc_jax.law import elementary, optima, optimizers
from mmc_jax.law.fitting import Fit, fit
from mmc_jax.law.forms import FORMS, power_law
from mmc_jax.law.optimizers import LEAST_SQUARES
from mmc_jax.law.points import checked_points

_NAMES = tuple(FORMS["power_law"].parameters)

# What is asked by default: each parameter alone, and the whole law.
QUESTIONS = (("alpha",), ("A",), ("L_inf",), _NAMES)

# Starts of the shared fit around the groups' own laws.
_NUM_STARTS = 16

_LEAST_RESIDUAL = 1e-9


class SharedFit(NamedTuple):
    """The laws of groups that share parameters, and whether they may.

    Attributes:
      shared: Names of the shared parameters.
      laws: Parameters of each group under the names A, alpha and L_inf, by the
        name of the group. A is the loss above the floor at the budget `scale`.
      scale: Geometric mean of all budgets, at which A is compared.
      F: Statistic ((S_shared - S) / d) / (S / (X - 3 G)), with S the sum of
        squares of residuals of log L, and d = (G - 1) times the number of
        shared parameters.
      p_value: Probability of so large an F by chance alone, if the groups have
        these parameters in common (F_{d, X - 3 G}). It is too small for the
        nested points of frontiers, which are not independent.
      converged: Whether the shared fit met the tolerance on its gradient.
    """

    shared: tuple[str, ...]
    laws: dict[str, dict[str, float]]
    scale: float
    F: float
    p_value: float
    converged: bool


def compare_groups(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    questions: Sequence[Sequence[str]] = QUESTIONS,
) -> list[SharedFit]:
    """Returns for each question whether the groups may share parameters.

    Groups may be single models and pools, homogeneous and heterogeneous
    subsets, or domains. Laws of their own are compared with laws that share
    alpha, A, L_inf or all, by the likelihood ratio of least squares on log L:
    the F-test, which is exact for linear models, where the chi-squared test
    needs many points. A is shared at the geometric mean of all budgets; at
    P = 1 it would mean the same as alpha.

    Args:
      groups: Costs and losses of each group by its name, [X] each.
      questions: Names of the parameters that are shared, for each question.

    Raises:
      ValueError: A group that `fit` refuses, which is named; fewer than 2
        groups; a name that is no parameter.

    Source: Bates and Watts 1988, Nonlinear Regression Analysis, section 3.10.

    >>> P = np.geomspace(1e6, 1e9, 12)
    >>> noise = np.exp(0.001 * np.tile([1, -1], 6))
    >>> groups = {
    ...     "single": (P, (40 * P**-0.25 + 2.2) * noise),
    ...     "pool": (P, (40 * P**-0.25 + 1.2) * noise),
    ... }
    >>> questions = [["alpha"], ["L_inf"]]
    >>> for answer in compare_groups(groups, questions=questions):
    ...     print(answer.shared, answer.p_value < 0.05)
    ('alpha',) False
    ('L_inf',) True
    """
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} group(s); at least 2 are needed.")
    for name in (name for shared in questions for name in shared):
        if name not in _NAMES:
            raise ValueError(
                f"no parameter {name!r}; there are {', '.join(_NAMES)}."
            )
    own, checked = _own_laws(groups)
    num_points = sum(len(L) for _, L in checked)
    num_free = num_points - len(_NAMES) * len(groups)
    budgets = np.concatenate([P for P, _ in checked])
    scale = math.exp(elementary.log(budgets).mean())
    log_L = elementary.log(np.concatenate([L for _, L in checked]))
    of_group = np.repeat(np.arange(len(groups)), [len(L) for _, L in checked])
    logs = np.array([_logs_at(law, scale) for law in own])
    squares = 2 * sum(law.objective for law in own)
    squares = max(squares, num_points * _LEAST_RESIDUAL**2)
    found = []
    for shared in questions:
        ends, laws = _shared_fit(shared, logs, budgets / scale, log_L, of_group)
        freed = (len(groups) - 1) * len(shared)
        F = max(0.0, (2 * ends.objectives - squares) / freed) / (
            squares / num_free
        )
        found.append(
            SharedFit(
                shared=tuple(shared),
                laws={
                    group: dict(zip(_NAMES, map(float, row), strict=True))
                    for group, row in zip(groups, laws, strict=True)
                },
                scale=scale,
                F=float(F),
                # The upper tail of the F distribution.
                p_value=float(scipy.special.fdtrc(freed, num_free, F)),
                converged=bool(optima.converged(ends)),
            )
        )
    return found


def _own_laws(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> tuple[list[Fit], list[tuple[np.ndarray, np.ndarray]]]:
    """Returns the law of each group, and its checked budgets and losses."""
    own, checked = [], []
    for name, (costs, losses) in groups.items():
        try:
            own.append(fit(costs, losses, delta=LEAST_SQUARES))
            (P,), L, _ = checked_points(FORMS["power_law"], costs, losses, None)
            checked.append((P, L))
        except ValueError as error:
            raise ValueError(f"group {name!r}: {error}") from error
    return own, checked


def _logs_at(law: Fit, scale: float) -> list[float]:
    """Returns the logarithms of a law's parameters, of A at a scale."""
    return [
        math.log(law.A_at_scale) + law.alpha * math.log(law.scale / scale),
        math.log(law.alpha),
        math.log(law.L_inf),
    ]


def _shared_fit(
    shared: Sequence[str],
    logs: np.ndarray,
    p: np.ndarray,
    log_L: np.ndarray,
    of_group: np.ndarray,
) -> tuple[optimizers.Optima, np.ndarray]:
    """Returns the best optimum, and the parameters of each group [G, 3].

    Args:
      shared: Names of the shared parameters.
      logs: Logarithms of the parameters of the groups' own laws, [G, 3].
      p: Budgets of the points of all groups, in units of the scale, [X].
      log_L: Logarithm of the loss of each point, [X].
      of_group: Index of the group of each point, [X].
    """
    # Index of each group's three parameters in the vector of 3 G. A shared one
    # is the first group's. The indices are data, so that one compiled fit
    # answers all questions.
    places = np.arange(logs.size).reshape(logs.shape)
    start = logs.copy()
    for j, name in enumerate(_NAMES):
        if name in shared:
            places[:, j] = places[0, j]
            start[:, j] = logs[:, j].mean()
    spread = np.random.default_rng(0).normal(0, 0.5, (_NUM_STARTS, logs.size))
    spread[0] = 0
    # Points of weight 0 up to 16, 64, 256 ...: XLA compiles for every shape.
    more = (0, optima.num_padded(len(p)) - len(p))
    points = optimizers.Points(
        (np.pad(p, more, constant_values=1.0), places[np.pad(of_group, more)]),
        np.pad(log_L, more),
        np.pad(np.ones(len(p)), more),
    )
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ends = optimizers.lbfgs(
            _law_of_each,
            start.reshape(-1) + spread,
            points,
            LEAST_SQUARES,
        )
    ends = optima.on_host(ends)
    best = optima.best_start(ends)
    if optima.converged(ends)[best]:
        ends = optima.polished(_law_of_each, ends, best, points, LEAST_SQUARES)
    ends = jax.tree.map(lambda end: end[best], ends)
    return ends, elementary.exp(ends.logs)[places]


def _law_of_each(
    P: jax.Array, places: jax.Array, *parameters: jax.Array
) -> jax.Array:
    """Returns the law of each point's group; places [X, 3]."""
    return power_law(P, *jnp.stack(parameters)[places].T)
