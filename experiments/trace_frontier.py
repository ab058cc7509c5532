"""Traces the oracle frontier of a score table, and fits its laws.

  python -m experiments.trace_frontier --scores=results/scores --out=results/f

or of scores that others made, one row a text and one column a model:

  python -m experiments.trace_frontier --csv=scores.csv --models=models.csv \
      --text_id=id --normalisation=raw --out=results/f

With a proof that no subset is better, which check_certificate verifies:

  python -m experiments.trace_frontier --scores=results/scores --out=results/f \
      --method=certified

With what it says of other texts, and a figure of that:

  python -m experiments.trace_frontier --scores=results/scores --out=results/f \
      --held_out=0.2 --num_splits=20 --num_resamples=1000 --num_searches=100
"""

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_METHOD = shared_flags.method()
_MAX_SIZE = flags.DEFINE_integer(
    "max_size", None, "Largest number of models in a subset.", lower_bound=1
)
_ROUTED = flags.DEFINE_bool(
    "routed", False, "Also the cost of a text when one model of many runs."
)
_TIME_LIMIT = shared_flags.time_limit(
    None,
    "With --method=certified: seconds after which it says how far it is from "
    "a proof; 0 for bounds alone. The same command goes on.",
)
_GAP_LIMIT = flags.DEFINE_float(
    "gap_limit",
    0.0,
    "With --method=certified: the share of its loss by which a better subset "
    "may lie below a point.",
    lower_bound=0.0,
)
_HELD_OUT = shared_flags.held_out()
_NUM_SPLITS = shared_flags.num_splits(0, lower_bound=0)
_NUM_RESAMPLES = shared_flags.num_resamples(0, lower_bound=0)
_NUM_SEARCHES = shared_flags.num_searches(0, lower_bound=0)
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_FAIL_ABOVE = flags.DEFINE_float(
    "fail_above",
    None,
    "A model fails on a text if its loss is above this: also the share of the "
    "texts on which all fail.",
)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import report, studies

    table = tables.read()
    of_table = {
        "normalisation": tables.NORMALISATION.value,
        "cost": tables.COST.value,
    }
    found = studies.study(
        table,
        **of_table,
        method=_METHOD.value,
        max_size=_MAX_SIZE.value,
        routed=_ROUTED.value,
        limits=studies.Limits(seconds=_TIME_LIMIT.value, gap=_GAP_LIMIT.value),
        folder=_OUT.value,
        checks=studies.Checks(
            held_out=_HELD_OUT.value,
            num_splits=_NUM_SPLITS.value,
            num_resamples=_NUM_RESAMPLES.value,
            num_searches=_NUM_SEARCHES.value,
            fail_above=_FAIL_ABOVE.value,
            by_domain=_CLUSTER_BY_DOMAIN.value,
            seed=_SEED.value,
        ),
    )
    items = report.referee_items(
        found.table, flags=program.flag_values(), **of_table
    )
    print(
        report.write_sections(
            _OUT.value,
            [*report.study_sections(found), report.checklist_section(items)],
            flags=program.flag_values(),
        )
    )
    studies.delete_parts(found, _OUT.value)


if __name__ == "__main__":
    program.run(main)
