"""Writes one page of all that a score table says, for people to send around.

  python -m experiments.report --scores=results/scores --out=report.html

or with --csv and --models, as for trace_frontier. The page is one file that
opens without a network. Its numbers are those of report/result.json beside it.
With a proof, other texts, routers that read the texts, and finer choices than
one a text, where tokens were kept:

  python -m experiments.report --scores=results/scores --out=report.html \
      --method=certified --held_out=0.2 --corpus=texts.jsonl \
      --granularities=text,line,word,token

Without --routers it is nearest_neighbours where the texts are there, else
best_per_domain; without --granularities a few, where tokens are few; an empty
value leaves either out.
Results of compare_systems and measure_granularity take the place of these with
--more_results. Texts themselves stand on it with --show_texts alone.
"""

from absl import flags

from . import choices, program, routing, shared_flags, tables

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(routing)
_METHOD = shared_flags.method()
_TIME_LIMIT = shared_flags.time_limit(
    None,
    "With --method=certified: seconds after which it says how far it is from "
    "a proof; 0 for bounds alone. The same command goes on.",
)
_MORE_COSTS = flags.DEFINE_list(
    "more_costs",
    ["num_active_params", "flops_per_byte"],
    "Further costs that the law's figure can be switched to, where every model "
    "has them.",
)
_MORE_NORMALISATIONS = flags.DEFINE_list(
    "more_normalisations",
    ["bits_per_byte"],
    "Further normalisations that the law's figure can be switched to, where "
    "the table allows them.",
)
_MIXTURES = flags.DEFINE_bool(
    "mixtures",
    True,
    "Compare mixtures of models; --nomixtures for scores that are no nll.",
)
_FAMILIES = flags.DEFINE_bool(
    "families",
    True,
    "Compare pools of one family with mixed pools on texts that did not choose "
    "them.",
)
_ROUTERS = shared_flags.routers(None)
_GRANULARITIES = shared_flags.granularities(None)
_HELD_OUT = shared_flags.held_out()
_NUM_SPLITS = shared_flags.num_splits(3, lower_bound=0)
_NUM_RESAMPLES = shared_flags.num_resamples(200, lower_bound=0)
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_TEXT_DATES = shared_flags.text_dates()
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts",
    10,
    "Number of the worst, and of the most contested texts that are shown.",
    lower_bound=1,
)
_SHOW_TEXTS = flags.DEFINE_bool(
    "show_texts",
    False,
    "With --corpus: the texts themselves stand on the page.",
)
_MORE_RESULTS = shared_flags.paths(
    "more_results",
    "Result folders of measure_granularity or compare_systems, whose chapters "
    "stand on the page as well.",
)
_SEED = shared_flags.seed()
_OUT = shared_flags.page()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)

# Starts of each fit for referees: as many as the laws of the page have.
_NUM_STARTS = 16


def main():
    from mmc_jax import overviews, report, stages, studies

    # What a mistake in the flags ends comes first: the rest may take hours.
    folder = report.folder_of(_OUT.value)
    more = report.result_chapters(_MORE_RESULTS.value)
    given = {name: one.numbers[name] for one in more for name in one.numbers}
    measured = given.get("routers", {}).get("routers")
    table = tables.read(keep_texts=_SHOW_TEXTS.value or _ROUTERS.value != [])
    dates, texts = _dates(table), _texts(table)
    with stages.stage("looking at the scores"):
        found = overviews.overview(
            table,
            normalisation=tables.NORMALISATION.value,
            cost=tables.COST.value,
            more_normalisations=_MORE_NORMALISATIONS.value,
            more_costs=_MORE_COSTS.value,
            method=_METHOD.value,
            checks=studies.Checks(
                held_out=_HELD_OUT.value,
                num_splits=_NUM_SPLITS.value,
                num_resamples=_NUM_RESAMPLES.value,
                by_domain=_CLUSTER_BY_DOMAIN.value,
                seed=_SEED.value,
            ),
            limits=studies.Limits(seconds=_TIME_LIMIT.value),
            mixtures=_MIXTURES.value,
            families=_FAMILIES.value,
            routers=_routers_of(measured),
            granularities=[]
            if "granularity" in given
            else _GRANULARITIES.value,
            texts=routing.texts_of(table),
            num_texts=_NUM_TEXTS.value,
            folder=folder,
        )
    # Their chapters come with --more_results; the line stays in the figure.
    own = found._replace(routers=None) if measured else found
    with stages.stage("asking what a referee asks"):
        sections = report.overview_sections(own, texts)
        sections += _referee(found, dates, measured or found.routers)
        sections += more
    with stages.stage("writing the page"):
        words = report.write_page(
            _OUT.value, sections, flags=program.flag_values()
        )
    print(words)
    studies.delete_parts(found.study, folder)


def _dates(table):
    if not _TEXT_DATES.value:
        return None
    from mmc_jax import importers

    ids = table.texts.ids if table.places is None else table.places.text_ids
    return importers.read_text_dates(_TEXT_DATES.value, ids)


def _referee(found, dates, routers):
    from mmc_jax import referee, report

    of_table = {
        "normalisation": tables.NORMALISATION.value,
        "cost": tables.COST.value,
    }
    lines = {
        name: found.views[0].lines[line]
        for name, line in (("single models", "single"), ("pool", "oracle"))
    }
    asked = referee.referee_study(
        found.study.table,
        {
            name: (line.points.costs, line.points.losses)
            for name, line in lines.items()
        },
        known={
            name: line.law
            for name, line in lines.items()
            if line.law is not None and line.law.resampled is not None
        },
        text_dates=dates,
        by_domain=_CLUSTER_BY_DOMAIN.value,
        num_starts=_NUM_STARTS,
        num_resamples=_NUM_RESAMPLES.value or 200,
        seed=_SEED.value,
        **of_table,
    )
    items = report.referee_items(
        found.study.table, flags=program.flag_values(), **of_table
    )
    return report.referee_chapters(asked, items, routers=routers)


def _routers_of(measured):
    """Returns the function that compares routers, None for none.

    Routers that were measured before are not compared again: the best of them
    is asked for the law's figure.
    """
    from mmc_jax import realizable, report

    names = _ROUTERS.value
    if names is None and measured:
        best = report.router_answer(measured)
        names = None if best is None else [best.name]
    if names == []:
        return None

    def compared(table):
        prepared = routing.prepared(
            table,
            cache_dir=f"{_OUT.value.removesuffix('.html')}/features",
            by_domain=_CLUSTER_BY_DOMAIN.value,
            num_resamples=_NUM_RESAMPLES.value or 2,
            seed=_SEED.value,
        )
        wanted = choices.ROUTERS if names == ["all"] else names
        if names is None:
            seen = prepared.contest.texts.features is not None
            wanted = ["nearest_neighbours" if seen else "best_per_domain"]
        return realizable.router_study(prepared, wanted)

    return compared


def _texts(table):
    if not _SHOW_TEXTS.value:
        return None
    found = routing.texts_of(table)
    if found is None:
        raise ValueError("--show_texts needs the texts: give --corpus")
    return dict(zip(found.ids, found.texts, strict=True))


if __name__ == "__main__":
    program.run(main)
