"""Exponentials and logarithms of arrays with the same bits on every machine.

NumPy and the C library have other code for each processor, whose results differ
in the last bit. These use additions, multiplications, divisions, rounding and
scaling by powers of two, each of which IEEE 754 defines to the last bit, one
NumPy call for each. All take and return float64 of any shape.

Source: argument reduction and series as in Muller 2016, Elementary Functions,
chapters 5 and 11; ln 2 in two numbers, of which the first has 32 bits.
"""

import numpy as np
from jax.typing import ArrayLike

_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")

# Terms of the series for arguments up to ln(2)/2 and up to 0.1716, the first
# that is left out below 2^-54.
_EXP_TERMS, _LOG_TERMS = 14, 10

# Below it exp is 0 in float64, and ldexp needs no larger exponent.
_LEAST = -746.0


def expm1(values: ArrayLike) -> np.ndarray:
    """Returns exp(x) - 1 for x of 0 or less, with all digits near 0.

    Args:
      values: Numbers of any shape, none above 0; -infinity gives -1.

    >>> print(expm1([0.0, -1e-20, -np.inf]))
    [ 0.e+00 -1.e-20 -1.e+00]
    """
    values = np.maximum(np.asarray(values, np.float64), _LEAST)
    exponents = np.rint(values * _LOG2_E)
    rest = (values - exponents * _LN2_HIGH) - exponents * _LN2_LOW
    series = np.ones_like(rest)
    for n in range(_EXP_TERMS, 1, -1):
        series = 1.0 + series * rest / n
    series = series * rest
    exponents = exponents.astype(np.int32)
    return np.where(
        exponents == 0, series, np.ldexp(1.0 + series, exponents) - 1.0
    )


def log1p(values: ArrayLike) -> np.ndarray:
    """Returns log(1 + x) for x from -1 on, with all digits near 0.

    Args:
      values: Numbers of any shape, finite and not below -1; -1 gives -infinity.

    >>> print(log1p([0.0, -1e-20, -1.0]))
    [ 0.e+00 -1.e-20    -inf]
    """
    values = np.asarray(values, np.float64)
    fractions, exponents = np.frexp(1.0 + values)
    small = fractions < np.sqrt(0.5)
    fractions = np.where(small, 2.0 * fractions, fractions)
    exponents = (exponents - small).astype(np.float64)
    # Without an exponent the given digits count, not those of 1 + x.
    excess = np.where(exponents == 0, values, fractions - 1.0)
    ratio = excess / (2.0 + excess)
    square = ratio * ratio
    series = np.zeros_like(ratio)
    for n in range(_LOG_TERMS, 0, -1):
        series = (series + 1.0 / (2 * n + 1)) * square
    found = 2.0 * ratio + (2.0 * ratio * series + exponents * _LN2_LOW)
    found = exponents * _LN2_HIGH + found
    return np.where(values == -1.0, -np.inf, found)
