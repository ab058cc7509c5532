"""Compares two score tables of the same texts: two dtypes, dates or tools.

  python -m experiments.compare_scores --a=results/float32 --b=results/bfloat16

Of each model: how far the second table's losses are from the first's in the
mean (bias), their spread over the texts, and its rank in each. Then the texts
that differ most. Texts are matched by their ids, whatever their order.
"""

from absl import flags

from . import import_flags, program, shared_flags

flags.adopt_module_key_flags(import_flags)
_A = shared_flags.path(
    "a", None, "First table: a folder, or what others made.", required=True
)
_B = shared_flags.path(
    "b", None, "Second table: a folder, or what others made.", required=True
)
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts", 10, "Number of texts that are listed.", lower_bound=0
)
_OUT = shared_flags.out(required=False)


def main():
    from mmc_jax import report, scores

    found = scores.agreement(
        *(import_flags.table(path) for path in (_A.value, _B.value))
    )
    rows = [
        {
            "name": name,
            "bias": float(found.bias[m]),
            "spread": float(found.spread[m]),
            "largest": float(found.largest[m]),
            "rank_a": int(found.ranks[m]),
            "rank_b": int(found.other_ranks[m]),
        }
        for m, name in enumerate(found.models)
    ]
    print(f"{'model':<32}{'bias':>12}{'spread':>12}{'largest':>12}  rank")
    for row in rows:
        print(
            f"{row['name']:<32}{row['bias']:12.4g}{row['spread']:12.4g}"
            f"{row['largest']:12.4g}  {row['rank_a']} -> {row['rank_b']}"
        )
    worst = found.worst_texts(_NUM_TEXTS.value)
    for text_id, model, difference in worst:
        print(f"{difference:12.4g}  {text_id} ({model})")
    if _OUT.value is not None:
        print(
            report.write_result(
                _OUT.value,
                {
                    "num_texts": len(found.text_ids),
                    "models": rows,
                    "worst_texts": [list(text) for text in worst],
                },
                flags=program.flag_values(),
                arrays={"difference": found.difference},
            )
        )


if __name__ == "__main__":
    program.run(main)
