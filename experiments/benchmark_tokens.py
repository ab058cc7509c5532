"""Measures what score_texts --keep_tokens costs: time, and bytes on disk.

  python -m experiments.benchmark_tokens --corpus=embedded --pool=stdlib20 \
      --only_models=llama-1m --out=results/benchmark_tokens

Texts are scored with and without, in turns. Each pair has a ratio of processor
times, without what a run takes before its first text; the median counts, and
their range stands beside it. Other work on the machine hardly moves it, for the
two runs of a pair follow each other. Goals: under 3 percent more time, under 6
bytes a token. Two minutes on 2 quiet cores.
"""

from absl import flags

from . import corpora, program, shared_flags

flags.adopt_module_key_flags(corpora)
_POOL = shared_flags.pool()
_ONLY_MODELS = shared_flags.only_models()
_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_NUM_REPETITIONS = flags.DEFINE_integer(
    "num_repetitions", 5, "Number of pairs of runs a model.", lower_bound=1
)
_OUT = shared_flags.out()


def main():
    from mmc_jax import pool, report

    from .benchmarks import kept_tokens

    models = pool.read(_POOL.value)
    if _ONLY_MODELS.value is not None:
        models = models.select(_ONLY_MODELS.value)
    rows = kept_tokens.measured(
        models,
        corpora.read().sample(_NUM_TEXTS.value),
        _NUM_REPETITIONS.value,
    )
    lines = [f"{'model':<20}{'bytes a token':>14}{'more time':>11}   range"]
    for row in rows:
        lines.append(
            f"{row['model']:<20}{row['bytes_per_token']:14.2f}"
            f"{row['slow_down']:11.1%}   {min(row['slow_downs']):.1%} to "
            f"{max(row['slow_downs']):.1%}"
        )
    section = report.Section({"kept_tokens": rows}, sentences=lines)
    print(
        report.write_sections(
            _OUT.value, [section], flags=program.flag_values()
        )
    )


if __name__ == "__main__":
    program.run(main)
