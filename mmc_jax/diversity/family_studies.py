"""One family against mixed, from frontiers to claims, in one table or several.

M models, X texts, B budgets.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier, law
from mmc_jax.diversity.families import Comparison, compare, groups_of
from mmc_jax.diversity.gains import bonus
from mmc_jax.frontier import Frontier
from mmc_jax.scores import ScoreTable
from mmc_jax.statistics import Estimate, attempt
from mmc_jax.statistics.inputs import Inputs, checked_inputs

# Sizes of subsets that are compared; None is any number of models.
SIZES = (2, 3, None)
KINDS = ("same family", "mixed")

# Below this p-value two laws are said to differ in a parameter: of pairs of
# laws that share it, one in 20 falls below.
_SIGNIFICANT = 0.05
_NO_NUMBER = Estimate(math.nan)


class Claim(NamedTuple):
    """One claim of a study of families: a number that is above 0 if it holds.

    Attributes:
      claim: The claim in words.
      estimate: The number with its 95 percent interval; NaN where there is no
        number.
      reason: Why there is no number; "" where there is one.
      p_value: For a parameter of two laws, how often chance alone makes points
        that share it look so different (`law.compare_groups`); None for a loss.
    """

    claim: str
    estimate: Estimate
    reason: str = ""
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the claim holds: "yes", "no", "open" or "-".

        "no" says that the reverse holds, "-" that there is no number. The
        interval of a law's parameter covers other texts, but not points that
        do not lie on one law. So the claim is also open where the points of
        both laws may share the parameter.
        """
        if np.isnan(self.estimate.value):
            return "-"
        if self.p_value is not None and self.p_value >= _SIGNIFICANT:
            return "open"
        if self.estimate.low > 0:
            return "yes"
        return "no" if self.estimate.high < 0 else "open"


class FamilyStudy(NamedTuple):
    """What one table says of pools of one family and of mixed pools.

    Attributes:
      num_texts: Number of texts X.
      lines: Frontiers by name: "single models", "pool", and "same family" and
        "mixed" of each size, named by `line_name`.
      comparisons: Comparison of the two kinds, by size.
      laws: Laws by the name of their frontier.
      reasons: Why a frontier has no law or a size no comparison, by name.
      shared: Whether the laws of the two kinds may share parameters, by size.
      claims: The claims, in the same order for all tables.
    """

    num_texts: int
    lines: dict[str, Frontier]
    comparisons: dict[int | None, Comparison]
    laws: dict[str, law.ResampledFit]
    reasons: dict[str, str]
    shared: dict[int | None, list[law.SharedFit]]
    claims: tuple[Claim, ...]


def line_name(kind: str, size: int | None) -> str:
    """Returns the name of a frontier, such as "mixed, 2 models".

    Args:
      kind: One of KINDS, or "comparison".
      size: Number of models in a subset; None for any number.
    """
    return f"{kind}, {'any size' if size is None else f'{size} models'}"


def family_study(
    losses: ArrayLike,
    costs: ArrayLike,
    families: Sequence[str],
    *,
    sizes: Sequence[int | None] = SIZES,
    num_splits: int = 3,
    num_resamples: int = 200,
    num_starts: int = 16,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> FamilyStudy:
    """Returns frontiers, laws, comparisons and claims of one table.

    Args:
      losses: Loss of each text under each model, finite, [M, X].
      costs: Cost of each model, finite and not negative, [M].
      families: Family of each model, [M].
      sizes: Numbers of models in the subsets that are compared; None is any.
      num_splits: Number of random splits of the texts into halves.
      num_resamples: Number of resamples of the texts.
      num_starts: Number of starts of each fit.
      seed: Seed of the random splits and resamples.
      clusters: Source, domain or document of each text, [X]; whole clusters
        are split and resampled. None for single texts.

    Raises:
      ValueError: Arguments that do not fit, with the place; no size can be
        compared.
    """
    inputs = checked_inputs(losses, costs, None)
    options = dict(num_resamples=num_resamples, seed=seed, clusters=clusters)
    comparisons, not_compared = attempt(
        {
            size: functools.partial(
                compare,
                *inputs[:2],
                families,
                size=size,
                num_splits=num_splits,
                **options,
            )
            for size in sizes
        }
    )
    if not comparisons:
        raise ValueError("; ".join(dict.fromkeys(not_compared.values())))
    lines = _lines(inputs, comparisons)
    laws, no_law = law.fit_each(
        {name: (line.costs, line.losses) for name, line in lines.items()},
        lambda name: (
            law.text_bootstrap(
                inputs.losses,
                lines[name].costs,
                lines[name].masks,
                num_starts=num_starts,
                **options,
            ).laws
        ),
    )
    reasons = {
        line_name("comparison", size): why for size, why in not_compared.items()
    } | no_law
    shared = _shared(comparisons, lines, laws)
    gained = bonus(inputs.losses, inputs.losses.min(axis=0), **options)
    claims = [
        Claim(
            "all models together lose less than the best one", gained.estimate
        )
    ]
    for size in sizes:
        claims += _claims_on_losses(size, comparisons.get(size), reasons)
        claims += _claims_on_laws(size, laws, shared.get(size, ()))
    return FamilyStudy(
        inputs.losses.shape[1],
        lines,
        comparisons,
        laws,
        reasons,
        shared,
        tuple(claims),
    )


def table_studies(
    tables: Mapping[str, ScoreTable],
    *,
    normalisation: str = "text_length",
    cost: str = "num_params",
    by: str = "family",
    by_domain: bool = False,
    **options: Any,
) -> dict[str, FamilyStudy]:
    """Returns the study of families of each of several tables.

    Args:
      tables: Score tables, such as those of single domains, by name.
      normalisation: One of `scores.NORMALISATIONS`.
      cost: Name of a cost that every model has.
      by: What makes a family: one of GROUPINGS.
      by_domain: Whether texts of one domain are split and resampled together.
      **options: Further arguments of `family_study`.

    Raises:
      ValueError: A table lacks what is asked for; the message names the table.
    """
    found = {}
    for name, table in tables.items():
        try:
            found[name] = family_study(
                table.losses(normalisation),
                table.costs(cost),
                groups_of(table, by),
                clusters=table.clusters(by_domain=by_domain),
                **options,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def agreement(studies: Mapping[str, FamilyStudy]) -> dict[str, str]:
    """Returns the verdict of all tables on each claim, by the claim.

    "yes" or "no" where all tables say so. "differs" where two tables say the
    opposite. "open" where some leave it open or have no number, and none
    contradicts another.

    Args:
      studies: Studies of the same sizes, by the name of the table.

    >>> holds = Claim("mixed is better", Estimate(0.2, 0.1, 0.3))
    >>> not_sure = Claim("mixed is better", Estimate(0.1, -0.1, 0.3))
    >>> studies = {
    ...     name: FamilyStudy(9, {}, {}, {}, {}, {}, (found,))
    ...     for name, found in [("prose", holds), ("code", not_sure)]
    ... }
    >>> agreement(studies)
    {'mixed is better': 'open'}
    """
    found = {}
    for row in zip(*(study.claims for study in studies.values()), strict=True):
        verdicts = {claim.verdict for claim in row}
        if len(verdicts) == 1:
            (verdict,) = verdicts
        else:
            verdict = "differs" if {"yes", "no"} <= verdicts else "open"
        found[row[0].claim] = verdict
    return found


def _lines(
    inputs: Inputs, comparisons: Mapping[int | None, Comparison]
) -> dict[str, Frontier]:
    """Returns all frontiers of a table by name."""
    lines = {"single models": frontier.single_models(*inputs)}
    for size, found in comparisons.items():
        for kind, line in zip(
            KINDS, (found.homogeneous, found.heterogeneous), strict=True
        ):
            lines[line_name(kind, size)] = line
        if size is None:
            # Every subset is of one family or mixed.
            both = zip(found.homogeneous, found.heterogeneous, strict=True)
            lines["pool"] = frontier.non_dominated(*map(np.concatenate, both))
    return lines


def _shared(
    sizes: Iterable[int | None],
    lines: Mapping[str, Frontier],
    laws: Mapping[str, law.ResampledFit],
) -> dict[int | None, list[law.SharedFit]]:
    """Returns whether the two kinds may share parameters, by size."""
    shared = {}
    for size in sizes:
        pair = [line_name(kind, size) for kind in KINDS]
        if all(name in laws for name in pair):
            shared[size] = law.compare_groups(
                {name: (lines[name].costs, lines[name].losses) for name in pair}
            )
    return shared


def _claims_on_losses(
    size: int | None,
    compared: Comparison | None,
    reasons: Mapping[str, str],
) -> list[Claim]:
    """Returns what is said of the losses of subsets of one size."""
    name = "pools" if size is None else f"subsets of {size}"
    claims = [
        f"mixed {name} lose less at the {budget} budget"
        for budget in ("middle", "largest")
    ]
    if compared is None:
        why = reasons[line_name("comparison", size)]
        return [Claim(claim, _NO_NUMBER, why) for claim in claims]
    places = (len(compared.budgets) // 2, -1)
    return [
        Claim(claim, compared.held_out.at(place))
        for claim, place in zip(claims, places, strict=True)
    ]


def _claims_on_laws(
    size: int | None,
    laws: Mapping[str, law.ResampledFit],
    shared: Sequence[law.SharedFit],
) -> list[Claim]:
    """Returns what is said of the laws of subsets of one size."""
    name = "pools" if size is None else f"subsets of {size}"
    p_values = {
        answer.shared[0]: answer.p_value
        for answer in shared
        if len(answer.shared) == 1
    }
    lines = [line_name(kind, size) for kind in KINDS]
    missing = [line for line in lines if line not in laws]
    claims = []
    for claim, parameter in (
        (f"{name} of one family fall faster (alpha)", "alpha"),
        (f"mixed {name} have the lower floor (L_inf)", "L_inf"),
    ):
        if missing:
            why = f"no law of {' and '.join(missing)}"
            claims.append(Claim(claim, _NO_NUMBER, why))
            continue
        difference = law.estimate_answer(
            lambda first, second, name=parameter: (
                getattr(first, name) - getattr(second, name)
            ),
            *(laws[line] for line in lines),
        )
        why = ""
        if not difference.has_interval:
            difference = _NO_NUMBER
            why = "fewer than half of the resamples have both laws"
        claims.append(Claim(claim, difference, why, p_values[parameter]))
    return claims
