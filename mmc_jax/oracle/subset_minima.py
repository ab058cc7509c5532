"""Minima of many subsets, text by text: what subsets share is taken once.

M models, X texts, S subsets.

On a frontier a subset has most models of another. In the order of their models,
the most frequent model first, each begins with those of the one before: of 71
models all but one of sixteen. A minimum is exact in any order.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """How the minima of a subset follow from those of the one before.

    Attributes:
      num_shared: Number of first models that both have.
      models: Indices of its other models.
    """

    num_shared: int
    models: list[int]


def minima_of_subsets(losses: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Returns the least loss of each subset, text by text: [S, X].

    Subsets that begin alike share their minima, as those of a frontier do.

    Args:
      losses: Loss of each text under each model, float64 [M, X].
      masks: Models of each subset, bool [S, M]; infinity for no models.

    >>> losses = np.array([[1.0, 4.0], [3.0, 2.0]])
    >>> minima_of_subsets(losses, np.ones((1, 2), bool))
    array([[1., 2.]])
    """
    order, steps = in_steps(masks)
    found = np.empty((len(masks), losses.shape[1]))
    take_minima(losses, steps, [], [found[s] for s in order])
    found[~masks.any(axis=1)] = np.inf
    return found


def first_least(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the place of the least of several rows, of equals the first: [X].

    The same as `argmin` over the rows of a table, in a fraction of its time.

    Args:
      rows: A number for each text in each row, no NaN, [X] each.

    >>> first_least([np.array([1.0, 4.0]), np.array([1.0, 2.0])])
    array([0, 1])
    """
    least, found = None, None
    for place, row in enumerate(rows):
        if least is None:
            least, found = np.array(row), np.zeros(len(row), np.int64)
            continue
        is_less = row < least
        np.copyto(least, row, where=is_less)
        np.copyto(found, place, where=is_less)
    return found


def in_steps(masks: np.ndarray) -> tuple[np.ndarray, list[Step]]:
    """Returns an order of the subsets, [S], and each one's step in that order.

    Args:
      masks: Models of each subset, bool [S, M].
    """
    by_number = np.argsort(-masks.sum(axis=0), kind="stable")
    sorted_masks = masks[:, by_number]
    keys = [row.tobytes() for row in np.packbits(sorted_masks, axis=1)]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), int)
    steps, last = [], []
    for mask in sorted_masks[order]:
        models = by_number[mask].tolist()
        num_shared = 0
        for model, other in zip(models, last, strict=False):
            if model != other:
                break
            num_shared += 1
        steps.append(Step(num_shared, models[num_shared:]))
        last = models
    return order, steps


def take_minima(
    table: np.ndarray,
    steps: list[Step],
    shared: list[np.ndarray],
    out: Iterable[np.ndarray],
) -> None:
    """Fills in the least loss of each subset, text by text; 0 for no models.

    Args:
      table: Loss of each text under each model, [M, texts].
      steps: How each subset follows from the one before, [S].
      shared: Minima over the first models of the subset before, over one, two
        and so on, [texts] each. It becomes that of the last one.
      out: Arrays that are filled in, S of them, [texts] each.
    """
    for row, (num_shared, models) in zip(out, steps, strict=True):
        del shared[num_shared:]
        for model in models:
            values = table[model]
            if shared:
                values = np.minimum(shared[-1], values)
            shared.append(values)
        row[:] = shared[-1] if shared else 0
