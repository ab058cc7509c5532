"""The law in one command: of published models first, then from real texts.

  python -m experiments.quickstart

draws the law of 14 published models of up to 3 billion parameters, whose scores
ship with the package: within seconds, into results/quickstart/published. Then
it goes the whole way: it scores the shipped pool of 20 small language models on
held-out text that comes with Python, traces the oracle frontier, fits the law
of single models and the law of the pool, and writes figures and result.json. A
second run re-uses the scores.
"""

import concurrent.futures
import importlib
import pathlib

from . import program, shared_flags

_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_OUT = shared_flags.out("results/quickstart")


def main():
    from mmc_jax import pool, report, scoring, studies

    out = pathlib.Path(_OUT.value)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        # Python cuts texts and imports while XLA compiles what fits the laws.
        texts = thread.submit(_texts, out / "scores")
        published = _study_of_published_models()
    _write(out / "published", report.law_sections(published))
    print("\n20 small models, scored here and now:\n", flush=True)
    table = scoring.score(pool.read("stdlib20"), texts.result(), out / "scores")
    _write(out, report.study_sections(studies.study(table)))


def _study_of_published_models():
    from mmc_jax import scores, studies

    print("14 published models; loss in nats a word:", flush=True)
    table = scores.open("surprisal14")
    return studies.study(table, normalisation="raw", method="exhaustive")


def _texts(folder):
    """Returns what is scored; imports what scores it, if nothing has been."""
    from mmc_jax import corpus, scores

    texts = corpus.embedded("held_out").sample(_NUM_TEXTS.value)
    if not scores.is_table(folder):
        importlib.import_module("mmc_jax.scoring.one_model")
    return texts


def _write(out, sections):
    from mmc_jax import report

    flags = program.flag_values()
    print(report.write_sections(out, sections, flags=flags), flush=True)


if __name__ == "__main__":
    program.run(main)
