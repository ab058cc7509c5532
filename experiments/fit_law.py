"""Fits L(P) = A P^-alpha + L_inf, and says what the data leave open.

  python -m experiments.fit_law --points=results/frontier --out=results/law

fits points: those of a folder that trace_frontier wrote (single models and
frontier side by side), or a CSV file with the columns `cost` and `loss`, and
`group` for several laws.

  python -m experiments.fit_law --scores=results/scores --out=results/law

(or --csv and --models, as for trace_frontier) traces the frontier itself and
draws texts and leaves out models: the intervals to believe. Prints the table of
A, alpha and L_inf with 95 percent intervals, R^2 and n, other forms, and
answers; writes result.json and figures.
"""

from absl import flags

from experiments import program, tables
from mmc_jax import law, report, studies

flags.adopt_module_key_flags(tables)
_POINTS = flags.DEFINE_string("points", None, "A result folder or a CSV file.")
_METHOD = flags.DEFINE_enum(
    "method", "pruned", list(studies.METHODS), "How subsets are searched."
)
_BY_DOMAIN = flags.DEFINE_bool(
    "by_domain", False, "Draw the texts of a domain together."
)
_DELTA = flags.DEFINE_float(
    "huber_delta", law.HUBER_DELTA, "Where the Huber loss turns linear."
)
_NUM_STARTS = flags.DEFINE_integer(
    "num_starts", 64, "Starts of the optimiser.", lower_bound=1
)
_NUM_RESAMPLES = flags.DEFINE_integer(
    "num_resamples", 1000, "Of texts or points.", lower_bound=2
)
_NUM_SEARCHES = flags.DEFINE_integer(
    "num_searches", 20, "Resamples traced anew.", lower_bound=2
)
_FORMS = flags.DEFINE_list(
    "forms", list(law.ONE_BUDGET), "To compare with one another."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the resamples.")
_BUDGETS = flags.DEFINE_multi_float("budget", [], "Predict the loss here.")
_LOSSES = flags.DEFINE_multi_float("loss", [], "Find the budget for this.")
_OUT = flags.DEFINE_string("out", None, "The result folder.", required=True)

flags.mark_flags_as_mutual_exclusive(["points", "scores", "csv"], required=True)


def main():
    options = {
        "delta": _DELTA.value,
        "num_starts": _NUM_STARTS.value,
        "num_resamples": _NUM_RESAMPLES.value,
        "seed": _SEED.value,
        "forms": _FORMS.value,
    }
    if _POINTS.value is not None:
        groups = report.read_points(_POINTS.value)
        study = law.laws_of_points(groups, **options)
    else:
        study = law.laws_of_table(
            tables.read(),
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            search=studies.METHODS[_METHOD.value],
            by_domain=_BY_DOMAIN.value,
            num_searches=_NUM_SEARCHES.value,
            **options,
        )
    print(
        report.write_laws(
            study,
            _OUT.value,
            flags=program.flag_values(),
            budgets=_BUDGETS.value,
            losses=_LOSSES.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
