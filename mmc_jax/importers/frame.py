"""What all formats share: options in, scores as a format holds them out.

A format is one module of this package, with a line in `formats.FORMATS`:

    def recognises(path: pathlib.Path) -> bool
    def read(path: pathlib.Path, options: Options) -> Imported

`read` returns scores as they stand in the files. Facts of the models, gaps and
units are the work of `assembly`, the same for all formats. M models, X texts.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmc_jax.importers.model_facts import read_models
from mmc_jax.scores import ScoredModel, TokenScores

MISSING = ("error", "drop_models", "drop_texts")


@dataclasses.dataclass(frozen=True)
class Options:
    """How scores are to be read; a format ignores what does not concern it.

    Attributes:
      models: File of facts, one row a model; None where there is none.
      value: What a number is: one of `units.VALUES`, or a word that the format
        defines. None where the format knows it, or nothing is said.
      missing: What to do where a model has no score of a text: "error",
        "drop_models" or "drop_texts".
      only_models: Names of the models to read, in this order; all if None.
      higher_is_better: Whether higher numbers are better, for a metric or a
        table whose `value` does not say so.
      guess_families: Whether the family of a model without one is guessed from
        its name.
      only_sized: Whether models without `num_params` are left out.
      keep_texts: Whether texts or prompts that the files hold stay in the
        table.
      text_id: Column of a table that names the texts.
      domain: Column of a table that holds the texts' domains; None for none.
      model_column: Column of a long table that names the models.
      value_column: Column of a long table that holds the scores; or column of
        objects, one a text, whose keys are the models.
      decimal_comma: Whether 1,234 is a little more than 1.
      file_kind: Kind of the file of a table, a key of `columns.KINDS`; None if
        its name tells it.
      run: Date or folder of the run to read where a model has several; the
        latest if None.
      allow_other_prompts: Whether models may have seen other prompts for one
        text.
      tasks: Names of the tasks to read, of logs of several; all if None.
    """

    models: str | os.PathLike[str] | None = None
    value: str | None = None
    missing: str = "error"
    only_models: Sequence[str] | None = None
    higher_is_better: bool | None = None
    guess_families: bool = False
    only_sized: bool = False
    keep_texts: bool = False
    text_id: str = "text_id"
    domain: str | None = None
    model_column: str = "model"
    value_column: str = "value"
    decimal_comma: bool = False
    file_kind: str | None = None
    run: str | None = None
    allow_other_prompts: bool = False
    tasks: Sequence[str] | None = None

    @functools.cached_property
    def facts(self) -> list[ScoredModel] | None:
        """The models of the file of facts, None where there is no file."""
        return None if self.models is None else read_models(self.models)


@dataclasses.dataclass(frozen=True, eq=False)
class Imported:
    """Scores as a format holds them.

    Attributes:
      path: File or folder that they are from, for errors.
      models: What the files know of each model, [M].
      text_ids: A unique name of each text, [X].
      values: Numbers as they stand in the files, float64 [M, X]; NaN where a
        model has none for a text.
      unit: What the numbers are, one of `units.VALUES`; None if only
        `Options.value` can say it.
      domains: Domain of each text, [X]; None for none.
      num_bytes: Bytes of each text in UTF-8, int64 [X]; None if not known.
      num_chars: Characters of each text, int64 [X]; None if not known.
      num_tokens: Tokens of each text under each model, int64 [M, X]; None if
        not known.
      num_scored: Tokens that have a score, int64 [M, X]; None if not known.
      round_trips: Whether a text came back from its tokens unchanged, bool [M,
        X]; None if not known.
      query_costs: What one call of a model on a text costs, float64 [M, X];
        None if not known.
      texts: The texts or prompts themselves, [X]; None if they are not kept.
      sha256: Hash of each text in UTF-8, [X]; None if not known.
      dates: Date of each text, [X], "" where it is not known; None if none is.
      provenance: Facts that hold for all models, values as in JSON.
      lists_all: Whether `models` are all models of the files by their own
        account. Else, as in a table's columns, a file of facts chooses.
      tokens: Scores of each model's tokens, [M]; None if there are none.
      where: Returns how errors name the score of a model and a text by their
        places; None for their names.
    """

    path: pathlib.Path
    models: tuple[ScoredModel, ...]
    text_ids: tuple[str, ...]
    values: np.ndarray
    unit: str | None = None
    domains: tuple[str, ...] | None = None
    num_bytes: np.ndarray | None = None
    num_chars: np.ndarray | None = None
    num_tokens: np.ndarray | None = None
    num_scored: np.ndarray | None = None
    round_trips: np.ndarray | None = None
    query_costs: np.ndarray | None = None
    texts: tuple[str, ...] | None = None
    sha256: tuple[str, ...] | None = None
    dates: tuple[str, ...] | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    lists_all: bool = True
    where: Callable[[int, int], str] | None = None
    tokens: tuple[TokenScores, ...] | None = None

    def place(self, m: int, x: int) -> str:
        """Returns how errors name the score of a model and a text."""
        if self.where is not None:
            return self.where(m, x)
        return (
            f"{self.path}, model {self.models[m].name!r}, text "
            f"{self.text_ids[x]!r}"
        )
