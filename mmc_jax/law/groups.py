"""Whether groups of points share an exponent, an amplitude or a floor.

G groups, X points of all groups.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from mmc_jax.law import fitting, optimizers
from mmc_jax.law.forms import FORMS, power_law

_NAMES = tuple(FORMS["power_law"].parameters)

# What is asked by default: each parameter alone, and the whole law.
QUESTIONS = (("alpha",), ("A",), ("L_inf",), _NAMES)

# Starts of the shared fit around the groups' own laws.
_NUM_STARTS = 16

_LEAST_RESIDUAL = 1e-9


class SharedFit(NamedTuple):
    """The laws of groups that share parameters, and whether they may.

    Attributes:
      shared: The names of the shared parameters.
      laws: A_at_scale, alpha and L_inf of each group, by its name.
      scale: The geometric mean of all budgets, at which A is compared.
      F: ((S_shared - S) / d) / (S / (X - 3 G)), with S the sum of squares of
        residuals of log L, and d = (G - 1) times the shared parameters.
      p_value: Of F under F_{d, X - 3 G}: how often chance alone parts groups
        so much that have these parameters in common. Too small for the nested
        points of frontiers, which are not independent.
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

    Single models against pools, homogeneous against heterogeneous, a domain
    against another: laws of their own against laws that share alpha, A, L_inf
    or all, by the likelihood ratio of least squares on log L (the F-test, exact
    for linear models where the chi-squared one needs many points). A is shared
    at the geometric mean of all budgets: at P = 1 it is alpha once more.

    Args:
      groups: (costs, losses) of each, [X] each.
      questions: The names of the parameters that are shared.

    Raises:
      ValueError: As `fit` for a group, which is named; fewer than 2 groups; a
        name that is no parameter.

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
    own, checked = [], []
    for name, (costs, losses) in groups.items():
        try:
            own.append(fitting.fit(costs, losses, delta=fitting.LEAST_SQUARES))
            (P,), L, _ = fitting.checked_points(
                FORMS["power_law"], costs, losses, None
            )
            checked.append((P, L))
        except ValueError as error:
            raise ValueError(f"group {name!r}: {error}") from error
    num_points = sum(len(L) for _, L in checked)
    num_free = num_points - len(_NAMES) * len(groups)
    budgets = np.concatenate([P for P, _ in checked])
    scale = float(np.exp(np.log(budgets).mean()))
    log_L = np.log(np.concatenate([L for _, L in checked]))
    of_group = np.repeat(np.arange(len(groups)), [len(L) for _, L in checked])
    logs = np.array(
        [
            [
                np.log(law.A_at_scale) + law.alpha * np.log(law.scale / scale),
                np.log(law.alpha),
                np.log(law.L_inf),
            ]
            for law in own
        ]
    )
    squares = 2 * sum(law.objective for law in own)
    squares = max(squares, num_points * _LEAST_RESIDUAL**2)
    found = []
    for shared in questions:
        for name in shared:
            if name not in _NAMES:
                raise ValueError(
                    f"no parameter {name!r}; there are {', '.join(_NAMES)}."
                )
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
                p_value=float(scipy.stats.f.sf(F, freed, num_free)),
                converged=bool(fitting.converged(ends)),
            )
        )
    return found


def _shared_fit(
    shared: Sequence[str],
    logs: np.ndarray,
    p: np.ndarray,
    log_L: np.ndarray,
    of_group: np.ndarray,
) -> tuple[optimizers.Optima, np.ndarray]:
    """Returns the best optimum, and the parameters of each group [G, 3].

    Args:
      shared: Names.
      logs: [G, 3], logarithms of the groups' own laws.
      p: [X], budgets at scale, of all groups.
      log_L: [X].
      of_group: [X].
    """
    # Where in the vector of 3 G parameters each group finds its three: a shared
    # one stands where the first group has its own. The places are data, so that
    # one compiled fit answers all questions.
    places = np.arange(logs.size).reshape(logs.shape)
    start = logs.copy()
    for j, name in enumerate(_NAMES):
        if name in shared:
            places[:, j] = places[0, j]
            start[:, j] = logs[:, j].mean()
    spread = np.random.default_rng(0).normal(0, 0.5, (_NUM_STARTS, logs.size))
    spread[0] = 0
    # Points of weight 0 up to 16, 32, 64 ...: XLA compiles for every shape.
    more = (0, max(16, 1 << (len(p) - 1).bit_length()) - len(p))
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
            fitting.LEAST_SQUARES,
        )
        ends = jax.tree.map(np.asarray, ends)
    best = int(np.nanargmin(ends.objectives))
    ends = jax.tree.map(lambda end: end[best], ends)
    return ends, np.exp(ends.logs)[places]


def _law_of_each(
    P: jax.Array, places: jax.Array, *parameters: jax.Array
) -> jax.Array:
    """Returns the law of each point's group; places [X, 3]."""
    return power_law(P, *jnp.stack(parameters)[places].T)
