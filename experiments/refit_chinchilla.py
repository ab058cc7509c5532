"""Fits L(N, D) = E + A / N^alpha + B / D^beta to the points of Chinchilla.

  python -m experiments.refit_chinchilla --points=svg_extracted_data.csv \
      --out=results/refit_chinchilla

The points are not ours to ship: the file is data/svg_extracted_data.csv of
github.com/epoch-research/analyzing-chinchilla. Expected: A 477.83, B 2143.4,
E 1.81722, alpha 0.34731, beta 0.36717, objective 0.00101827402; seconds.
"""

from absl import flags

from . import program, shared_flags

_POINTS = shared_flags.path(
    "points", None, "CSV file of the published points.", required=True
)
_NUM_DROPPED = flags.DEFINE_integer(
    "num_dropped",
    5,
    "Number of points of the largest losses that are left out.",
    lower_bound=0,
)
_NUM_STARTS = shared_flags.num_starts()
_OUT = shared_flags.out()


def main():
    from mmc_jax import report

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
