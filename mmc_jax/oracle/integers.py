"""Tables of losses as whole numbers, whose sums are exact and comparable.

M models, X texts, S subsets.

Two oracle losses as close as float32's rounding cannot be told apart; sums of
whole numbers can. A table is rounded once, on one scale for all models and
texts; every sum of it is then exact, two sums of equal weights compare as
integers do, and what the rounding did to an oracle loss is bounded:

    |min_{i in S} L_ix - min_{i in S} (o_x + scale q_ix)| <= max_i of the same

for a minimum moves by no more than its arguments, and a weighted mean by no
more than its terms.
"""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

_DTYPES = ("uint8", "uint16", "uint32")
_ROUNDINGS = ("nearest", "down")

# A scale is a whole multiplier, of so many bits, times a power of two: division
# by it can be made exact in float64, and at most one code in 16 is left unused.
_MULTIPLIER_BITS = 5

# Below 2^53 float64 holds every whole number.
_EXACT = 2**53

# Texts worked on at once, in float64.
_BLOCK = 2**16


class Quantised(NamedTuple):
    """A table of losses as whole numbers.

    L_ix lies between scale (offsets_x + values_ix) - error_below and scale
    (offsets_x + values_ix) + error_above; where values_ix is the dtype's
    largest it is +inf.

    Attributes:
      values: [M, X], in the dtype asked for.
      offsets: [X], int64: what was taken off the text's losses, in units of the
        scale. The same for all models, so that no comparison needs it.
      scale: One unit, in the unit of the losses.
      error_below: In the unit of the losses; 0 if rounded down.
      error_above: In the unit of the losses; infinite if losses were cut.
    """

    values: np.ndarray
    offsets: np.ndarray
    scale: float
    error_below: float
    error_above: float


class Bounds(NamedTuple):
    """Between what oracle losses lie, in the unit of the losses.

    Attributes:
      lower: In the shape of the sums, float64.
      upper: Likewise; holds for a subset that has, for each text of positive
        weight, a model whose loss is finite.
    """

    lower: np.ndarray
    upper: np.ndarray


def quantised(
    losses: ArrayLike,
    dtype: str | type = np.uint16,
    rounding: str = "nearest",
    *,
    largest: float | None = None,
    power_of_two: bool = False,
) -> Quantised:
    """Returns the losses as whole numbers, on one scale for the table.

    q_ix = round(L_ix / scale) - o_x,  o_x = floor(min_i L_ix / scale)

    The scale is the least, of those with a short multiplier, on which each
    text's spread fits (its largest finite loss less its least). Rounding is
    exact, as with real numbers: to the "nearest" it is off by at most scale / 2
    either way; "down" it never lies above the loss, and less than scale below,
    so that sums are valid lower bounds. `loss_bounds` gives these and, by the
    error, upper ones.

    Args:
      losses: [M, X], M at least 1; +inf is a loss like any other.
      dtype: uint8, uint16 or uint32.
      rounding: "nearest" or "down".
      largest: Losses above it are taken for it (but not for less than the
        text's least), so that a few bad ones do not make the scale coarse. Only
        lower bounds hold then, in either rounding.
      power_of_two: Whether the scale is one, at up to twice the error: losses
        that are multiples of it, such as whole numbers, are then exact.

    Raises:
      ValueError: a dtype or rounding that is none of these; no models; NaN or
        -inf, with its row and column; a text that no model can have; losses
        that float64 cannot hold in units so small.

    >>> table = quantised([[1.0, 4.0], [3.0, 2.0]], np.uint8, "down")
    >>> print(table.values, table.offsets, table.scale)
    [[  0 241]
     [241   0]] [120 240] 0.00830078125
    """
    dtype = np.dtype(dtype)
    if dtype.name not in _DTYPES:
        raise ValueError(
            f"dtype is {dtype}; one of {', '.join(_DTYPES)} is needed."
        )
    if rounding not in _ROUNDINGS:
        raise ValueError(
            f"rounding is {rounding!r}; one of {', '.join(_ROUNDINGS)} is "
            "needed."
        )
    if largest is not None and not math.isfinite(largest):
        raise ValueError(f"largest is {largest}; a finite loss is needed.")
    losses = _checked(losses)
    least = losses.min(axis=0).astype(np.float64)
    blocks = [
        slice(start, start + _BLOCK)
        for start in range(0, losses.shape[1], _BLOCK)
    ]
    spread = max((_spread(losses[:, b], largest) for b in blocks), default=0.0)
    top = np.iinfo(dtype).max
    # A text's codes go two beyond its spread, for both its ends are rounded;
    # and the largest stands for infinity.
    multiplier, exponent = _scale(
        spread or float(np.abs(least).max(initial=0.0)) or 1.0,
        top - 3,
        1 if power_of_two else _MULTIPLIER_BITS,
    )
    values = np.empty(losses.shape, dtype)
    offsets = _floor_quotients(np.ldexp(least, -exponent), multiplier)
    for block in blocks:
        finite = np.isfinite(losses[:, block])
        limited = np.where(finite, _limited(losses[:, block], largest), 0.0)
        units = np.ldexp(limited, -exponent)
        if np.abs(units).max(initial=0.0) >= _EXACT:
            raise ValueError(
                f"losses of {np.abs(limited).max():.3g} cannot be told apart "
                f"in {dtype} units of {math.ldexp(multiplier, exponent):.3g}: "
                "a smaller dtype is needed."
            )
        codes = _floor_quotients(units, multiplier)
        if rounding == "nearest":
            codes += 2 * (units - codes * multiplier) >= multiplier
        values[:, block] = np.where(finite, codes - offsets[block], top)
    scale = math.ldexp(multiplier, exponent)
    cut = largest is not None and bool(
        ((losses > largest) & np.isfinite(losses)).any()
    )
    error = scale / 2 if rounding == "nearest" else scale
    return Quantised(
        values=values,
        offsets=offsets.astype(np.int64),
        scale=scale,
        error_below=scale / 2 if rounding == "nearest" else 0.0,
        error_above=math.inf if cut else error,
    )


def loss_bounds(
    table: Quantised, sums: ArrayLike, weights: ArrayLike | None = None
) -> Bounds:
    """Returns bounds of the oracle losses whose quantised sums these are.

    scale (sum_x w_x o_x + sums) / sum_x w_x - error_below <= L(S),
    and with + error_above it is not less than L(S): a minimum moves no further
    than its arguments, a mean no further than its terms. The roundings of this
    formula in float64 are allowed for.

    Args:
      table: What the sums are of.
      sums: Whole numbers, from `oracle_sums` or `min_sum` of the table's
        values; any shape.
      weights: [X], the counts that they were made with.

    Raises:
      ValueError: sums or weights that are no whole numbers; weights that are
        negative, all 0, or of a wrong shape; no texts.

    >>> table = quantised([[1.0, 4.0], [3.0, 2.0]], np.uint8, "down")
    >>> bounds = loss_bounds(table, np.array([241, 0]))
    >>> print(bounds.lower.round(3), bounds.upper.round(3))
    [2.494 1.494] [2.503 1.502]
    """
    sums = np.asarray(sums)
    if not np.issubdtype(sums.dtype, np.integer):
        raise ValueError(f"sums has dtype {sums.dtype}; integers are needed.")
    num_texts = len(table.offsets)
    weights = np.ones(num_texts, np.int64) if weights is None else weights
    weights = np.asarray(weights)
    if weights.shape != (num_texts,):
        raise ValueError(
            f"weights has shape {weights.shape}; ({num_texts},) is needed."
        )
    if not np.issubdtype(weights.dtype, np.integer) or (weights < 0).any():
        raise ValueError("weights are needed as whole counts, not negative.")
    # Python's integers have no largest.
    weights = weights.tolist()
    total = sum(weights)
    if total == 0:
        raise ValueError("weights sum to 0: the mean is undefined.")
    pairs = zip(weights, table.offsets.tolist(), strict=True)
    base = sum(weight * offset for weight, offset in pairs)
    means = table.scale * ((sums.astype(np.float64) + base) / total)
    # Two conversions, an addition, a division, a product and the sum below.
    slack = 2.0**-49 * (
        np.abs(means)
        + table.scale * (sums.astype(np.float64) + abs(base)) / total
        + table.error_below
    )
    return Bounds(
        lower=means - table.error_below - slack,
        upper=means + table.error_above + slack,
    )


def _checked(losses: ArrayLike) -> np.ndarray:
    losses = np.asarray(losses)
    if losses.ndim != 2 or losses.shape[0] == 0:
        raise ValueError(
            f"losses has shape {losses.shape}; [M, X] with a model is needed."
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


def _limited(losses: np.ndarray, largest: float | None) -> np.ndarray:
    """Returns the losses in float64, those above the largest cut to it."""
    losses = losses.astype(np.float64)
    if largest is None:
        return losses
    return np.minimum(losses, np.maximum(largest, losses.min(axis=0)))


def _spread(losses: np.ndarray, largest: float | None) -> float:
    """Returns the most that a text's finite losses differ by, or a bit more."""
    limited = _limited(losses, largest)
    above = np.where(np.isfinite(losses), limited - losses.min(axis=0), 0.0)
    widest = float(above.max(initial=0.0))
    return math.nextafter(widest, math.inf) if widest else 0.0


def _scale(spread: float, num_steps: int, num_bits: int) -> tuple[int, int]:
    """Returns (m, e) of the least m 2^e, m below 2^bits, that needs no more."""
    # The spread is f 2^e with 1/2 <= f < 1; a step holds f / steps of 2^e.
    fraction, exponent = math.frexp(spread)
    exponent -= num_steps.bit_length() + num_bits
    need = math.ldexp(fraction, num_steps.bit_length() + num_bits)
    multiplier = math.ceil(need / num_steps)
    while multiplier >= 2**num_bits:
        multiplier, exponent = -(-multiplier // 2), exponent + 1
    return multiplier, exponent


def _floor_quotients(units: np.ndarray, divisor: int) -> np.ndarray:
    """Returns floor(units / divisor) without a rounding: whole float64."""
    quotients = np.floor(units / divisor)
    # The division rounds by less than one; the products are exact.
    quotients -= quotients * divisor > units
    quotients += (quotients + 1) * divisor <= units
    return quotients
