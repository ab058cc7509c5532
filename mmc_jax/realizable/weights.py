"""Weights of a mixture that are fitted to texts, with a certificate.

M models, X texts.

The loss of a mixture is convex in its weights. So the optimum can be certified:
with g_i the mean of the model's probability over the mixture's, no weights have
a loss more than max_i g_i - 1 below (the duality gap).
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.statistics import checked_losses

# Steps of EM, which come near the optimum fast and then slow down.
_EM_STEPS = 20
# Steps of Newton's method; 10 to 30 are usual.
_MOST_STEPS = 100
# Nats a text; the contract is 1e-9.
_GAP = 1e-11
# How far a Newton step goes towards a weight of 0, and by how much each lowers
# the product of weights and slacks.
_STEP_SHARE, _CENTERING = 0.99, 0.1
# A weight below it is 0.
_LEAST_WEIGHT = 1e-13


class FittedWeights(NamedTuple):
    """Weights of the mixture with the least loss.

    Attributes:
      weights: Weight of each model, float64 [M], with the sum 1.
      nll_nats: Mean nll of a text under the mixture, in nats.
      gap: Nats a text by which the least loss may lie below it, at most.
      num_steps: Number of steps, of EM and of Newton's method.
    """

    weights: np.ndarray
    nll_nats: float
    gap: float
    num_steps: int


def fitted_weights(
    nll_nats: ArrayLike, weights: ArrayLike | None = None
) -> FittedWeights:
    """Returns the weights pi whose mixture has the least mean nll.

    minimise -sum_x w_x log sum_i pi_i exp(-N_ix) / sum_x w_x

    Steps of EM, pi_i <- pi_i g_i, and then of Newton's method inside the
    simplex, until the duality gap is below 1e-11 nats a text.

    Args:
      nll_nats: Negative log-likelihood of each text under each model, in nats,
        finite, [M, X].
      weights: Weight of each text, not negative, [X]; 1 for each text if left
        out.

    Raises:
      ValueError: arguments that do not fit, with the place.

    Source: EM for the weights of a mixture as in Dempster, Laird and Rubin
    1977; the primal-dual Newton steps are those of Koenker and Mizera 2014,
    Convex optimization, shape constraints and Bayes.

    >>> found = fitted_weights([[1.0, 9.0, 2.0], [9.0, 1.0, 9.0]])
    >>> found.weights.round(3), found.gap < 1e-9
    (array([0.667, 0.333]), True)
    """
    nll, weights = checked_losses(nll_nats, weights)
    shares = np.ones(nll.shape[1]) if weights is None else weights
    # Relative to the largest: a sum of weights may be beyond floats.
    shares = shares / shares.max()
    shares = shares / shares.sum()
    used = shares > 0
    shares = shares[used]
    probabilities = np.exp(nll[:, used].min(axis=0) - nll[:, used])
    pi = np.full(len(nll), 1 / len(nll))
    for _ in range(_EM_STEPS):
        pi = pi * _ratios(probabilities, shares, pi)
    pi, num_steps = _newton(probabilities, shares, pi)
    pi[pi < _LEAST_WEIGHT] = 0
    pi = pi / pi.sum()
    with np.errstate(divide="ignore"):
        logs = np.log(pi)
    loss = oracle.exact_mixture_losses(
        nll, np.ones((1, len(nll)), bool), logs, weights
    )
    gap = max(0.0, float(_ratios(probabilities, shares, pi).max()) - 1)
    return FittedWeights(pi, float(loss[0]), gap, _EM_STEPS + num_steps)


def _ratios(
    probabilities: np.ndarray, shares: np.ndarray, pi: np.ndarray
) -> np.ndarray:
    """Returns g, the mean of each probability over the mixture's: [M]."""
    return probabilities @ (shares / (pi @ probabilities))


def _newton(
    probabilities: np.ndarray, shares: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, int]:
    """Returns the best weights of the primal-dual steps, and their number.

    minimise -sum_x v_x log q_x + sum_i pi_i over pi >= 0, q = pi P: at the
    optimum the weights sum to 1. The slacks z are 1 - g there.
    """
    num_models = len(start)
    # Inside: EM may have come to 0.
    pi = 0.99 * start + 0.01 / num_models
    slacks = np.maximum(1 - _ratios(probabilities, shares, pi), 0.1)
    best, least_gap = start, np.inf
    for step in range(_MOST_STEPS):
        mixture = pi @ probabilities
        ratios = probabilities @ (shares / mixture)
        total = pi.sum()
        gap = ratios.max() * total - 1
        if gap < least_gap:
            best, least_gap = pi / total, gap
        if gap < _GAP:
            return best, step
        scaled = probabilities * (np.sqrt(shares) / mixture)
        hessian = scaled @ scaled.T
        hessian[np.diag_indices(num_models)] += slacks / pi + 1e-14
        center = _CENTERING * (pi @ slacks) / num_models
        try:
            move = np.linalg.solve(hessian, ratios - 1 + center / pi)
        except np.linalg.LinAlgError:
            return best, step
        slack_move = (center - slacks * move) / pi - slacks
        length = min(_length(pi, move), _length(slacks, slack_move))
        pi, slacks = pi + length * move, slacks + length * slack_move
    return best, _MOST_STEPS


def _length(values: np.ndarray, move: np.ndarray) -> float:
    """Returns how far positive values can move and stay positive, up to 1."""
    falls = move < 0
    if not falls.any():
        return 1.0
    return min(1.0, _STEP_SHARE * float((-values[falls] / move[falls]).min()))
