"""Measures fits of resampled laws against the same fits in a SciPy loop.

  python -m experiments.benchmark_law --out=results/benchmark_law

1,000 resamples x 64 starts in one compiled call, against BFGS of SciPy with
exact derivatives from the same starts; SciPy fits the first
--num_peer_resamples of them and its time is scaled up. Both must end in the
same optima: the largest relative difference is written beside.
"""

from absl import flags

from experiments import program
from experiments.peers import law_fits

_NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 1000, "Sets of points.", lower_bound=1
)
_NUM_PEER = flags.DEFINE_integer(
    "num_peer_resamples", 50, "Of these fitted by SciPy too.", lower_bound=1
)
_NUM_STARTS = flags.DEFINE_integer(
    "num_starts", 64, "Of each fit.", lower_bound=1
)
_NUM_POINTS = flags.DEFINE_integer(
    "num_points", 30, "Of each set.", lower_bound=4
)
_NOISE = flags.DEFINE_float("noise", 0.01, "Of log L.", lower_bound=0.0)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)


def main():
    print(
        law_fits.write_law_benchmark(
            _OUT.value,
            num_resamples=_NUM_RESAMPLES.value,
            num_peer_resamples=_NUM_PEER.value,
            num_starts=_NUM_STARTS.value,
            num_points=_NUM_POINTS.value,
            noise=_NOISE.value,
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
