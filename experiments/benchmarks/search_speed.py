"""Searches of pools and corpora that grow: seconds of each."""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmc_jax import frontier, studies
from mmc_jax.report import result

_NUM_DOMAINS = 8
_TEXTS_AT_ONCE = 10_000  # Drawn in pieces: the losses are all that is large.


def drawn_pool(
    num_models: int, num_texts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns losses [M, X] and costs [M], the same in every run."""
    rng = np.random.default_rng(num_models)
    costs = np.round(np.geomspace(1e8, 7e10, num_models))
    strength = rng.normal(0, 0.08, (num_models, _NUM_DOMAINS))
    losses = np.empty((num_models, num_texts))
    for start in range(0, num_texts, _TEXTS_AT_ONCE):
        part = losses[:, start : start + _TEXTS_AT_ONCE]
        difficulty = rng.lognormal(0, 0.3, part.shape[1])
        domain = rng.integers(0, _NUM_DOMAINS, part.shape[1])
        noise = rng.normal(strength[:, domain], 0.05)
        scale = 1.5 + 30 * costs[:, None] ** -0.2 * difficulty
        part[:] = scale * np.exp(noise)
    return losses, costs


def timed(
    search: Callable[[], frontier.Frontier], num_repeats: int, patience: float
) -> tuple[float, frontier.Frontier]:
    """Returns the seconds of the best run and what it found."""
    runs = []
    # One more: the first compiles.
    while len(runs) <= num_repeats:
        start = time.perf_counter()
        found = search()
        runs.append(time.perf_counter() - start)
        if runs[-1] > patience:
            break
    return min(runs), found


def cases(
    num_models: Sequence[int], num_texts: Sequence[int], max_size: int
) -> list[tuple[str, int, int, int | None]]:
    """Returns (search, models, texts, most models in a subset)."""
    return [
        *(("exhaustive", m, 5_153, None) for m in (12, 14, 16, 18, 20, 22)),
        ("exhaustive", 71, 5_153, 4),
        ("pruned", 71, 10_000, 25),
        ("polished", 71, 10_000, 8),
        *(
            ("pruned", m, x, max_size)
            for m, x in itertools.product(num_models, num_texts)
        ),
    ]


def growth(rows: list[dict[str, Any]], max_size: int) -> Figure:
    """Returns seconds against texts for pruning, against models for all."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    grown = [r for r in rows if r["search"] == "pruned"]
    grown = [r for r in grown if r["max_size"] == max_size]
    for num_models in sorted({r["num_models"] for r in grown}):
        line = [r for r in grown if r["num_models"] == num_models]
        left.loglog(
            [r["num_texts"] for r in line],
            [r["seconds"] for r in line],
            "o-",
            label=f"{num_models} models",
        )
    left.set(
        xlabel="Texts",
        ylabel="Seconds",
        title=f"Pruned search, subsets of up to {max_size}",
    )
    left.legend(frameon=False)
    line = [r for r in rows if r["search"] == "exhaustive"]
    line = [r for r in line if r["max_size"] is None]
    right.semilogy(
        [r["num_models"] for r in line], [r["seconds"] for r in line], "o-"
    )
    right.set(xlabel="Models", title="All subsets, 5,153 texts")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return figure


def write(
    num_models: Sequence[int],
    num_texts: Sequence[int],
    max_size: int,
    out: str,
    *,
    num_repeats: int,
    patience: float,
    flags: Mapping[str, Any],
) -> None:
    """Times all cases, prints a line of each, and writes the result folder.

    Args:
      num_models: Numbers of models of the pools that are pruned.
      num_texts: Numbers of texts of the pools that are pruned.
      max_size: Largest number of models in a subset of these.
      out: The result folder.
      num_repeats: Runs of a case after the first, at most.
      patience: Seconds after which a case is not run again.
      flags: What the program was called with.
    """
    rows = []
    print(f"{'search':>10} {'models':>6} {'texts':>9} {'size':>4}", end="")
    print(f" {'points':>6} {'seconds':>8}")
    for name, models, texts, size in cases(num_models, num_texts, max_size):
        losses, costs = drawn_pool(models, texts)
        search = functools.partial(studies.METHODS[name], losses, costs, None)
        seconds, found = timed(
            functools.partial(search, size), num_repeats, patience
        )
        rows.append(
            {
                "search": name,
                "num_models": models,
                "num_texts": texts,
                "max_size": size,
                "num_points": len(found.costs),
                "seconds": seconds,
            }
        )
        print(
            f"{name:>10} {models:6} {texts:9,} {size or 'all':>4}"
            f" {len(found.costs):6} {seconds:8.3f}",
            flush=True,
        )
    result.write_result(
        out,
        {"cases": rows},
        flags=flags,
        figures={"growth": growth(rows, max_size)},
    )
