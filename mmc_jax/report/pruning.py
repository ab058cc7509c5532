"""What pruning misses: heuristic frontiers beside exact ones, on drawn pools.

M models, X texts.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mmc_jax import frontier, synthetic
from mmc_jax.report import result
from mmc_jax.report.study import METHODS

_HEURISTICS = ("pruned", "polished")
# Models of which all subsets are searched; more take branch and bound.
_MOST_EXHAUSTIVE = 16

_KEYS = ("num_models", "num_texts", "noise", "seed", "num_new_texts")


def compared(
    num_models: int,
    num_texts: int,
    noise: float,
    seed: int,
    num_new_texts: int,
    time_limit: float | None = None,
) -> dict[str, Any]:
    """Returns what the heuristics miss on one pool, as JSON.

    Args:
      num_models: M.
      num_texts: X, those that choose.
      noise: As for `synthetic.pool`.
      seed: As for `synthetic.pool`.
      num_new_texts: Further texts of the same pool, on which the subsets of the
        exact frontier are evaluated; 0 for none.
      time_limit: Seconds after which what is not proven stays so; only of the
        proven points it is said what was missed.

    Raises:
      ValueError: A pool that cannot be drawn; no point is proven in time.
    """
    drawn = synthetic.pool(num_models, num_texts + num_new_texts, noise, seed)
    losses, costs = drawn.losses[:, :num_texts], drawn.costs
    exact, proven = _exact(losses, costs, time_limit)
    row = dict(
        zip(
            _KEYS,
            (num_models, num_texts, noise, seed, num_new_texts),
            strict=True,
        )
    )
    row |= {
        "num_points": len(exact.costs),
        "num_proven": int(proven.sum()),
        "largest_subset": int(exact.masks.sum(axis=1).max()),
    }
    for name in _HEURISTICS:
        found = METHODS[name](losses, costs)
        row[name] = frontier.search_error(found, exact, proven)._asdict()
    if num_new_texts:
        row["share_non_dominated_on_new_texts"] = frontier.held_out(
            exact.masks, drawn.losses[:, num_texts:], costs
        ).share
    return row


def write_pruning(
    out: str | os.PathLike[str],
    *,
    flags: Mapping[str, Any],
    cases: Sequence[tuple[int, int, float, int]],
    num_new_texts: int,
    time_limit: float | None = None,
) -> str:
    """Writes the comparison's result folder and returns its table in Markdown.

    A pool that is done is kept in cases.jsonl, and not done again.

    Args:
      out: The result folder.
      flags: What the program was called with.
      cases: (num_models, num_texts, noise, seed) of each pool, those of a kind
        one after the other.
      num_new_texts: As for `compared`.
      time_limit: As for `compared`, for each pool.

    Raises:
      ValueError: As for `compared`.
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "cases.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    done = {_key(row): row for row in map(json.loads, lines)}
    rows = []
    for case in cases:
        key = (*case, num_new_texts)
        if key not in done:
            done[key] = compared(*key, time_limit)
            with file.open("a") as appended:
                appended.write(json.dumps(done[key]) + "\n")
            print(_sentence(done[key]), flush=True)
        rows.append(done[key])
    table = _table(rows)
    (out / "table.md").write_text(table + "\n")
    result.write_result(
        out, {"cases": rows}, flags=flags, figures={"missed": _figure(rows)}
    )
    return f"\n{table}\n\n{_answer(rows)}"


def _exact(
    losses: np.ndarray, costs: np.ndarray, time_limit: float | None
) -> tuple[frontier.Frontier, np.ndarray]:
    """Returns the exact frontier, and which of its points are proven."""
    if len(costs) > _MOST_EXHAUSTIVE:
        found = frontier.certified(losses, costs, time_limit=time_limit)
        if not found.proven.any():
            raise ValueError(
                f"of {len(costs)} models on {losses.shape[1]:,} texts no point "
                f"is proven within {time_limit:g} s: raise time_limit."
            )
        return found.frontier, found.proven
    exact = frontier.exhaustive(losses, costs)
    return exact, np.ones(len(exact.costs), bool)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in _KEYS)


def _sentence(row: Mapping[str, Any]) -> str:
    misses = ", ".join(
        f"{name} misses {row[name]['num_missed']} "
        f"(excess {row[name]['excess']:.3%})"
        for name in _HEURISTICS
    )
    return (
        f"{row['num_models']} models, {row['num_texts']:,} texts, noise "
        f"{row['noise']:g}, seed {row['seed']}: {row['num_proven']} of "
        f"{row['num_points']} points proven; {misses}"
    )


def _groups(
    rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[int, int, float], list[Mapping[str, Any]]]:
    """Returns the rows of all seeds, by models, texts and noise."""
    groups: dict[tuple[int, int, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["num_models"], row["num_texts"], row["noise"])
        groups.setdefault(key, []).append(row)
    return groups


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a row for each kind of pool, over all its seeds."""
    head = ["models", "texts", "noise", "pools", "points", "proven"]
    for name in _HEURISTICS:
        head += [f"missed, {name}", f"largest excess, {name}"]
    head.append("stay on new texts")
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    for (num_models, num_texts, noise), group in _groups(rows).items():
        cells = [
            f"{num_models}",
            f"{num_texts:,}",
            f"{noise:g}",
            f"{len(group)}",
            f"{sum(row['num_points'] for row in group):,}",
            f"{sum(row['num_proven'] for row in group):,}",
        ]
        for name in _HEURISTICS:
            num_missed = sum(row[name]["num_missed"] for row in group)
            excess = max(row[name]["excess"] for row in group)
            cells += [f"{num_missed:,}", f"{excess:.3%}"]
        shares = [
            row["share_non_dominated_on_new_texts"]
            for row in group
            if row["num_new_texts"]
        ]
        cells.append(f"{np.mean(shares):.0%}" if shares else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what pruning misses in one sentence a heuristic."""
    num_points = sum(row["num_proven"] for row in rows)
    # The cost of a point that is not proven may hide more.
    where = (
        "at no budget"
        if all(row["num_proven"] == row["num_points"] for row in rows)
        else "at the cost of none of them"
    )
    lines = []
    for name in _HEURISTICS:
        num_missed = sum(row[name]["num_missed"] for row in rows)
        worst = max(rows, key=lambda row: row[name]["excess"])
        lines.append(
            f"{name}: {num_missed:,} of {num_points:,} proven points missed "
            f"({num_missed / num_points:.2%}) over {len(rows)} pools; "
            f"{where} more than {worst[name]['excess']:.3%} above the least "
            "loss"
        )
    return "\n".join(lines)


def _figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Returns the shares missed and the largest excess against M."""
    noises = sorted({row["noise"] for row in rows})
    texts = sorted({row["num_texts"] for row in rows})
    figure = Figure(figsize=(4.4 * len(noises) + 1, 7), layout="constrained")
    grid = figure.subplots(
        2, len(noises), sharex=True, sharey="row", squeeze=False
    )
    groups = _groups(rows)
    for column, noise in enumerate(noises):
        for color, num_texts in enumerate(texts):
            for name, style in zip(_HEURISTICS, ("o-", "s:"), strict=True):
                line = sorted(
                    (m, group)
                    for (m, x, e), group in groups.items()
                    if (x, e) == (num_texts, noise)
                )
                models = [m for m, _ in line]
                shares = [
                    sum(row[name]["num_missed"] for row in group)
                    / sum(row["num_proven"] for row in group)
                    for _, group in line
                ]
                worst = [
                    max(row[name]["excess"] for row in group)
                    for _, group in line
                ]
                for axes, values in zip(
                    grid[:, column], (shares, worst), strict=True
                ):
                    axes.plot(
                        models,
                        values,
                        style,
                        color=f"C{color}",
                        markersize=4,
                        label=f"{name}, {num_texts:,} texts",
                    )
        grid[0, column].set_title(f"Noise {noise:g}")
        ticks = sorted({row["num_models"] for row in rows})
        grid[1, column].set(xlabel="Models", xscale="log")
        grid[1, column].set_xticks(ticks, [str(tick) for tick in ticks])
        grid[1, column].minorticks_off()
    for axes in grid.flat:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.25)
    grid[0, 0].set_ylabel("Points of the exact frontier missed")
    grid[1, 0].set_ylabel("Largest excess loss at any budget")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(texts),
        fontsize=8,
        frameon=False,
    )
    return figure
