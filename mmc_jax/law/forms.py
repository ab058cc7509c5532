"""The functional forms of laws: pure functions of budgets and parameters.

P is the budget (parameters, or whatever unit the costs have). A, alpha and
L_inf are the letters of the paper; each other letter is explained where it
stands. All parameters are positive. NumPy arrays and numbers give float64, JAX
arrays their own dtype.

To add a form: a function whose first arguments are the budgets, and a line in
FORMS.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def power_law(
    P: jax.Array, A: jax.Array, alpha: jax.Array, L_inf: jax.Array
) -> jax.Array:
    """Returns the loss at each budget, in the unit of L_inf.

    L(P) = A P^-alpha + L_inf

    Args:
      P: Budgets, above 0.
      A: Loss above the floor at P = 1.
      alpha: Exponent of the budget.
      L_inf: Floor: the loss at an infinite budget.

    Source: arXiv 2512.23340.

    >>> power_law(100.0, A=5.0, alpha=0.5, L_inf=1.25)
    1.75
    """
    return A * P**-alpha + L_inf


def power_law_without_floor(
    P: jax.Array, A: jax.Array, alpha: jax.Array
) -> jax.Array:
    """Returns L(P) = A P^-alpha.

    Source: Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.1, with A = P_c^alpha.

    >>> power_law_without_floor(100.0, A=5.0, alpha=0.5)
    0.5
    """
    return A * P**-alpha


def exponential(
    P: jax.Array, A: jax.Array, rate: jax.Array, L_inf: jax.Array
) -> jax.Array:
    """Returns L(P) = A exp(-rate P) + L_inf.

    It describes a pool that runs out of models: the floor is reached at a
    finite scale, 1 / rate. Source: the alternative to a power law in Clauset et
    al. 2009 (arXiv 0706.1062), table 2.1, with a floor.

    >>> print(f"{exponential(2.0, A=5.0, rate=0.5, L_inf=1.0):.4f}")
    2.8394
    """
    return A * jnp.exp(-rate * P) + L_inf


def logarithmic(P: jax.Array, slope: jax.Array, P_0: jax.Array) -> jax.Array:
    """Returns L(P) = slope log(P_0 / P), the straight line a - slope log P.

    P_0 = exp(a / slope) is where it would reach 0: the form is meaningful only
    inside the range of the data.

    >>> print(f"{logarithmic(1.0, slope=0.5, P_0=100.0):.4f}")
    2.3026
    """
    return slope * (jnp.log(P_0) - jnp.log(P))


def broken_power_law(
    P: jax.Array,
    A: jax.Array,
    alpha: jax.Array,
    L_inf: jax.Array,
    beta: jax.Array,
    P_1: jax.Array,
    width: jax.Array,
) -> jax.Array:
    """Returns a power law whose exponent turns from alpha to beta at P_1.

    L(P) = L_inf + A P^-alpha (1 + (P / P_1)^(1 / width))^(-(beta - alpha) width)

    Source: Caballero et al. 2022 (arXiv 2210.14891), eq. 1 with one break:
    a = L_inf, b = A, c_0 = alpha, c_1 = beta - alpha, d_1 = P_1, f_1 = width.

    >>> arguments = dict(A=5.0, alpha=0.5, L_inf=1.25, P_1=10.0, width=0.5)
    >>> print(f"{broken_power_law(100.0, beta=0.5, **arguments):.4f}")
    1.7500
    """  # noqa: E501
    turn = jnp.logaddexp(0.0, (jnp.log(P) - jnp.log(P_1)) / width)
    return L_inf + A * P**-alpha * jnp.exp(-(beta - alpha) * width * turn)


def two_variable(
    N: jax.Array,
    D: jax.Array,
    A: jax.Array,
    alpha: jax.Array,
    B: jax.Array,
    beta: jax.Array,
    E: jax.Array,
) -> jax.Array:
    """Returns L(N, D) = E + A / N^alpha + B / D^beta.

    N parameters, D training tokens, E the floor.

    Source: Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2.

    >>> two_variable(100.0, 4.0, A=5.0, alpha=0.5, B=1.0, beta=1.0, E=1.25)
    2.0
    """
    return E + A * N**-alpha + B * D**-beta


class Parameter(NamedTuple):
    """How a parameter starts and scales.

    Attributes:
      kind: Kind of the parameter, such as "exponent"; it decides how starts
        are spread (`mmc_jax.law.starts`).
      variable: Name of the budget that the parameter belongs to; None for a
        floor.
      power: Power of the budget's unit in the parameter: a number, or the name
        of the parameter that is the power.
    """

    kind: str
    variable: str | None = None
    power: str | float = 0


class Form(NamedTuple):
    """A form that can be fitted.

    Attributes:
      function: Returns the losses, called with the variables and the
        parameters in this order.
      variables: Names of its budgets.
      parameters: How each parameter starts and scales, by name.
    """

    function: Callable[..., jax.Array]
    variables: tuple[str, ...]
    parameters: dict[str, Parameter]


def _form(function: Callable[..., jax.Array], **parameters: Parameter) -> Form:
    names = list(inspect.signature(function).parameters)
    variables = names[: len(names) - len(parameters)]
    return Form(
        function,
        tuple(variables),
        {name: parameters[name] for name in names[len(variables) :]},
    )


_FLOOR = Parameter("floor")


def _amplitude(variable: str, exponent: str) -> Parameter:
    return Parameter("amplitude", variable, exponent)


def _exponent(variable: str) -> Parameter:
    return Parameter("exponent", variable)


FORMS = {
    "power_law": _form(
        power_law,
        A=_amplitude("P", "alpha"),
        alpha=_exponent("P"),
        L_inf=_FLOOR,
    ),
    "power_law_without_floor": _form(
        power_law_without_floor,
        A=_amplitude("P", "alpha"),
        alpha=_exponent("P"),
    ),
    "exponential": _form(
        exponential,
        A=Parameter("amplitude"),
        rate=Parameter("rate", "P", -1),
        L_inf=_FLOOR,
    ),
    "logarithmic": _form(
        logarithmic,
        slope=Parameter("slope", "P"),
        P_0=Parameter("horizon", "P", 1),
    ),
    "broken_power_law": _form(
        broken_power_law,
        A=_amplitude("P", "alpha"),
        alpha=_exponent("P"),
        L_inf=_FLOOR,
        beta=_exponent("P"),
        P_1=Parameter("budget", "P", 1),
        width=Parameter("width"),
    ),
    "two_variable": _form(
        two_variable,
        A=_amplitude("N", "alpha"),
        alpha=_exponent("N"),
        B=_amplitude("D", "beta"),
        beta=_exponent("D"),
        E=_FLOOR,
    ),
}
