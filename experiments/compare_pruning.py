"""Compares pruned frontiers with proven ones, on simulated pools.

  python -m experiments.compare_pruning --out=results/pruning

Prints and writes a table in Markdown: points of the exact frontier, points that
the paper's pruning and its polished form miss, and the largest excess loss at
any budget; and how many of the exact subsets stay non-dominated on new texts.
Of up to 16 models all subsets are searched; of more, such as all 71 of the
catalogue, the certified search proves the points; those that are not proven
within --time_limit are left out of the count. Pools that are done are not done
again.
"""

import itertools
import pathlib

from absl import flags

from . import program, shared_flags

_NUM_MODELS = shared_flags.integers(
    "num_models",
    [8, 12, 16],
    "Numbers of models of the simulated pools, of the catalogue's 71.",
)
_NUM_TEXTS = shared_flags.integers(
    "num_texts",
    [100, 1_000, 10_000],
    "Numbers of texts that choose the subsets.",
)
_NOISE = shared_flags.noise(
    [0.03, 0.10],
    "Standard deviations of log loss that one model has on one text alone.",
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 5, "Number of pools of each kind.", lower_bound=1
)
_LARGE_MODELS = shared_flags.integers(
    "large_models",
    [71],
    "Numbers of models of the pools that need the certified search.",
)
_LARGE_TEXTS = shared_flags.integers(
    "large_texts",
    [500, 1_000],
    "Numbers of texts that choose the subsets of these pools.",
)
_NUM_LARGE_SEEDS = flags.DEFINE_integer(
    "num_large_seeds", 2, "Number of pools of each large kind.", lower_bound=0
)
_TIME_LIMIT = shared_flags.time_limit(600.0)
_NUM_NEW_TEXTS = flags.DEFINE_integer(
    "num_new_texts",
    10_000,
    "Number of new texts on which the exact frontier's subsets are evaluated.",
    lower_bound=0,
)
_OUT = shared_flags.out()


def main():
    from mmc_jax import at_once, frontier, report, scores

    out = pathlib.Path(_OUT.value)
    with scores.locked(out, "writing a comparison"):
        rows = frontier.kept_search_errors(
            out / "cases.jsonl",
            [
                *itertools.product(
                    _NUM_MODELS.value,
                    _NUM_TEXTS.value,
                    _NOISE.value,
                    range(_NUM_SEEDS.value),
                ),
                *itertools.product(
                    _LARGE_MODELS.value,
                    _LARGE_TEXTS.value,
                    _NOISE.value,
                    range(_NUM_LARGE_SEEDS.value),
                ),
            ],
            num_new_texts=_NUM_NEW_TEXTS.value,
            time_limit=_TIME_LIMIT.value,
            on_new=lambda row: print(report.pool_sentence(row), flush=True),
        )
        with at_once.replaced(out / "table.md") as partial:
            partial.write_text(report.search_error_table(rows) + "\n")
        print(
            report.write_sections(
                out,
                [report.search_errors_section(rows)],
                flags=program.flag_values(),
            )
        )


if __name__ == "__main__":
    program.run(main)
