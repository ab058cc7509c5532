"""Exponentials and logarithms of arrays with the same bits on every machine.

NumPy and the C library have other code for each processor, whose results differ
in the last bit. These use additions, multiplications, divisions, rounding and
scaling by powers of two, each of which IEEE 754 defines to the last bit, one
NumPy call for each. All take and return float64 of any shape.

Source: argument reduction and series as in Muller 2016, Elementary Functions,
chapters 5 and 11; ln 2 in two numbers, of which the first has 32 bits.
"""

import math

import numpy as np
from jax.typing import ArrayLike

_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")

# Terms of the series for arguments up to ln(2)/2 and up to 0.1716, the first
# that is left out below 2^-54.
_EXP_TERMS = tuple(1 / math.factorial(n) for n in range(13, 0, -1))
_LOG_TERMS = tuple(1 / (2 * n + 1) for n in range(10, 0, -1))

# Below it exp is 0 here: sums in which it would count are of no use.
_LEAST = -690.0


def exp(values: ArrayLike) -> np.ndarray:
    """Returns powers of e; 0 below e^-690.

    Args:
      values: Exponents of any shape, none above 700; may be -infinity.

    >>> print(exp([0.0, -1.0, -np.inf]))
    [1.         0.36787944 0.        ]
    """
    values = np.asarray(values, np.float64)
    is_zero = values < _LEAST
    values = np.maximum(values, _LEAST)
    exponents = np.rint(values * _LOG2_E)
    rest = (values - exponents * _LN2_HIGH) - exponents * _LN2_LOW
    series = np.zeros_like(rest)
    for term in _EXP_TERMS:
        series += term
        series *= rest
    series += 1.0
    found = np.ldexp(series, exponents.astype(np.int32))
    return np.where(is_zero, 0.0, found)


def log(values: ArrayLike) -> np.ndarray:
    """Returns natural logarithms.

    Args:
      values: Numbers of any shape, finite and not below 0; 0 gives -infinity.

    >>> print(log([1.0, 0.5, 0.0]))
    [ 0.         -0.69314718        -inf]
    """
    values = np.asarray(values, np.float64)
    fractions, exponents = np.frexp(values)
    small = fractions < np.sqrt(0.5)
    excess = np.where(small, 2.0 * fractions, fractions) - 1.0
    exponents = (exponents - small).astype(np.float64)
    ratio = excess / (2.0 + excess)
    square = ratio * ratio
    series = np.zeros_like(ratio)
    for term in _LOG_TERMS:
        series += term
        series *= square
    found = 2.0 * ratio + (2.0 * ratio * series + exponents * _LN2_LOW)
    found = exponents * _LN2_HIGH + found
    return np.where(values == 0.0, -np.inf, found)
