"""How much of a pool's gain is selection bias, against the number of texts.

M models, X texts, N numbers of texts, B budgets, K samples of the texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier
from mmc_jax.frontier import Search
from mmc_jax.frontier.pareto import places_at
from mmc_jax.statistics.inputs import checked_inputs

_NUM_BUDGETS = 32


class Optimism(NamedTuple):
    """Gain of pools over single models, in sample and on other texts.

    Gains are means over the samples of the texts.

    Attributes:
      num_texts: Number of texts that choose subsets, [N]; as many others judge.
      budgets: Budgets of the subsets, [B].
      in_sample: Gain at each budget on the texts that chose the subset, [N, B].
      held_out: Gain of the same subset on other texts, [N, B].
      gain_in_sample: Mean of `in_sample` over the budgets, [N].
      gain_held_out: Mean of `held_out` over the budgets, [N].
      share: Share of the gain that is missing on other texts,
        1 - gain_held_out / gain_in_sample, [N]; NaN where nothing is gained.
      share_std: Standard deviation of the share over the samples, [N].
    """

    num_texts: np.ndarray
    budgets: np.ndarray
    in_sample: np.ndarray
    held_out: np.ndarray
    gain_in_sample: np.ndarray
    gain_held_out: np.ndarray
    share: np.ndarray
    share_std: np.ndarray


def numbers_of_texts(num_texts: int, num_steps: int = 10) -> np.ndarray:
    """Returns numbers of texts that choose, the largest half of all texts: [N].

    Each number is half of the next one, down to 8.

    Args:
      num_texts: Number of all texts X.
      num_steps: Largest number of steps N.

    >>> numbers_of_texts(1000, 4)
    array([ 62, 125, 250, 500])
    """
    steps = num_texts // 2 ** np.arange(num_steps, 0, -1)
    return steps[steps >= min(8, num_texts // 2)]


def optimism(
    losses: ArrayLike,
    costs: ArrayLike,
    *,
    search: Search = frontier.pruned,
    num_texts: Sequence[int] | None = None,
    num_samples: int = 10,
    seed: int = 0,
) -> Optimism:
    """Returns the gain of pools in sample and on other texts.

    gain = L(best single model of the budget) - L(best subset of the budget)

    Twice as many texts as choose are sampled without replacement, K times. One
    half chooses the subset of each budget, the other judges, and the other way
    round (`frontier.cross_fitted`). The single model is the best on all texts,
    so that it has no selection bias of its own. With more texts the two gains
    meet; their difference is the selection bias (optimism) of the subsets.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      search: Search that finds the frontier of subsets.
      num_texts: Numbers of texts that choose, each at most X / 2, [N];
        `numbers_of_texts` if left out.
      num_samples: Number of samples K of the texts, for each number of them.
      seed: Seed of the random samples.

    Raises:
      ValueError: Arguments that do not fit, with the place; a number of texts
        below 1 or above X / 2; num_samples below 1; fewer than 2 texts.
    """
    inputs = checked_inputs(losses, costs, None)
    total = inputs.losses.shape[1]
    num_texts = _checked_num_texts(num_texts, total)
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; at least 1 is needed.")
    budgets = search(inputs.losses, inputs.costs, None).costs
    chosen = np.linspace(0, len(budgets) - 1, _NUM_BUDGETS).round().astype(int)
    budgets = budgets[np.unique(chosen)]
    alone = frontier.single_models(*inputs)
    single = alone.masks[places_at(alone.costs, budgets)].argmax(axis=1)
    rng = np.random.default_rng(seed)
    # In sample and held out.
    gains = np.empty((2, len(num_texts), num_samples, len(budgets)))
    for n, number in enumerate(num_texts):
        for k in range(num_samples):
            texts = rng.choice(total, 2 * number, replace=False)
            sampled = inputs.losses[:, texts]
            pool = frontier.cross_fitted(
                sampled,
                inputs.costs,
                search=search,
                num_splits=1,
                seed=seed,
                budgets=budgets,
            )
            reference = sampled.mean(axis=1)[single]
            gains[0, n, k] = reference - pool.in_sample
            gains[1, n, k] = reference - pool.held_out
    here, there = gains.mean(axis=3)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - there.mean(axis=1) / here.mean(axis=1)
        of_sample = 1 - there / here
    nothing = (here <= 0).any(axis=1)
    return Optimism(
        np.asarray(num_texts),
        budgets,
        *gains.mean(axis=2),
        here.mean(axis=1),
        there.mean(axis=1),
        np.where(nothing, np.nan, share),
        np.where(nothing, np.nan, of_sample.std(axis=1)),
    )


def _checked_num_texts(
    num_texts: Sequence[int] | None, total: int
) -> Sequence[int]:
    """Returns the numbers of texts that choose, of all X texts.

    Raises:
      ValueError: Fewer than 2 texts; a number below 1 or above X / 2.
    """
    if total < 2:
        raise ValueError(f"{total} text; at least 2 are needed to split.")
    if num_texts is None:
        return numbers_of_texts(total)
    for number in num_texts:
        if not 1 <= number <= total // 2:
            raise ValueError(
                f"num_texts has {number}; of {total} texts 1 to {total // 2} "
                "can choose while as many judge."
            )
    return num_texts
