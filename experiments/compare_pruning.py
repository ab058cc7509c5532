"""What pruning misses: its frontiers beside proven ones, on drawn pools.

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

from experiments import program
from mmc_jax import frontier, report

_NUM_MODELS = flags.DEFINE_multi_integer(
    "num_models", [8, 12, 16], "Models of a pool, of the catalogue's 71."
)
_NUM_TEXTS = flags.DEFINE_multi_integer(
    "num_texts", [100, 1_000, 10_000], "Texts that choose the subsets."
)
_NOISE = flags.DEFINE_multi_float(
    "noise", [0.03, 0.10], "What only one model has on one text, of log loss."
)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 5, "Pools of each kind.", lower_bound=1
)
_LARGE_MODELS = flags.DEFINE_multi_integer(
    "large_models", [71], "Models of the pools that are too large for that."
)
_LARGE_TEXTS = flags.DEFINE_multi_integer(
    "large_texts", [500, 1_000], "Texts that choose there."
)
_NUM_LARGE_SEEDS = flags.DEFINE_integer(
    "num_large_seeds", 2, "Pools of each large kind.", lower_bound=0
)
_TIME_LIMIT = flags.DEFINE_float(
    "time_limit", 600.0, "Seconds for the proof of a pool.", lower_bound=0.0
)
_NUM_NEW_TEXTS = flags.DEFINE_integer(
    "num_new_texts",
    10_000,
    "Texts on which the exact frontier's subsets are evaluated anew.",
    lower_bound=0,
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    out = pathlib.Path(_OUT.value)
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
    (out / "table.md").write_text(report.search_error_table(rows) + "\n")
    print(
        report.write_sections(
            out,
            [report.search_errors_section(rows)],
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
