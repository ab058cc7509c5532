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

from experiments import program
from mmc_jax import corpus, pool, report, scores, scoring

_CORPUS = flags.DEFINE_string(
    "corpus",
    None,
    "A .jsonl or .parquet file, a folder, `embedded`, or `hf:NAME:SPLIT`.",
    required=True,
)
_POOL = flags.DEFINE_string(
    "pool", None, "A YAML file, or the name of a shipped pool.", required=True
)
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)
_MODELS = flags.DEFINE_list("models", None, "Models of the pool; all if unset.")
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts_per_domain", 100, "Size of the sample.", lower_bound=1
)
_MAX_CONTEXT = flags.DEFINE_integer(
    "max_context", None, "Positions a window; the model's own if unset."
)
_TOKENS_PER_BATCH = flags.DEFINE_integer(
    "tokens_per_batch",
    None,
    "Token budget of a batch; what suits the device if unset.",
    lower_bound=1,
)

_DTYPES = ("float32", "bfloat16")


def main():
    texts = corpus.named(_CORPUS.value).sample(_NUM_TEXTS.value)
    models = pool.read(_POOL.value)
    if _MODELS.value is not None:
        models = models.select(_MODELS.value)
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
        for dtype in _DTYPES
    ]
    differences = scores.differences(*tables)
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
