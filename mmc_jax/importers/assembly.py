"""From scores as a format holds them to a score table.

Models are chosen, facts added, gaps closed and units converted, in this order
and for all formats alike. M models, X texts.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mmc_jax import corpus
from mmc_jax.importers import families, units
from mmc_jax.importers.frame import MISSING, Imported, Options
from mmc_jax.scores import ScoredModel, ScoreTable, columns

# Names that a line of the log lists; the rest is counted.
_MOST_NAMES = 10


class Result(NamedTuple):
    """A table, and what its import left out or guessed.

    Attributes:
      table: The score table.
      dropped_models: Names of the models that were left out, for they lack
        scores or have no size.
      dropped_texts: Ids of the texts that were left out, for they lack scores.
      guessed_families: The family that was guessed for each model without one.
    """

    table: ScoreTable
    dropped_models: list[str]
    dropped_texts: list[str]
    guessed_families: dict[str, str]


def assembled(imported: Imported, options: Options) -> Result:
    """Returns the score table of what a format has read.

    Args:
      imported: Scores as they stand in the files.
      options: Choice of models, file of facts, unit, and what to do with gaps.

    Raises:
      ValueError: A model that is not there or stands there twice, a text twice,
        a missing or infinite score, a number that is not of its unit, or
        nothing is left.
    """
    if options.missing not in MISSING:
        raise ValueError(
            f"--missing={options.missing}: give one of {', '.join(MISSING)}"
        )
    _refuse_twice(imported)
    rows, records = _chosen(imported, options)
    imported = selected(imported, rows, None)
    records, guessed = families.guessed(records, options.guess_families)
    records, unsized = _sized(records, imported.path, options.only_sized)
    kept = [m for m, record in enumerate(records) if record is not None]
    imported = selected(imported, kept, None)
    records = [records[m] for m in kept]
    imported = dataclasses.replace(imported, models=tuple(records))
    imported, dropped_models, dropped_texts = _without_gaps(
        imported, options.missing
    )
    table = _table(imported, options)
    return Result(table, [*unsized, *dropped_models], dropped_texts, guessed)


def selected(
    imported: Imported,
    models: Sequence[int] | None,
    texts: Sequence[int] | None,
) -> Imported:
    """Returns the scores of some models and texts, in that order.

    Args:
      imported: Scores of all models and texts.
      models: Places of the models to take; all if None.
      texts: Places of the texts to take; all if None.
    """
    rows = np.arange(len(imported.models)) if models is None else models
    rows = np.asarray(rows, np.int64)
    columns = np.arange(len(imported.text_ids)) if texts is None else texts
    columns = np.asarray(columns, np.int64)
    if np.array_equal(rows, np.arange(len(imported.models))) and np.array_equal(
        columns, np.arange(len(imported.text_ids))
    ):
        return imported
    cells = np.ix_(rows, columns)

    def of_cells(values):
        return None if values is None else values[cells]

    def of_texts(values):
        if values is None or isinstance(values, np.ndarray):
            return None if values is None else values[columns]
        return tuple(values[x] for x in columns)

    return dataclasses.replace(
        imported,
        models=tuple(imported.models[m] for m in rows),
        text_ids=of_texts(imported.text_ids),
        values=imported.values[cells],
        domains=of_texts(imported.domains),
        num_bytes=of_texts(imported.num_bytes),
        num_chars=of_texts(imported.num_chars),
        num_tokens=of_cells(imported.num_tokens),
        num_scored=of_cells(imported.num_scored),
        round_trips=of_cells(imported.round_trips),
        query_costs=of_cells(imported.query_costs),
        texts=of_texts(imported.texts),
        sha256=of_texts(imported.sha256),
        dates=of_texts(imported.dates),
        tokens=imported.tokens
        and tuple(imported.tokens[m].select(columns) for m in rows),
        where=lambda m, x: imported.place(rows[m], columns[x]),
    )


def _refuse_twice(imported: Imported) -> None:
    """Raises the error of a model or a text that stands there twice."""
    names = [model.name for model in imported.models]
    for kind, found in (("model", names), ("text", imported.text_ids)):
        if not len(found):
            raise ValueError(f"{imported.path}: no {kind}s")
        if len(set(found)) < len(found):
            seen = set()
            for name in found:
                if name in seen:
                    raise ValueError(
                        f"{imported.path}: the {kind} {name!r} stands there "
                        "twice; keep one"
                    )
                seen.add(name)


def last_word(name: str) -> str:
    """Returns a model's name without the organisation in front."""
    return name.rpartition("/")[2]


class Finder:
    """Finds names with or without the organisation in front."""

    def __init__(self, names: Sequence[str]):
        """Takes the names among which to look; a name may stand there twice."""
        self.names = list(names)
        self._index = {name: i for i, name in enumerate(names)}
        self._near: dict[str, set[int]] = {}
        for name, i in self._index.items():
            self._near.setdefault(last_word(name), set()).add(i)

    def place(self, name: str) -> int | None:
        """Returns the place of a name, or of the only one that may be meant."""
        if name in self._index:
            return self._index[name]
        near = self._near.get(last_word(name), set())
        # a/x and b/x are two models.
        near = {i for i in near if "/" not in name or "/" not in self.names[i]}
        return next(iter(near)) if len(near) == 1 else None


def _chosen(
    imported: Imported, options: Options
) -> tuple[list[int], list[ScoredModel]]:
    """Returns the places of the chosen models, and what is known of each."""
    there = [model.name for model in imported.models]
    facts = options.facts
    if facts is None:
        rows = list(range(len(there)))
        if options.only_models is not None:
            finder = Finder(there)
            rows = [
                found(finder, name, there, imported.path)
                for name in options.only_models
            ]
        return rows, [imported.models[m] for m in rows]
    path = pathlib.Path(options.models)
    finder = Finder([fact.name for fact in facts])
    if options.only_models is not None:
        names = [fact.name for fact in facts]
        facts = [
            facts[found(finder, name, names, path)]
            for name in options.only_models
        ]
    elif imported.lists_all:
        for name in there:
            if finder.place(name) is None:
                raise ValueError(
                    f"{path}: no model {name!r}, of which {imported.path} has "
                    "scores; add a row, or choose models by --only_models"
                )
    finder = Finder(there)
    rows, records, near, without = [], [], [], []
    taken: dict[int, str] = {}
    for fact in facts:
        m = finder.place(fact.name)
        if m is None and options.only_models is None and imported.lists_all:
            without.append(fact.name)
            continue
        if m is None:
            raise ValueError(
                f"{imported.path}: no scores of the model {fact.name!r}, which "
                f"stands in {path}; there are {listed(there)}; take the row "
                "out, or choose models by --only_models"
            )
        if m in taken:
            raise ValueError(
                f"{path}: the rows {taken[m]!r} and "
                f"{fact.name!r} both mean the scores of {there[m]!r} in "
                f"{imported.path}; take one out, or choose models by "
                "--only_models"
            )
        taken[m] = fact.name
        rows.append(m)
        records.append(_merged(imported.models[m], fact))
        if there[m] != fact.name:
            near.append(f"{there[m]} for {fact.name}")
    if near:
        logging.warning("%s: scores taken: %s", imported.path, listed(near))
    if without:
        logging.warning("%s: models without scores: %s", path, listed(without))
    return rows, records


def found(
    finder: Finder, name: str, names: list[str], path: pathlib.Path
) -> int:
    """Returns the place of a name.

    Args:
      finder: Finder over the names.
      name: Name to look for.
      names: All names, for the error.
      path: The file that they are from, for the error.

    Raises:
      ValueError: It is not there; the message lists those that are.
    """
    place = finder.place(name)
    if place is None:
        raise ValueError(f"{path}: no model {name!r}; it has {listed(names)}")
    return place


def _merged(known: ScoredModel, fact: ScoredModel) -> ScoredModel:
    """Returns a model with what its scores and a file of facts know of it."""
    return ScoredModel(
        name=fact.name,
        family=fact.family or known.family,
        kind=fact.kind,
        costs={**known.costs, **fact.costs},
        provenance={**known.provenance, **fact.provenance},
    )


def _sized(
    records: list[ScoredModel], path: pathlib.Path, only_sized: bool
) -> tuple[list[ScoredModel | None], list[str]]:
    """Names the models without a size, and returns None in their places.

    They stay where they are not to be left out, and where no model has a size.
    """
    unsized = [r.name for r in records if "num_params" not in r.costs]
    if not unsized or (len(unsized) == len(records) and not only_sized):
        return list(records), []
    if not only_sized:
        logging.warning(
            "%s: models without num_params: %s (--only_sized leaves them out)",
            path,
            listed(unsized),
        )
        return list(records), []
    if len(unsized) == len(records):
        raise ValueError(
            f"{path}: no model has num_params; give them in a file (--models)"
        )
    logging.warning(
        "%s: left out, for they have no num_params: %s", path, listed(unsized)
    )
    return [
        record if "num_params" in record.costs else None for record in records
    ], unsized


def _without_gaps(
    imported: Imported, missing: str
) -> tuple[Imported, list[str], list[str]]:
    """Returns scores without gaps, and the models and texts left out."""
    values = imported.values
    infinite = np.isinf(values)
    if infinite.any():
        m, x = np.unravel_index(np.argmax(infinite), infinite.shape)
        raise ValueError(
            f"{imported.place(m, x)}: {values[m, x]} is not finite"
        )
    gaps = np.isnan(values)
    if not gaps.any():
        return imported, [], []
    if missing == "error":
        x, m = np.unravel_index(np.argmax(gaps.T), gaps.T.shape)
        raise ValueError(
            f"{imported.place(m, x)}: no score ({gaps.sum()} of {gaps.size} "
            f"are missing, of {gaps.any(axis=1).sum()} models and "
            f"{gaps.any(axis=0).sum()} texts); --missing=drop_models or "
            "drop_texts leaves them out, --only_models chooses models"
        )
    names = [model.name for model in imported.models]
    of_models = missing == "drop_models"
    lacking = gaps.any(axis=1 if of_models else 0)
    if lacking.all():
        worst = int(gaps.sum(axis=1).argmax())
        raise ValueError(
            f"{imported.path}: no {'model' if of_models else 'text'} has all "
            f"its scores; {names[worst]!r} lacks most ({gaps[worst].sum()} of "
            f"{gaps.shape[1]}); --only_models leaves models out, and so does "
            "--missing=drop_models"
        )
    kept, left = np.flatnonzero(~lacking), np.flatnonzero(lacking)
    if of_models:
        dropped = [names[m] for m in left]
        kept_scores = selected(imported, kept, None), dropped, []
    else:
        dropped = [imported.text_ids[x] for x in left]
        kept_scores = selected(imported, None, kept), [], dropped
    logging.warning(
        "%s: %d of %d %s lack a score and are left out: %s",
        imported.path,
        len(left),
        len(lacking),
        "models" if of_models else "texts",
        listed(dropped),
    )
    return kept_scores


def _table(imported: Imported, options: Options) -> ScoreTable:
    value = imported.unit if imported.unit is not None else options.value
    if value is not None and value not in units.VALUES:
        raise ValueError(
            f"--value={value}: give one of {', '.join(units.VALUES)}"
        )
    losses, unit, how = units.in_losses(
        imported, value, options.higher_is_better
    )
    num_texts = len(imported.text_ids)
    unknown = np.zeros(num_texts, np.int64)
    texts = corpus.Corpus(
        ids=tuple(imported.text_ids),
        domains=imported.domains or ("",) * num_texts,
        num_bytes=_known(imported.num_bytes, unknown),
        num_chars=_known(imported.num_chars, unknown),
        sha256=imported.sha256 or ("",) * num_texts,
        texts=imported.texts if options.keep_texts else None,
        dates=imported.dates,
    )
    provenance: dict[str, Any] = dict(imported.provenance)
    if value is not None:
        provenance["value"] = value
    if how:
        provenance["losses"] = how
    models, constants = [], set()
    for model in imported.models:
        merged = {**provenance, **model.provenance}
        constants.add(merged.pop(columns.CHARS_PER_TOKEN, None))
        models.append(dataclasses.replace(model, provenance=merged))
    return ScoreTable(
        models=tuple(models),
        texts=texts,
        nll_nats=np.ascontiguousarray(losses),
        num_tokens=imported.num_tokens,
        num_scored=_known(imported.num_scored, imported.num_tokens),
        unit=unit,
        round_trips=imported.round_trips,
        chars_per_token=next(iter(constants)) if len(constants) == 1 else None,
        query_costs=imported.query_costs,
        tokens=imported.tokens
        and {
            model.name: tokens
            for model, tokens in zip(models, imported.tokens, strict=True)
        },
    )


def _known(values: Any, otherwise: Any) -> Any:
    return otherwise if values is None else values


def listed(names: Sequence[str]) -> str:
    """Returns names for a message, the first ones and how many more."""
    more = len(names) - _MOST_NAMES
    text = ", ".join(map(str, names[:_MOST_NAMES]))
    return f"{text} and {more} more" if more > 0 else text
