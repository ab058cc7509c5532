"""The paper's three first experiments as sections.

S subsets.
"""

import functools

from mmc_jax import studies
from mmc_jax.diversity import PairTest, TokenEffect
from mmc_jax.report import diversity_figures, labels
from mmc_jax.report.diversity import gain_numbers
from mmc_jax.report.sections import Section
from mmc_jax.report.study import laws_as_numbers
from mmc_jax.scores import NORMALISATIONS


def token_effect_section(
    effect: TokenEffect, pair: tuple[str, str], normalisation: str
) -> Section:
    """Returns what the unit of the loss does to two models.

    Args:
      effect: What `diversity.token_effect` returns.
      pair: Names of the two models.
      normalisation: The fair one of `scores.NORMALISATIONS`.
    """
    unit = NORMALISATIONS[normalisation]
    numbers = effect._asdict()
    arrays = {
        name: numbers.pop(name)
        for name in ("differences_per_token", "differences_fair")
    }
    for name in ("advantage_per_token", "advantage_fair"):
        numbers[name] = gain_numbers(numbers[name])
    width = max(map(len, pair)) + 2
    lines = [
        f"{'':<{width}}{'characters a token':>20}{'nats per token':>16}"
        f"{'fair loss':>12}"
    ]
    for name, length, per_token, fair in zip(
        pair,
        effect.chars_per_token,
        effect.per_token,
        effect.fair,
        strict=True,
    ):
        lines.append(
            f"{name:<{width}}{length:20.3f}{per_token:16.4f}{fair:12.4f}"
        )
    lines += [
        f"fair loss in {unit}",
        f"{pair[0]} leads by {effect.advantage_per_token.estimate.text('.4f')} "
        f"nats per token, by {effect.advantage_fair.estimate.text('.4f')} in "
        "fair losses",
        f"{effect.share_turned:.1%} of the {len(effect.differences_fair)} "
        "texts have another winner once losses are fair",
    ]
    return Section(
        {"pair": pair, "fair_unit": unit, **numbers},
        arrays=arrays,
        figures={
            "tokenization": functools.partial(
                diversity_figures.token_effect, effect, pair, unit
            )
        },
        sentences=lines,
    )


def pair_test_section(
    found: PairTest,
    pair: tuple[str, str],
    nearest: str,
    *,
    normalisation: str,
    cost: str,
) -> Section:
    """Returns a mixed pair beside the single model that is nearest in cost.

    Args:
      found: What `diversity.pair_test` returns.
      pair: Names of the two models.
      nearest: Name of the nearest model.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of the cost.
    """
    unit = NORMALISATIONS[normalisation]
    over_nearest = found.against_nearest.estimate
    verdict = "an open question"
    if over_nearest.low > 0:
        verdict = "better"
    elif over_nearest.high < 0:
        verdict = "worse"
    return Section(
        {
            "pair": pair,
            "cost": cost,
            "loss_unit": unit,
            **found._asdict(),
            "nearest": nearest,
            "against_nearest": gain_numbers(found.against_nearest),
            "against_better": gain_numbers(found.against_better),
        },
        figures={
            "pair": functools.partial(
                diversity_figures.pair_test, found, pair, nearest, unit
            )
        },
        sentences=[
            f"{' and '.join(pair)}: {cost} {found.pair_cost:,.6g}, losses "
            f"{found.losses[0]:.4f} and {found.losses[1]:.4f}, together "
            f"{found.pair_loss:.4f}",
            f"nearest single model, {nearest}: {cost} "
            f"{found.nearest_cost:,.6g}, loss {found.nearest_loss:.4f}",
            f"the pair gains {found.against_better.estimate.text('.4f')} over "
            f"the better of the two; {pair[1]} is the better on "
            f"{found.win_share:.1%} of the texts",
            f"the pair gains {over_nearest.text('.4f')} over the nearest "
            f"single model, which costs "
            f"{found.nearest_cost / found.pair_cost:.2f} times as much: "
            f"{verdict}",
            f"in {unit}; 95 percent intervals over texts",
        ],
    )


def all_subsets_sections(every: studies.Subsets) -> list[Section]:
    """Returns every subset of a few models, their frontier and their laws.

    Args:
      every: What `studies.every_subset` returns.
    """
    found = every.study
    names = [model.name for model in found.table.models]
    unit = found.table.loss_unit(found.normalisation)
    rows = [
        {
            "cost": cost,
            "loss": loss,
            "models": subset,
            "on_frontier": bool(kept),
        }
        for cost, loss, subset, kept in zip(
            every.costs,
            every.losses,
            labels.subsets(every.masks, names),
            every.on_frontier,
            strict=True,
        )
    ]
    lines = [f"{'budget (' + found.cost + ')':>22}  {'loss':>8}    subset"]
    lines += [
        f"{row['cost']:22,.6g}  {row['loss']:8.4f}  "
        f"{'*' if row['on_frontier'] else ' '} {', '.join(row['models'])}"
        for row in rows
    ]
    lines.append(
        f"* the frontier, {every.on_frontier.sum()} of {len(rows)} subsets; "
        f"loss in {unit}"
    )
    return [
        Section(
            {"loss_unit": unit, "cost": found.cost, "subsets": rows},
            figures={
                "subsets": functools.partial(
                    diversity_figures.all_subsets,
                    every.costs,
                    every.losses,
                    every.masks.sum(axis=1),
                    found.pool,
                    cost_label=labels.cost_label(found.cost),
                    loss_label=labels.loss_label(unit),
                )
            },
            sentences=lines,
        ),
        _laws(found),
    ]


def _laws(found: studies.Study) -> Section:
    """Returns the two laws of a study, short."""
    laws = {"single": found.single_law, "pool": found.pool_law}
    lines = []
    for name, fit in laws.items():
        title = "single models" if name == "single" else name
        lines.append(
            f"law of the {title}: not fitted: {found.reasons[name]}"
            if fit is None
            else f"law of the {title}: alpha {fit.alpha:.4f}, L_inf "
            f"{fit.L_inf:.4f}, {fit.num_points} points, R^2 {fit.r_squared:.4f}"
        )
    return Section(
        {"laws": laws_as_numbers(laws, found.reasons)}, sentences=lines
    )
