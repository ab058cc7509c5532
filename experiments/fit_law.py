"""Fits L(P) = A P^-alpha + L_inf, and says what the data leave open.

  python -m experiments.fit_law --points=results/frontier --out=results/law

fits points: those of a folder that trace_frontier wrote (single models and
frontier side by side), or a CSV file with the columns `cost` and `loss`, and
`group` for several laws.

  python -m experiments.fit_law --scores=results/scores --out=results/law

(or --csv and --models, as for trace_frontier) traces the frontier itself. It
resamples texts and leaves out models, so that the intervals hold for other
texts and models. It also says what referees ask: the answer in three sentences,
errors beyond the fitted budgets, other countings of parameters, training tokens
and the age of texts (--text_dates) where they are known, a checklist. Prints
the table of A, alpha and L_inf with 95 percent intervals, R^2 and n, other
forms, and predictions; writes result.json and figures.
"""

from absl import flags

from . import choices, program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_POINTS = shared_flags.path(
    "points", None, "Result folder of trace_frontier, or a CSV file of points."
)
_METHOD = shared_flags.method()
_TEXT_DATES = shared_flags.text_dates()
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_DELTA = flags.DEFINE_float(
    "huber_delta",
    choices.HUBER_DELTA,
    "Residual of log L at which the Huber loss turns linear.",
)
_NUM_STARTS = shared_flags.num_starts()
_NUM_RESAMPLES = shared_flags.num_resamples(1000, lower_bound=2)
_NUM_SEARCHES = shared_flags.num_searches(20, lower_bound=2)
_FORMS = flags.DEFINE_list(
    "forms", list(choices.FORMS), "Forms of the law that are compared."
)
_SEED = shared_flags.seed()
_BUDGETS = shared_flags.floats("budget", [], "Budgets whose loss is predicted.")
_LOSSES = shared_flags.floats("loss", [], "Losses whose budget is predicted.")
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["points", "scores", "csv"], required=True)


def main():
    from mmc_jax import law, report, stages

    options = {
        "delta": _DELTA.value,
        "num_starts": _NUM_STARTS.value,
        "num_resamples": _NUM_RESAMPLES.value,
        "seed": _SEED.value,
        "forms": _FORMS.value,
    }
    with stages.stage("fitting laws"):
        if _POINTS.value is not None:
            groups = report.read_points(_POINTS.value)
            study, more = law.laws_of_points(groups, **options), []
        else:
            study, more = _of_table(options)
    with stages.stage("writing the laws and their figures"):
        table = report.write_laws(
            study,
            _OUT.value,
            flags=program.flag_values(),
            budgets=_BUDGETS.value,
            losses=_LOSSES.value,
            more=more,
        )
    print(table)


def _of_table(options):
    from mmc_jax import importers, law, referee, report, studies

    dates = None
    if _TEXT_DATES.value is not None:
        dates = importers.read_text_dates(_TEXT_DATES.value)
    table = tables.read()
    of_table = {
        "normalisation": tables.NORMALISATION.value,
        "cost": tables.COST.value,
    }
    how = {
        "search": studies.METHODS[_METHOD.value],
        "by_domain": _CLUSTER_BY_DOMAIN.value,
    }
    study = law.laws_of_table(
        table, num_searches=_NUM_SEARCHES.value, **of_table, **how, **options
    )
    del options["forms"]
    found = referee.referee_study(
        table,
        {name: (of.costs, of.losses) for name, of in study.laws.items()},
        known={
            name: law.ResampledFit(of.fit, of.resampled)
            for name, of in study.laws.items()
        },
        text_dates=dates,
        **of_table,
        **how,
        **options,
    )
    items = report.referee_items(
        table, flags=program.flag_values(), laws=study, **of_table
    )
    return study, [
        *report.referee_sections(found),
        report.checklist_section(items),
    ]


if __name__ == "__main__":
    program.run(main)
