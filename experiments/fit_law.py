"""Fits L(P) = A P^-alpha + L_inf to points of cost and loss.

  python -m experiments.fit_law --points=results/frontier --out=results/law

The points are those of a folder that trace_frontier wrote (the single models
and the oracle frontier are fitted side by side), or a CSV file with the columns
`cost` and `loss`, and `group` if several laws are wanted.
"""

from absl import flags

from experiments import program
from mmc_jax import law, report

_POINTS = flags.DEFINE_string(
    "points", None, "A result folder or a CSV file.", required=True
)
_DELTA = flags.DEFINE_float(
    "huber_delta", law.HUBER_DELTA, "Where the Huber loss turns linear."
)
_NUM_STARTS = flags.DEFINE_integer(
    "num_starts", 64, "Starts of the optimiser.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    groups = report.read_points(_POINTS.value)
    fits = {
        name: law.fit(
            costs, losses, delta=_DELTA.value, num_starts=_NUM_STARTS.value
        )
        for name, (costs, losses) in groups.items()
    }
    print(
        report.write_fits(groups, fits, _OUT.value, flags=program.flag_values())
    )


if __name__ == "__main__":
    program.run(main)
