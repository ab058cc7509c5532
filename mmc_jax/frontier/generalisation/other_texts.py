"""Subsets of a frontier on texts that did not choose them.

M models, X texts, F subsets of a frontier, R rivals.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.frontier.pareto import (
    non_dominated,
    places_at,
    subset_costs,
    subset_losses,
)
from mmc_jax.statistics.inputs import checked_inputs


class HeldOut(NamedTuple):
    """Subsets on other texts, in the order in which they were given.

    Attributes:
      costs: Cost of each subset, [F] float64.
      losses: Oracle loss of each subset on these texts, [F] float64.
      stays: Whether nothing dominates the subset on these texts, [F] bool.
      share: Share of the subsets that nothing dominates.
    """

    costs: np.ndarray
    losses: np.ndarray
    stays: np.ndarray
    share: float


def held_out(
    masks: ArrayLike,
    losses: ArrayLike,
    costs: ArrayLike,
    weights: ArrayLike | None = None,
    rivals: ArrayLike | None = None,
) -> HeldOut:
    """Returns what subsets lose on texts that did not choose them.

    Selected subsets look better on the texts that selected them than on new
    texts (selection bias). A subset stays if no other subset and no rival
    dominates it on these texts: costs no more and loses no more, and one of the
    two is strictly less.

    Args:
      masks: Models of each subset of a frontier, [F, M] of booleans.
      losses: Loss of each of the other texts under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.
      rivals: More subsets that may dominate, [R, M] of booleans, such as those
        of the frontier of these texts; none if left out.

    Raises:
      ValueError: no subsets; arguments that do not fit, with the place.

    >>> losses = [[1.0, 4.0], [3.0, 2.0]]
    >>> masks = [[True, False], [False, True], [True, True]]
    >>> held_out(masks, losses, costs=[1, 2]).stays
    array([ True, False,  True])
    """
    inputs = checked_inputs(losses, costs, weights)
    masks = np.asarray(masks)
    if not len(masks):
        raise ValueError("masks has no subsets: there is nothing to hold out.")
    rivals = masks[:0] if rivals is None else np.asarray(rivals)
    if rivals.shape[1:] != masks.shape[1:]:
        raise ValueError(
            f"rivals has shape {rivals.shape}; [R, M] is needed, as masks has "
            f"{masks.shape}."
        )
    subsets = np.concatenate([masks, rivals])
    loss = subset_losses(inputs, subsets)
    cost = subset_costs(subsets, inputs.costs)
    best = non_dominated(cost, loss, subsets)
    num_subsets = len(masks)
    cost, loss = cost[:num_subsets], loss[:num_subsets]
    place = places_at(best.costs, cost)
    # The best that its cost buys is the subset itself, or one like it.
    stays = (best.costs[place] == cost) & (best.losses[place] == loss)
    return HeldOut(cost, loss, stays, float(stays.mean()))
