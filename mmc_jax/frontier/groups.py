"""Which subsets mix models of several groups.

M models, S subsets, R others.
"""

from collections.abc import Hashable, Sequence

import numpy as np

# In place of a group's number: of a subset without models, and of one with
# models of several groups.
_EMPTY, _MIXED = -1, -2


def group_numbers(groups: Sequence[Hashable], num_models: int) -> np.ndarray:
    """Returns the number of each model's group, from 0 on: [M].

    Args:
      groups: Group of each model, such as its family, [M].
      num_models: Number of models M.

    Raises:
      ValueError: not one group for each model.
    """
    if len(groups) != num_models:
        raise ValueError(
            f"{len(groups)} groups for {num_models} models: one for each is "
            "needed."
        )
    numbers = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[name] for name in groups])


def group_of_each(masks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns the group of each subset's models, or a mark: [S].

    Args:
      masks: Models of each subset, [S, M] of booleans.
      numbers: Number of each model's group, from `group_numbers`, [M].
    """
    has = np.stack(
        [
            masks[:, numbers == group].any(axis=1)
            for group in range(numbers.max() + 1)
        ],
        axis=1,
    )
    num_groups = has.sum(axis=1)
    return np.select(
        [num_groups == 0, num_groups == 1], [_EMPTY, has.argmax(axis=1)], _MIXED
    )


def mixes(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns whether the union of two subsets mixes groups: bool [S, R].

    Args:
      groups: Group of each subset, from `group_of_each`, [S].
      others: Group of each other subset, from `group_of_each`, [R].
    """
    groups = groups[:, None]
    differ = (groups != _EMPTY) & (others != _EMPTY) & (groups != others)
    return differ | (groups == _MIXED) | (others == _MIXED)
