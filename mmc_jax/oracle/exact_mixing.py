"""Mixture losses that every machine computes to the same bit.

M models, X texts, S subsets. What a mixture is says mixing.py.

Exponentials and logarithms are those of portable.py, probabilities are added
model by model, and the mean over texts is exact. A text's number is off by at
most 1e-14 nats, and two roundings of the number itself.
"""

import numpy as np
from jax.typing import ArrayLike

from mmc_jax.oracle import checks, portable
from mmc_jax.oracle.exact import exact_means

# Texts of a block: its arrays stay in the cache of one core.
_TEXTS = 4096
# Mean probabilities, relative to the likeliest model's and less 1, down to
# which sums are of differences from 1.
_NEAR = -0.5


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
    for row, mask, log_weight in zip(found, masks, logs, strict=True):
        members = np.flatnonzero(mask & (log_weight > -np.inf))
        if not len(members):
            continue
        for start in range(0, len(row), _TEXTS):
            texts = slice(start, start + _TEXTS)
            row[texts] = _mixture(nll[members, texts], log_weight[members])
    return found


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
    for s in range(len(masks)):
        mine = logs[s : s + 1] if np.ndim(logs) == 2 else logs
        row = mixture_nll(nll, masks[s : s + 1], mine)[0]
        found[s] = exact_means(
            row if lengths is None else row / lengths, weights
        )
    return found


def _mixture(nll: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """Returns -log of the mean probability under some models [k, X]: [X]."""
    logs = log_weights - log_weights.max()
    weights = 1.0 + portable.expm1(logs)
    least = nll.min(axis=0)
    infinite = np.isposinf(least)
    least = np.where(infinite, 0.0, least)
    total = less = 0.0
    # Model by model: NumPy adds along an axis in an order of its own.
    for row, weight in zip(nll, weights, strict=True):
        total = total + weight
        less = less + weight * portable.expm1(least - row)
    less = less / total
    near = less > _NEAR
    found = least - portable.log1p(np.where(near, less, 0.0))
    if not near.all():
        far = ~near & ~infinite
        behind = nll[:, far] - logs[:, None]
        first = behind.min(axis=0)
        sums = 0.0
        for row in behind:
            sums = sums + (1.0 + portable.expm1(first - row))
        ratio = portable.log1p(sums - 1.0) - portable.log1p(total - 1.0)
        found[far] = first - ratio
    found[infinite] = np.inf
    return found


def _checked_log_weights(
    log_weights: ArrayLike | None, masks: np.ndarray
) -> np.ndarray:
    """Returns logarithms of weights for each subset, [S, M]."""
    if log_weights is None:
        return np.zeros(masks.shape)
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
