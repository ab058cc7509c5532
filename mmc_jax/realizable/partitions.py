"""The best sequences of models inside a text, and how near systems come.

B texts of a batch, X texts, T segments of a text, K switches, M models,
S subsets.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.realizable import online

# In front of the numbers of switches, of [B, S, K, M].
_ONE_MORE = ((0, 0), (0, 0), (1, 0), (0, 0))


def best_partitions(
    nll_nats: ArrayLike, masks: ArrayLike, num_switches: int
) -> np.ndarray:
    """Returns the least loss with at most so many switches: [K + 1, S, X].

    Entry k is the loss, in nats, of the best sequence of models of the subset
    that changes at most k times inside the text, by dynamic programming: exact
    but for float32. Entry 0 is the oracle per text.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].
      num_switches: Most switches K.

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models; a negative number.

    >>> nll = [[[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [5.0, 0.0]]]
    >>> best_partitions(nll, [[True, True]], 2)[:, 0, 0].tolist()
    [14.0, 0.0, 0.0]
    """
    nll, masks = online.checked(nll_nats, masks)
    if num_switches < 0:
        raise ValueError(f"num_switches is {num_switches}; at least 0 needed")
    found = online.over_texts(
        _least(num_switches), nll, masks, jnp.float32(0), num_switches + 1
    )
    return np.moveaxis(found, -1, 0)


def fixed_share_bound(
    num_segments: ArrayLike, num_models: int, num_switches: int, rate: float
) -> np.ndarray:
    """Returns the most by which fixed share is above a partition, in nats.

    log k + K log(k - 1) - K log rate - (T - 1 - K) log(1 - rate)

    It is the length of the code of any sequence of models with K switches. A
    text with fewer than K + 1 segments has at most T - 1 of them.

    Args:
      num_segments: Segments T of each text, [X].
      num_models: Number of models k of the subset.
      num_switches: Number K of switches of the partition.
      rate: Probability of a change at each segment, from 0 to 1.

    Source: Herbster and Warmuth 1998, theorem 2, with the log loss.

    >>> fixed_share_bound([1, 3], 2, 1, 0.5).round(3).tolist()
    [0.693, 2.079]
    """
    steps = np.maximum(np.asarray(num_segments) - 1, 0)
    changes = np.minimum(num_switches, steps)
    if num_models == 1:
        return np.zeros(steps.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = changes * (math.log(num_models - 1) - np.log(rate))
        cost = np.where(changes > 0, cost, 0.0)
        stays = (changes - steps) * np.log1p(-np.float64(rate))
        stays = np.where(steps > changes, stays, 0.0)
    return math.log(num_models) + cost + stays


def switch_bound(
    num_segments: ArrayLike, num_models: int, num_switches: int
) -> np.ndarray:
    """Returns the most by which the switch distribution is above a partition.

    (K + 1) (log k + log 2) + (K + 1) log T, in nats: the longest code of any
    sequence of models with K switches among T segments.

    Args:
      num_segments: Segments T of each text, [X].
      num_models: Number of models k of the subset.
      num_switches: Number K of switches of the partition.

    Source: from the prior of Koolen and de Rooij 2008, section 5.2: a switch
    before segment t + 1 behind one before s + 1 has the probability
    (s + 1) / (t (t + 1)).

    >>> switch_bound([1, 8], 2, 1).round(3).tolist()
    [1.386, 6.931]
    """
    T = np.maximum(np.asarray(num_segments), 1)
    blocks = np.minimum(num_switches, T - 1) + 1
    return blocks * (math.log(2 * num_models) + np.log(T))


@functools.lru_cache
def _least(num_switches):
    """Returns one function for each number: it is what is compiled."""
    return functools.partial(_partitions, num_switches=num_switches)


def _partitions(nll, masks, _, *, num_switches):
    """Least losses that end in each model, [B, S, K + 1, M]."""

    def step(least, nll_t):
        best = least[:, :, :-1].min(axis=-1, keepdims=True)
        changed = jnp.where(masks[:, None], best, jnp.inf)
        # From k - 1 switches to k; none of them is without any.
        changed = jnp.pad(changed, _ONE_MORE, constant_values=jnp.inf)
        return jnp.minimum(least, changed) + nll_t[:, None, None], None

    start = jnp.where(masks[:, None], 0.0, jnp.inf)
    start = jnp.broadcast_to(
        start, (nll.shape[1], len(masks), num_switches + 1, masks.shape[1])
    )
    least, _ = jax.lax.scan(step, start, nll)
    return least.min(axis=-1)
