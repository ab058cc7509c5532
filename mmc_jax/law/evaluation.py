"""What a fitted law says: losses, budgets, and how two laws compare.

Each answer takes one law, or the R laws of resamples: then it is [R].

X points, R laws.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.law import elementary, optima, optimizers
from mmc_jax.law.batches import Fits
from mmc_jax.law.fitting import Fit, FormFit
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import HUBER_DELTA
from mmc_jax.law.points import checked_points

Law = Fit | Fits


def loss(fitted: Law, budgets: ArrayLike) -> np.ndarray:
    """Returns the law's loss at each budget, in the unit of the losses.

    Args:
      fitted: One law, or R laws.
      budgets: Budgets of any shape for one law, one number for R laws.

    >>> from mmc_jax import law
    >>> found = law.fit([1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0])
    >>> print(f"{loss(found, 100.0):.4f}")
    1.5000
    """
    P = np.asarray(budgets, np.float64) / fitted.scale
    powers = elementary.power(P, np.negative(fitted.alpha))
    return fitted.A_at_scale * powers + fitted.L_inf


def form_loss(
    fitted: FormFit, budgets: ArrayLike | Sequence[ArrayLike]
) -> np.ndarray:
    """Returns the loss that a fitted form predicts at each budget: [X].

    Args:
      fitted: Form with its fitted parameters.
      budgets: Budget of each point for each variable of the form, [X]: one
        array, or a tuple of them.
    """
    one = len(fitted.scales) == 1
    shape = np.shape(budgets if one else budgets[0])
    variables = tuple(
        np.asarray(values, np.float64).ravel() / scale
        for values, scale in zip(
            [budgets] if one else budgets, fitted.scales.values(), strict=True
        )
    )
    logs = elementary.log(list(fitted.at_scale.values()))
    return optima.predicted(FORMS[fitted.form], variables, logs).reshape(shape)


def objective(
    form: str,
    parameters: dict[str, float],
    budgets: ArrayLike | Sequence[ArrayLike],
    losses: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    delta: float = HUBER_DELTA,
) -> float:
    """Returns the objective of given parameters, such as published ones.

    Args:
      form: Name of the form in FORMS.
      parameters: Value of each parameter by name, for budgets in the unit of
        `budgets`.
      budgets: Budget of each point for each variable of the form, above 0: one
        array [X], or a tuple of them.
      losses: Loss of each point, above 0, [X].
      weights: Weight of each point, not negative, [X]; 1 each if left out.
      delta: Residual of log L from which on the Huber loss is linear.

    Raises:
      ValueError: Points that `fit_form` would refuse.

    >>> parameters = {"A": 5.0, "alpha": 0.5, "L_inf": 1.0}
    >>> budgets, losses = [1, 4, 16, 25], [6.0, 3.5, 2.25, 2.2]
    >>> print(f"{objective('power_law', parameters, budgets, losses):.6f}")
    0.000095
    """
    variables, L, w = checked_points(FORMS[form], budgets, losses, weights)
    ordered = [parameters[name] for name in FORMS[form].parameters]
    points = optimizers.Points(variables, elementary.log(L), w)
    with jax.enable_x64(True):
        found = optimizers.objective_on_cpu(
            FORMS[form].function, elementary.log(ordered), points, delta
        )
    return float(found)


def budget_for(law: Law, loss: ArrayLike) -> np.ndarray:
    """Returns the budget that reaches each loss.

    P(L) = (A / (L - L_inf))^(1 / alpha), infinity for a loss not above L_inf

    Args:
      law: One law, or R laws.
      loss: Losses of any shape for one law, one number for R laws.

    >>> from mmc_jax import law
    >>> found = law.fit([1, 4, 16, 25], [6.0, 3.5, 2.25, 2.0])
    >>> print(f"{budget_for(found, 1.5):.2f}")
    100.00
    """
    above = np.asarray(loss, np.float64) - law.L_inf
    ratio = law.A_at_scale / np.where(above > 0, above, 1.0)
    with np.errstate(over="ignore"):
        budget = law.scale * elementary.power(ratio, np.divide(1.0, law.alpha))
    return np.where(above > 0, budget, np.inf)


def budget_ratio(single: Law, pool: Law, loss: ArrayLike) -> np.ndarray:
    """Returns how many times less a pool spends than a single model.

    P_single(L) / P_pool(L) at the same loss L: infinity at a loss below the
    floor of single models that the pool can reach, 0 the other way round, NaN
    at one that neither can.

    Args:
      single: Law of single models, or R laws.
      pool: Law of the pool, or R laws.
      loss: Losses of any shape for one law each, one number for R laws.
    """
    ours, theirs = budget_for(pool, loss), budget_for(single, loss)
    with np.errstate(invalid="ignore"):
        return theirs / ours


def floor_gap_percent(single: Law, pool: Law) -> np.ndarray:
    """Returns by how much the pool's floor is below that of single models.

    100 (1 - L_inf,pool / L_inf,single), the 43 percent of the paper.

    Args:
      single: Law of single models, or R laws.
      pool: Law of the pool, or R laws.

    Source: arXiv 2512.23340 (2.21 and 1.25).
    """
    return 100 * (1 - np.divide(pool.L_inf, single.L_inf))
