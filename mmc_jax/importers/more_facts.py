"""Facts of models that a score table does not know yet."""

import dataclasses
from collections.abc import Sequence

from absl import logging

from mmc_jax.importers.assembly import Finder, listed
from mmc_jax.scores import ScoredModel, ScoreTable

# What our engine counts has the last word.
_COUNTED = "num_params"


def with_facts(table: ScoreTable, facts: Sequence[ScoredModel]) -> ScoreTable:
    """Returns a score table whose models have the costs of a file of facts too.

    Families and kinds stay, but for a family that is not known. A `num_params`
    that was counted while scoring stays as well.

    Args:
      table: The score table.
      facts: What `read_models` returns. Models are found with or without the
        organisation in front; others are named in a warning.

    Raises:
      ValueError: None of them is in the table; two of them mean one model.
    """
    finder = Finder([model.name for model in table.models])
    models, found, others = list(table.models), {}, []
    for fact in facts:
        m = finder.place(fact.name)
        if m is None:
            others.append(fact.name)
            continue
        if m in found:
            raise ValueError(
                f"the facts of {found[m]!r} and {fact.name!r} both mean the "
                f"model {table.models[m].name!r}; keep one"
            )
        found[m] = fact.name
        known = models[m]
        costs = {**known.costs, **fact.costs}
        if "key" in known.provenance and _COUNTED in known.costs:
            costs[_COUNTED] = known.costs[_COUNTED]
        models[m] = dataclasses.replace(
            known,
            family=known.family or fact.family,
            costs=costs,
            provenance={**known.provenance, **fact.provenance},
        )
    if not found:
        raise ValueError(
            f"--models: no facts of {listed(finder.names)}, but of "
            f"{listed([fact.name for fact in facts])}"
        )
    if others:
        logging.warning("facts of models without scores: %s", listed(others))
    return dataclasses.replace(table, models=tuple(models))
