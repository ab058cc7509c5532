"""Tables of losses in whole numbers, whose sums are exact and comparable.

M models, X texts, S subsets.

Two oracle losses as close as float32's rounding cannot be told apart; sums of
whole numbers can. A table is rounded once, on one scale for all models and
texts. Every sum of it is then exact, and what the rounding does to an oracle
loss is bounded:

    |min_{i in S} L_ix - min_{i in S} scale (o_x + q_ix)| <= scale / 2

for a minimum moves by no more than its arguments, and a mean by no more than
its terms.
"""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

# The largest code stands for infinity, and a text's codes go two beyond its
# spread, for both ends of the spread are rounded.
_INFINITE = np.iinfo(np.uint32).max
_NUM_STEPS = int(_INFINITE) - 3

# Below 2^53 float64 holds every whole number; 2^-1074 is its least number.
_EXACT_BITS, _LEAST_EXPONENT = 53, -1074

# Texts worked on at once, in float64.
_BLOCK = 2**16


class Quantised(NamedTuple):
    """A table of losses in whole numbers.

    L_ix is scale (offsets_x + values_ix), off by at most scale / 2. Where
    values_ix is the largest uint32, L_ix is +inf.

    Attributes:
      values: Codes of the losses, [M, X] uint32.
      offsets: What was taken off each text's losses, in units of the scale,
        [X] int64. It is the same for all models, so comparisons of sums do not
        need it.
      scale: One unit, in the unit of the losses; a power of two.
    """

    values: np.ndarray
    offsets: np.ndarray
    scale: float


def quantised(losses: ArrayLike) -> Quantised:
    """Returns the losses in whole numbers, on one scale for the table.

    q_ix = round(L_ix / scale) - o_x,  o_x = floor(min_i L_ix / scale)

    The scale is the least power of two on which the spread of each text fits
    32 bits (its largest finite loss less its least), and each loss 53 bits.
    Losses that are multiples of the scale, such as whole numbers, are exact.
    The others are rounded to the nearest, with no other error.

    Args:
      losses: Loss of model i on text x, [M, X] float32 or float64, M at least
        1. +inf stands for a text that the model cannot have.

    Raises:
      ValueError: No models; another shape or dtype; NaN or -inf, with its row
        and column; a text that no model can have; losses whose difference is
        beyond float64.

    >>> table = quantised([[1.0, 4.0], [3.0, 2.0]])
    >>> table.scale == 2**-30, table.offsets.tolist() == [2**30, 2**31]
    (True, True)
    >>> table.values.tolist() == [[0, 2**31], [2**31, 0]]
    True
    """
    losses = _checked(losses)
    least = losses.min(axis=0).astype(np.float64)
    blocks = [
        slice(start, start + _BLOCK)
        for start in range(0, losses.shape[1], _BLOCK)
    ]
    exponent = _exponent(losses, least, blocks)
    values = np.empty(losses.shape, np.uint32)
    offsets = np.floor(np.ldexp(least, -exponent))
    for block in blocks:
        finite = np.isfinite(losses[:, block])
        units = np.where(finite, losses[:, block], 0.0).astype(np.float64)
        units = np.ldexp(units, -exponent)
        codes = np.floor(units)
        codes += units - codes >= 0.5
        values[:, block] = np.where(finite, codes - offsets[block], _INFINITE)
    return Quantised(
        values, offsets.astype(np.int64), math.ldexp(1.0, exponent)
    )


def _checked(losses: ArrayLike) -> np.ndarray:
    losses = np.asarray(losses)
    if losses.ndim != 2 or losses.shape[0] == 0:
        raise ValueError(
            f"losses has shape {losses.shape}; [M, X] with M at least 1 is "
            "needed."
        )
    if losses.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"losses has dtype {losses.dtype}; float32 or float64 is needed."
        )
    bad = ~(losses > -np.inf)
    if bad.any():
        i, x = np.argwhere(bad)[0]
        raise ValueError(
            f"losses[{i}, {x}] (model {i}, text {x}) is {losses[i, x]}."
        )
    nowhere = np.isinf(losses).all(axis=0)
    if nowhere.any():
        x = int(nowhere.argmax())
        raise ValueError(
            f"losses[:, {x}] are all infinite: no model can have text {x}; "
            "leave it out."
        )
    return losses


def _exponent(
    losses: np.ndarray, least: np.ndarray, blocks: list[slice]
) -> int:
    """Returns the exponent of the scale, a power of two."""
    spread, largest = 0.0, 0.0
    for block in blocks:
        finite = np.isfinite(losses[:, block])
        table = np.where(finite, losses[:, block], least[block])
        with np.errstate(over="ignore"):
            above = table.astype(np.float64) - least[block]
        spread = max(spread, float(above.max(initial=0.0)))
        largest = max(largest, float(np.abs(table).max(initial=0.0)))
    if math.isinf(spread):
        raise ValueError(
            f"losses of one text differ by more than {np.finfo(float).max:.3g},"
            " the largest float64: give them in a larger unit."
        )
    # The subtraction may have rounded down.
    above = min(math.nextafter(spread, math.inf), float(np.finfo(float).max))
    spread = above if spread else largest or 1.0
    fraction, exponent = math.frexp(spread)
    exponent -= _NUM_STEPS.bit_length()
    if fraction > math.ldexp(_NUM_STEPS, -_NUM_STEPS.bit_length()):
        exponent += 1
    holds = math.frexp(largest)[1] - _EXACT_BITS if largest else exponent
    return max(exponent, holds, _LEAST_EXPONENT)
