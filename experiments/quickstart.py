"""The whole way in one command: from texts and models to a law.

  python -m experiments.quickstart

Scores the shipped pool of 20 small language models on held-out text that comes
with Python, traces the oracle frontier, fits the law of single models and the
law of the pool, and writes figures and result.json. A second run re-uses the
scores.
"""

import pathlib

from . import program, shared_flags

_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_OUT = shared_flags.out("results/quickstart")


def main():
    from mmc_jax import corpus, pool, report, scoring, studies

    out = pathlib.Path(_OUT.value)
    texts = corpus.embedded("held_out").sample(_NUM_TEXTS.value)
    table = scoring.score(pool.read("stdlib20"), texts, out / "scores")
    print(
        report.write_sections(
            out,
            report.study_sections(studies.study(table)),
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
