"""All that one table says of its models alone and in pairs.

M models, X texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import oracle, stages
from mmc_jax.diversity.contributions import (
    Shapley,
    marginal_contributions,
    shapley,
    win_shares,
)
from mmc_jax.diversity.correlations import (
    GroupMeans,
    group_means,
    residual_correlations,
)
from mmc_jax.diversity.families import groups_of
from mmc_jax.diversity.gains import (
    Gain,
    bonus,
    equal_cost_gains,
    pair_bonus,
    pair_gains,
    pair_gains_per_cost,
    pair_losses,
)
from mmc_jax.scores import ScoreTable

# Pairs of which intervals are worked out.
_NUM_PAIRS = 10


class PairGain(NamedTuple):
    """The gain of one pair of models.

    Attributes:
      pair: Indices of the two models.
      gain: Gain of the pair, with its interval over texts.
    """

    pair: tuple[int, int]
    gain: Gain


class Summary(NamedTuple):
    """What the models of a table bring, alone and in pairs.

    Attributes:
      table: Score table of the models and texts.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost at which models are compared.
      losses: Loss of each text under each model, float64 [M, X].
      costs: Cost of each model, float64 [M]; None where one has none.
      mean_losses: Mean loss of each model, [M].
      loss_of_all_models: Oracle loss of all models together.
      win_shares: Share of the texts on which each model is the best, [M].
      shapley: Shapley value of each model.
      marginal: Loss that is added without each model, [M].
      matrices: A number for each pair of models, [M, M], by name:
        "pair_gains", "residual_correlations", and where costs are known
        "pair_gains_per_cost" and "equal_cost_gains".
      means: Means of the matrices within and across families, by the same
        names; empty where a family is not known.
      largest: The pairs with the largest gains, by the name of the matrix. They
        are the best of all pairs on these texts, so that their gains have a
        selection bias.
      reasons: Why something is missing, by what is missing.
    """

    table: ScoreTable
    normalisation: str
    cost: str
    losses: np.ndarray
    costs: np.ndarray | None
    mean_losses: np.ndarray
    loss_of_all_models: float
    win_shares: np.ndarray
    shapley: Shapley
    marginal: np.ndarray
    matrices: dict[str, np.ndarray]
    means: dict[str, GroupMeans]
    largest: dict[str, list[PairGain]]
    reasons: dict[str, str]


@stages.stage("measuring diversity")
def summary(
    table: ScoreTable,
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    num_resamples: int = 1000,
    seed: int = 0,
) -> Summary:
    """Returns what the models of a table bring, alone and in pairs.

    What needs families, or a cost of every model, is left out where they are
    not known; `reasons` says why.

    Args:
      table: The scores of at least 2 models.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost at which models are compared.
      num_resamples: Number of resamples of the texts, for the pairs with the
        largest gains.
      seed: Seed of the random resamples.

    Raises:
      ValueError: The table lacks what the normalisation needs; fewer than 2
        models.
    """
    if len(table.models) < 2:
        raise ValueError("1 model has no diversity; at least 2 are needed.")
    losses = table.losses(normalisation)
    stages.say("pairs of models")
    pairs = pair_losses(losses)
    stages.say("correlations")
    matrices = {
        "pair_gains": pair_gains(losses, pairs=pairs),
        "residual_correlations": residual_correlations(losses),
    }
    costs, means, reasons = None, {}, {}
    try:
        costs = table.costs(cost)
        matrices["pair_gains_per_cost"] = pair_gains_per_cost(
            losses, costs, pairs=pairs
        )
        matrices["equal_cost_gains"] = equal_cost_gains(
            losses, costs, pairs=pairs
        )
    except ValueError as error:
        costs = None
        reasons["measures at a cost"] = str(error)
    try:
        groups = groups_of(table)
        means = {
            name: group_means(values, groups)
            for name, values in matrices.items()
        }
    except ValueError as error:
        reasons["means within and across families"] = str(error)
    options = {
        "clusters": table.clusters(),
        "num_resamples": num_resamples,
        "seed": seed,
    }
    stages.say("intervals of the largest gains")
    largest = {
        "pair_gains": [
            PairGain(pair, pair_bonus(*losses[list(pair)], **options))
            for pair in _largest(matrices["pair_gains"])
        ]
    }
    if costs is not None:
        largest["equal_cost_gains"] = [
            PairGain(pair, _at_equal_cost(losses, costs, pair, options))
            for pair in _largest(matrices["equal_cost_gains"])
        ]
    stages.say("what each model brings")
    return Summary(
        table=table,
        normalisation=normalisation,
        cost=cost,
        losses=losses,
        costs=costs,
        mean_losses=oracle.exact_means(losses),
        loss_of_all_models=float(oracle.exact_means(losses.min(axis=0))),
        win_shares=win_shares(losses),
        shapley=shapley(losses),
        marginal=marginal_contributions(losses),
        matrices=matrices,
        means=means,
        largest=largest,
        reasons=reasons,
    )


def _largest(matrix: np.ndarray) -> list[tuple[int, int]]:
    """Returns the pairs of the largest numbers above 0, largest first."""
    rows, columns = np.triu_indices(len(matrix), 1)
    values = matrix[rows, columns]
    best = np.argsort(-values, kind="stable")[:_NUM_PAIRS]
    return [(int(rows[b]), int(columns[b])) for b in best if values[b] > 0]


def _at_equal_cost(
    losses: np.ndarray,
    costs: np.ndarray,
    pair: Sequence[int],
    options: Mapping[str, Any],
) -> Gain:
    """Returns what a pair gains over the best model of no more cost."""
    affordable = costs <= costs[list(pair)].sum()
    return bonus(losses[affordable], losses[list(pair)].min(axis=0), **options)
