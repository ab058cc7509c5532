"""Measures fits of resampled laws against the same fits in a SciPy loop.

  python -m experiments.benchmark_law --out=results/benchmark_law

1,000 resamples x 64 starts in one compiled call, against BFGS of SciPy with
exact derivatives from the same starts; SciPy fits the first
--num_peer_sets of them and its time is scaled up. Both must end in the
same optima: the largest relative difference is written beside.
"""

from absl import flags

from . import program, shared_flags

_NUM_SETS = flags.DEFINE_integer(
    "num_sets", 1000, "Number of simulated sets of points.", lower_bound=1
)
_NUM_PEER_SETS = flags.DEFINE_integer(
    "num_peer_sets", 50, "Number of sets that SciPy fits too.", lower_bound=1
)
_NUM_STARTS = shared_flags.num_starts()
_NUM_POINTS = flags.DEFINE_integer(
    "num_points", 30, "Number of points of a set.", lower_bound=4
)
_NOISE = flags.DEFINE_float(
    "noise",
    0.01,
    "Standard deviation of log L around the law.",
    lower_bound=0.0,
)
_OUT = shared_flags.out()


def main():
    from .benchmarks import law_speed

    print(
        law_speed.write(
            _OUT.value,
            num_sets=_NUM_SETS.value,
            num_peer_sets=_NUM_PEER_SETS.value,
            num_starts=_NUM_STARTS.value,
            num_points=_NUM_POINTS.value,
            noise=_NOISE.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
