"""Measures the online systems: seconds for many texts and subsets.

  python -m experiments.benchmark_online --out=results/benchmark_online

71 models, 10,000 texts of 100 segments, 256 subsets of random sizes; the time
of each system with its compilation, and the segments of a model that it reads a
second. A minute on 2 quiet cores.
"""

from absl import flags

from . import program, shared_flags

_NUM_MODELS = flags.DEFINE_integer(
    "num_models", 71, "Number of simulated models.", lower_bound=2
)
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts", 10000, "Number of simulated texts.", lower_bound=40
)
_NUM_CHOICES = flags.DEFINE_integer(
    "num_choices", 100, "Number of segments of each text.", lower_bound=1
)
_NUM_RANDOM_SUBSETS = flags.DEFINE_integer(
    "num_random_subsets", 256, "Number of random subsets.", lower_bound=1
)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()


def main():
    from mmc_jax import report

    from .benchmarks import online_speed

    rows = online_speed.measured(
        _NUM_MODELS.value,
        _NUM_TEXTS.value,
        _NUM_CHOICES.value,
        _NUM_RANDOM_SUBSETS.value,
        _SEED.value,
    )
    lines = [
        f"{row['system']:<22}{row['seconds']:8.1f} s"
        f"{row['processor_seconds']:8.1f} s of processors"
        for row in rows
    ]
    section = report.Section({"systems": rows}, sentences=lines)
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
