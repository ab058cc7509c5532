"""Sums over texts with the same bits on every machine.

A matrix product in float64 adds in an order that depends on the processor. Here
NumPy multiplies and adds each row by itself, pairwise, in one order.

K rows, X texts.
"""

import numpy as np

# Products that are in memory at once.
_NUMBERS_AT_ONCE = 2**20


def weighted_sums(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns sum_x w_x v_kx of each row, with the same bits everywhere: [K].

    Rows that are equal have equal sums, and a row that is nowhere larger than
    another has no larger sum.

    Args:
      rows: A number for each text in each row, [K, X] float64.
      weights: Weight of each text, [X] float64, not negative for the second
        promise.

    >>> print(weighted_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones(2)))
    [3. 7.]
    """
    found = np.empty(len(rows))
    step = max(1, _NUMBERS_AT_ONCE // rows.shape[1])
    # Memory that is used again: of a million texts to get it takes longer than
    # to fill it.
    room = np.empty((min(step, len(rows)), rows.shape[1]))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        products = np.multiply(some, weights, out=room[: len(some)])
        found[start : start + step] = products.sum(axis=1)
    return found


def pair_minima_sums(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns sum_x w_x min(v_ix, v_jx) of each pair of rows: [K, K].

    On the diagonal stands the row's own sum. With weights that are not
    negative no sum is larger than that of either row.

    Args:
      rows: A number for each text in each row, [K, X] float64.
      weights: Weight of each text, not negative, [X] float64.

    >>> pair_minima_sums(np.array([[1.0, 4.0], [3.0, 2.0]]), np.ones(2))
    array([[5., 3.],
           [3., 5.]])
    """
    found = np.empty((len(rows), len(rows)))
    step = max(1, _NUMBERS_AT_ONCE // rows.shape[1])
    room = np.empty((min(step, len(rows)), rows.shape[1]))
    for i, row in enumerate(rows):
        for start in range(i, len(rows), step):
            some = slice(start, start + step)
            minima = room[: len(rows[some])]
            np.minimum(row, rows[some], out=minima)
            minima *= weights
            found[i, some] = found[some, i] = minima.sum(axis=1)
    return found


def pair_products(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns sum_x w_x v_ix v_jx of each pair of rows: [K, K].

    Args:
      rows: A number for each text in each row, [K, X] float64.
      weights: Weight of each text, [X] float64.

    >>> pair_products(np.array([[1.0, 4.0], [3.0, 2.0]]), np.ones(2))
    array([[17., 11.],
           [11., 13.]])
    """
    found = np.empty((len(rows), len(rows)))
    for i, row in enumerate(rows):
        found[i, i:] = found[i:, i] = weighted_sums(rows[i:], row * weights)
    return found
