"""What pruning misses: its frontiers beside exact ones, on drawn pools.

  python -m experiments.compare_pruning --out=results/pruning

Prints and writes a table in Markdown: points of the exact frontier, points that
the paper's pruning and its polished form miss, and the largest excess loss at
any budget; and how many of the exact subsets stay non-dominated on new texts.
Pools that are done are not done again.
"""

from absl import flags

from experiments import program
from mmc_jax import report

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
_NUM_NEW_TEXTS = flags.DEFINE_integer(
    "num_new_texts",
    10_000,
    "Texts on which the exact frontier's subsets are evaluated anew.",
    lower_bound=0,
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    print(
        report.write_pruning(
            _OUT.value,
            flags=program.flag_values(),
            num_models=_NUM_MODELS.value,
            num_texts=_NUM_TEXTS.value,
            noises=_NOISE.value,
            num_seeds=_NUM_SEEDS.value,
            num_new_texts=_NUM_NEW_TEXTS.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
