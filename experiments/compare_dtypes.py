"""Compares scores in bfloat16 with float32, or a quantised model with its own.

  python -m experiments.compare_dtypes --corpus=texts.jsonl --pool=pool.yaml \
      --num_texts_per_domain=100 --out=results/dtypes
  python -m experiments.compare_dtypes --corpus=texts.jsonl --pool=pool.yaml \
      --pair=mine,mine-q4 --out=results/q4

How far a text's score moves when the parameters, and all but the softmaxes and
sums, are rounded to bfloat16: in nats per token, and relative to the score in
float32. Expected are some thousandths, relative, and less in the mean than in
single texts.

With `--pair` the second model is compared with the first, both in float32: what
did Q4 cost on these texts? `increase` is what a token lost, below 0 where the
second model is better. The score tables lie in the result folder; a killed run
goes on where it was. Twice the time of scoring the sample.
"""

from absl import flags

from . import choices, corpora, program, shared_flags

flags.adopt_module_key_flags(corpora)
_POOL = shared_flags.pool()
_ONLY_MODELS = shared_flags.only_models()
_PAIR = flags.DEFINE_list("pair", None, "Names of the two models.")
_NUM_TEXTS = shared_flags.num_texts_per_domain(100)
_MAX_CONTEXT = shared_flags.max_context()
_TOKENS_PER_BATCH = shared_flags.tokens_per_batch()
_OUT = shared_flags.out()
flags.register_validator(
    "pair",
    lambda pair: pair is None or len(pair) == 2,
    "--pair takes two names: a,b.",
)


def main():
    from mmc_jax import pool, report, scores, scoring

    texts = corpora.read().sample(_NUM_TEXTS.value)
    models = pool.read(_POOL.value)
    names = _PAIR.value or _ONLY_MODELS.value
    if names is not None:
        models = models.select(names)
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
        for dtype in choices.DTYPES[: 1 if _PAIR.value else None]
    ]
    if _PAIR.value:
        differences = scores.pair_differences(*tables, *names)
        numbers = [{"name": names[1], "compared_with": names[0]}]
    else:
        differences = scores.differences(*tables)
        numbers = [{"name": model.name} for model in tables[0].models]
    for unit, values in differences._asdict().items():
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
            arrays=differences._asdict(),
        )
    )


if __name__ == "__main__":
    program.run(main)
