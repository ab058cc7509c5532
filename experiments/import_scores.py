"""Imports scores that others made into a score table.

  python -m experiments.import_scores --format=csv --input=scores.csv \
      --models=models.csv --value=nll_nats --out=results/scores

The table is what score_texts makes: trace_frontier, fit_law and all other
programs take it by --scores. Units are stated (--value), gaps refused or left
out by --missing, and what was left out is listed. 10 million cells take under a
minute on 2 x86 cores.
"""

from absl import flags

from . import import_flags, program, shared_flags

flags.adopt_module_key_flags(import_flags)
_INPUT = shared_flags.path(
    "input", None, "File or folder of scores that others made.", required=True
)
_KEEP_TEXTS = flags.DEFINE_bool(
    "keep_texts", False, "Keep texts or prompts that the input holds."
)
_OUT = shared_flags.out()


def main():
    from mmc_jax import scores

    result = import_flags.read(_INPUT.value, keep_texts=_KEEP_TEXTS.value)
    table = result.table
    if table.unit is None:
        raise ValueError(
            f"{_INPUT.value}: say what its numbers are by --value "
            "(--value=raw if they are any numbers of which lower is better)"
        )
    scores.write(table, _OUT.value)
    for kind, names in (
        ("models", result.dropped_models),
        ("texts", result.dropped_texts),
    ):
        if names:
            print(f"{kind} left out: {', '.join(names)}")
    print(f"{'model':<40} {'family':<16} {'num_params':>14}")
    for model in table.models:
        guessed = " (guessed)" if model.name in result.guessed_families else ""
        size = model.costs.get("num_params")
        print(
            f"{model.name:<40} {model.family + guessed:<16} "
            + ("-" if size is None else f"{size:,.0f}").rjust(14)
        )
    print(
        f"{len(table.models)} models, {len(table.texts)} texts: {table.unit} "
        f"({scores.UNITS[table.unit]})"
    )
    print(_OUT.value)


if __name__ == "__main__":
    program.run(main)
