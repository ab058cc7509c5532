"""Times the certified search, its checker, and HiGHS on one budget beside it.

  python -m experiments.benchmark_certified --out=results/certified

Simulated pools of 71 models (`mmc_jax.synthetic`) are searched within
--time_limit seconds. A process of its own that does not load JAX verifies their
certificates. A case that takes less than --patience seconds is run a
second time, when all is compiled. The pools of --root_texts get bounds at the
root alone.

HiGHS (`experiments.peers.p_median`) proves one budget, in the middle of the
frontier on a log scale: once from nothing, and once with the loss of the best
subset given, as a branch and bound of our own is timed on that budget.

Ten minutes on two quiet cores.
"""

import itertools

from absl import flags

from . import program, shared_flags

_NUM_MODELS = flags.DEFINE_integer(
    "num_models", 71, "Number of models of each pool.", lower_bound=1
)
_NUM_TEXTS = shared_flags.integers(
    "num_texts", [1_000, 10_000], "Numbers of texts of the searched pools."
)
_NOISE = shared_flags.noise(
    [0.03, 0.10],
    "Standard deviations of log loss of one model on one text, in the searched "
    "pools.",
)
_TIME_LIMIT = shared_flags.time_limit(600.0)
_ROOT_TEXTS = shared_flags.integers(
    "root_texts", [100_000], "Numbers of texts where the root alone is bounded."
)
_ROOT_NOISE = shared_flags.floats(
    "root_noise", [0.03], "The noise of the pools where the root is bounded."
)
_PATIENCE = shared_flags.patience(60.0)
_PEER_TEXTS = shared_flags.integers(
    "peer_texts", [1_000], "Numbers of texts of the pools that HiGHS gets too."
)
_PEER_TIME_LIMIT = flags.DEFINE_float(
    "peer_time_limit", 600.0, "Seconds for HiGHS, each time.", lower_bound=0.0
)
_OUT = shared_flags.out()


def main():
    from .benchmarks import certified_search

    searched = itertools.product(_NUM_TEXTS.value, _NOISE.value)
    roots = itertools.product(_ROOT_TEXTS.value, _ROOT_NOISE.value)
    limit, models = _TIME_LIMIT.value, _NUM_MODELS.value
    cases = [
        *(
            (models, *case, limit, case[0] in _PEER_TEXTS.value)
            for case in searched
        ),
        *((models, *case, 0.0, False) for case in roots),
    ]
    certified_search.write(
        [certified_search.Case(*case) for case in cases],
        _OUT.value,
        patience=_PATIENCE.value,
        peer_time_limit=_PEER_TIME_LIMIT.value,
        flags=program.flag_values(),
    )


if __name__ == "__main__":
    program.run(main)
