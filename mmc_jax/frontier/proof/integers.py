"""A pool in whole numbers, on which bounds and comparisons are exact.

M models, X texts, S subsets, F frontier points.

Costs are exact: every float64 is a whole multiple of a power of two. Where the
sum of all costs needs more than 52 bits, a cost has two parts,

    cost = (high 2^low_bits + low) / cost_scale,

and comparisons use both. Bounds use the high part alone, which is rounded down:
no subset that a budget can buy is lost.

Losses are rounded to 32 bits above the text's least loss. Where a few losses
are so large that the others could not be told apart, they are cut to the
largest number: a lower bound of an oracle loss stays one.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import jax
import numpy as np

from mmc_jax import oracle
from mmc_jax.frontier.pareto import non_dominated, padded_rows
from mmc_jax.statistics.inputs import Inputs

# Sums below are exact in float64, with room for a bound's.
_SUM_BITS = 52

# Bits of the low part of a cost: thousands of them add up in 64 bits.
_MOST_LOW_BITS = 50

_LARGEST = 2**32 - 1

# Losses are cut for a finer scale while no larger share of them is.
_MOST_CUT = 0.01

# Rounding to whole numbers should move a loss by less than this share of the
# distance between neighbouring points (in the median), and of the distance from
# the first to the last one without the losses that may be cut.
_MOST_ERROR = 2.0**-8

# Beyond, sums of float64 could overflow or lose bits.
_MOST_EXPONENT, _LEAST_EXPONENT = 1000, -900


class IntegerPool(NamedTuple):
    """A pool of which losses and costs are whole numbers.

    The weighted loss w_x L_ix is scale (offsets_x + values_ix), up to rounding;
    where values_ix is 2^32 - 1 it may be larger.

    Attributes:
      values: Weighted losses less the text's offset, in units of the scale,
        [M, X] uint32.
      base: Sum of the texts' offsets, in units of the scale.
      scale: One unit of a weighted loss, a power of two.
      error: Largest amount by which rounding moves an oracle loss, in the unit
        of the losses; 0 where all losses are multiples of the scale. Losses
        that were cut are not counted.
      total_weight: Exact sum of the weights of the texts.
      costs: High part of each cost, [M] int64.
      costs_low: Low part of each cost, [M] int64; 0 where costs need one part.
      low_bits: Number of bits of the low part.
      cost_scale: Units of the low part in 1 of the cost's own unit, a power of
        two.
    """

    values: np.ndarray
    base: int
    scale: float
    error: float
    total_weight: Fraction
    costs: np.ndarray
    costs_low: np.ndarray
    low_bits: int
    cost_scale: float


class IntegerFrontier(NamedTuple):
    """Non-dominated subsets in whole numbers, least cost first.

    Attributes:
      costs: Cost of each subset, F whole numbers of any size, rising.
      sums: Loss sum of each subset, [F] int64, falling.
      masks: Models of each subset, [F, M] bool.
    """

    costs: list[int]
    sums: np.ndarray
    masks: np.ndarray


def integer_pool(inputs: Inputs, step: float = math.inf) -> IntegerPool:
    """Returns the pool in whole numbers; the arguments are checked already.

    Args:
      inputs: Losses, costs and weights.
      step: Distance between neighbouring points, in the unit of the losses. If
        the widest spread of a text moves oracle losses by more than a small
        share of it, up to one loss in a hundred is cut for a finer scale.

    Raises:
      ValueError: losses, weights or costs at the end of what float64 holds;
        costs that differ by so much that they cannot be added exactly.
    """
    losses, costs, weights = inputs
    _check_size("losses", losses)
    if weights is None:
        weighted, rest = losses, np.zeros(1)
        total_weight = Fraction(losses.shape[1])
    else:
        _check_size("weights", weights)
        weighted, rest = _products(losses, weights)
        _check_size("losses times weights", weighted)
        total_weight = exact_sum(weights)
    exponent = _loss_exponent(weighted, costs, step * float(total_weight))
    while True:
        values, offsets = _rounded(weighted, exponent)
        if int(values.max(axis=0).astype(np.int64).sum()) < 2**_SUM_BITS:
            break
        exponent += 1
    moved = _moved(weighted, np.abs(rest), values, offsets, exponent)
    high, low, low_bits, cost_scale = _integer_costs(costs)
    return IntegerPool(
        values,
        sum(map(int, offsets.tolist())),
        math.ldexp(1.0, exponent),
        # The sum and the quotient are rounded themselves.
        float(moved / float(total_weight) * (1 + 2.0**-20)),
        total_weight,
        high,
        low,
        low_bits,
        cost_scale,
    )


def exact_sum(values: np.ndarray) -> Fraction:
    """Returns the exact sum of floats [X], all below 2^1000."""
    values = values.tolist()
    total = Fraction(0)
    while part := math.fsum(values):
        total += Fraction(part)
        values.append(-part)
    return total


def lower_losses(pool: IntegerPool, sums: np.ndarray) -> np.ndarray:
    """Returns lower bounds of real oracle losses, rounded down: float64 [F].

    Args:
      pool: The losses in whole numbers.
      sums: Lower bounds of whole loss sums, [F] int64.
    """
    scale, error = Fraction(pool.scale), Fraction(pool.error)
    found = []
    for loss_sum in sums.tolist():
        exact = scale * (loss_sum + pool.base) / pool.total_weight - error
        bound = float(exact)
        if bound > exact:
            bound = math.nextafter(bound, -math.inf)
        found.append(bound)
    return np.array(found)


def loss_sums(pool: IntegerPool, masks: np.ndarray) -> np.ndarray:
    """Returns the whole loss sum of each subset [S, M], exact: [S] int64."""
    with jax.enable_x64(True):
        sums = oracle.oracle_sums(pool.values, padded_rows(masks))
    return np.asarray(sums)[: len(masks)]


def cut_off(pool: IntegerPool, masks: np.ndarray) -> np.ndarray:
    """Returns whether a least loss of each subset [S, M] was cut: [S] bool."""
    if (pool.values.max(axis=0) < _LARGEST).all():
        return np.zeros(len(masks), bool)
    cut = pool.values == _LARGEST
    return np.array([cut[mask].all(axis=0).any() for mask in masks])


def integer_costs(pool: IntegerPool, masks: np.ndarray) -> list[int]:
    """Returns the cost of each subset [S, M] in units of the low part."""
    high, low = masks @ pool.costs, masks @ pool.costs_low
    return [
        (h << pool.low_bits) + rest
        for h, rest in zip(high.tolist(), low.tolist(), strict=True)
    ]


def integer_frontier(pool: IntegerPool, masks: np.ndarray) -> IntegerFrontier:
    """Returns the frontier of the subsets [S, M] in whole numbers."""
    costs = integer_costs(pool, masks)
    place = {cost: k for k, cost in enumerate(sorted(set(costs)))}
    line = non_dominated(
        [place[cost] for cost in costs], loss_sums(pool, masks), masks
    )
    return IntegerFrontier(
        integer_costs(pool, line.masks),
        line.losses.astype(np.int64),
        line.masks,
    )


def split_costs(
    costs: list[int], low_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the high and the low part of costs: [B] int64 each."""
    low = (1 << low_bits) - 1
    return (
        np.array([cost >> low_bits for cost in costs], np.int64),
        np.array([cost & low for cost in costs], np.int64),
    )


def _check_size(name: str, values: np.ndarray) -> None:
    largest = float(np.abs(values).max())
    if not largest < 2.0**_MOST_EXPONENT:
        raise ValueError(
            f"{name} reach {largest:.3g}, so that sums could overflow: give "
            "them in a larger unit."
        )
    if 0 < largest < 2.0**_LEAST_EXPONENT:
        raise ValueError(
            f"{name} reach {largest:.3g} only, where float64 has few digits: "
            "give them in a smaller unit."
        )


def _products(
    losses: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns w_x L_ix rounded, and bounds of what that leaves: [M, X] each."""
    with np.errstate(over="ignore", under="ignore"):
        product = losses * weights
        exponents = [np.frexp(np.abs(v[v != 0]))[1] for v in (losses, weights)]
        if any(
            len(e) and (e.min() < _LEAST_EXPONENT // 2 or e.max() > 400)
            for e in exponents
        ):
            return product, np.abs(product) * 2.0**-53 + 2.0**-1074
    # Dekker's product: exact, for nothing overflows or underflows.
    (a, b), (c, d) = _halves(losses), _halves(weights)
    return product, ((a * c - product) + a * d + b * c) + b * d


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two floats of 26 bits whose sum the value is (Veltkamp)."""
    moved = values * (2.0**27 + 1)
    high = moved - (moved - values)
    return high, values - high


def _loss_exponent(weighted: np.ndarray, costs: np.ndarray, step: float) -> int:
    """Returns the exponent of two of the scale of weighted losses [M, X].

    Args:
      weighted: Losses times the weights of their texts, [M, X].
      costs: Cost of each model, [M].
      step: Distance between neighbouring points in sums over texts.
    """
    with np.errstate(over="ignore"):
        spread = weighted - weighted.min(axis=0)
    widest = float(spread.max())
    largest = float(np.abs(weighted).max())
    # So that none overflows in such units.
    most = math.frexp(largest)[1] - _MOST_EXPONENT + 1
    # Losses that are all equal are rounded on the scale of their own size.
    exponent = max(_exponent_of(widest or largest or 1.0), most)
    if widest == 0:
        return exponent

    def unit_for(distance: float) -> float:
        # Half a unit for each text.
        return 2 * _MOST_ERROR * distance / weighted.shape[1]

    fine = unit_for(step)
    num_cut = max(1, int(_MOST_CUT * spread.size))
    cheapest = spread[costs == costs.min()]
    # All points lie between the cheapest model and the least losses.
    plain = widest * 2.0**-20
    if fine >= 2.0**exponent and np.count_nonzero(spread > plain) > num_cut:
        line = float(np.minimum(cheapest, plain).sum(axis=1).min())
        if unit_for(line) >= 2.0**exponent:
            return exponent
    above = np.sort(spread, axis=None)[::-1]
    largest_kept = float(above[num_cut]) if num_cut < above.size else 0.0
    line = float(np.minimum(cheapest, largest_kept).sum(axis=1).min())
    if line > 0:
        fine = min(fine, unit_for(line))
    if fine >= 2.0**exponent:
        return exponent
    least = _exponent_of(largest_kept) if num_cut < above.size else 0
    fine = -1074 if fine <= 0 else math.frexp(fine)[1] - 1
    return min(exponent, max(least, fine, most))


def _exponent_of(spread: float) -> int:
    """Returns the least exponent on whose scale 32 bits hold the spread."""
    # Three codes are left: both ends are rounded, and the last is for more.
    fraction, exponent = math.frexp(math.nextafter(spread, math.inf))
    exponent -= 32
    if math.ldexp(fraction, 32) > _LARGEST - 3:
        exponent += 1
    return max(exponent, -1074)


def _rounded(
    weighted: np.ndarray, exponent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns values [M, X] uint32 and offsets [X] float64, whole numbers.

    Rounded to the nearest, halves up; exact where float64 is whole anyway.
    """
    units = np.ldexp(weighted, -exponent)
    offsets = np.floor(units.min(axis=0))
    codes = np.floor(units)
    codes += units - codes >= 0.5
    values = np.minimum(codes - offsets, _LARGEST)
    return values.astype(np.uint32), offsets


def _moved(
    weighted: np.ndarray,
    rest: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
    exponent: int,
) -> float:
    """Returns a bound of what rounding moves a sum of weighted losses by.

    Args:
      weighted: Weighted losses, [M, X].
      rest: What the rounding of their products left over, [M, X] or [1].
      values: Whole losses, [M, X] uint32.
      offsets: Offset of each text, [X].
      exponent: Exponent of two of one unit.
    """
    above = np.ldexp(weighted, -exponent) - offsets - values
    above = np.ldexp(above, exponent)
    # A loss that is cut is larger than its whole number; but its own rounding
    # may be the larger of the two.
    is_cut = (values == _LARGEST) & (above > 0)
    moved = np.where(
        is_cut, np.maximum(2 * rest - above, 0), np.abs(above) + rest
    )
    return float(moved.max(axis=0).sum())


def _integer_costs(
    costs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Returns the costs' high and low parts, the low bits, and the scale.

    Raises:
      ValueError: costs that are too many bits apart.
    """
    exact = [Fraction(cost) for cost in costs.tolist()]
    # Denominators of floats are powers of two.
    scale = max(cost.denominator for cost in exact)
    whole = [int(cost * scale) for cost in exact]
    low_bits = max(0, sum(whole).bit_length() - _SUM_BITS)
    # Trailing zeros of all costs are left out where that saves the low part.
    if low_bits:
        zeros = min((n & -n).bit_length() - 1 for n in whole if n)
        whole = [n >> zeros for n in whole]
        scale = Fraction(scale, 1 << zeros)
        low_bits = max(0, low_bits - zeros)
    if not 2.0**-_MOST_EXPONENT < scale < 2.0**_MOST_EXPONENT:
        raise ValueError(
            f"costs up to {costs.max():g} have digits at the end of what "
            "float64 holds: give them in another unit."
        )
    if low_bits > _MOST_LOW_BITS:
        least = min(cost for cost in costs.tolist() if cost)
        unit = 10.0 ** math.ceil(math.log10(float(sum(exact)) * 2.0**-90))
        raise ValueError(
            f"costs from {least:g} to {costs.max():g} have more digits than "
            f"can be added exactly: divide each by {unit:.0e} and round it to "
            "a whole number."
        )
    high, low = split_costs(whole, low_bits)
    return high, low, low_bits, float(scale)
