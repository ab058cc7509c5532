"""Counts how often the 95 percent intervals of laws hold the truth.

  python -m experiments.simulate_coverage --out=results/coverage

Simulates points around a known law, 500 sets for each number of points and
noise. Counts the sets whose profile likelihood interval of alpha and of L_inf
holds the true value; beside it stand the errors of the default Huber fit.
"""

from absl import flags

from . import program, shared_flags

_NUM_SETS = flags.DEFINE_integer(
    "num_sets", 500, "Number of simulated sets of each kind.", lower_bound=1
)
_NUM_POINTS = shared_flags.integers(
    "num_points", [4, 12, 30, 300, 3000], "Numbers of points of a set."
)
_NOISE = shared_flags.noise(
    [0, 0.01, 0.05], "Standard deviations of log L around the law."
)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()


def main():
    from mmc_jax import report

    print(
        report.write_coverage(
            _OUT.value,
            num_sets=_NUM_SETS.value,
            num_points=_NUM_POINTS.value,
            noises=_NOISE.value,
            seed=_SEED.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
