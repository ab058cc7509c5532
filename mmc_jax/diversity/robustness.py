"""The whole chain of a study in several parts, and what holds in all of them.

M models, X texts, B budgets.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mmc_jax import frontier, law
from mmc_jax.diversity import families as families_
from mmc_jax.diversity.gains import bonus
from mmc_jax.frontier import Frontier
from mmc_jax.statistics import percentile_interval
from mmc_jax.statistics.inputs import checked_inputs

# Sizes of subsets that are compared; None is any.
SIZES = (2, 3, None)

# Of 20 laws that share a parameter, one is said to differ in it.
_SIGNIFICANT = 0.05


class LineLaw(NamedTuple):
    """The law of one frontier, and that of resampled texts.

    Attributes:
      fit: The law.
      draws: Laws of resampled texts, the frontier's subsets fixed. The same
        resample of two frontiers is the same texts.
    """

    fit: law.Fit
    draws: law.Fits


class Conclusion(NamedTuple):
    """One thing that a study of diversity says, as a number above 0.

    Attributes:
      claim: What it says if the number is above 0.
      value: The number; None where it cannot be had.
      low: The lower end of its 95 percent interval.
      high: The upper end.
      reason: Why there is no number; "" where there is one.
      p_value: Of a parameter of laws, how often chance alone parts points that
        have it in common so much (`law.compare_groups`); None of a loss.
    """

    claim: str
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """Whether it holds: "yes", "no" (the reverse does), "open", "-".

        The interval of a law's parameter knows of other texts, not of points
        that do not lie on one law. So it is open, too, where the points of both
        may share the parameter.
        """
        if self.value is None:
            return "-"
        if self.p_value is not None and self.p_value >= _SIGNIFICANT:
            return "open"
        if self.low > 0:
            return "yes"
        return "no" if self.high < 0 else "open"


class Part(NamedTuple):
    """What one part of a study says.

    Attributes:
      num_texts: X.
      lines: Frontiers by name: "single models", "pool", and "same family" and
        "mixed" of each size, as `line_name` has it.
      comparisons: By size.
      laws: By the name of the line.
      reasons: Why a line has no law, or a size no comparison, by name.
      shared: For each size whether same family and mixed may share parameters
        of their laws.
      conclusions: In one order for all parts.
    """

    num_texts: int
    lines: dict[str, Frontier]
    comparisons: dict[int | None, families_.Comparison]
    laws: dict[str, LineLaw]
    reasons: dict[str, str]
    shared: dict[int | None, list[law.SharedFit]]
    conclusions: tuple[Conclusion, ...]


def line_name(kind: str, size: int | None) -> str:
    """Returns the name of a frontier, such as "mixed, 2 models"."""
    return f"{kind}, {'any size' if size is None else f'{size} models'}"


def part(
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
) -> Part:
    """Returns frontiers, laws, comparisons and conclusions of one table.

    Args:
      losses: [M, X], finite.
      costs: [M], finite and not negative.
      families: [M].
      sizes: Of the subsets that are compared; None is any.
      num_splits: As for `compare`.
      num_resamples: Of the texts.
      num_starts: Of each fit.
      seed: Of the splits and draws.
      clusters: As for `compare`.

    Raises:
      ValueError: Arguments that do not fit, with the place; no size can be
        compared.
    """
    inputs = checked_inputs(losses, costs, None)
    lines = {"single models": frontier.single_models(*inputs)}
    comparisons, reasons = {}, {}
    for size in sizes:
        try:
            found = families_.compare(
                *inputs[:2],
                families,
                size=size,
                num_splits=num_splits,
                num_resamples=num_resamples,
                seed=seed,
                clusters=clusters,
            )
        except ValueError as error:
            reasons[line_name("comparison", size)] = str(error)
            continue
        comparisons[size] = found
        lines[line_name("same family", size)] = found.homogeneous
        lines[line_name("mixed", size)] = found.heterogeneous
        if size is None:
            # Every subset is of one family or mixed.
            both = zip(found.homogeneous, found.heterogeneous, strict=True)
            lines["pool"] = frontier.non_dominated(*map(np.concatenate, both))
    if not comparisons:
        raise ValueError("; ".join(reasons.values()))
    laws = {}
    for name, line in lines.items():
        try:
            laws[name] = LineLaw(
                law.fit(line.costs, line.losses),
                law.text_bootstrap(
                    inputs.losses,
                    line.costs,
                    line.masks,
                    clusters=clusters,
                    num_resamples=num_resamples,
                    seed=seed,
                    num_starts=num_starts,
                ).laws,
            )
        except ValueError as error:
            reasons[name] = str(error)
    shared = {}
    for size in comparisons:
        pair = [line_name(kind, size) for kind in ("same family", "mixed")]
        if all(name in laws for name in pair):
            shared[size] = law.compare_groups(
                {name: (lines[name].costs, lines[name].losses) for name in pair}
            )
    gained = bonus(
        inputs.losses,
        inputs.losses.min(axis=0),
        num_resamples,
        seed,
        clusters=clusters,
    )
    conclusions = [
        Conclusion(
            "all models together lose less than the best one", *gained[:3]
        )
    ]
    for size in sizes:
        p_values = {
            answer.shared[0]: answer.p_value
            for answer in shared.get(size, ())
            if len(answer.shared) == 1
        }
        conclusions += _of_size(
            size, comparisons.get(size), laws, p_values, reasons
        )
    return Part(
        inputs.losses.shape[1],
        lines,
        comparisons,
        laws,
        reasons,
        shared,
        tuple(conclusions),
    )


def in_all(parts: Mapping[str, Part]) -> dict[str, str]:
    """Returns what each conclusion comes to over all parts, by its claim.

    "yes" or "no" where all parts say so, "open" where some leave it open or are
    without a number and none contradicts the others, "differs" where two parts
    say the opposite.

    Args:
      parts: By name; of the same sizes.

    >>> holds = Conclusion("mixed is better", 0.2, 0.1, 0.3)
    >>> not_sure = Conclusion("mixed is better", 0.1, -0.1, 0.3)
    >>> parts = {
    ...     name: Part(9, {}, {}, {}, {}, {}, (found,))
    ...     for name, found in [("prose", holds), ("code", not_sure)]
    ... }
    >>> in_all(parts)
    {'mixed is better': 'open'}
    """
    found = {}
    for row in zip(*(part.conclusions for part in parts.values()), strict=True):
        verdicts = {conclusion.verdict for conclusion in row}
        if len(verdicts) == 1:
            (verdict,) = verdicts
        else:
            verdict = "differs" if {"yes", "no"} <= verdicts else "open"
        found[row[0].claim] = verdict
    return found


def _of_size(
    size: int | None,
    compared: families_.Comparison | None,
    laws: Mapping[str, LineLaw],
    p_values: Mapping[str, float],
    reasons: Mapping[str, str],
) -> list[Conclusion]:
    """Returns what is said of subsets of one size."""
    name = "pools" if size is None else f"subsets of {size}"
    claims = [
        f"mixed {name} lose less at the middle budget",
        f"mixed {name} lose less at the largest budget",
    ]
    if compared is None:
        why = reasons[line_name("comparison", size)]
        found = [Conclusion(claim, None, None, None, why) for claim in claims]
    else:
        found = [
            Conclusion(
                claim,
                *(
                    float(values[b])
                    for values in (
                        compared.held_out,
                        compared.low,
                        compared.high,
                    )
                ),
            )
            for claim, b in zip(
                claims, (len(compared.budgets) // 2, -1), strict=True
            )
        ]
    lines = [line_name(kind, size) for kind in ("same family", "mixed")]
    for claim, parameter in (
        (f"{name} of one family fall faster (alpha)", "alpha"),
        (f"mixed {name} have the lower floor (L_inf)", "L_inf"),
    ):
        missing = [line for line in lines if line not in laws]
        if missing:
            why = f"no law of {' and '.join(missing)}"
            found.append(Conclusion(claim, None, None, None, why))
        else:
            difference = _difference(
                claim, parameter, *(laws[line] for line in lines)
            )
            found.append(difference._replace(p_value=p_values[parameter]))
    return found


def _difference(
    claim: str, parameter: str, first: LineLaw, second: LineLaw
) -> Conclusion:
    """Returns a parameter of the first law less that of the second."""
    usable = law.usable(first.draws, second.draws)
    if usable.mean() < 0.5:
        why = "fewer than half of the resamples have both laws"
        return Conclusion(claim, None, None, None, why)
    drawn = getattr(first.draws, parameter) - getattr(second.draws, parameter)
    low, high = percentile_interval(drawn[usable])
    value = getattr(first.fit, parameter) - getattr(second.fit, parameter)
    return Conclusion(claim, value, low, high)
