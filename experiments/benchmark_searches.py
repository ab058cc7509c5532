"""Times the searches as the pool and the corpus grow, and draws it.

  python -m experiments.benchmark_searches --out=results/searches

Pools are simulated: loss falls with cost, each model has a strength in each of
eight domains, and every text its difficulty. A case is timed after a
first run has compiled it, and the best of a few runs counts; one that takes
longer than --patience seconds is not run again. Under ten minutes and 8 GB on
two quiet cores; --num_texts=1000,10000 takes a minute.
"""

from absl import flags

from . import program, shared_flags

_NUM_MODELS = shared_flags.integers(
    "num_models", [20, 71, 200], "Numbers of models of the pruned pools."
)
_NUM_TEXTS = shared_flags.integers(
    "num_texts",
    [1_000, 10_000, 100_000, 1_000_000],
    "Numbers of texts of the pruned pools.",
)
_MAX_SIZE = flags.DEFINE_integer(
    "max_size", 8, "Largest number of models in a subset, as the pools grow."
)
_PATIENCE = shared_flags.patience(20.0)
_NUM_REPEATS = shared_flags.num_repeats(3)
_OUT = shared_flags.out()


def main():
    from .benchmarks import search_speed

    search_speed.write(
        _NUM_MODELS.value,
        _NUM_TEXTS.value,
        _MAX_SIZE.value,
        _OUT.value,
        num_repeats=_NUM_REPEATS.value,
        patience=_PATIENCE.value,
        flags=program.flag_values(),
    )


if __name__ == "__main__":
    program.run(main)
