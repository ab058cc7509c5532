r"""How fast subsets are evaluated, by every backend and by other libraries.

    pip install -e ".[bench]"
    python -m experiments.benchmark_subsets --out=results/benchmark_subsets

Each sweep varies one size and keeps the others. All implementations of a case
are first checked to agree, then timed in turns, and the least time of each
counts: load on the machine meets them alike. A turn is as many calls as fit
into 0.2 seconds, two at least: the first finds its threads asleep and its
tables out of the caches. The roofline is the rate of minima and additions of
the machine in the same run. Runs on GPUs and TPUs unchanged; libraries that are
not installed are left out.

Expected: a table and two figures. About ten minutes on 2 quiet cores.
"""

from . import program, shared_flags

_NUM_REPEATS = shared_flags.num_repeats(5)
_PATIENCE = shared_flags.patience(2.0)
_SIZES = {
    "S": shared_flags.integers(
        "num_subsets", [16, 128, 1024, 4096], "Numbers of subsets."
    ),
    "M": shared_flags.integers(
        "num_models", [20, 71, 200], "Numbers of models."
    ),
    "X": shared_flags.integers(
        "num_texts", [1024, 8192, 65536], "Numbers of texts."
    ),
    "density": shared_flags.floats(
        "density", [0.05, 0.3, 0.8], "Shares of the models in a subset."
    ),
}
_OUT = shared_flags.out()


def main():
    from .benchmarks import kernel_speed

    kernel_speed.write(
        {size: flag.value for size, flag in _SIZES.items()},
        _OUT.value,
        num_repeats=_NUM_REPEATS.value,
        patience=_PATIENCE.value,
        flags=program.flag_values(),
    )


if __name__ == "__main__":
    program.run(main)
