"""The formats by name, which of them a path is, and the reading of any."""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from absl import logging

from mmc_jax.importers.assembly import Result, assembled
from mmc_jax.importers.frame import Options
from mmc_jax.scores import ScoreTable


class Format(NamedTuple):
    """One format of scores.

    Attributes:
      module: Module of this package that reads it, by `recognises` and `read`.
      text: What it is, a phrase for lists of formats.
      file_kind: Kind of file, a key of `columns.KINDS`, for a table; "" for
        any.
      unit: What its numbers always are, a key of `units.VALUES`; "" where the
        options choose what is read.
    """

    module: str
    text: str
    file_kind: str = ""
    unit: str = ""


# Formats that a path may be are tried in this order: tables last, because any
# file of columns is one.
FORMATS = {
    "lm_eval": Format("lm_eval", "logs of lm-evaluation-harness"),
    "inspect": Format("inspect_logs", "logs of Inspect"),
    "helm": Format("helm", "runs of HELM"),
    "lighteval": Format("lighteval", "details of lighteval"),
    "opencompass": Format("opencompass", "predictions of OpenCompass"),
    "every_eval_ever": Format(
        "every_eval_ever", "instance files of Every Eval Ever"
    ),
    "levanter": Format("levanter", "scored documents of Levanter or Marin"),
    "model_map": Format(
        "model_map", "the model map, 1,018 models", unit="log_likelihood"
    ),
    "router_bench": Format(
        "router_bench", "RouterBench, wide, with costs", unit="score"
    ),
    "llm_router_bench": Format(
        "llm_router_bench",
        "a tree of LLMRouterBench, with costs",
        unit="score",
    ),
    "router_eval": Format(
        "router_eval", "a pickle of RouterEval", unit="score"
    ),
    "embed_llm": Format(
        "embed_llm", "EmbedLLM, long, without costs", unit="score"
    ),
    "csv": Format("grid", "delimited text, wide or long", "csv"),
    "jsonl": Format("grid", "JSON lines, wide or long", "jsonl"),
    "parquet": Format("grid", "Parquet, wide or long", "parquet"),
    "excel": Format("grid", "a spreadsheet, wide or long", "excel"),
    "npz": Format("grid", "a NumPy archive, wide or long", "npz"),
}


def detected(path: str | os.PathLike[str]) -> str:
    """Returns the name of the format that a path is.

    Args:
      path: File or folder of scores.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: It is of no format, or of several.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    found = [
        name
        for name, format_ in FORMATS.items()
        if not format_.file_kind and _module(format_).recognises(path)
    ]
    if not found and path.is_file():
        from mmc_jax.importers.columns import kind_of

        kind = kind_of(path)
        found = [name for name, f in FORMATS.items() if f.file_kind == kind]
    if not found:
        raise ValueError(
            f"{path}: neither a score table (no corpus.parquet) nor a format "
            f"that is known; --format names one of {', '.join(FORMATS)}"
        )
    if len(found) > 1:
        raise ValueError(
            f"{path}: may be {' or '.join(found)}; say which by --format"
        )
    return found[0]


def read(
    path: str | os.PathLike[str],
    options: Options | None = None,
    *,
    format: str | None = None,
) -> Result:
    """Returns the score table of a file or folder that others made.

    Args:
      path: File or folder of scores.
      options: Unit, columns, choice of models, what to do with gaps; the
        defaults of `Options` if None.
      format: A key of `FORMATS`; found out if None.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: No such format, or something in the files that cannot be
        right; the message names file, line and field.
    """
    path = pathlib.Path(path)
    options = Options() if options is None else options
    if format is None:
        format = detected(path)
    elif format not in FORMATS:
        raise ValueError(
            f"no format {format!r}; there are {', '.join(FORMATS)}"
        )
    elif not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    chosen = FORMATS[format]
    if chosen.file_kind:
        options = dataclasses.replace(options, file_kind=chosen.file_kind)
    return _read(chosen, path, options)


def csv(
    path: str | os.PathLike[str],
    models: str | os.PathLike[str] | None = None,
    *,
    text_id: str = "text_id",
    domain: str | None = None,
    only_models: Sequence[str] | None = None,
    higher_is_better: bool | None = None,
    value: str | None = None,
    missing: str = "error",
) -> ScoreTable:
    """Returns the score table of a table: the shortest way.

    Args:
      path: File with one row a text and one column a model, or one row a text
        and model: delimited text, JSON lines, Parquet, Excel or NumPy.
      models: File of the same kinds, one row a model: `model`, `family` and
        `kind` if wanted, and any number of numeric columns, each a cost. "13B"
        is a number there, an empty cell a cost that is not known.
      text_id: Column of `path` that names the texts.
      domain: Column of `path` that holds their domains, if one does.
      only_models: Names of the models to read; all if None.
      higher_is_better: Whether higher scores are better, where `value` is not
        given: then log-likelihoods are negated, and scores between 0 and 1
        become 1 - score.
      value: What the numbers are, a key of `importers.VALUES`. If None, lower
        is better, and scores that look like log-likelihoods are refused.
      missing: What to do where a score is missing: "error", "drop_models" or
        "drop_texts".

    Returns:
      The table, models in the order of `models`, texts in that of `path`.

    Raises:
      FileNotFoundError: One of the files is not there.
      ValueError: Something in the files that cannot be right. The message names
        file, row (the first below the header is 1) and column.
    """
    options = Options(
        models=models,
        text_id=text_id,
        domain=domain,
        only_models=only_models,
        higher_is_better=higher_is_better,
        value=value,
        missing=missing,
    )
    return _read(Format("grid", "a table"), pathlib.Path(path), options).table


def _read(format_: Format, path: pathlib.Path, options: Options) -> Result:
    if options.facts is not None:  # Small, and so the first to be refused.
        logging.debug("%s: %d models", options.models, len(options.facts))
    if format_.unit and options.value not in (None, format_.unit):
        raise ValueError(
            f"{path}: --value={options.value}, but numbers of {format_.text}, "
            f"are of {format_.unit}; leave --value out, or say how else to "
            "read the file by --format"
        )
    try:
        imported = _module(format_).read(path, options)
    except (
        AttributeError,
        LookupError,
        OverflowError,
        TypeError,
        UnicodeError,  # Half a character, as JSON may hold it.
    ) as error:
        # A list where an object is expected, and the like, deep in a file.
        raise ValueError(
            f"{path}: something in it is not as {format_.text} have it "
            f"({type(error).__name__}: {error}); --verbosity=1 shows where"
        ) from error
    return assembled(imported, options)


def _module(format_: Format) -> ModuleType:
    return importlib.import_module(f"{__package__}.{format_.module}")
