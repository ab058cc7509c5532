"""Fits L(N, D) = E + A / N^alpha + B / D^beta to the points of Chinchilla.

  python -m experiments.refit_chinchilla --points=svg_extracted_data.csv \
      --out=results/refit_chinchilla

The points are not ours to ship: the file is data/svg_extracted_data.csv of
github.com/epoch-research/analyzing-chinchilla. Expected: A 477.83, B 2143.4,
E 1.81722, alpha 0.34731, beta 0.36717, objective 0.00101827402; seconds.
"""

from absl import flags

from experiments import program
from mmc_jax import report

_POINTS = flags.DEFINE_string("points", None, "The CSV file.", required=True)
_NUM_DROPPED = flags.DEFINE_integer(
    "num_dropped", 5, "Points of the largest losses, left out.", lower_bound=0
)
_NUM_STARTS = flags.DEFINE_integer(
    "num_starts", 64, "Starts of the optimiser.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    print(
        report.write_refit(
            _POINTS.value,
            _OUT.value,
            num_dropped=_NUM_DROPPED.value,
            num_starts=_NUM_STARTS.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
