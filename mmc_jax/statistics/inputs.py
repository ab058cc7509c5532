"""The arguments that searches, laws and studies share, checked once.

M models, X texts, S subsets.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike


class Inputs(NamedTuple):
    """What a search works on, in float64.

    Attributes:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative with a positive sum, [X]; None
        for 1 each.
    """

    losses: np.ndarray
    costs: np.ndarray
    weights: np.ndarray | None


def checked_inputs(
    losses: ArrayLike, costs: ArrayLike, weights: ArrayLike | None
) -> Inputs:
    """Returns the arguments in float64.

    Args:
      losses: Loss of each text under each model, [M, X].
      costs: Cost of each model, [M].
      weights: Weight of each text, [X]; None for 1 each.

    Raises:
      ValueError: Losses or weights that `checked_losses` refuses; costs of a
        wrong shape; a cost that is not finite or negative; costs whose sum is
        not finite. The message says where.
    """
    losses, weights = checked_losses(losses, weights)
    costs = np.asarray(costs, np.float64)
    if costs.shape != (len(losses),):
        raise ValueError(
            f"costs has shape {costs.shape}; [{len(losses)}], one for each "
            "model (row of losses), is needed."
        )
    _check_not_negative("costs", costs)
    with np.errstate(over="ignore"):
        total = costs.sum()
    if not np.isfinite(total):
        raise ValueError(
            f"costs reach {costs.max():.3g}: their sum is beyond float64; give "
            "them in a larger unit."
        )
    return Inputs(losses, costs, weights)


def checked_losses(
    losses: ArrayLike, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns losses [M, X] and weights [X] or None in float64.

    Args:
      losses: Loss of each text under each model, [M, X].
      weights: Weight of each text, [X]; None for 1 each.

    Raises:
      ValueError: No models or texts; a wrong shape; a loss that is not finite;
        a weight that is negative or not finite; weights that are all 0. The
        message says where.
    """
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 2 or 0 in losses.shape:
        raise ValueError(
            f"losses has shape {losses.shape}; [M, X] with at least one model "
            "and one text is needed."
        )
    num_texts = losses.shape[1]
    bad = ~np.isfinite(losses)
    if bad.any():
        i, x = np.argwhere(bad)[0]
        raise ValueError(
            f"losses[{i}, {x}] (model {i}, text {x}) is {losses[i, x]}; finite "
            "losses are needed."
        )
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.shape != (num_texts,):
            raise ValueError(
                f"weights has shape {weights.shape}; [{num_texts}], one for "
                "each text (column of losses), is needed."
            )
        _check_not_negative("weights", weights)
        if not weights.any():
            raise ValueError("weights are all 0: their mean is undefined.")
    return losses, weights


def checked_max_size(
    max_size: int | None, num_models: int, min_size: int = 1
) -> int:
    """Returns the largest number of models in a subset.

    Args:
      max_size: Largest number that was asked for; None for all models.
      num_models: Number of models M.
      min_size: Smallest number of models in a subset.

    Raises:
      ValueError: max_size below 1; min_size below 1 or above what there is.
    """
    if max_size is not None and max_size < 1:
        raise ValueError(f"max_size is {max_size}; at least 1 is needed.")
    max_size = min(max_size or num_models, num_models)
    if not 1 <= min_size <= max_size:
        raise ValueError(
            f"min_size is {min_size}; 1 to {max_size} is needed, as "
            f"{num_models} models and max_size have it."
        )
    return max_size


def checked_masks(masks: ArrayLike, num_models: int) -> np.ndarray:
    """Returns the masks: bool [S, M].

    Args:
      masks: A row for each subset, [S, M], of booleans.
      num_models: Number of models M.

    Raises:
      ValueError: A wrong shape or dtype.
    """
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.shape[1] != num_models:
        raise ValueError(
            f"masks has shape {masks.shape}; [S, {num_models}] is "
            "needed, a column for each row of losses."
        )
    if masks.dtype != bool:
        raise ValueError(f"masks has dtype {masks.dtype}; bool is needed.")
    return masks


def checked_subsets(masks: ArrayLike, num_models: int) -> np.ndarray:
    """Returns masks that all have a model: bool [S, M].

    Args:
      masks: A row for each subset, [S, M], of booleans.
      num_models: Number of models M.

    Raises:
      ValueError: Masks that `checked_masks` refuses; a subset without a model.
    """
    masks = checked_masks(masks, num_models)
    empty = ~masks.any(axis=1)
    if empty.any():
        raise ValueError(
            f"masks[{empty.argmax()}] has no model: the minimum over "
            "nothing is no loss."
        )
    return masks


def checked_level(level: float) -> tuple[float, float]:
    """Returns the two quantiles that enclose the middle of a distribution.

    Args:
      level: Share of the distribution between them.

    Raises:
      ValueError: A level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; between 0 and 1 is needed.")
    return (1 - level) / 2, (1 + level) / 2


def _check_not_negative(name: str, numbers: np.ndarray) -> None:
    bad = ~((numbers >= 0) & (numbers < np.inf))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"{name}[{i}] is {numbers[i]}; finite and not negative is needed."
        )
