"""The loss of a subset's mixture: what its models reach without an oracle.

M models, X texts, S subsets.

A mixture adds probabilities, so it takes negative log-likelihoods in nats and
nothing else: accuracies, bits or losses per token make no mixture. It is a
theorem of likelihood only. It needs models whose probabilities of all texts sum
to 1 at most, as those of canonical tokenizations do: then the mixture's do too,
and its loss is the length of a code.

One matrix product of members [S, M] and probabilities [M, X] gives the sums of
all subsets. Probabilities are relative to the text's most likely model. Those
of models that are hundreds of nats behind it are no floats any more, and so a
subset without a near model is taken again, relative to the next model. Near a
probability of 1 the sums are of differences from 1, which keep all digits.

So it goes in XLA. On CPUs a kernel in C++ (native/mixture_sums.h) adds up the
members' rows alone, and computes all of it in float64.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle import backends, checks, cpu, xla

# Up to so many nats a sum of probabilities would lose digits of its logarithm.
_NEAR_NATS = {"float32": 16.0, "float64": 0.02}
# Prior weights that differ by more nats cost digits where sums are taken far
# from a probability of 1, above all in float32.
_WEIGHT_NATS = {"float32": 4.0, "float64": 30.0}
# Nats that float32 holds in one window: of wider texts float64 is faster.
_FLOAT32_NATS = 60.0
# Down to these mean probabilities, relative to the likeliest model's, sums are
# of differences from 1: below they would lose more digits than they keep.
_LEAST_NEAR = {"float32": 0.5, "float64": 0.01}
# Nats by which a model that is left out may be off the edge of a window.
_MARGIN = 1.0


def mixture_losses(
    nll_nats: ArrayLike,
    masks: ArrayLike,
    log_weights: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
) -> jax.Array:
    """Returns the loss of each subset's mixture, a mean over texts: [S].

    mix_S(x) = -log sum_{i in S} pi_i exp(-N_ix),
    L(S) = sum_x w_x mix_S(x) / l_x / sum_x w_x

    With N the nll and pi the prior weights, which sum to 1 over S. With uniform
    ones oracle_S(x) <= mix_S(x) <= oracle_S(x) + log k nats for k models, on
    every text, however long it is.

    A loss is off by at most 1e-12 of itself in float64 and 1e-6 in float32, for
    any number of texts and any range of nll, as long as no nll is negative and
    no prior weight is more than 4 (float32) or 600 nats (float64) below the
    largest. On CPUs float32 has the same 600.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X]; float32 or float64. Infinity where a model cannot have a text.
      masks: Members of each subset, [S, M] booleans. A row without a model of
        a weight above 0 has the loss infinity.
      log_weights: Logarithm of each model's prior weight, [M], up to a
        constant; -infinity for the weight 0. Within a subset the weights are
        divided by their sum. Uniform if left out.
      weights: Weight of each text in the mean, [X], not negative, with a
        positive sum; 1 each if left out.
      lengths: What each text's loss is divided by, [X], above 0, such as its
        number of bytes; 1 each if left out.

    Raises:
      ValueError: No models; no texts; a wrong shape or dtype; NaN or -infinity;
        weights that are negative, not finite or all 0; lengths that are not
        positive; no model with a prior weight. Values are checked where they
        are known (not under `jit` or `vmap`), shapes and dtypes always.

    Source: Vovk 1990, Aggregating strategies (the mixture of experts that
    costs log k); the oracle is that of arXiv 2512.23340, eq. 4.

    >>> nll_nats = [[1.0, 9.0], [8.0, 2.0]]
    >>> print(mixture_losses(nll_nats, [[True, False], [True, True]]).round(4))
    [5.     2.1922]
    """
    nll_nats, masks, weights = checks.checked_subsets(
        nll_nats, masks, weights, "nll_nats"
    )
    dtype, (num_models, num_texts) = nll_nats.dtype, nll_nats.shape
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"nll_nats has dtype {dtype}; float32 or float64 is needed, for a "
            "mixture adds probabilities."
        )
    checks.check_mean(nll_nats, weights)
    native = _is_native()
    if not native and _is_better_in_float64(
        nll_nats, masks, log_weights, weights, lengths
    ):
        with jax.enable_x64(True):
            wide, weights, lengths, log_weights = (
                None if array is None else np.asarray(array, np.float64)
                for array in (nll_nats, weights, lengths, log_weights)
            )
            found = mixture_losses(
                wide, masks, log_weights, weights, lengths=lengths
            )
            return found.astype(dtype)
    if weights is None:
        weights = jnp.ones(num_texts, dtype)
    if log_weights is None:
        log_weights = jnp.zeros(num_models, dtype)
    else:
        log_weights = checks.checked_log_weights(log_weights, num_models)
        log_weights = jnp.asarray(log_weights).astype(dtype)
    if lengths is None:
        shares = weights
    else:
        lengths = checks.checked_lengths(lengths, num_texts)
        shares = weights / jnp.asarray(lengths).astype(dtype)
    sums, total = _sums(nll_nats, masks, log_weights, weights, shares, native)
    # As in `oracle_losses`: a division, and not a product with a reciprocal.
    return sums / jax.lax.optimization_barrier(jnp.full_like(sums, total))


def _is_native() -> bool:
    """Returns whether the kernel in C++ serves on CPUs."""
    chosen = os.environ.get(backends.VARIABLE) or "cpu"
    return chosen == "cpu" and cpu.why_not() is None


def _is_better_in_float64(nll, *others: ArrayLike | None) -> bool:
    """Returns whether known float32 arrays on a CPU are better in float64.

    They need several windows, or their prior weights differ by too much.
    """
    if nll.dtype != jnp.float32 or not all(
        other is None or checks.is_known(other) for other in (nll, *others)
    ):
        return False
    if any(device.platform != "cpu" for device in nll.devices()):
        return False
    if others[1] is not None:
        logs = np.asarray(others[1])
        logs = logs[np.isfinite(logs)]
        if logs.size and np.ptp(logs) > _WEIGHT_NATS["float32"]:
            return True
    host = np.asarray(nll)
    finite = np.where(np.isposinf(host), 0.0, host)
    return bool((np.ptp(finite, axis=0) > _FLOAT32_NATS).any())


@functools.partial(jax.jit, static_argnames="native")
def _sums(nll, masks, log_weights, weights, shares, native):
    """Returns sum_x v_x mix_S(x), [S], for shares v, and sum_x w_x."""
    dtype, num_texts = nll.dtype, nll.shape[1]
    in_doubt = jnp.isnan(nll)
    # A text of weight 0 counts for nothing, even where its nll is infinite.
    nll = jnp.where(in_doubt | (shares == 0), 0.0, nll)
    shares, weights = (
        jnp.where(row >= 0, row, jnp.nan) for row in (shares, weights)
    )
    log_weights = log_weights - log_weights.max()
    arrays = nll, masks, log_weights, shares
    if native:
        sums = jax.lax.platform_dependent(
            *arrays, cpu=cpu.mixture_sums, default=_sums_by_xla
        )
    else:
        sums = _sums_by_xla(*arrays)
    weighted = (masks & jnp.isfinite(log_weights)).any(axis=1)
    sums = jnp.where(weighted, sums, jnp.inf)
    sums = jnp.where((masks & in_doubt.any(axis=1)).any(axis=1), jnp.nan, sums)
    weights = xla.padded(weights, xla.BLOCK, axis=0)
    total = xla.sum_of_blocks(
        lambda start: xla.pairwise_sum(xla.block(weights, start)[None]),
        num_texts,
        (1,),
        dtype,
    )
    return sums, total[0]


def _sums_by_xla(nll, masks, log_weights, shares):
    """Returns sum_x v_x mix_S(x), [S]; anything for no model with a weight."""
    dtype, num_texts = nll.dtype, nll.shape[1]
    nll = xla.padded(nll, xla.BLOCK, axis=1)
    shares = xla.padded(shares, xla.BLOCK, axis=0)

    def tile_sums(masks):
        members = masks.T.astype(dtype)
        log_totals = -_far_nll(-log_weights[:, None], members, lambda nll: nll)
        log_totals = log_totals[0]

        def block_sum(start):
            share = xla.block(shares, start)[:, None]

            def share_of(nll):
                return _sum_of_texts(share * nll)

            return _mixture_sums(
                xla.block(nll, start),
                members,
                log_weights,
                log_totals,
                share_of,
            )

        return xla.sum_of_blocks(block_sum, num_texts, masks.shape[:1], dtype)

    return xla.in_tiles(tile_sums, masks)


def _mixture_sums(nll, members, log_weights, log_totals, share_of):
    """Returns what is asked for of mix_S(x) on some texts.

    Args:
      nll: Negative log-likelihood of each text under each model, [M, X].
      members: 1 for each member of a subset, else 0, [M, S].
      log_weights: Logarithm of each model's weight, [M], the largest 0.
      log_totals: Logarithm of the sum of each subset's weights, [S].
      share_of: Function of mix_S(x), [X, S]. It is called in each branch, so
        that XLA writes no array between the two.
    """
    least = _least(nll)
    weight = jnp.exp(log_weights)[:, None]

    def far(share_of=share_of):
        return _far_nll(
            nll - log_weights[:, None],
            members,
            lambda found: share_of(found + log_totals),
        )

    def near():
        # The mean probability relative to the likeliest model's, less 1.
        sums = _sums_of(members, weight * jnp.expm1(least - nll))
        shares = 1 / _sums_of(members, weight)
        limit = _LEAST_NEAR[nll.dtype.name] - 1

        def found():
            return least[:, None] - jnp.log1p(sums * shares)

        def some_far():
            # Without a weight that is a float it is NaN, and far.
            is_near = sums * shares > limit
            return far(
                lambda other: share_of(jnp.where(is_near, found(), other))
            )

        return jax.lax.cond(
            (sums * shares > limit).all(), lambda: share_of(found()), some_far
        )

    finite = jnp.where(jnp.isfinite(log_weights), log_weights, 0.0)
    wide = finite.min() < -_WEIGHT_NATS[nll.dtype.name]
    is_near = (least < _NEAR_NATS[nll.dtype.name]).any()
    return jax.lax.cond(wide | is_near, near, far)


def _far_nll(nll, members, share_of):
    """Returns what is asked for of -log sum_{i in S} exp(-N_ix).

    Sums are taken relative to the likeliest model of each text. Where they are
    no floats the next window begins, at the least nll that floats did not
    reach.
    """
    precision = np.finfo(nll.dtype)
    # What is below the least normal float may count 0, for every model.
    least_sum = float(precision.tiny * nll.shape[0] / (0.01 * precision.eps))
    window = -np.log(least_sum) - _MARGIN
    can_have = _sums_of(members, jnp.isfinite(nll).any(axis=1)[:, None]) > 0
    first = _least(nll)
    sums = _sums_of(members, jnp.exp(first - nll))

    def settled():
        # The logarithm of no sum is -infinity: an infinite loss.
        return share_of(first[:, None] - jnp.log(sums))

    def unsettled():
        def next_start(start):
            behind = jnp.where(nll > start + window, nll, jnp.inf)
            return behind.min(axis=0)

        def goes_on(state):
            start, sums, _ = state
            missing = (sums < least_sum) & can_have
            return jnp.isfinite(start).any() & missing.any()

        def round_(state):
            start, sums, starts = state
            inside = jnp.isfinite(nll) & (nll >= start)
            new = jnp.where(inside, jnp.exp(start - nll), 0.0)
            new = _sums_of(members, new)
            settles = (sums < least_sum) & (new >= least_sum)
            return (
                next_start(start),
                jnp.where(settles, new, sums),
                jnp.where(settles, start[:, None], starts),
            )

        starts = jnp.broadcast_to(first[:, None], sums.shape)
        known = jnp.where(sums < least_sum, 0.0, sums)
        state = next_start(first), known, starts
        _, found, starts = jax.lax.while_loop(goes_on, round_, state)
        return share_of(starts - jnp.log(found))

    misses = (sums < least_sum) & can_have
    return jax.lax.cond(misses.any(), unsettled, settled)


def _sum_of_texts(terms):
    """Returns the sums of [BLOCK, S] over the block: [S]."""
    # Eight at a time in one loop over memory, what is left pairwise.
    eights = terms.reshape(-1, 8, terms.shape[1]).sum(axis=1)
    return xla.pairwise_sum(eights, axis=0)


def _least(nll):
    """Returns the least nll of each text, [X]; 0 where all are infinite."""
    least = nll.min(axis=0)
    return jnp.where(jnp.isfinite(least), least, 0.0)


def _sums_of(members, table):
    """Returns the sum of a table [M, X] over each subset's members: [X, S]."""
    # GPUs and TPUs would round the factors to fewer bits.
    return jnp.dot(
        table.T.astype(members.dtype),
        members,
        precision=jax.lax.Precision.HIGHEST,
    )
