"""Where the fits start: a lattice over the parameters.

N starts, X points, k parameters.
"""

import math

import numpy as np

from mmc_jax.law import elementary
from mmc_jax.law.forms import Form

# A start's exponent lies between these multiples of one over the logarithm of
# the range of budgets: nearly straight, and nearly a step.
_EXPONENTS = 0.2, 20.0

# A rate between these multiples of one over the largest and the least budget.
_RATES = 0.2, 2.0

# A break is as wide as a tenth of an e-fold of the budget, or as an e-fold.
_WIDTHS = 0.1, 1.0


def start_logs(
    form: Form,
    variables: tuple[np.ndarray, ...],
    losses: np.ndarray,
    num_starts: int,
) -> np.ndarray:
    """Returns the logarithms of the parameters at each start: [N, k].

    Exponents, floors, rates and breaks are spread by a lattice, without a seed;
    amplitudes and slopes follow from them.

    Args:
      form: Form to fit, with k parameters.
      variables: Budget of each point for each variable, in units of its
        geometric mean, [X] each.
      losses: Loss of each point, [X].
      num_starts: Number of starts N.

    Raises:
      ValueError: A parameter of a kind without starts.
    """
    ranges = {
        name: (values.min(), values.max())
        for name, values in zip(form.variables, variables, strict=True)
    }
    kinds = [parameter.kind for parameter in form.parameters.values()]
    floor_kinds = kinds.count("floor")
    columns = iter(_lattice(num_starts, len(kinds)).T)
    floors = (
        losses.min() * next(columns) if floor_kinds else np.zeros(num_starts)
    )
    # The geometric mean of what is above the floor, at a budget of 1.
    above = elementary.exp(
        elementary.log(losses - floors[:, None]).mean(axis=1)
    )
    drop = max(np.ptp(losses), 1e-3 * losses.mean())
    found = []
    for parameter in form.parameters.values():
        low, high = ranges.get(parameter.variable, (1.0, 1.0))
        log_range = math.log(high / low)
        match parameter.kind:
            case "floor":
                start = floors
            case "amplitude":
                start = above / kinds.count("amplitude")
            case "exponent":
                start = _between(_EXPONENTS, next(columns)) / log_range
            case "rate":
                bounds = _RATES[0] / high, _RATES[1] / low
                start = _between(bounds, next(columns))
            case "budget":
                start = _between((low, high), next(columns))
            case "width":
                start = _between(_WIDTHS, next(columns))
            case "slope":
                start = drop / log_range * _between((0.5, 2.0), next(columns))
            case "horizon":
                start = np.full(
                    num_starts,
                    elementary.exp(losses.mean() * log_range / drop),
                )
            case _:
                raise ValueError(f"no starts for a {parameter.kind!r}")
        found.append(elementary.log(start))
    return np.stack(found, axis=1)


def _between(bounds: tuple[float, float], shares: np.ndarray) -> np.ndarray:
    """Returns the numbers at these shares of the way, on a log scale."""
    low, high = bounds
    return low * elementary.power(high / low, shares)


def _lattice(num_points: int, num_dimensions: int) -> np.ndarray:
    """Returns points spread evenly over the open unit cube: [N, d].

    frac(1/2 + n / phi^j), with phi the root of phi^(d + 1) = phi + 1: the
    golden ratio in one dimension. Source: Roberts 2018, "The unreasonable
    effectiveness of quasirandom sequences".
    """
    phi = 2.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / (num_dimensions + 1))
    steps = elementary.power(phi, -np.arange(1, num_dimensions + 1))
    return (0.5 + np.arange(1, num_points + 1)[:, None] * steps) % 1
