"""Pools of one family against pools that mix families, at equal budgets.

  python -m experiments.compare_families --scores=results/scores \
      --out=results/families

or with --csv and --models, as for trace_frontier. For pairs, triples and any
number of models: both frontiers, both laws, and what mixing buys at each budget
on texts that did not choose the subsets, with an interval. --each_domain does
the same for every domain, --more_scores for other corpora, and says what holds
in all of them; --kind, --cost, --normalisation and --only_models choose what is
compared, --group_by=kind compares base and instruct models with mixtures.
"""

from absl import flags

from experiments import program, tables
from mmc_jax import diversity, report

flags.adopt_module_key_flags(tables)
_GROUP_BY = flags.DEFINE_enum(
    "group_by", "family", list(diversity.GROUPINGS), "What makes a family."
)
_SIZES = flags.DEFINE_list("sizes", ["2", "3", "any"], "Models in a subset.")
_EACH_DOMAIN = flags.DEFINE_bool(
    "each_domain", False, "Also each domain for itself."
)
_MORE_SCORES = flags.DEFINE_list(
    "more_scores", [], "Also these score tables, of other corpora."
)
_BY_DOMAIN = flags.DEFINE_bool(
    "by_domain", False, "Split and draw the texts of a domain together."
)
_NUM_SPLITS = flags.DEFINE_integer(
    "num_splits", 3, "Of the texts into halves.", lower_bound=1
)
_NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 200, "Of the texts.", lower_bound=2
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the splits and draws.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)
flags.register_validator(
    "sizes",
    lambda sizes: (
        len(sizes) > 0
        and all(s == "any" or (s.isdecimal() and int(s) > 1) for s in sizes)
    ),
    "--sizes takes numbers above 1, and any.",
)


def main():
    studied = tables.read_parts(
        each_domain=_EACH_DOMAIN.value, more_scores=_MORE_SCORES.value
    )
    options = {
        "normalisation": tables.NORMALISATION.value,
        "cost": tables.COST.value,
        "by": _GROUP_BY.value,
    }
    found = diversity.table_studies(
        studied,
        **options,
        sizes=[None if s == "any" else int(s) for s in _SIZES.value],
        by_domain=_BY_DOMAIN.value,
        num_splits=_NUM_SPLITS.value,
        num_resamples=_NUM_RESAMPLES.value,
        seed=_SEED.value,
    )
    print(
        report.write_sections(
            _OUT.value,
            report.families_sections(found, studied, **options),
            flags=program.flag_values(),
        )
    )


if __name__ == "__main__":
    program.run(main)
