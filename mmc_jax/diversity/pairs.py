"""Two models: a pair against one model, one tokenizer against another.

M models, X texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import oracle
from mmc_jax.diversity.families import groups_of
from mmc_jax.diversity.gains import Gain, bonus
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics.inputs import checked_inputs


class PairTest(NamedTuple):
    """A pair against the single model that is nearest in cost.

    Attributes:
      nearest: Index of the model nearest to the pair's cost, outside the pair.
      pair_cost: Sum of the two costs.
      nearest_cost: Cost of the nearest model.
      pair_loss: Oracle loss of the pair.
      nearest_loss: Mean loss of the nearest model.
      losses: Mean losses of the pair's two models.
      against_nearest: Gain of the pair over the nearest model; negative where
        that model is better.
      against_better: Gain of the pair over the better of its two models.
      win_share: Share of the texts on which the pair's second model is the
        better of the two; ties count half.
    """

    nearest: int
    pair_cost: float
    nearest_cost: float
    pair_loss: float
    nearest_loss: float
    losses: tuple[float, float]
    against_nearest: Gain
    against_better: Gain
    win_share: float


class TokenEffect(NamedTuple):
    """Two models by their losses per token and by fair losses.

    Attributes:
      chars_per_token: Mean number of characters in a token, of each model.
      per_token: Mean loss in nats per token, of each model.
      fair: Mean fair loss, of each model.
      advantage_per_token: How much less the first model loses per token.
      advantage_fair: How much less the first model loses by the fair loss.
      share_turned: Share of the texts on which the other model wins once
        losses are fair.
      differences_per_token: Loss per token of the second model less that of
        the first, [X].
      differences_fair: Fair loss of the second model less that of the first,
        [X].
    """

    chars_per_token: tuple[float, float]
    per_token: tuple[float, float]
    fair: tuple[float, float]
    advantage_per_token: Gain
    advantage_fair: Gain
    share_turned: float
    differences_per_token: np.ndarray
    differences_fair: np.ndarray


def pair_test(
    losses: ArrayLike,
    costs: ArrayLike,
    pair: tuple[int, int],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> PairTest:
    """Returns a pair beside the single model that costs nearly as much.

    The nearest model is that of the least |log(c_m / (c_i + c_j))|.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, above 0, [M].
      pair: Indices of two different models.
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples.
      clusters: Source, domain or document of each text, [X]; None to resample
        single texts.

    Raises:
      ValueError: Arguments that do not fit, with the place; a pair of one
        model; no third model; a cost of 0.

    >>> losses = [[1.0, 4.0] * 9, [3.0, 2.0] * 9, [2.0, 2.0] * 9]
    >>> found = pair_test(losses, [1, 2, 4], (0, 1))
    >>> found.nearest, found.pair_loss, found.against_nearest.estimate.value
    (2, 1.5, 0.5)
    """
    inputs = checked_inputs(losses, costs, None)
    first, second = pair
    others = np.setdiff1d(np.arange(len(inputs.losses)), pair)
    if first == second or not len(others):
        raise ValueError(
            f"pair is {pair} of {len(inputs.losses)} models; two different "
            "models and a third to compare with are needed."
        )
    if not inputs.costs.all():
        raise ValueError(
            f"costs[{int(inputs.costs.argmin())}] is 0; the nearest model is "
            "found by ratios of costs, which need to be above 0."
        )
    total = inputs.costs[first] + inputs.costs[second]
    nearest = int(
        others[np.abs(np.log(inputs.costs[others]) - np.log(total)).argmin()]
    )
    of_pair = inputs.losses[list(pair)]
    together = of_pair.min(axis=0)
    options = {
        "num_resamples": num_resamples,
        "seed": seed,
        "clusters": clusters,
    }
    means = oracle.exact_means(inputs.losses)
    wins = np.sign(of_pair[0] - of_pair[1])
    return PairTest(
        nearest=nearest,
        pair_cost=float(total),
        nearest_cost=float(inputs.costs[nearest]),
        pair_loss=float(oracle.exact_means(together)),
        nearest_loss=float(means[nearest]),
        losses=(float(means[first]), float(means[second])),
        against_nearest=bonus(inputs.losses[[nearest]], together, **options),
        against_better=bonus(of_pair, together, **options),
        win_share=float((1 + wins.mean()) / 2),
    )


def mixed_pair_test(
    table: ScoreTable,
    pair: tuple[str, str],
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    num_resamples: int = 1000,
    seed: int = 0,
) -> PairTest:
    """Returns a pair of two families beside the single model nearest in cost.

    Args:
      table: Score table of the models and texts.
      pair: Names of two models of different families.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost by which a single model is near.
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples.

    Raises:
      ValueError: A model that is not there; a pair of one family; no third
        model; a cost of 0; the table lacks what is asked for.
    """
    groups = groups_of(table.select(models=pair))
    if len(set(groups)) != 2:
        raise ValueError(
            f"{' and '.join(pair)} are both of the family {groups[0]!r}; take "
            "two of different families."
        )
    names = [model.name for model in table.models]
    return pair_test(
        table.losses(normalisation),
        table.costs(cost),
        (names.index(pair[0]), names.index(pair[1])),
        clusters=table.clusters(),
        num_resamples=num_resamples,
        seed=seed,
    )


def token_effect(
    table: ScoreTable,
    pair: tuple[str, str],
    *,
    normalisation: str = "text_length",
    num_resamples: int = 1000,
    seed: int = 0,
) -> TokenEffect:
    """Returns what the unit of the loss does to two models.

    Losses per token of tokenizers with tokens of different lengths are losses
    for different amounts of text.

    Args:
      table: The scores, with characters and tokens known.
      pair: Names of two models with different tokenizers.
      normalisation: The fair normalisation, one of `scores.NORMALISATIONS`.
      num_resamples: Number of resamples of the texts.
      seed: Seed of the random resamples.

    Raises:
      ValueError: The table does not know characters and tokens; models of one
        name or of equal token counts on all texts; nats_per_token as the fair
        one; a model that is not there; fewer than 2 texts.
    """
    if normalisation == "nats_per_token":
        raise ValueError(
            "nats_per_token is the unfair one of the two; take another "
            "normalisation to compare it with."
        )
    if len(set(pair)) != 2:
        raise ValueError(f"{' and '.join(pair)}: two different models needed.")
    two = table.select(models=pair)
    per_token = two.losses("nats_per_token")
    fair = two.losses(normalisation)
    if not np.all(two.texts.num_chars > 0):
        raise ValueError("the table does not know the characters of its texts.")
    if (two.num_tokens[0] == two.num_tokens[1]).all():
        raise ValueError(
            f"{' and '.join(pair)} have as many tokens on every text: they "
            "share a tokenizer; take two with different ones."
        )
    options = {"num_resamples": num_resamples, "seed": seed}
    by_token, by_fair = (rows[1] - rows[0] for rows in (per_token, fair))
    return TokenEffect(
        chars_per_token=tuple(
            (two.texts.num_chars.sum() / two.num_tokens.sum(axis=1)).tolist()
        ),
        per_token=tuple(per_token.mean(axis=1).tolist()),
        fair=tuple(fair.mean(axis=1).tolist()),
        advantage_per_token=bonus(per_token[1:], per_token[0], **options),
        advantage_fair=bonus(fair[1:], fair[0], **options),
        share_turned=float((np.sign(by_token) != np.sign(by_fair)).mean()),
        differences_per_token=by_token,
        differences_fair=by_fair,
    )
