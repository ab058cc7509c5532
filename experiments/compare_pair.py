"""A pair of two families against the single model nearest in cost.

  python -m experiments.compare_pair --scores=results/scores --pair=a,b \
      --out=results/pair

The paper's second experiment: whether two models that differ, and an oracle
that chooses between them, beat one model that costs as much as both.
"""

from absl import flags

from experiments import pairs, program, tables
from mmc_jax import report

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(pairs)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    print(
        report.write_pair_test(
            tables.read(),
            _OUT.value,
            tuple(pairs.PAIR.value),
            flags=program.flag_values(),
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            num_resamples=pairs.NUM_RESAMPLES.value,
            seed=pairs.SEED.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
