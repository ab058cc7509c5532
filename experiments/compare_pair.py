"""A pair of two families against the single model nearest in cost.

  python -m experiments.compare_pair --scores=results/scores --pair=a,b \
      --out=results/pair

The paper's second experiment: whether two models that differ, and an oracle
that chooses between them, beat one model that costs as much as both.
"""

from absl import flags

from experiments import program, tables
from mmc_jax import report

flags.adopt_module_key_flags(tables)
_PAIR = flags.DEFINE_list("pair", None, "Two models.", required=True)
_NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 1000, "Of the texts.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
flags.register_validator(
    "pair", lambda pair: len(pair) == 2, "--pair takes two names: a,b."
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    print(
        report.write_pair_test(
            tables.read(),
            _OUT.value,
            tuple(_PAIR.value),
            flags=program.flag_values(),
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            num_resamples=_NUM_RESAMPLES.value,
            seed=_SEED.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
