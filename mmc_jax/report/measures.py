"""What the models of a pool bring, what is wrong with it, and what is luck."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmc_jax import diversity, oracle
from mmc_jax.frontier import Search
from mmc_jax.report import diversity_figures, result
from mmc_jax.report.study import COST_LABELS
from mmc_jax.scores import NORMALISATIONS, ScoreTable

# Pairs of which intervals are worked out and which are printed.
_NUM_PAIRS = 10

# Letters of the longest name that keeps its column.
_NAME = 24


def write_diversity(
    table: ScoreTable,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    cost: str = "num_params",
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Writes the measures of a pool's diversity and returns them in words.

    What needs families, or a cost of every model, is left out where they are
    not known, and says so.

    Args:
      table: The scores.
      out: The result folder.
      flags: What the program was called with.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: What models are compared at.
      num_resamples: Of the texts, for the pairs that gain the most.
      seed: Of the draws.

    Raises:
      ValueError: The table lacks what the normalisation needs; fewer than 2
        models.
    """
    if len(table.models) < 2:
        raise ValueError("1 model has no diversity; at least 2 are needed.")
    losses = table.losses(normalisation)
    unit = NORMALISATIONS[normalisation]
    names = [model.name for model in table.models]
    families = [model.family for model in table.models]
    options = {"num_resamples": num_resamples, "seed": seed}
    matrices = {
        "pair_gains": diversity.pair_gains(losses),
        "residual_correlations": diversity.residual_correlations(losses),
    }
    missing = {}
    try:
        costs = table.costs(cost)
        matrices["pair_gains_per_cost"] = diversity.pair_gains_per_cost(
            losses, costs
        )
        matrices["equal_cost_gains"] = diversity.equal_cost_gains(losses, costs)
    except ValueError as error:
        costs = None
        missing["measures at a cost"] = str(error)
    means = {}
    try:
        groups = diversity.groups_of(table)
        means = {
            name: diversity.group_means(values, groups)
            for name, values in matrices.items()
        }
    except ValueError as error:
        missing["means within and across families"] = str(error)
    wins = diversity.win_shares(losses)
    shapley = diversity.shapley(losses)
    marginal = diversity.marginal_contributions(losses)
    pairs = {
        "pair_gains": [
            (pair, diversity.pair_bonus(*losses[list(pair)], **options))
            for pair in _largest(matrices["pair_gains"])
        ]
    }
    if costs is not None:
        pairs["equal_cost_gains"] = [
            (pair, _at_equal_cost(losses, costs, pair, options))
            for pair in _largest(matrices["equal_cost_gains"])
        ]
    order = _order(table, costs, losses)
    labels = [names[m] for m in order]
    of_family = [families[m] for m in order]
    drawn = {
        name: diversity_figures.matrix(
            matrices[name][np.ix_(order, order)],
            labels,
            of_family,
            title,
            diverging=name != "pair_gains",
        )
        for name, title in (
            ("pair_gains", f"Gain of the pair over its better model\n({unit})"),
            (
                "residual_correlations",
                "Correlation of losses beyond the difficulty of the texts",
            ),
            (
                "equal_cost_gains",
                f"Gain of the pair over one model of its {cost}\n({unit})",
            ),
        )
        if name in matrices
    }
    drawn["contributions"] = diversity_figures.contributions(
        labels,
        wins[order],
        diversity.Shapley(*(values[order] for values in shapley)),
        marginal[order],
        unit,
    )
    mean_losses = oracle.exact_means(losses)
    loss_of_all_models = oracle.exact_means(losses.min(axis=0))
    numbers = {
        "loss_unit": unit,
        "cost": cost,
        "num_texts": len(table.texts),
        "loss_of_all_models": loss_of_all_models,
        "gain_over_the_best_model": mean_losses.min() - loss_of_all_models,
        "gain_over_the_worst_of_each_text": shapley.values.sum(),
        "models": [
            {
                "name": names[m],
                "family": families[m],
                "loss": mean_losses[m],
                "win_share": wins[m],
                "shapley": shapley.values[m],
                "shapley_standard_error": shapley.standard_errors[m],
                "marginal_contribution": marginal[m],
            }
            for m in range(len(names))
        ],
        "means_over_pairs": {
            name: found._asdict() for name, found in means.items()
        },
        "largest": {
            name: [
                {"pair": [names[i], names[j]], **found._asdict()}
                for (i, j), found in rows
            ]
            for name, rows in pairs.items()
        },
        "not_there": missing,
    }
    path = result.write_result(
        out,
        result.plain(numbers),
        flags=flags,
        arrays=matrices,
        figures=drawn,
    )
    lines = [
        f"{'model':<{_NAME}}{'loss':>9}{'texts won':>11}"
        f"{'Shapley value':>22}{'lost without it':>17}"
    ]
    for m in order:
        lines.append(
            f"{names[m]:<{_NAME}}{mean_losses[m]:9.4f}{wins[m]:11.1%}"
            f"{shapley.values[m]:13.4f} +- {shapley.standard_errors[m]:.4f}"
            f"{marginal[m]:17.4g}"
        )
    lines.append(
        f"loss in {unit}; the Shapley values sum to "
        f"{shapley.values.sum():.4f}, what all models gain over the worst one "
        "of each text; +- is one standard error over texts"
    )
    for name, title in (
        ("pair_gains", "pairs that gain most over the better of the two"),
        ("equal_cost_gains", f"over the best single model of their {cost}"),
    ):
        if name in pairs:
            lines += ["", f"{title}, the best of all pairs (it flatters)"]
            lines += [
                f"  {names[i]} and {names[j]}: {_bonus(found)}"
                for (i, j), found in pairs[name]
            ]
    if means:
        lines += ["", f"{'mean over pairs':<26}{'one family':>12}{'two':>12}"]
        lines += [
            f"{name.replace('_', ' '):<26}{found.within:12.4g}"
            f"{found.across:12.4g}"
            for name, found in means.items()
        ]
    lines += [f"no {what}: {why}" for what, why in missing.items()]
    return "\n".join([*lines, "", f"numbers: {path}"])


def write_diagnosis(
    table: ScoreTable,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    normalisation: str = "text_length",
    redundant_share: float = 0.01,
    hard_share: float = 0.05,
    rank_shift: float = 0.2,
) -> str:
    """Writes what is wrong with a pool and returns it in words.

    Args:
      table: The scores.
      out: The result folder.
      flags: What the program was called with.
      normalisation: As for `diversity.diagnosis`, and so are the rest.
      redundant_share: Of the pool's gain.
      hard_share: Of each model's texts.
      rank_shift: Of the number of models.

    Raises:
      ValueError: As for `diversity.diagnosis`.
    """
    findings = diversity.diagnosis(
        table,
        normalisation=normalisation,
        redundant_share=redundant_share,
        hard_share=hard_share,
        rank_shift=rank_shift,
    )
    losses = table.losses(normalisation)
    unit = NORMALISATIONS[normalisation]
    names = [model.name for model in table.models]
    dropped = diversity.elimination(losses)
    path = result.write_result(
        out,
        result.plain(
            {
                "loss_unit": unit,
                "findings": [finding._asdict() for finding in findings],
                "elimination": {
                    "models": [names[m] for m in dropped.order],
                    "losses": dropped.losses,
                },
            }
        ),
        flags=flags,
        figures={
            "elimination": diversity_figures.elimination(
                dropped, names, f"Loss ({unit})"
            )
        },
    )
    lines = [f"{finding.about}: {finding.words}" for finding in findings]
    return "\n".join([*lines, "", f"numbers: {path}"])


def write_optimism(
    table: ScoreTable,
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    search: Search,
    normalisation: str = "text_length",
    cost: str = "num_params",
    num_texts: Sequence[int] | None = None,
    num_draws: int = 10,
    seed: int = 0,
) -> str:
    """Writes how much of a pool's gain is luck and returns it in words.

    Args:
      table: The scores.
      out: The result folder.
      flags: What the program was called with.
      search: Finds the frontier.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: A cost that every model has.
      num_texts: As for `diversity.optimism`, and so are the rest.
      num_draws: Of the texts.
      seed: Of the draws.

    Raises:
      ValueError: As for `diversity.optimism`; the table lacks what the
        normalisation or the cost needs.
    """
    found = diversity.optimism(
        table.losses(normalisation),
        table.costs(cost),
        search=search,
        num_texts=num_texts,
        num_draws=num_draws,
        seed=seed,
    )
    unit = NORMALISATIONS[normalisation]
    path = result.write_result(
        out,
        result.plain({"loss_unit": unit, "cost": cost, **found._asdict()}),
        flags=flags,
        figures={
            "optimism": diversity_figures.optimism(
                found, cost_label=COST_LABELS.get(cost, cost), unit=unit
            )
        },
    )
    lines = [
        f"{'texts that choose':>18}{'gain there':>12}{'elsewhere':>12}"
        f"{'share that is luck':>26}"
    ]
    for row in zip(
        found.num_texts,
        found.gain_in_sample,
        found.gain_held_out,
        found.share,
        found.share_std,
        strict=True,
    ):
        lines.append(
            f"{row[0]:18,d}{row[1]:12.4g}{row[2]:12.4g}"
            f"{row[3]:17.1%} +- {row[4]:.1%}"
        )
    return "\n".join(
        [
            *lines,
            "gain over the best single model of the same budget, mean over "
            f"{len(found.budgets)} budgets, in {unit};",
            f"+- is the standard deviation over {num_draws} draws",
            "",
            f"numbers: {path}",
        ]
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
    pair: tuple[int, int],
    options: Mapping[str, int],
) -> diversity.Bonus:
    affordable = costs <= costs[list(pair)].sum()
    return diversity.bonus(
        losses[affordable], losses[list(pair)].min(axis=0), **options
    )


def _order(
    table: ScoreTable, costs: np.ndarray | None, losses: np.ndarray
) -> list[int]:
    """Returns the models by family, then by cost, or by loss without one."""
    first = {}
    for m, model in enumerate(table.models):
        first.setdefault(model.family, m)
    within = -losses.mean(axis=1) if costs is None else costs
    return sorted(
        range(len(table.models)),
        key=lambda m: (first[table.models[m].family], within[m]),
    )


def _bonus(found: diversity.Bonus) -> str:
    return f"{found.bonus:.4g} [{found.low:.4g}, {found.high:.4g}]"
