"""How fast mixtures of subsets are evaluated, beside NumPy and the oracle's.

  python -m experiments.benchmark_mixtures --out=results/benchmark_mixtures

Simulated documents (800 nats, models 30 apart) and words (3 nats, 0.5 apart).
All implementations are first checked to agree, then timed in turns, and the
least time of each counts. Runs on GPUs and TPUs unchanged.

Expected: a table. A minute on 2 quiet cores.
"""

import itertools

from . import program, shared_flags

_NUM_REPEATS = shared_flags.num_repeats(5)
_NUM_SUBSETS = shared_flags.integers(
    "num_subsets", [1024], "Numbers of subsets."
)
_NUM_MODELS = shared_flags.integers("num_models", [71], "Numbers of models.")
_NUM_TEXTS = shared_flags.integers("num_texts", [8192], "Numbers of texts.")
_OUT = shared_flags.out()


def main():
    from .benchmarks import mixture_speed

    mixture_speed.write(
        itertools.product(
            _NUM_SUBSETS.value, _NUM_MODELS.value, _NUM_TEXTS.value
        ),
        _OUT.value,
        num_repeats=_NUM_REPEATS.value,
        flags=program.flag_values(),
    )


if __name__ == "__main__":
    program.run(main)
