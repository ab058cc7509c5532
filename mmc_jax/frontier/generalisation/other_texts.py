"""Subsets on texts that did not choose them: what is left of a frontier.

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
      costs: [F] float64.
      losses: [F] float64, the oracle losses on these texts.
      stays: [F] bool, whether nothing dominates the subset here.
      share: the share of the subsets that stay.
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

    Of the many subsets that were compared the frontier keeps those that were
    good and lucky; on other texts the luck is gone. A subset stays if none of
    the others, and no rival, costs no more and loses no more here with one of
    the two strictly less.

    Args:
      masks: [F, M] of booleans, the subsets of a frontier.
      losses: [M, X], finite, on the other texts.
      costs: [M], finite and not negative.
      weights: [X], not negative; 1 for each text if left out.
      rivals: [R, M] of booleans, more subsets that may dominate, as those of
        the frontier of these texts; none if left out.

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
