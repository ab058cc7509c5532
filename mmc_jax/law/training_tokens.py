"""The law of single models in parameters and training tokens.

M models, X texts, R resamples.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax import oracle
from mmc_jax.law import elementary, optima
from mmc_jax.law.batches import newton_ends
from mmc_jax.law.fitting import FormFit, fit_form
from mmc_jax.law.forms import FORMS
from mmc_jax.law.optimizers import LEAST_SQUARES
from mmc_jax.law.selection import information_criteria
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import Estimate, estimate, resampled_means

# The cost that counts the tokens that a model was trained on.
TRAINING_TOKENS = "num_training_tokens"

_FORM = "two_variable"
# Parameters of which intervals are given; A and B mean little alone.
_IN_INTERVALS = ("alpha", "beta", "E")
_LEAST_SHARE = 0.5


class TokensLaw(NamedTuple):
    """The law L(N, D) = E + A / N^alpha + B / D^beta of single models.

    All fits are least squares on log L, over all models, not the frontier.

    Attributes:
      models: Names of the models whose training tokens are known, [M].
      left_out: Names of the models whose training tokens are not known.
      N: Number of parameters, or another cost, of each model, [M].
      D: Number of training tokens of each model, [M].
      losses: Mean loss of each model, [M].
      fit: Law of both variables.
      intervals: Value and interval over resampled texts of alpha, beta and E,
        by name; without an interval where fewer than half of the resamples
        have a law.
      of_parameters: Law A N^-alpha + L_inf of the same points; None where it
        cannot be fitted.
      aicc: AICc of `fit`; None where there are too few models for it.
      aicc_of_parameters: AICc of `of_parameters`, or None. Lower is better.
    """

    models: tuple[str, ...]
    left_out: tuple[str, ...]
    N: np.ndarray
    D: np.ndarray
    losses: np.ndarray
    fit: FormFit
    intervals: dict[str, Estimate]
    of_parameters: FormFit | None
    aicc: float | None
    aicc_of_parameters: float | None


def tokens_law(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    by_domain: bool = False,
    num_starts: int = 64,
    num_resamples: int = 1000,
    seed: int = 0,
) -> TokensLaw:
    """Returns the law of single models in parameters and training tokens.

    Args:
      table: Score table of the models and texts; the cost
        `num_training_tokens` of 6 models or more.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      cost: Name of the cost that is N.
      by_domain: Whether texts of one domain are resampled together.
      num_starts: Number of starts of each fit.
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples.

    Raises:
      ValueError: The table lacks what the normalisation or the cost needs; too
        few models, or too few different numbers of tokens, for five
        parameters; losses that do not fall.

    Source: Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2.
    """
    lacking = table.models_without_cost(TRAINING_TOKENS)
    names = [m.name for m in table.models if m.name not in lacking]
    if not names:
        raise ValueError(f"no model has a {TRAINING_TOKENS}.")
    table = table.select(models=names)
    losses, weights = table.weighted_losses(normalisation)
    N, D = table.costs(cost), table.costs(TRAINING_TOKENS)
    means = oracle.exact_means(losses, weights)
    options = {"delta": LEAST_SQUARES, "num_starts": num_starts}
    fit = fit_form(_FORM, (N, D), means, **options)
    try:
        alone = fit_form("power_law", N, means, **options)
    except ValueError:
        alone = None
    resampled = resampled_means(
        losses,
        weights,
        clusters=table.clusters(by_domain=by_domain),
        num_resamples=num_resamples,
        seed=seed,
    )
    return TokensLaw(
        models=tuple(names),
        left_out=tuple(lacking),
        N=N,
        D=D,
        losses=means,
        fit=fit,
        intervals=_intervals(fit, N, D, resampled, num_starts),
        of_parameters=alone,
        aicc=_aicc(fit),
        aicc_of_parameters=None if alone is None else _aicc(alone),
    )


def _aicc(fit: FormFit) -> float | None:
    # The objective is half the sum of squares.
    return information_criteria(
        2 * fit.objective, fit.num_points, len(fit.parameters)
    )[0]


def _intervals(
    fit: FormFit,
    N: np.ndarray,
    D: np.ndarray,
    resampled: np.ndarray,
    num_starts: int,
) -> dict[str, Estimate]:
    """Returns the parameters with intervals, of mean losses [R, M]."""
    shape = resampled.shape
    ends, _ = newton_ends(
        _FORM,
        (np.broadcast_to(N, shape), np.broadcast_to(D, shape)),
        resampled,
        np.ones(shape),
        delta=LEAST_SQUARES,
        num_starts=num_starts,
    )
    good = optima.converged(ends)
    values = elementary.exp(ends.logs)
    found = {}
    for i, name in enumerate(FORMS[_FORM].parameters):
        if name in _IN_INTERVALS:
            value = fit.parameters[name]
            found[name] = (
                estimate(value, values[good, i])
                if good.mean() >= _LEAST_SHARE
                else Estimate(value)
            )
    return found
