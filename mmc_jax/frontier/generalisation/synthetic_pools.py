"""What heuristics miss on synthetic pools, where the exact frontier is known.

M models, X texts.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mmc_jax import synthetic
from mmc_jax.frontier.enumeration import exhaustive
from mmc_jax.frontier.generalisation.other_texts import held_out
from mmc_jax.frontier.generalisation.search_quality import search_error
from mmc_jax.frontier.pareto import Frontier
from mmc_jax.frontier.proof.certification import certified
from mmc_jax.frontier.pruning import pruned

# Heuristics whose search error is measured, by name.
HEURISTICS = {
    "pruned": pruned,
    "polished": functools.partial(pruned, polish=True),
}
# Models up to which all subsets are searched. Beyond, the certified search says
# which points are exact.
_MOST_EXHAUSTIVE = 16


def search_errors(
    num_models: int,
    num_texts: int,
    noise: float,
    seed: int,
    num_new_texts: int,
    time_limit: float | None = None,
) -> dict[str, Any]:
    """Returns what the heuristics miss on one synthetic pool, as JSON.

    Args:
      num_models: Number of models M, of the catalogue's.
      num_texts: Number of texts X that choose the subsets.
      noise: Standard deviation of what only one model has on one text, of the
        log of the loss.
      seed: Seed of the synthetic pool.
      num_new_texts: Number of further texts of the same pool, on which the
        subsets of the exact frontier are evaluated; 0 for none.
      time_limit: Seconds after which what is not proven stays so; None for no
        limit. The search error is of the proven points alone.

    Raises:
      ValueError: A pool that cannot be made; no point is proven in time.
    """
    pool = synthetic.pool(num_models, num_texts + num_new_texts, noise, seed)
    losses, costs = pool.losses[:, :num_texts], pool.costs
    exact, proven = _exact(losses, costs, time_limit)
    row = {
        "num_models": num_models,
        "num_texts": num_texts,
        "noise": noise,
        "seed": seed,
        "num_new_texts": num_new_texts,
        "num_points": len(exact.costs),
        "num_proven": int(proven.sum()),
        "largest_subset": int(exact.masks.sum(axis=1).max()),
    }
    for name, search in HEURISTICS.items():
        found = search(losses, costs)
        row[name] = search_error(found, exact, proven)._asdict()
    if num_new_texts:
        row["share_non_dominated_on_new_texts"] = held_out(
            exact.masks, pool.losses[:, num_texts:], costs
        ).share
    return row


def kept_search_errors(
    file: pathlib.Path,
    cases: Iterable[tuple[int, int, float, int]],
    *,
    num_new_texts: int,
    time_limit: float | None = None,
    on_new: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Returns what the heuristics miss on many synthetic pools.

    Args:
      file: JSON lines of the pools that are done, which are not done again;
        made if it is missing.
      cases: (num_models, num_texts, noise, seed) of each pool.
      num_new_texts: Number of further texts of each pool; 0 for none.
      time_limit: Seconds for the proof of each pool; None for no limit.
      on_new: Called with what is found on each pool that was not done.

    Raises:
      ValueError: A pool that cannot be made; a pool of which no point is proven
        in time.
    """
    keys = ("num_models", "num_texts", "noise", "seed", "num_new_texts")
    lines = file.read_text().splitlines() if file.exists() else []
    done = {
        tuple(row[key] for key in keys): row for row in map(json.loads, lines)
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        key = (*case, num_new_texts)
        if key not in done:
            done[key] = search_errors(*key, time_limit)
            with file.open("a") as appended:
                appended.write(json.dumps(done[key]) + "\n")
            on_new(done[key])
        rows.append(done[key])
    return rows


def _exact(
    losses: np.ndarray, costs: np.ndarray, time_limit: float | None
) -> tuple[Frontier, np.ndarray]:
    """Returns the exact frontier, and which of its points are proven."""
    if len(costs) > _MOST_EXHAUSTIVE:
        found = certified(losses, costs, time_limit=time_limit)
        if not found.proven.any():
            raise ValueError(
                f"of {len(costs)} models on {losses.shape[1]:,} texts no point "
                f"is proven within {time_limit:g} s: raise time_limit."
            )
        return found.frontier, found.proven
    exact = exhaustive(losses, costs)
    return exact, np.ones(len(exact.costs), bool)
