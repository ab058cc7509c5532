"""The functional forms of laws: pure functions of budget and parameters.

P the budget (parameters, or whatever unit the costs have), A, alpha and L_inf
the letters of the paper.
"""

import jax


def power_law(
    P: jax.Array, A: jax.Array, alpha: jax.Array, L_inf: jax.Array
) -> jax.Array:
    """Returns the loss at each budget, in the unit of L_inf.

    L(P) = A P^-alpha + L_inf

    Written in operators alone: NumPy arrays and numbers give float64, JAX
    arrays their own dtype.

    Args:
      P: budgets, above 0.
      A: the loss above the floor at P = 1.
      alpha: the exponent.
      L_inf: the floor, the loss at an infinite budget.

    Source: arXiv 2512.23340.

    >>> power_law(100.0, A=5.0, alpha=0.5, L_inf=1.25)
    1.75
    """
    return A * P**-alpha + L_inf
