"""Times the searches as the pool and the corpus grow, and draws it.

  python -m experiments.benchmark_searches --out=results/searches

Pools are drawn at random: loss falls with cost, each model has a strength in
each of eight domains, and every text its difficulty. A case is timed after a
first run has compiled it, and the best of a few runs counts; one that takes
longer than --patience seconds is not run again. Under ten minutes and 8 GB on
two quiet cores; --num_texts=1000 --num_texts=10000 takes a minute.
"""

import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments import program
from mmc_jax import frontier, studies
from mmc_jax.report import result

_NUM_MODELS = flags.DEFINE_multi_integer(
    "num_models", [20, 71, 200], "Models of the pools that are pruned."
)
_NUM_TEXTS = flags.DEFINE_multi_integer(
    "num_texts", [1_000, 10_000, 100_000, 1_000_000], "Texts of each pool."
)
_MAX_SIZE = flags.DEFINE_integer(
    "max_size", 8, "The most models in a subset, where the pool is to grow."
)
_PATIENCE = flags.DEFINE_float(
    "patience", 20.0, "Seconds after which a case is not run again."
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of a case, at most.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

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
    search: Callable[[], frontier.Frontier],
) -> tuple[float, frontier.Frontier]:
    """Returns the seconds of the best run and what it found."""
    runs = []
    # One more: the first compiles.
    while len(runs) <= _REPEATS.value:
        start = time.perf_counter()
        found = search()
        runs.append(time.perf_counter() - start)
        if runs[-1] > _PATIENCE.value:
            break
    return min(runs), found


def cases() -> list[tuple[str, int, int, int | None]]:
    """Returns (search, models, texts, most models in a subset)."""
    return [
        *(("exhaustive", m, 5_153, None) for m in (12, 14, 16, 18, 20, 22)),
        ("exhaustive", 71, 5_153, 4),
        ("pruned", 71, 10_000, 25),
        ("polished", 71, 10_000, 8),
        *(
            ("pruned", m, x, _MAX_SIZE.value)
            for m, x in itertools.product(_NUM_MODELS.value, _NUM_TEXTS.value)
        ),
    ]


def growth(rows: list[dict[str, Any]]) -> Figure:
    """Returns seconds against texts for pruning, against models for all."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    grown = [r for r in rows if r["search"] == "pruned"]
    grown = [r for r in grown if r["max_size"] == _MAX_SIZE.value]
    for num_models in _NUM_MODELS.value:
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
        title=f"Pruned search, subsets of up to {_MAX_SIZE.value}",
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


def main():
    rows = []
    print(f"{'search':>10} {'models':>6} {'texts':>9} {'size':>4}", end="")
    print(f" {'points':>6} {'seconds':>8}")
    for name, num_models, num_texts, max_size in cases():
        losses, costs = drawn_pool(num_models, num_texts)
        search = functools.partial(studies.METHODS[name], losses, costs, None)
        seconds, found = timed(functools.partial(search, max_size))
        rows.append(
            {
                "search": name,
                "num_models": num_models,
                "num_texts": num_texts,
                "max_size": max_size,
                "num_points": len(found.costs),
                "seconds": seconds,
            }
        )
        print(
            f"{name:>10} {num_models:6} {num_texts:9,} {max_size or 'all':>4}"
            f" {len(found.costs):6} {seconds:8.3f}",
            flush=True,
        )
    result.write_result(
        _OUT.value,
        {"cases": rows},
        flags=program.flag_values(),
        figures={"growth": growth(rows)},
    )


if __name__ == "__main__":
    program.run(main)
