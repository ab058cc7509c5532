"""The law in one command: of published models first, then from real texts.

  python -m experiments.quickstart

draws the law of 14 published models of up to 3 billion parameters, whose scores
ship with the package: within seconds, into results/quickstart/published. Then
it goes the whole way: it scores the shipped pool of 20 small language models on
held-out text that comes with Python, traces the oracle frontier, fits the law
of single models and the law of the pool, and writes figures and result.json. A
second run re-uses the scores.
"""

import pathlib

from . import program, shared_flags

_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_OUT = shared_flags.out("results/quickstart")


def main():
    _draw_law_of_published_models(pathlib.Path(_OUT.value, "published"))
    from mmc_jax import corpus, pool, report, scoring, studies

    print("\n20 small models, scored here and now:\n", flush=True)
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


def _draw_law_of_published_models(out):
    from mmc_jax import report, scores, studies

    print("14 published models; loss in nats a word:", flush=True)
    table = scores.open("surprisal14")
    found = studies.study(table, normalisation="raw", method="exhaustive")
    print(
        report.write_sections(
            out, report.law_sections(found), flags=program.flag_values()
        ),
        flush=True,
    )


if __name__ == "__main__":
    program.run(main)
