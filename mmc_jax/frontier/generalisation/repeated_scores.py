"""The oracle over noisy scores: what several scores of one text correct.

R repeats, M models, X texts, S subsets.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.statistics.inputs import checked_inputs, checked_subsets


class Repeated(NamedTuple):
    """The oracle loss of subsets from repeated scores, in three ways.

    They always rise in this order. Of the true oracle loss, the mean over texts
    of the least expected loss, the first two are estimates from below and the
    last from above: over many measurements the truth is between their means.

    Attributes:
      one_run: [S], the least of single scores, as if there were no repeats; the
        mean over repeats.
      plug_in: [S], the least of the means over repeats.
      cross_fitted: [S], the model chosen by the other repeats, scored on one.
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
    wrong) has luck in it, and the minimum over models takes the luckiest: the
    expected minimum is below the minimum of the expected losses. In
    `cross_fitted` the score that counts has no part in the choice, so its
    expectation is the expected loss of the chosen model, at least the least.
    Among models that the other repeats cannot tell apart each is as likely.

    The correction is by splitting the repeats. The Capability Frontier (arXiv
    2606.26836) corrects for the same bias; its estimator was not at hand, and
    this one may differ. Which subsets are compared is a choice of its own:
    take `cross_fitted` for its optimism.

    Args:
      losses: [R, M, X], finite; R at least 2. Scores of which higher is better
        go in with their sign turned.
      masks: [S, M] of booleans, each with a model.
      weights: [X], not negative; 1 for each text if left out.

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
