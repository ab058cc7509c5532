"""The referee's checklist of scaling laws, filled from a table and its flags.

The items are those of Li, Kudugunta and Zettlemoyer 2025, (Mis)Fitting: A
Survey of Scaling Laws (arXiv 2502.18969), in the words of this project and for
laws of models that others trained. The columns by which its authors compared 51
papers are among them: github.com/hadasah/scaling_laws, sheet.csv. What a score
table cannot know stays open. It is one file, so that each item is read with
what answers it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax import law
from mmc_jax.report.sections import Section
from mmc_jax.scores import UNITS, ScoreTable

# Names that an answer lists.
_MOST_NAMES = 8


class Item(NamedTuple):
    """One item of the checklist.

    Attributes:
      group: Name of its group: "hypothesis", "training setup", "data
        collection" or "fitting".
      item: What a referee asks.
      answer: What the table and the flags say; None where they do not say.
      source: Where the answer comes from, such as "flag --cost"; where it is
        open, what would tell.
    """

    group: str
    item: str
    answer: str | None
    source: str


class _Known(NamedTuple):
    """All that items are filled from."""

    table: ScoreTable
    cost: str
    normalisation: str
    flags: Mapping[str, Any]
    laws: law.LawStudy | None


# An answer, and where it comes from.
_Answer = tuple[str | None, str]


def referee_items(
    table: ScoreTable,
    *,
    cost: str,
    normalisation: str,
    flags: Mapping[str, Any],
    laws: law.LawStudy | None = None,
) -> list[Item]:
    """Returns the items of the checklist in order, some of them open.

    Args:
      table: Score table of the models and texts.
      cost: Name of the cost that the law relates to the loss.
      normalisation: Name of one of `scores.NORMALISATIONS`.
      flags: What the program was called with, by the name of the flag.
      laws: Laws of the table with what they leave open; None where only the
        laws themselves were fitted.
    """
    known = _Known(table, cost, normalisation, flags, laws)
    return [
        Item(group, item, *answer(known))
        for group, of_group in _ITEMS.items()
        for item, answer in of_group
    ]


def checklist_section(items: Sequence[Item]) -> Section:
    """Returns the checklist: all of it as numbers, what is open in words.

    Args:
      items: What `referee_items` returns.
    """
    open_items = [item for item in items if item.answer is None]
    return Section(
        {"checklist": {"items": [item._asdict() for item in items]}},
        sentences=[
            "",
            f"referee's checklist: {len(items) - len(open_items)} of "
            f"{len(items)} items are answered, see result.json; open are:",
            *(f"  {item.group}: {item.item}" for item in open_items),
        ],
    )


def _variables(known: _Known) -> _Answer:
    return (
        f"P is {known.cost}, summed over the models of a subset; L is the mean "
        "over texts of the least loss among its models, in "
        f"{known.table.loss_unit(known.normalisation)}",
        "flags --cost and --normalisation",
    )


def _principle(known: _Known) -> _Answer:
    says = "none: it is empirical, a power law with a floor"
    if known.laws is None:
        return says, "mmc_jax.law.power_law"
    forms = {name for of in known.laws.laws.values() for name in of.forms}
    others = sorted(form.replace("_", " ") for form in forms - {"power_law"})
    if others:
        says += f"; it stands beside {', '.join(others)}"
    return says, "result.json: laws.*.forms"


def _num_laws(known: _Known) -> _Answer:
    if known.laws is None:
        return (
            "two for each normalisation and cost, of single models and of the "
            "pool; those of other lines stand beside them",
            "result.json: law.views.*.lines",
        )
    numbers = [
        f"{name} from {len(found.costs)} points"
        for name, found in known.laws.laws.items()
    ]
    return f"{len(numbers)}: {', '.join(numbers)}", "result.json: laws"


def _assumptions(known: _Known) -> _Answer:
    return (
        f"that {known.cost} alone says what a model or a subset can do: data, "
        "architecture and training enter through the choice of models only",
        "mmc_jax.law.power_law",
    )


def _num_models(known: _Known) -> _Answer:
    models = known.table.models
    families = {model.family for model in models if model.family}
    kinds = sorted({model.kind for model in models})
    of = f" of {len(families)} families" if families else ""
    return (
        f"{len(models)}{of} ({', '.join(kinds)}), trained by others",
        "score table",
    )


def _sizes(known: _Known) -> _Answer:
    if known.table.models_without_cost(known.cost):
        return None, f"column {known.cost} of the models' facts"
    costs = known.table.costs(known.cost)
    return (
        f"{known.cost} from {costs.min():.4g} to {costs.max():.4g}, "
        f"{len(np.unique(costs))} different ones",
        f"column {known.cost}",
    )


def _training_tokens(known: _Known) -> _Answer:
    return _of_models(known, "num_training_tokens", "training tokens")


def _counted_params(known: _Known) -> _Answer:
    models = known.table.models
    counted = [name for name in law.COUNTINGS if _num_with(known, name)]
    names = [
        f"{name} (of {_num_with(known, name)})"
        if _num_with(known, name) < len(models)
        else name
        for name in counted
    ]
    if not names:
        return None, f"columns {', '.join(law.COUNTINGS)}"
    if all("key" in model.provenance for model in models):
        how = "counted from each checkpoint's config, tied parameters once"
    else:
        how = "as the files of facts state them"
    return f"{', '.join(names)}; {how}", "columns of the models"


def _counted_compute(known: _Known) -> _Answer:
    return _of_models(known, "flops_per_token", "FLOPs of a token in inference")


def _training_compute(known: _Known) -> _Answer:
    num_models = len(known.table.models)
    columns = (law.TRAINING_TOKENS, "num_params")
    if any(_num_with(known, column) < num_models for column in columns):
        return None, f"columns {' and '.join(columns)} of the models"
    flops = 6 * np.prod([known.table.costs(name) for name in columns], axis=0)
    return (
        f"{flops.min():.3g} to {flops.max():.3g} FLOPs, estimated as 6 N D",
        f"columns {' and '.join(columns)}",
    )


def _architectures(known: _Known) -> _Answer:
    types = {
        model.provenance.get("model_type") for model in known.table.models
    } - {None}
    if not types:
        return None, "model_type in the provenance of engine scores"
    return (
        f"architectures as published: {_listed(sorted(types))}; widths and "
        "depths were not varied here",
        "provenance of the scores",
    )


def _checkpoints(known: _Known) -> _Answer:
    models = known.table.models
    there = [model for model in models if model.provenance.get("checkpoint")]
    if len(there) < len(models):
        return None, "checkpoint and revision in the provenance of scores"
    return (
        "named with their revisions: "
        + _listed([model.provenance["checkpoint"] for model in models]),
        "provenance of the scores",
    )


def _num_checkpoints(known: _Known) -> _Answer:
    return "one for each model of the table", "score table"


def _metric(known: _Known) -> _Answer:
    texts = known.table.texts
    domains = sorted(set(texts.domains) - {""})
    unit = UNITS.get(known.table.unit, "numbers of which lower is better")
    of = f" of {len(domains)} domains ({_listed(domains)})" if domains else ""
    return f"{unit}, on {len(texts):,} texts{of}", "score table"


def _modified(known: _Known) -> _Answer:
    if known.normalisation == "raw":
        return (
            "no: a subset's loss of a text is the least of its models', and "
            "texts are averaged",
            "flag --normalisation",
        )
    return (
        f"yes: {known.normalisation} "
        f"({known.table.loss_unit(known.normalisation)}), the least of a "
        "subset's models for each text, and the mean over texts",
        "flag --normalisation",
    )


def _code(known: _Known) -> _Answer:
    return (
        "mmc_jax.scores.ScoreTable.losses and mmc_jax.oracle, in the version "
        "that result.json names",
        "result.json: versions",
    )


def _objective(known: _Known) -> _Answer:
    delta = known.flags.get("huber_delta", law.HUBER_DELTA)
    return (
        f"the sum of Huber losses of the residuals of log L, delta {delta:g}",
        "flag --huber_delta",
    )


def _hyperparameters(known: _Known) -> _Answer:
    starts = known.flags.get("num_starts", "the default number of")
    return f"{starts} starts, the best end counts", "flag --num_starts"


def _points_used(known: _Known) -> _Answer:
    says = (
        "the points of each frontier: what another point beats at no more "
        "cost is left out"
    )
    if known.laws is None:
        return says, "mmc_jax.frontier"
    numbers = [
        f"{len(found.costs)} of {name}"
        for name, found in known.laws.laws.items()
    ]
    return (
        f"{says} ({', '.join(numbers)}); other choices are tried as variants",
        "result.json: laws.*.variants",
    )


def _bootstrap(known: _Known) -> _Answer:
    number = known.flags.get("num_resamples")
    if not number:
        return "no" if number == 0 else None, "flag --num_resamples"
    unit = "domains" if known.flags.get("cluster_by_domain") else "texts"
    return (
        f"yes: {number} resamples of the {unit}, the subsets and models fixed",
        "flags --num_resamples and --cluster_by_domain",
    )


def _correctness(known: _Known) -> _Answer:
    ways = ["R^2"]
    checks = {
        "num_resamples": "intervals of {} resampled texts",
        "num_searches": "{} searches of resampled texts",
        "num_splits": "{} splits into texts that choose and texts that judge",
        "held_out": "a share of {} of the texts held out",
    }
    for flag, words in checks.items():
        if known.flags.get(flag):
            ways.append(words.format(known.flags[flag]))
    if known.laws is not None:
        ways.append("error of extrapolation to larger budgets")
        if known.laws.pool is not None:
            ways.append("laws without one model or one family")
    return ", ".join(ways), "flags and result.json"


def _of_models(known: _Known, column: str, what: str) -> _Answer:
    """Returns the range of a column, if it is known of every model."""
    there, num_models = _num_with(known, column), len(known.table.models)
    if there < num_models:
        known_of = f", known of {there} of {num_models} models" if there else ""
        return None, f"column {column} of the models{known_of}"
    values = known.table.costs(column)
    return (
        f"{what}: {values.min():.4g} to {values.max():.4g}",
        f"column {column}",
    )


def _num_with(known: _Known, column: str) -> int:
    return sum(column in model.costs for model in known.table.models)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    shown = ", ".join(map(str, names[:_MOST_NAMES]))
    return f"{shown} and {more} more" if more > 0 else shown


def _always(answer: str, source: str) -> Callable[[_Known], _Answer]:
    return lambda known: (answer, source)


def _never(source: str) -> Callable[[_Known], _Answer]:
    return lambda known: (None, source)


_REPORTS = "the reports of those who trained the models"
# Items by group, each with what answers it.
_ITEMS: dict[str, list[tuple[str, Callable[[_Known], _Answer]]]] = {
    "hypothesis": [
        (
            "Which form does the law have?",
            _always("L(P) = A P^-alpha + L_inf", "mmc_jax.law.power_law"),
        ),
        (
            "What is it for: to predict, or to find an optimum?",
            _always(
                "to predict the loss that a budget buys; which subset buys it "
                "is searched for, not predicted",
                "mmc_jax.frontier",
            ),
        ),
        ("Which variables does it relate?", _variables),
        (
            "Which parameters are fitted?",
            _always("A, alpha and L_inf, all positive", "mmc_jax.law.fit"),
        ),
        ("From which principle does the form follow?", _principle),
        ("What does the form assume of its variables?", _assumptions),
        ("How many laws are fitted?", _num_laws),
    ],
    "training setup": [
        ("How many models are there?", _num_models),
        ("Of which sizes are they?", _sizes),
        ("On how many tokens was each trained?", _training_tokens),
        (
            "On which data were they trained, and was any repeated?",
            _never(_REPORTS),
        ),
        ("How are parameters counted?", _counted_params),
        ("How is compute counted?", _counted_compute),
        ("How much compute did the training take?", _training_compute),
        (
            "How were optimiser, learning rate and batch size chosen?",
            _never(_REPORTS),
        ),
        ("Which other settings, such as width and depth?", _architectures),
        ("Is the training code open?", _never(_REPORTS)),
    ],
    "data collection": [
        ("Can the checkpoints be had?", _checkpoints),
        ("How many checkpoints of a model are used?", _num_checkpoints),
        ("Which metric, on which texts?", _metric),
        (
            "Are the scores themselves to be had?",
            _never("who made them; export_scores writes a table for others"),
        ),
        ("Are the raw scores changed before the fit?", _modified),
        ("Where is the code of that?", _code),
    ],
    "fitting": [
        ("Which objective is minimised?", _objective),
        (
            "By which algorithm?",
            _always(
                "L-BFGS on the logarithms of the parameters, then Newton's "
                "method; resamples by Newton's method",
                "mmc_jax.law.fit",
            ),
        ),
        ("With which settings?", _hyperparameters),
        (
            "From which starts?",
            _always(
                "a fixed lattice of floors and exponents; amplitudes follow "
                "from the points",
                "mmc_jax.law.starts",
            ),
        ),
        ("Are all points used?", _points_used),
        ("Is there a bootstrap, and of what?", _bootstrap),
        ("How is the law checked?", _correctness),
        (
            "Is the code of the analysis open?",
            _always(
                "yes: mmc_jax, Apache-2.0", "result.json: versions and flags"
            ),
        ),
    ],
}
