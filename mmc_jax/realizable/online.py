"""Online mixtures: systems that follow the best model from segment to segment.

Each reads a text segment by segment and knows the scores of all models on the
segments before, not on the next one. Its loss is in nats and beside that of the
oracle per text, which it may beat: it can change models inside a text.

At the level of a text the losses are those of exact codes. Between texts' ends
the segments are cut at boundaries that all tokenizers share, and where those
are is known only once the text is: a decoder would need to be told, or to sum
over all tokens that go beyond the boundary. What that side information is worth
is not charged here.

B texts of a batch, X texts, T segments of a text, M models, S subsets.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle

# Numbers of the state that are in use at once: more leave a CPU's cache.
_STATE = 2**20
_TINY = float(jnp.finfo(jnp.float32).tiny)
# Nats by which models may differ on a segment so that the likelihoods of all
# are well above the least of float32.
_NEAR = 40.0
# The share of a block that goes on to be the last one, of the switch
# distribution.
_STABLE = 0.5


def bayes_mixture(nll_nats: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Returns the loss of the Bayes mixture of each subset, in nats: [S, X].

    loss = -log (1/k) sum_i exp(-sum_t nll_ti), over the k models of the subset

    It is `oracle.mixture_nll` of the texts, the same at all granularities: an
    exact code that needs no boundaries. It is at most log k above the oracle
    that chooses per text.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models.

    >>> bayes_mixture([[[0.0, 9.0], [9.0, 0.0]]], [[True, True]]).tolist()
    [[9.0]]
    """
    nll, masks = checked(nll_nats, masks)
    return oracle.mixture_nll(nll.sum(axis=1, dtype=np.float64).T, masks)


def fixed_share(
    nll_nats: ArrayLike, masks: ArrayLike, rate: float
) -> np.ndarray:
    """Returns the loss of fixed share of each subset, in nats: [S, X].

    w_1i = 1/k; loss_t = -log sum_i w_ti exp(-nll_ti);
    w_(t+1)i = (1 - rate) p_ti + rate (1 - p_ti) / (k - 1), p the posterior

    It is the Bayes mixture of all sequences of models, in which each segment
    changes the model with a probability `rate`. With rate 0 it is
    `bayes_mixture`. Boundaries of segments are side information, see the
    module.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].
      rate: Probability of a change at each segment, from 0 to 1. Tune it on
        other texts than these, see `tuned_rate`.

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models; another rate.

    Source: Herbster and Warmuth 1998, Tracking the best expert, Machine
    Learning 32, section 5 (fixed share), with the log loss.

    >>> nll = [[[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]]
    >>> fixed_share(nll, [[True, True]], 0.25).round(3).tolist()
    [[2.654]]
    """
    nll, masks = checked(nll_nats, masks)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; a probability is needed")
    if rate < _TINY:
        # No weight comes back: those of models far behind would end at 0.
        return bayes_mixture(nll, masks)
    return over_texts(_fixed_share, nll, masks, jnp.float32(rate))


def switch_distribution(nll_nats: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Returns the loss of the switch distribution, in nats: [S, X].

    A mixture of all sequences of models that needs no rate: a block of segments
    with one model is the last one with probability 1/2. Else it ends before
    segment t + 1, if it has not before, with probability 1 / (t + 1), and the
    next block's model is any of the subset.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models.

    Source: Koolen and de Rooij 2008, Combining expert advice efficiently
    (arXiv 0802.2015), section 5.2, with P(t) = 1 / (t (t + 1)).

    >>> nll = [[[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]]
    >>> switch_distribution(nll, [[True, True]]).round(3).tolist()
    [[3.712]]
    """
    return over_texts(_switch, *checked(nll_nats, masks), jnp.float32(_STABLE))


def follow_the_leader(nll_nats: ArrayLike, masks: ArrayLike) -> np.ndarray:
    """Returns the loss of the leader so far, in nats: [S, X].

    Each segment is read by the model with the least sum before it; the first
    one, and every tie, by the first model of the subset in the order of M. No
    bound holds for it: the leader may be wrong each time.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models.

    >>> nll = [[[1.0, 2.0], [5.0, 0.0], [5.0, 1.0]]]
    >>> follow_the_leader(nll, [[True, True]]).tolist()
    [[7.0]]
    """
    return over_texts(_leader, *checked(nll_nats, masks), jnp.float32(0))


def prefix_router(
    nll_nats: ArrayLike,
    masks: ArrayLike,
    end_bytes: ArrayLike,
    num_bytes: int,
) -> np.ndarray:
    """Returns the loss of the router that looks at a prefix, in nats: [S, X].

    All models of the subset read the segments that end within the first bytes
    and predict them as their Bayes mixture; the best so far reads the rest
    alone. (It has seen the prefix, as all have.) The first model of the subset
    reads a text whose first segment is longer than that.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].
      end_bytes: Where each segment ends in its text, in bytes, [X, T].
      num_bytes: Length of the prefix, in bytes, at least 0.

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models; a negative length.

    >>> nll = [[[3.0, 1.0], [3.0, 1.0]]]
    >>> prefix_router(nll, [[True, True]], [[4, 8]], 4).round(3).tolist()
    [[2.566]]
    """
    nll, masks = checked(nll_nats, masks)
    end_bytes = np.asarray(end_bytes)
    if end_bytes.shape != nll.shape[:2] or num_bytes < 0:
        raise ValueError(
            f"end_bytes has the shape {end_bytes.shape} and the prefix "
            f"{num_bytes} bytes; {nll.shape[:2]} and no negative length are "
            "needed"
        )
    is_before = (end_bytes <= num_bytes)[..., None]
    before = np.where(is_before, nll, 0).sum(axis=1, dtype=np.float64)
    behind = np.where(is_before, 0, nll).sum(axis=1, dtype=np.float64)
    found = bayes_mixture(before[:, None], masks)
    for s, mask in enumerate(masks):
        best = before[:, mask].argmin(axis=1)
        found[s] += behind[:, mask][np.arange(len(best)), best]
    return found


def tuned_rate(nll_nats: ArrayLike, mask: ArrayLike, rates: ArrayLike) -> float:
    """Returns the rate of least total loss on some texts.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M]: of
        other texts than those that the rate is used on.
      mask: Models of the subset, bool [M].
      rates: Rates to choose from, each from 0 to 1.

    Raises:
      ValueError: What `fixed_share` refuses; no rates.

    >>> nll = [[[0.0, 9.0], [9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]]
    >>> tuned_rate(nll, [True, True], [0.01, 0.9])
    0.9
    """
    rates = np.asarray(rates, np.float64)
    if not rates.size:
        raise ValueError("there are no rates to choose from")
    masks = np.asarray(mask)[None]
    totals = [fixed_share(nll_nats, masks, r).sum() for r in rates.tolist()]
    return float(rates[int(np.argmin(totals))])


def checked(
    nll_nats: ArrayLike, masks: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Returns losses [X, T, M] and masks [S, M] that fit.

    Args:
      nll_nats: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].

    Raises:
      ValueError: Arrays of other shapes; a loss that is not finite; a subset
        without models.
    """
    nll, masks = np.asarray(nll_nats), np.asarray(masks)
    if nll.ndim != 3 or masks.ndim != 2 or masks.shape[1] != nll.shape[2]:
        raise ValueError(
            f"nll_nats has the shape {nll.shape} and masks {masks.shape}; "
            "[X, T, M] and [S, M] are needed"
        )
    if masks.dtype != bool or not masks.any(axis=1).all():
        raise ValueError("masks are booleans, each with one model at least")
    if not np.isfinite(nll).all():
        raise ValueError("nll_nats has a number that is not finite")
    return nll, masks


def over_texts(
    system: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    nll: np.ndarray,
    masks: np.ndarray,
    rate: jax.Array,
    width: int = 1,
) -> np.ndarray:
    """Returns a system's losses, [S, X], or [S, X, width], in batches of texts.

    Texts go in batches of about equal numbers of segments, so that few segments
    are padding.

    Args:
      system: Function of losses [T, B, M], masks [S, M] and the rate that gives
        losses [B, S, width]. It is compiled for each length of texts.
      nll: Loss of each segment under each model, in nats, [X, T, M].
      masks: Models of each subset, bool [S, M].
      rate: One number that the system depends on.
      width: How many losses the system gives for each text and subset.
    """
    num_texts, _, num_models = nll.shape
    batch = max(1, _STATE // max(1, len(masks) * num_models * width))
    # A power of two, so that few shapes are compiled.
    batch = 1 << (min(batch, 2 * num_texts - 1).bit_length() - 1)
    # Segments of loss 0 under all models change nothing: they are padding.
    is_there = nll.any(axis=2)
    lengths = np.where(
        is_there.any(axis=1),
        nll.shape[1] - is_there[:, ::-1].argmax(axis=1),
        1,
    )
    order = np.argsort(lengths, kind="stable")
    found = np.empty((len(masks), num_texts, width), np.float64)
    for start in range(0, num_texts, batch):
        some = order[start : start + batch]
        longest = max(8, 1 << int(lengths[some].max() - 1).bit_length())
        T = min(longest, max(nll.shape[1], 1))
        rows = np.zeros((batch, T, num_models), np.float32)
        rows[: len(some)] = nll[some, :T]
        losses = _compiled(system, rows, masks, rate)
        found[:, some] = np.asarray(losses)[: len(some)].swapaxes(0, 1)
    return found[..., 0] if width == 1 else found


@functools.partial(jax.jit, static_argnums=0)
def _compiled(system, nll, masks, rate):
    """Returns a system's losses of a batch: [B, S, width]."""
    return system(nll.swapaxes(0, 1), masks, rate)


def _of_subset(nll_t, masks):
    """Returns likelihoods relative to the best of a subset, and its loss.

    [B, S, M] and [B, S]. A model far from the best may have 0. Where no model
    is far from the best of all, that one stands for the best of each subset:
    then one exponential serves all subsets.
    """

    def near():
        low = nll_t.min(axis=-1)
        likely = jnp.exp(low[:, None] - nll_t)[:, None]
        shape = len(nll_t), len(masks)
        return (
            jnp.where(masks, likely, 0),
            jnp.broadcast_to(low[:, None], shape),
        )

    def far():
        of_subset = jnp.where(masks, nll_t[:, None], jnp.inf)
        low = of_subset.min(axis=-1)
        return jnp.exp(low[..., None] - of_subset), low

    apart = (nll_t.max(axis=-1) - nll_t.min(axis=-1)).max()
    return jax.lax.cond(apart < _NEAR, near, far)


def _fixed_share(nll, masks, rate):
    members = masks.astype(jnp.float32)
    num_models = members.sum(axis=1)
    share = jnp.where(num_models > 1, rate / jnp.maximum(num_models - 1, 1), 0)
    stays = jnp.where(num_models > 1, 1 - rate, 1.0)
    weights = members / num_models[:, None]
    weights = jnp.broadcast_to(weights, (nll.shape[1], *masks.shape))

    def step(state, nll_t):
        weights, loss = state
        likely, low = _of_subset(nll_t, masks)
        joint = weights * likely
        total = joint.sum(axis=-1)
        # (1 - rate) p + share (1 - p), for models of the subset.
        kept = (stays - share) / jnp.maximum(total, _TINY)
        weights = joint * kept[..., None] + share[:, None] * members
        return (weights, loss + low - jnp.log(total)), None

    (_, loss), _ = jax.lax.scan(
        step, (weights, jnp.zeros(weights.shape[:2])), nll
    )
    return loss[..., None]


def _switch(nll, masks, stable):
    """The forward algorithm: blocks that may end, and blocks that stay."""
    members = masks.astype(jnp.float32)
    uniform = members / members.sum(axis=1, keepdims=True)
    uniform = jnp.broadcast_to(uniform, (nll.shape[1], *masks.shape))

    def step(state, row):
        ends, lasts, loss = state
        t, nll_t = row
        likely, low = _of_subset(nll_t, masks)
        ends, lasts = ends * likely, lasts * likely
        total = (ends + lasts).sum(axis=-1)
        hazard = 1 / (t + 1)
        # One factor a subset: divisions of all models would take longer.
        scale = (1 / jnp.maximum(total, _TINY))[..., None]
        new = hazard * scale * ends.sum(axis=-1, keepdims=True)
        ends = (1 - hazard) * scale * ends + (1 - stable) * new * uniform
        lasts = scale * lasts + stable * new * uniform
        return (ends, lasts, loss + low - jnp.log(total)), None

    t = jnp.arange(1, len(nll) + 1, dtype=jnp.float32)
    start = (
        (1 - stable) * uniform,
        stable * uniform,
        jnp.zeros(uniform.shape[:2]),
    )
    (_, _, loss), _ = jax.lax.scan(step, start, (t, nll))
    return loss[..., None]


def _leader(nll, masks, _):
    before = jnp.cumsum(nll, axis=0) - nll
    models = jnp.arange(masks.shape[1])

    def step(loss, row):
        before_t, nll_t = row
        of_subset = jnp.where(masks, before_t[:, None], jnp.inf)
        # The first of the least: XLA's argmin on CPUs is ten times as slow.
        is_least = of_subset == of_subset.min(axis=-1, keepdims=True)
        leader = jnp.where(is_least, models, len(models)).min(axis=-1)
        return loss + jnp.take_along_axis(nll_t, leader, axis=1), None

    start = jnp.zeros((nll.shape[1], len(masks)))
    loss, _ = jax.lax.scan(step, start, (before, nll))
    return loss[..., None]
