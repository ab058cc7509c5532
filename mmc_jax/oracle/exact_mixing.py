"""Mixture losses that every machine computes to the same bit.

M models, X texts, S subsets. What a mixture is says mixing.py.

Exponentials and logarithms are those of portable.py, probabilities are added
model by model, and the mean over texts is exact. A text's number is off by at
most 1e-14 nats, and two roundings of the number itself.

The probability of a text under a model is taken relative to exp(-512 n), the
whole number n such that the likeliest model of the subset is within 256 nats.
Subsets of one n share the exponentials, so that a subset costs one addition for
each of its models.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle import checks, portable
from mmc_jax.oracle.exact import exact_means
from mmc_jax.oracle.subset_minima import in_steps, take_minima

# Texts of a block: its arrays stay in the cache of one core.
_TEXTS = 4096
# Nats between two numbers that probabilities are relative to.
_STEP = 512.0
# Models whose probabilities are added to one sum: a sum of a thousand numbers
# would be off by more.
_GROUP = 32
# Texts of all subsets together that are worked out at once: 128 MB.
_MOST_NUMBERS = 2**24


def mixture_nll(
    nll_nats: ArrayLike,
    masks: ArrayLike,
    log_weights: ArrayLike | None = None,
) -> np.ndarray:
    """Returns the mixture's nll of each text, in nats: [S, X] float64.

    mix_S(x) = -log sum_{i in S} pi_i exp(-N_ix)

    The same bits on every machine, for the same order of models. The mixture of
    one model is that model, to the last bit.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X]. May be infinity: the model cannot have the text.
      masks: Members of each subset, [S, M] booleans. A row without a model has
        the nll infinity.
      log_weights: Logarithm of each model's prior weight, [M], or [S, M] for
        weights of each subset, up to a constant; -infinity for the weight 0.
        Within a subset the weights are divided by their sum. Uniform if left
        out.

    Raises:
      ValueError: No models; a wrong shape or dtype; NaN or -infinity among the
        nll; a subset whose models all have the weight 0.

    >>> mixture_nll([[1.0, 9.0], [8.0, 2.0]], [[True, True]]).round(4)
    array([[1.6922, 2.6922]])
    """
    nll = np.asarray(nll_nats, np.float64)
    checks.checked_table("nll_nats", nll, "model")
    checks.check_values("nll_nats", nll, "model")
    masks = np.asarray(checks.checked_masks("masks", masks, nll))
    logs = _checked_log_weights(log_weights, masks)
    found = np.full((len(masks), nll.shape[1]), np.inf)
    has = masks & (logs > -np.inf)
    largest = np.where(has, logs, -np.inf).max(axis=1)
    for largest_log in np.unique(largest[has.any(axis=1)]):
        (some,) = np.nonzero(largest == largest_log)
        # Of rows that are alike all subsets share the exponentials.
        alike = (logs[some] == logs[some[0]]).all()
        for rows in [some] if alike else some[:, None]:
            relative = logs[rows[0]] - largest_log
            _fill(found, rows, nll, has[rows], relative)
    return found


def mixtures_at_once(num_subsets: int, num_texts: int) -> Iterator[slice]:
    """Yields slices of subsets whose mixtures fit in memory together.

    Args:
      num_subsets: Number of subsets.
      num_texts: Number of texts of each.

    >>> list(mixtures_at_once(3, 2**23))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    step = max(1, _MOST_NUMBERS // max(1, num_texts))
    for start in range(0, num_subsets, step):
        yield slice(start, start + step)


def exact_mixture_losses(
    nll_nats: ArrayLike,
    masks: ArrayLike,
    log_weights: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
) -> np.ndarray:
    """Returns the loss of each subset's mixture, for writing: [S] float64.

    L(S) = sum_x w_x mix_S(x) / l_x / sum_x w_x

    The same bits on every machine, for the same order of models. Slower than
    `mixture_losses`.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        [M, X].
      masks: Members of each subset, [S, M] booleans.
      log_weights: Logarithm of each model's prior weight, [M] or [S, M];
        uniform if left out.
      weights: Weight of each text in the mean, [X], not negative, with a
        positive sum; 1 each if left out.
      lengths: What each text's loss is divided by, [X], above 0; 1 each if left
        out.

    Raises:
      ValueError: The same arguments that `mixture_nll` refuses; no texts;
        weights that are negative, not finite or all 0; lengths that are not
        positive.

    >>> exact_mixture_losses([[1.0, 9.0], [8.0, 2.0]], [[True, False]])
    array([5.])
    """
    nll = np.asarray(nll_nats, np.float64)
    masks = np.asarray(masks)
    if lengths is not None:
        lengths = checks.checked_lengths(lengths, nll.shape[-1])
        lengths = np.asarray(lengths, np.float64)
    found = np.empty(len(masks))
    logs = None if log_weights is None else np.asarray(log_weights)
    for some in mixtures_at_once(len(masks), nll.shape[-1]):
        rows = mixture_nll(
            nll, masks[some], logs[some] if np.ndim(logs) == 2 else logs
        )
        if lengths is not None:
            rows /= lengths
        found[some] = exact_means(rows, weights)
    return found


def _fill(
    found: np.ndarray,
    rows: np.ndarray,
    nll: np.ndarray,
    masks: np.ndarray,
    logs: np.ndarray,
) -> None:
    """Fills in rows of the mixtures' nll, those of some of the subsets.

    Args:
      found: Mixture's nll of each text, which is filled in, [S, X].
      rows: Rows that are filled in, [s].
      nll: Negative log-likelihood of each text under each model, [M, X].
      masks: Members of the subset of each of these rows, [s, M].
      logs: Logarithm of each model's weight, [M]; the largest of each subset
        is 0.
    """
    models = np.flatnonzero(masks.any(axis=0))
    logs = logs[models]
    weights = portable.exp(logs)
    members = [np.flatnonzero(mask[models]).tolist() for mask in masks]
    totals = [_added(weights, some) for some in members]
    order, steps = in_steps(masks[:, models])
    is_uniform = not logs.any()
    for start in range(0, nll.shape[1], _TEXTS):
        texts = slice(start, start + _TEXTS)
        table = nll[models, texts]
        relative = table if is_uniform else table - logs[:, None]
        place = _place(relative.min(axis=0))
        terms = np.stack([portable.exp(place - row) for row in relative])
        least = np.empty((1, len(place)))
        shared: list[np.ndarray] = []
        for s, step in zip(order, steps, strict=True):
            some = members[s]
            take_minima(relative, [step], shared, least)
            if len(some) == 1:
                found[rows[s], texts] = table[some[0]]
                continue
            sums, own = _added(terms, some), _place(least[0])
            (other,) = np.nonzero(own != place)
            if len(other):
                beyond = own[other] - relative[np.ix_(some, other)]
                sums[other] = _added(portable.exp(beyond), range(len(some)))
            mixed = own - portable.log(sums / totals[s])
            # It has no more than the likeliest, but for a rounding.
            lowest = least[0] if is_uniform else table[some].min(axis=0)
            found[rows[s], texts] = np.maximum(mixed, lowest)


def _place(least: np.ndarray) -> np.ndarray:
    """Returns the multiple of 512 next to each number; 0 for infinity."""
    return np.rint(np.where(np.isposinf(least), 0.0, least) / _STEP) * _STEP


def _added(terms: np.ndarray, some: Sequence[int]) -> np.ndarray:
    """Returns the sum of some of the terms, in one order: groups of 32."""
    total = 0.0
    for start in range(0, len(some), _GROUP):
        first, *others = some[start : start + _GROUP]
        # NumPy adds along an axis in an order of its own.
        group = np.array(terms[first])
        for i in others:
            group += terms[i]
        total = total + group
    return total


def _checked_log_weights(
    log_weights: ArrayLike | None, masks: np.ndarray
) -> np.ndarray:
    """Returns logarithms of weights for each subset, [S, M]."""
    if log_weights is None:
        return np.broadcast_to(0.0, masks.shape)
    logs = np.asarray(log_weights, np.float64)
    if logs.ndim == 1:
        checks.checked_log_weights(logs, masks.shape[1])
        logs = np.broadcast_to(logs, masks.shape)
    if logs.shape != masks.shape or not (logs < np.inf).all():
        raise ValueError(
            f"log_weights has shape {logs.shape}, or NaN or infinity in it; "
            f"{list(masks.shape)} of numbers below infinity is needed."
        )
    unweighted = masks.any(axis=1) & ~(masks & (logs > -np.inf)).any(axis=1)
    if unweighted.any():
        raise ValueError(
            f"masks[{unweighted.argmax()}]: its models all have the weight 0."
        )
    return logs
