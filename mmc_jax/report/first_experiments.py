"""The paper's three first experiments, each as a result folder.

S subsets.
"""

import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import diversity, oracle
from mmc_jax.frontier.pareto import subset_costs
from mmc_jax.report import diversity_figures, result
from mmc_jax.report.study import COST_LABELS, study
from mmc_jax.scores import NORMALISATIONS, ScoreTable

# All subsets of so many models can be printed.
_MAX_MODELS = 10


def write_token_effect(
    table: ScoreTable,
    out: str | os.PathLike[str],
    pair: tuple[str, str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Writes what the unit of the loss does to two models, and says it.

    Args:
      table: The scores.
      out: The result folder.
      pair: Two models of different tokenizers, by name.
      flags: What the program was called with.
      normalisation: As for `diversity.token_effect`, and so are the rest.
      num_resamples: Of the texts.
      seed: Of the draws.

    Raises:
      ValueError: As for `diversity.token_effect`.
    """
    effect = diversity.token_effect(
        table,
        pair,
        normalisation=normalisation,
        num_resamples=num_resamples,
        seed=seed,
    )
    unit = NORMALISATIONS[normalisation]
    numbers = effect._asdict()
    arrays = {
        name: numbers.pop(name)
        for name in ("differences_per_token", "differences_fair")
    }
    for name in ("advantage_per_token", "advantage_fair"):
        numbers[name] = numbers[name]._asdict()
    path = result.write_result(
        out,
        result.plain({"pair": pair, "fair_unit": unit, **numbers}),
        flags=flags,
        arrays=arrays,
        figures={
            "tokenization": diversity_figures.token_effect(effect, pair, unit)
        },
    )
    width = max(map(len, pair)) + 2
    lines = [
        f"{'':<{width}}{'characters a token':>20}{'nats per token':>16}"
        f"{'fair loss':>12}"
    ]
    for row in zip(
        pair,
        effect.chars_per_token,
        effect.per_token,
        effect.fair,
        strict=True,
    ):
        lines.append(
            f"{row[0]:<{width}}{row[1]:20.3f}{row[2]:16.4f}{row[3]:12.4f}"
        )
    return "\n".join(
        [
            *lines,
            f"fair loss in {unit}",
            f"{pair[0]} leads by {_bonus(effect.advantage_per_token)} nats per "
            f"token, by {_bonus(effect.advantage_fair)} in fair losses",
            f"{effect.share_turned:.1%} of the {len(table.texts)} texts have "
            "another winner once losses are fair",
            "",
            f"numbers: {path}",
        ]
    )


def write_pair_test(
    table: ScoreTable,
    out: str | os.PathLike[str],
    pair: tuple[str, str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    cost: str = "num_params",
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Writes a mixed pair beside the nearest single model, and says it.

    Args:
      table: The scores.
      out: The result folder.
      pair: Two models of different families, by name.
      flags: What the program was called with.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: By which a single model is near.
      num_resamples: Of the texts.
      seed: Of the draws.

    Raises:
      ValueError: A model that is not there; a pair of one family; as for
        `diversity.pair_test`.
    """
    groups = diversity.groups_of(table.select(models=pair))
    if len(set(groups)) != 2:
        raise ValueError(
            f"{' and '.join(pair)} are both of the family {groups[0]!r}; take "
            "two of different families."
        )
    names = [model.name for model in table.models]
    found = diversity.pair_test(
        table.losses(normalisation),
        table.costs(cost),
        tuple(names.index(name) for name in pair),
        num_resamples=num_resamples,
        seed=seed,
    )
    unit = NORMALISATIONS[normalisation]
    nearest = names[found.nearest]
    numbers = found._asdict() | {"nearest": nearest}
    for name in ("against_nearest", "against_better"):
        numbers[name] = numbers[name]._asdict()
    path = result.write_result(
        out,
        result.plain(
            {"pair": pair, "cost": cost, "loss_unit": unit, **numbers}
        ),
        flags=flags,
        figures={
            "pair": diversity_figures.pair_test(found, pair, nearest, unit)
        },
    )
    verdict = "an open question"
    if found.against_nearest.low > 0:
        verdict = "better"
    elif found.against_nearest.high < 0:
        verdict = "worse"
    return "\n".join(
        [
            f"{' and '.join(pair)}: {cost} {found.pair_cost:,.6g}, losses "
            f"{found.losses[0]:.4f} and {found.losses[1]:.4f}, together "
            f"{found.pair_loss:.4f}",
            f"nearest single model, {nearest}: {cost} "
            f"{found.nearest_cost:,.6g}, loss {found.nearest_loss:.4f}",
            f"the pair gains {_bonus(found.against_better)} over the better of "
            f"the two; {pair[1]} is the better on {found.win_share:.1%} of the "
            "texts",
            f"the pair gains {_bonus(found.against_nearest)} over the nearest "
            f"single model, which costs "
            f"{found.nearest_cost / found.pair_cost:.2f} times as much: "
            f"{verdict}",
            f"in {unit}; 95 percent intervals over texts",
            "",
            f"numbers: {path}",
        ]
    )


def write_all_subsets(
    table: ScoreTable,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    cost: str = "num_params",
) -> str:
    """Writes every subset of a few models and their frontier, and says it.

    Args:
      table: The scores of up to 10 models; the paper's first frontier has 5.
      out: The result folder.
      flags: What the program was called with.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.

    Raises:
      ValueError: More than 10 models; as for `report.study`.
    """
    num_models = len(table.models)
    if num_models > _MAX_MODELS:
        raise ValueError(
            f"{num_models} models have {2**num_models - 1:,} subsets; give up "
            f"to {_MAX_MODELS} of them, or take trace_frontier."
        )
    found = study(
        table, normalisation=normalisation, cost=cost, method="exhaustive"
    )
    masks = np.array(
        list(itertools.product([False, True], repeat=num_models))[1:]
    )
    losses = oracle.exact_losses(found.losses, masks)
    costs = subset_costs(masks, found.costs)
    order = np.lexsort((losses, costs))
    masks, losses, costs = masks[order], losses[order], costs[order]
    kept = {mask.tobytes() for mask in found.pool.masks}
    unit = NORMALISATIONS[normalisation]
    names = [model.name for model in table.models]
    rows = [
        {
            "cost": cost_of_subset,
            "loss": loss,
            "models": [names[m] for m in np.flatnonzero(mask)],
            "on_frontier": mask.tobytes() in kept,
        }
        for cost_of_subset, loss, mask in zip(costs, losses, masks, strict=True)
    ]
    path = result.write_result(
        out,
        result.plain(
            {
                "loss_unit": unit,
                "cost": cost,
                "subsets": rows,
                "laws": {
                    name: {"not_fitted": found.reasons[name]}
                    if fit is None
                    else result.law_numbers(fit)
                    for name, fit in (
                        ("single", found.single_law),
                        ("pool", found.pool_law),
                    )
                },
            }
        ),
        flags=flags,
        figures={
            "subsets": diversity_figures.all_subsets(
                costs,
                losses,
                masks.sum(axis=1),
                found.pool,
                cost_label=COST_LABELS.get(cost, cost),
                loss_label=f"Loss ({unit})",
            )
        },
    )
    lines = [f"{'budget (' + cost + ')':>22}  {'loss':>8}    subset"]
    for row in rows:
        lines.append(
            f"{row['cost']:22,.6g}  {row['loss']:8.4f}  "
            f"{'*' if row['on_frontier'] else ' '} {', '.join(row['models'])}"
        )
    lines.append(
        f"* the frontier, {len(kept)} of {len(rows)} subsets; loss in {unit}"
    )
    for name, fit in (
        ("single", found.single_law),
        ("pool", found.pool_law),
    ):
        words = "single models" if name == "single" else name
        lines.append(
            f"law of the {words}: not fitted: {found.reasons[name]}"
            if fit is None
            else f"law of the {words}: alpha {fit.alpha:.4f}, L_inf "
            f"{fit.L_inf:.4f}, {fit.num_points} points, R^2 {fit.r_squared:.4f}"
        )
    return "\n".join([*lines, "", f"numbers: {path}"])


def _bonus(found: diversity.Bonus) -> str:
    return f"{found.bonus:.4f} [{found.low:.4f}, {found.high:.4f}]"
