"""Counts how often the 95 percent intervals of laws hold the truth.

  python -m experiments.simulate_coverage --out=results/coverage

Draws points around a planted law, 500 sets for each number of points and noise,
and counts the sets whose profile likelihood interval of alpha and of L_inf
holds the planted value; beside it the errors of the default Huber fit.
"""

from absl import flags

from experiments import program
from mmc_jax import report

_NUM_SETS = flags.DEFINE_integer(
    "num_sets", 500, "Simulated data sets of each kind.", lower_bound=1
)
_NUM_POINTS = flags.DEFINE_list(
    "num_points", ["4", "12", "30", "300", "3000"], "Points of a set."
)
_NOISES = flags.DEFINE_list(
    "noises", ["0", "0.01", "0.05"], "Standard deviations of log L."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    print(
        report.write_coverage(
            _OUT.value,
            num_sets=_NUM_SETS.value,
            num_points=[int(number) for number in _NUM_POINTS.value],
            noises=[float(noise) for noise in _NOISES.value],
            seed=_SEED.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
