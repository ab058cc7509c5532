"""Compares the scores of a sample in bfloat16 with those in float32.

  python -m experiments.compare_dtypes --corpus=texts.jsonl --pool=pool.yaml \
      --num_texts_per_domain=100 --out=results/dtypes

How far a text's score moves when the parameters, and all but the softmaxes and
sums, are rounded to bfloat16: in nats per token, and relative to the score in
float32. Expected are some thousandths, relative, and less in the mean than in
single texts. The two score tables lie in the result folder; a killed run goes
on where it was. Twice the time of scoring the sample.
"""

from absl import flags

from . import choices, corpora, program, shared_flags

flags.adopt_module_key_flags(corpora)
_POOL = shared_flags.pool()
_ONLY_MODELS = shared_flags.only_models()
_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_MAX_CONTEXT = shared_flags.max_context()
_TOKENS_PER_BATCH = shared_flags.tokens_per_batch()
_OUT = shared_flags.out()


def main():
    from mmc_jax import pool, report, scores, scoring

    texts = corpora.read().sample(_NUM_TEXTS.value)
    models = pool.read(_POOL.value)
    if _ONLY_MODELS.value is not None:
        models = models.select(_ONLY_MODELS.value)
    tables = [
        scoring.score(
            models,
            texts,
            f"{_OUT.value}/{dtype}",
            settings=scoring.Settings(
                dtype=dtype,
                max_context=_MAX_CONTEXT.value,
                tokens_per_batch=_TOKENS_PER_BATCH.value,
            ),
        )
        for dtype in choices.DTYPES
    ]
    differences = scores.differences(*tables)._asdict()
    numbers = [{"name": model.name} for model in tables[0].models]
    for unit, values in differences.items():
        of_unit = scores.distribution(values)._asdict()
        print(f"{unit:<32}" + "".join(f"{name:>14}" for name in of_unit))
        for m, model in enumerate(numbers):
            row = {name: float(of_unit[name][m]) for name in of_unit}
            model[f"{unit}_difference"] = row
            values = "".join(f"{value:14.2e}" for value in row.values())
            print(f"{model['name']:<32}{values}")
    print(
        report.write_result(
            _OUT.value,
            {"num_texts": len(texts), "models": numbers},
            flags=program.flag_values(),
            arrays=differences,
        )
    )


if __name__ == "__main__":
    program.run(main)
