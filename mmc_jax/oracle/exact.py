"""Oracle losses that every machine computes to the same bit.

M models, X texts, S subsets, J planes of weights.

The kernels add floats, each in an order of its own: their last digits depend on
the backend, the instruction set and the number of threads. What is written to a
file is computed here instead: the exact sum, rounded once.

The minima m [X] of a subset are cut into planes, m = q_1 + q_2 + ..., each q_k
a whole multiple of a unit u_k, a power of two. A plane has so few bits that
float64 adds all its texts without a rounding, in any order. What the planes add
up to is combined in Python's whole numbers, and divided once.

Source: Rump, Ogita and Oishi 2008, Accurate floating-point summation part I,
SIAM J. Sci. Comput. 31 (extraction of vectors, algorithm 3.2).
"""

import math
from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle.subset_minima import in_steps, take_minima

# Texts and numbers of a block: a block stays in the cache of one core.
_TEXTS, _NUMBERS = 4096, 2**15

# Bits of a whole number that float64 holds, one left for the sign of a rest.
_SUM_BITS = 51

# Bits of a plane of weights that are not whole.
_WEIGHT_BITS = 12

# Sums of whole weights may be so large that a plane keeps 21 bits.
_MOST_WEIGHT = 2**30

# The exponent from which sums of floats could overflow.
_MOST_EXPONENT = 900


def exact_losses(
    losses: ArrayLike, masks: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns the oracle loss of each subset, correctly rounded: [S] float64.

    L(S) = sum_x w_x min_{i in S} L_ix / sum_x w_x, exactly, then rounded once

    So the result has the same bits on every machine, in every order of texts,
    models and subsets. Slower than `oracle_losses`: 6,000 subsets of a frontier
    on 10,000 texts take 0.2 seconds.

    Args:
      losses: [M, X], the loss of model i on text x; float32 or float64. May be
        infinity: the model cannot have the text.
      masks: [S, M] of booleans, a row for each subset. A row without a model
        has the loss infinity.
      weights: [X], finite, not negative, with a positive sum; 1 for each text
        if left out. A text of weight 0 counts for nothing.

    Raises:
      ValueError: no models or no texts; a shape that does not fit; a loss that
        is NaN or -infinity; a weight that is negative or not finite; weights
        that are all 0.

    >>> exact_losses([[0.1, 0.2, 0.3]], [[True], [False]])
    array([0.2, inf])
    """
    losses, masks, weights = _checked(losses, masks, weights)
    if weights is not None and not weights.all():
        some = weights > 0
        losses, weights = losses[:, some], weights[some]
    may_be_infinite = bool(losses.max() == np.inf)
    exponent = _exponent(losses)
    shift = min(0, _MOST_EXPONENT - exponent)
    scaled = np.ldexp(losses, shift) if shift else losses
    integers = _integer_planes(weights, losses.shape[1])
    if integers is None or (
        shift and not (np.ldexp(scaled, -shift) == losses).all()
    ):
        return _by_whole_numbers(losses, masks, weights)
    planes, plane_exponents = integers
    largest = np.abs(planes).sum(axis=0).max()
    bits = _SUM_BITS - math.frexp(largest)[1]
    units = max(
        (
            _units(_finite(block), exponent + shift, bits)
            for block in _blocks(scaled)
        ),
        key=len,
    )
    sums, has_infinity = _sums(scaled, masks, planes, units, may_be_infinite)
    # sums[s, k, j] is a whole multiple of units[k].
    unit_exponents = np.frexp(units)[1] - 1
    whole = np.ldexp(sums, -unit_exponents[:, None]).astype(np.int64)
    exponents = np.add.outer(unit_exponents, plane_exponents)
    lowest = int(exponents.min())
    shifts = (exponents - lowest).ravel().tolist()
    total, total_exponent = _whole_sum(planes, plane_exponents)
    # The mean is numerator 2^power / total.
    power = lowest - shift - total_exponent
    up, down = 1 << max(power, 0), total << max(-power, 0)
    found = np.empty(len(masks))
    for s, row in enumerate(whole.reshape(len(masks), len(shifts)).tolist()):
        numerator = sum(n << by for n, by in zip(row, shifts, strict=True))
        # Python rounds the quotient of whole numbers correctly.
        found[s] = numerator * up / down
    found[has_infinity] = np.inf
    return found


def exact_means(
    values: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns means over the last axis, correctly rounded: [...] float64.

    Args:
      values: [..., X], the terms of each mean; float32 or float64.
      weights: [X], finite, not negative, with a positive sum; 1 for each term
        if left out.

    Raises:
      ValueError: no terms; a value that is NaN or -infinity; weights that do
        not fit, as for `exact_losses`.

    >>> print(exact_means([[0.1, 0.2, 0.3], [1, 2, 3]]))
    [0.2 2. ]
    """
    values = np.asarray(values, np.float64)
    rows = values.reshape(-1, values.shape[-1])
    means = exact_losses(rows, np.eye(len(rows), dtype=bool), weights)
    return means.reshape(values.shape[:-1])


def _checked(losses, masks, weights):
    losses = np.asarray(losses, np.float64)
    masks = np.asarray(masks)
    if losses.ndim != 2 or 0 in losses.shape:
        raise ValueError(
            f"losses has shape {losses.shape}; [M, X] with a model and a text "
            "is needed."
        )
    if masks.ndim != 2 or masks.shape[1] != len(losses):
        raise ValueError(
            f"masks has shape {masks.shape}; [S, {len(losses)}] is needed."
        )
    if masks.dtype != bool:
        raise ValueError(f"masks has dtype {masks.dtype}; bool is needed.")
    # The least is NaN where there is one.
    if not losses.min() > -np.inf:
        i, x = np.argwhere(~(losses > -np.inf))[0]
        raise ValueError(
            f"losses[{i}, {x}] (model {i}, text {x}) is {losses[i, x]}."
        )
    if weights is None:
        return losses, masks, None
    weights = np.asarray(weights, np.float64)
    if weights.shape != losses.shape[1:]:
        raise ValueError(
            f"weights has shape {weights.shape}; {losses.shape[1:]} is needed."
        )
    bad = ~((weights >= 0) & (weights < np.inf))
    if bad.any():
        x = int(bad.argmax())
        raise ValueError(
            f"weights[{x}] is {weights[x]}; finite and not negative is needed."
        )
    if not weights.any():
        raise ValueError("weights are all 0: their mean is undefined.")
    return losses, masks, weights


def _integer_planes(
    weights: np.ndarray | None, num_texts: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns weights as sums of planes of whole numbers: [X, J], [J].

    weights = sum over j of planes[:, j] 2^exponents[j]; None where float64
    cannot hold the smallest beside the largest.
    """
    if weights is None:
        return np.ones((num_texts, 1)), np.zeros(1, np.int64)
    is_whole = (weights == np.rint(weights)).all()
    if is_whole and float(weights.max()) * len(weights) < _MOST_WEIGHT:
        return weights[:, None], np.zeros(1, np.int64)
    exponent = math.frexp(weights.max())[1]
    rest = np.ldexp(weights, -exponent)
    if not (np.ldexp(rest, exponent) == weights).all():
        return None
    planes, exponents = [], []
    for unit in _units(rest, 0, _WEIGHT_BITS):
        plane = _extracted(rest, unit)
        rest = rest - plane
        unit_exponent = math.frexp(unit)[1] - 1
        planes.append(np.ldexp(plane, -unit_exponent))
        exponents.append(unit_exponent + exponent)
    return np.stack(planes, axis=1), np.array(exponents)


def _units(table: np.ndarray, exponent: int, bits: int) -> np.ndarray:
    """Returns units of planes that leave nothing of any entry of the table.

    Args:
      table: any shape, of absolute values up to 2^exponent.
      exponent: Exponent of two that bounds the table.
      bits: a plane's entries have up to so many, and a sign.
    """
    units = []
    while not units or table.any():
        # Nothing is finer than the least float.
        units.append(max(math.ldexp(1.0, exponent - bits), 2.0**-1074))
        table = table - _extracted(table, units[-1])
        exponent -= bits + 1  # What is left is at most half a unit.
    return np.array(units)


def _extracted(
    table: np.ndarray, unit: float, out: np.ndarray | None = None
) -> np.ndarray:
    """Returns the entries rounded to multiples of the unit, exactly."""
    # A float of this size has the unit as its last bit.
    anchor = 1.5 * 2.0**52 * unit
    out = np.add(table, anchor, out=out)
    out -= anchor
    return out


def _blocks(losses: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the losses [M, X] of some texts at a time."""
    for start in range(0, losses.shape[1], _TEXTS):
        yield losses[:, start : start + _TEXTS]


def _finite(losses: np.ndarray) -> np.ndarray:
    """Returns the losses with 0 where they are infinite."""
    return np.where(np.isposinf(losses), 0.0, losses)


def _exponent(losses: np.ndarray) -> int:
    """Returns an exponent of two that bounds the finite losses."""
    largest = max(np.abs(_finite(block)).max() for block in _blocks(losses))
    return math.frexp(largest)[1]


def _sums(
    losses: np.ndarray,
    masks: np.ndarray,
    weights: np.ndarray,
    units: np.ndarray,
    may_be_infinite: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sums of planes [S, K, J] and which rows are infinite [S].

    Args:
      losses: Loss of each text under each model, [M, X].
      masks: Models of each subset, [S, M].
      weights: [X, J], whole numbers.
      units: [K], of `_units`, which leave nothing of any loss.
      may_be_infinite: whether a loss is infinite.
    """
    order, steps = in_steps(masks)
    has_infinity = ~masks.any(axis=1)
    sums = np.zeros((len(masks), len(units), weights.shape[1]))
    unweighted = bool((weights == 1).all())
    for block, table in enumerate(_blocks(losses)):
        table = np.ascontiguousarray(table)
        weight = weights[block * _TEXTS : (block + 1) * _TEXTS]
        num_rows = max(1, _NUMBERS // table.shape[1])
        # Memory that is used again: a fresh array is slower than all its sums.
        rooms = np.empty((2, num_rows, table.shape[1]))
        shared: list[np.ndarray] = []
        for first in range(0, len(masks), num_rows):
            rows = order[first : first + num_rows]
            rest, room = rooms[:, : len(rows)]
            take_minima(table, steps[first : first + num_rows], shared, rest)
            if may_be_infinite:
                infinite = np.isposinf(rest)
                has_infinity[rows] |= infinite.any(axis=1)
                rest[infinite] = 0
            for k, unit in enumerate(units):
                last = k == len(units) - 1
                if k > 1 and not last and not rest.any():
                    break
                # The last plane is all that is left.
                plane = rest if last else _extracted(rest, unit, room)
                if unweighted:
                    sums[rows, k, 0] += plane.sum(axis=1)
                else:
                    sums[rows, k] += plane @ weight
                if not last:
                    rest -= plane
    return sums, has_infinity


def _by_whole_numbers(
    losses: np.ndarray, masks: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Returns the same as `exact_losses` by Python's whole numbers: slowly.

    For tables whose largest number is 10^270 or more beside tiny ones.
    """
    if weights is None:
        weights = np.ones(losses.shape[1])
    total = sum(_whole_numbers(weights))
    found = np.full(len(masks), np.inf)
    for s, mask in enumerate(masks):
        minima = losses[mask].min(axis=0, initial=np.inf)
        if np.isposinf(minima).any():
            continue
        loss = _whole_numbers(minima)
        weight = _whole_numbers(weights)
        numerator = sum(a * b for a, b in zip(loss, weight, strict=True))
        # The numerator is in units of 2^-2148, the total of 2^-1074.
        found[s] = numerator / (total << 1074)
    return found


def _whole_numbers(values: np.ndarray) -> list[int]:
    """Returns floats as whole numbers in units of 2^-1074, the least float."""
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, 53).astype(np.int64).tolist()
    shifts = (exponents + (1074 - 53)).tolist()
    return [
        m << by if by >= 0 else m >> -by  # The bits shifted out are 0.
        for m, by in zip(mantissas, shifts, strict=True)
    ]


def _whole_sum(planes: np.ndarray, exponents) -> tuple[int, int]:
    """Returns (n, e): the exact sum of all weights is n 2^e."""
    lowest = int(min(exponents))
    # Of whole numbers so small float64 rounds no sum.
    sums = zip(planes.sum(axis=0).tolist(), exponents, strict=True)
    return sum(int(n) << int(by - lowest) for n, by in sums), lowest
