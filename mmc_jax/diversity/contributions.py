"""What each model brings to a pool.

M models, X texts.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.statistics import checked_losses, weighted_sums

# Numbers in a chunk of texts [M, texts].
_CHUNK = 2**22


class Shapley(NamedTuple):
    """What each model brings, averaged over all orders of joining.

    Attributes:
      values: Shapley value of each model, [M]. They sum to what the whole pool
        gains.
      standard_errors: Standard error of each value over the choice of texts,
        [M]; NaN where fewer than 2 texts have a weight. The values themselves
        are exact.
    """

    values: np.ndarray
    standard_errors: np.ndarray


class Elimination(NamedTuple):
    """Models dropped one after another, each where it costs the least.

    Attributes:
      order: Models in the order in which they are dropped, [M]; the last one
        stays.
      losses: Oracle loss of the models left before each is dropped, [M]; the
        first is that of all models.
    """

    order: np.ndarray
    losses: np.ndarray


def win_shares(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns the share of the texts on which each model is the best: [M].

    Models that tie for a text share it evenly, so that the shares sum to 1.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> win_shares([[1.0, 4.0], [3.0, 2.0], [3.0, 2.0]])
    array([0.5 , 0.25, 0.25])
    """
    losses, weights = checked_losses(losses, weights)
    wins = losses == losses.min(axis=0)
    return np.average(wins / wins.sum(axis=0), axis=1, weights=weights)


def marginal_contributions(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray:
    """Returns what the pool loses without each model: [M].

    L(all but i) - L(all): 0 for a model that another equals or beats on every
    text; infinity for the only model.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> marginal_contributions([[1.0, 4.0], [3.0, 2.0], [3.0, 2.5]])
    array([1.  , 0.25, 0.  ])
    """
    losses, weights = checked_losses(losses, weights)
    if len(losses) == 1:
        return np.array([np.inf])
    _, best, least, second = _best_two(losses, np.arange(len(losses)))
    of_all = oracle.exact_means(least, weights)
    found = np.empty(len(losses))
    # Without a model its texts go to the second best of all.
    step = max(1, _CHUNK // losses.shape[1])
    for start in range(0, len(losses), step):
        models = np.arange(start, min(start + step, len(losses)))
        rows = np.where(best == models[:, None], second, least)
        found[models] = oracle.exact_means(rows, weights) - of_all
    return found


def elimination(
    losses: ArrayLike, weights: ArrayLike | None = None
) -> Elimination:
    """Returns the models in the order in which a pool can best do without.

    Greedy: of what is left, the model goes without which the oracle loss is
    least; of equals the one that is worse alone, then the later one.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    >>> elimination([[1.0, 4.0], [3.0, 2.0], [3.0, 2.5]])
    Elimination(order=array([2, 1, 0]), losses=array([1.5, 1.5, 2.5]))
    """
    losses, weights = checked_losses(losses, weights)
    share = np.ones(losses.shape[1]) if weights is None else weights
    share = share / share.sum()
    alone = weighted_sums(losses, share)
    left = np.arange(len(losses))
    order, found = [], []
    if len(left) > 1:
        next_best, best, least, second = _best_two(losses, left)
    while len(left) > 1:
        added = np.bincount(best, share * (second - least), len(losses))[left]
        i = np.lexsort((-left, -alone[left], added))[0]
        order.append(left[i])
        found.append(weighted_sums(least[None], share)[0])
        left = np.delete(left, i)
        if len(left) > 1:
            # Only texts whose best two had the model have others now.
            (texts,) = np.nonzero(
                (best == order[-1]) | (next_best == order[-1])
            )
            next_best[texts], best[texts], least[texts], second[texts] = (
                _best_two(losses[:, texts], left)
            )
    order.append(left[0])
    found.append(alone[left[0]])
    return Elimination(np.array(order), np.array(found))


def _best_two(
    losses: np.ndarray, models: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the second best and the best model of each text, and the losses.

    Args:
      losses: Loss of each text under each model, [M, X].
      models: Models among which is chosen, two or more, rising.

    Returns:
      The second best model, the best one (of equals the first), the least loss
      and the second least, each [X].
    """
    num_texts = losses.shape[1]
    best, next_best = np.empty((2, num_texts), int)
    least, second = np.empty((2, num_texts))
    step = max(1, _CHUNK // len(models))
    for start in range(0, num_texts, step):
        texts = slice(start, start + step)
        some = losses[models, texts]
        places = np.arange(some.shape[1])
        first = some.argmin(axis=0)
        best[texts], least[texts] = models[first], some[first, places]
        some[first, places] = np.inf
        other = some.argmin(axis=0)
        next_best[texts], second[texts] = models[other], some[other, places]
    return next_best, best, least, second


def shapley(losses: ArrayLike, weights: ArrayLike | None = None) -> Shapley:
    """Returns the Shapley value of each model: exact, for any number of them.

    phi_i = mean over all orders of the models of v(S and i) - v(S), S those
    before i, in the game v(S) = L(nobody) - L(S), where on a text that nobody
    reads the loss is that of the worst model: L(nobody) = mean_x max_i L_ix.

    On one text v(S) is the largest saving max_{i in S} (max_j L_jx - L_ix), an
    airport game, whose Shapley value is known: of the models in order of their
    savings, the step from the (k - 1)th to the kth is shared evenly by all from
    the kth on. The value is linear in the game: over texts it is the mean. So a
    sort takes the place of 2^M subsets. Another L(nobody) moves all values by
    the same amount.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      weights: Weight of each text, not negative, [X]; None for 1 each.

    Raises:
      ValueError: Arguments that do not fit, with the place.

    Source: Shapley 1953, A value for n-person games; Littlechild and Owen 1973,
    A simple expression for the Shapley value in a special case.

    >>> shapley([[1.0, 4.0], [3.0, 2.0]]).values
    array([1., 1.])
    """
    losses, weights = checked_losses(losses, weights)
    num_models, num_texts = losses.shape
    share = np.ones(num_texts) if weights is None else weights
    share = share / share.sum()
    # Sums over texts of share * value, share^2 * value and share^2 * value^2.
    means, firsts, seconds = np.zeros((3, num_models))
    sharers = np.arange(num_models, 0, -1)[:, None]
    step = max(1, _CHUNK // num_models)
    for start in range(0, num_texts, step):
        texts = slice(start, start + step)
        order = np.argsort(-losses[:, texts], axis=0, kind="stable")
        savings = -np.take_along_axis(losses[:, texts], order, axis=0)
        steps = np.diff(savings, axis=0, prepend=savings[:1])
        values = np.empty_like(savings)
        shared = np.cumsum(steps / sharers, axis=0)
        np.put_along_axis(values, order, shared, axis=0)
        means += weighted_sums(values, share[texts])
        firsts += weighted_sums(values, share[texts] ** 2)
        seconds += weighted_sums(values**2, share[texts] ** 2)
    if np.count_nonzero(share) < 2:
        # One text says nothing of other texts.
        return Shapley(means, np.full(num_models, np.nan))
    variances = seconds - 2 * means * firsts + means**2 * (share**2).sum()
    return Shapley(means, np.sqrt(np.maximum(variances, 0)))
