"""Oracle losses corrected for noise by several scores of each text.

R repeats, M models, X texts, S subsets.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.statistics.inputs import checked_inputs, checked_subsets


class Repeated(NamedTuple):
    """The oracle loss of subsets from repeated scores, in three ways.

    They always rise in this order. The true oracle loss is the mean over texts
    of the least expected loss. The first two estimates are biased low and the
    last is biased high.

    Attributes:
      one_run: Mean over repeats of the oracle loss of one repeat, [S].
      plug_in: Oracle loss of the means over repeats, [S].
      cross_fitted: Loss on one repeat of the model that the other repeats
        choose, [S].
    """

    one_run: np.ndarray
    plug_in: np.ndarray
    cross_fitted: np.ndarray


def repeated_losses(
    losses: ArrayLike, masks: ArrayLike, weights: ArrayLike | None = None
) -> Repeated:
    """Returns the oracle loss of subsets, corrected for noisy scores.

    one_run      = mean over r, x of min_{i in S} L_rix
    plug_in      = mean over x of min_{i in S} mean over r of L_rix
    cross_fitted = mean over r, x of L_{r i(r, x) x},
                   i(r, x) = argmin_{i in S} mean over q != r of L_qix

    A score that changes when the model is run again (a sampled answer, right or
    wrong) is noisy. The expected minimum of noisy scores is below the minimum
    of the expected scores. In `cross_fitted` the score that counts has no part
    in the choice, so that its expectation is the expected loss of the chosen
    model, which is no less than the least. Models that the other repeats cannot
    tell apart are equally likely.

    The correction is by splitting the repeats. The Capability Frontier (arXiv
    2606.26836) corrects for the same bias, perhaps by another estimator. That
    the compared subsets were selected too is another bias, which
    `frontier.cross_fitted` measures.

    Args:
      losses: Loss of each text in each repeat under each model, finite,
        [R, M, X], R at least 2. Scores of which higher is better need their
        sign turned.
      masks: Models of each subset, at least one, [S, M] of booleans.
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.

    Raises:
      ValueError: fewer than 2 repeats; a subset without a model; arguments
        that do not fit, with the place.

    >>> losses = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]
    >>> found = repeated_losses(losses, [[True, True]])
    >>> print(found.one_run, found.plug_in, found.cross_fitted)
    [0.5] [0.5] [0.75]
    """
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 3 or len(losses) < 2:
        raise ValueError(
            f"losses has shape {losses.shape}; [R, M, X] with at least 2 "
            "repeats of each score is needed."
        )
    num_repeats, num_models, num_texts = losses.shape
    weights = np.ones(num_texts) if weights is None else weights
    for r, scores in enumerate(losses):
        try:
            inputs = checked_inputs(scores, np.zeros(num_models), weights)
        except ValueError as error:
            raise ValueError(f"repeat {r}: {error}") from error
    masks = checked_subsets(masks, num_models)
    means = losses.mean(axis=0)
    # Sorted, so that equal scores have equal sums in any order.
    of_others = np.stack(
        [
            np.sort(np.delete(losses, r, axis=0), axis=0).sum(axis=0)
            for r in range(num_repeats)
        ]
    )
    found = np.empty((3, len(masks)))
    for s, mask in enumerate(masks):
        own, others = losses[:, mask], of_others[:, mask]
        best = others == others.min(axis=1, keepdims=True)
        chosen = (own * best).sum(axis=1) / best.sum(axis=1)
        found[:, s] = (
            np.average(own.min(axis=1).mean(axis=0), weights=inputs.weights),
            np.average(means[mask].min(axis=0), weights=inputs.weights),
            np.average(chosen.mean(axis=0), weights=inputs.weights),
        )
    return Repeated(*found)
