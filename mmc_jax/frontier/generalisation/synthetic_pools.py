"""What heuristics miss on synthetic pools, where the exact frontier is known.

M models, X texts.
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mmc_jax import disk, synthetic
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
# Field of a kept row that holds its checksum.
_CHECKSUM = "checksum"
_FIELDS = {
    "num_models",
    "num_texts",
    "noise",
    "seed",
    "num_new_texts",
    "num_points",
    "num_proven",
    "largest_subset",
    "share_non_dominated_on_new_texts",
    *HEURISTICS,
}


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
        made if it is missing. A line that a kill has cut off is done again.
      cases: (num_models, num_texts, noise, seed) of each pool.
      num_new_texts: Number of further texts of each pool; 0 for none.
      time_limit: Seconds for the proof of each pool; None for no limit.
      on_new: Called with what is found on each pool that was not done.

    Raises:
      ValueError: A pool that cannot be made; a pool of which no point is proven
        in time; a line of the file that is damaged.
    """
    keys = ("num_models", "num_texts", "noise", "seed", "num_new_texts")
    done = {tuple(row[key] for key in keys): row for row in _kept_rows(file)}
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        key = (*case, num_new_texts)
        if key not in done:
            done[key] = search_errors(*key, time_limit)
            row = {**done[key], _CHECKSUM: _checksum(done[key])}
            try:
                with file.open("a") as appended:
                    appended.write(json.dumps(row) + "\n")
            except OSError as error:
                raise disk.failure(file, error) from error
            on_new(done[key])
        rows.append(done[key])
    return rows


def _kept_rows(file: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the rows of a file; a last line without its end is cut off.

    Raises:
      ValueError: A line is not what was written. Older ones have no checksum.
    """
    if not file.exists():
        return []
    content = file.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if complete != content:
        with file.open("r+b") as opened:
            opened.truncate(len(complete))
    rows = []
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            row = json.loads(line)
            written = row.pop(_CHECKSUM, None)
            is_older = written is None and row.keys() <= _FIELDS
            is_same = is_older or written == _checksum(row)
        except (ValueError, AttributeError, TypeError, RecursionError):
            is_same = False
        if not is_same:
            raise ValueError(
                f"{file}, line {number}: damaged; delete the line, and its "
                "pool is done again"
            )
        rows.append(row)
    return rows


def _checksum(row: dict[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
