"""Compares what systems that exist reach with the oracle: mixtures, routers.

  python -m experiments.compare_systems --scores=results/quickstart/scores \
      --out=results/systems --held_out=0.25

Single models lie above the oracle frontier, and so do mixtures: a mixture of k
models is within log k nats a text of their oracle, without knowing anything.
The scores must be sums in nats (--value=nll_nats for files that others made).

How that depends on the length of what is chosen for, with words of sentences:

  python -m experiments.compare_systems --csv=words.csv.gz --models=models.csv \
      --text_id=item_id --domain=text_id --value=nll_nats --normalisation=raw \
      --sum_by_domain --by_length --out=results/words

Routers run one model a text, and have no guarantee. All of them, the law of
one, and what it makes of a model as its scores come:

  python -m experiments.compare_systems --scores=results/quickstart/scores \
      --corpus=embedded --routers=all --router_law=ridge --new_model=llama-1m \
      --out=results/systems
"""

from absl import flags

from . import choices, program, routing, shared_flags, tables

flags.adopt_module_key_flags(tables)
flags.adopt_module_key_flags(routing)
_METHOD = shared_flags.method()
_MIXTURES = flags.DEFINE_bool(
    "mixtures",
    True,
    "Compare mixtures of models; --nomixtures for scores that are no nll.",
)
_SUM_BY_DOMAIN = flags.DEFINE_bool(
    "sum_by_domain", False, "Rows of one domain are one text: sum their scores."
)
_BY_LENGTH = flags.DEFINE_bool(
    "by_length",
    False,
    "Also what is gained where one choice holds for 1, 2, 4 ... rows of a "
    "domain.",
)
_HELD_OUT = shared_flags.held_out()
_ROUTERS = shared_flags.routers([])
_ROUTER_LAW = flags.DEFINE_enum(
    "router_law", None, choices.ROUTERS, "The router whose law is fitted."
)
_NUM_SUBSETS = flags.DEFINE_integer(
    "num_law_subsets",
    20,
    "Number of subsets of the frontier that --router_law learns, at most.",
    lower_bound=1,
)
_NEW_MODEL = flags.DEFINE_string(
    "new_model",
    None,
    "Name of a model whose scores routers see of 10, 100 and 1,000 texts.",
)
_NUM_RESAMPLES = shared_flags.num_resamples(1000)
_CLUSTER_BY_DOMAIN = shared_flags.cluster_by_domain()
_SEED = shared_flags.seed()
_OUT = shared_flags.out()

flags.mark_flags_as_mutual_exclusive(["scores", "csv"], required=True)


def main():
    from mmc_jax import report, scores

    _check_flags()
    table, sections = tables.read(keep_texts=bool(_ROUTERS.value)), []
    lengths = _lengths(table) if _BY_LENGTH.value else ()
    if _SUM_BY_DOMAIN.value:
        if len(set(table.texts.domains)) == 1:
            raise ValueError(
                "--sum_by_domain: all rows are of one domain; --domain names "
                "the column whose equal cells make a text"
            )
        table = scores.summed(table, table.texts.domains)
    if _MIXTURES.value:
        sections += report.sandwich_sections(_sandwich(table, lengths))
    if _ROUTERS.value:
        sections += report.routers_sections(
            _routers(table),
            unit=table.loss_unit(tables.NORMALISATION.value),
            cost=tables.COST.value,
        )
    print(
        report.write_sections(_OUT.value, sections, flags=program.flag_values())
    )


def _check_flags():
    names = _ROUTERS.value
    if not names and (_ROUTER_LAW.value or _NEW_MODEL.value):
        raise ValueError("--router_law and --new_model need --routers")
    for name in names if names != ["all"] else ():
        if name not in choices.ROUTERS:
            raise ValueError(
                f"--routers: no router {name!r}; there are all, or some of "
                f"{', '.join(choices.ROUTERS)}"
            )


def _lengths(table):
    from mmc_jax import realizable

    return realizable.by_length(table, table.texts.domains)


def _sandwich(table, lengths):
    from mmc_jax import realizable, studies

    return realizable.sandwich(
        table,
        normalisation=tables.NORMALISATION.value,
        cost=tables.COST.value,
        search=studies.METHODS[_METHOD.value],
        exhaustive=_METHOD.value == "exhaustive",
        held_out=_HELD_OUT.value,
        by_domain=_CLUSTER_BY_DOMAIN.value,
        num_resamples=_NUM_RESAMPLES.value,
        seed=_SEED.value,
        lengths=lengths,
    )


def _routers(table):
    from mmc_jax import realizable

    names = _ROUTERS.value
    prepared = routing.prepared(
        table,
        cache_dir=f"{_OUT.value}/features",
        by_domain=_CLUSTER_BY_DOMAIN.value,
        num_resamples=_NUM_RESAMPLES.value,
        seed=_SEED.value,
    )
    return realizable.router_study(
        prepared,
        choices.ROUTERS if names == ["all"] else names,
        law_router=_ROUTER_LAW.value,
        num_subsets=_NUM_SUBSETS.value,
        cold_model=_NEW_MODEL.value,
    )


if __name__ == "__main__":
    program.run(main)
