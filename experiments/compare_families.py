"""Pools of one family against pools that mix families, at equal budgets.

  python -m experiments.compare_families --scores=results/scores \
      --out=results/families

or with --csv and --models, as for trace_frontier. For pairs, triples and any
number of models: both frontiers, both laws, and what mixing buys at each budget
on texts that did not choose the subsets, with an interval. --each_domain does
the same for every domain, --more_scores for other corpora, and says what holds
in all of them. --only_kind, --only_models, --cost and --normalisation choose
what is compared; --group_by=kind compares base and instruct models with pools
of both.
"""

from absl import flags

from . import choices, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_GROUP_BY = flags.DEFINE_enum(
    "group_by", "family", choices.GROUPINGS, "What makes a family."
)
_SIZES = flags.DEFINE_list(
    "sizes", ["2", "3", "any"], "Numbers of models in a subset."
)
_EACH_DOMAIN = flags.DEFINE_bool(
    "each_domain", False, "Also compare on the texts of each domain alone."
)
_MORE_SCORES = shared_flags.paths(
    "more_scores", "Folders of score tables of other corpora, compared as well."
)
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_NUM_SPLITS = shared_flags.num_splits(3, lower_bound=1)
_NUM_RESAMPLES = shared_flags.num_resamples(200, lower_bound=2)
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

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
    from mmc_jax import diversity, report

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
        by_domain=_CLUSTER_BY_DOMAIN.value,
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
