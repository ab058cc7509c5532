"""Logarithms, exponentials and powers with the same bits on every processor.

NumPy has other code for each instruction set, whose results differ in the last
bit. These call the C library number by number, so that fits on different
machines start from the same bits.
All take and return float64 of any shape.
"""

import math

import numpy as np
from jax.typing import ArrayLike


def log(values: ArrayLike) -> np.ndarray:
    """Returns natural logarithms; -infinity for 0, NaN below.

    Args:
      values: Numbers of any shape.

    >>> print(log([1.0, 0.0, -1.0]))
    [  0. -inf  nan]
    """
    return _each(_log, values)


def exp(values: ArrayLike) -> np.ndarray:
    """Returns exponentials; infinity where float64 overflows.

    Args:
      values: Numbers of any shape.

    >>> print(exp([0.0, 1000.0]))
    [ 1. inf]
    """
    return _each(_exp, values)


def power(bases: ArrayLike, exponents: ArrayLike) -> np.ndarray:
    """Returns each base to its exponent; infinity where float64 overflows.

    Args:
      bases: Numbers above 0, of a shape that broadcasts with `exponents`.
      exponents: Numbers of any shape.

    >>> print(power(2.0, [3.0, 2000.0]))
    [ 8. inf]
    """
    return _each(_power, bases, exponents)


def log_spaced_shares(first: float, num_values: int) -> np.ndarray:
    """Returns numbers from the first to 1, evenly spread on a log scale.

    Args:
      first: First number, above 0.
      num_values: How many, at least 2.

    >>> print(log_spaced_shares(0.01, 3))
    [0.01 0.1  1.  ]
    """
    return power(first, 1 - np.arange(num_values) / (num_values - 1))


def _each(function, *values: ArrayLike) -> np.ndarray:
    arrays = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values))
    found = map(function, *(array.ravel().tolist() for array in arrays))
    shape = arrays[0].shape
    return np.fromiter(found, np.float64, arrays[0].size).reshape(shape)


def _log(value: float) -> float:
    if value > 0:
        return math.log(value)
    return -math.inf if value == 0 else math.nan


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
