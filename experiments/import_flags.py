"""The flags by which programs take scores that others made."""

import os
from typing import TYPE_CHECKING

from absl import flags, logging

from . import choices, shared_flags

if TYPE_CHECKING:  # --help needs no table.
    from mmc_jax import importers, scores

# The flags belong to the programs, which --help goes by.
flags.disclaim_key_flags()

_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    choices.FORMATS,
    "Format of scores that others made; found out if unset.",
)
_MODELS = shared_flags.path(
    "models",
    None,
    "File with the columns model, family, num_params and whatever else is "
    "known of a model, such as num_training_tokens and release_date.",
)
_VALUE = flags.DEFINE_string(
    "value",
    None,
    f"What the numbers are: {', '.join(choices.VALUES)}, or a word of the "
    "format, such as the name of a metric. A score lies between 0 and 1, "
    "higher is better; raw is any number of which lower is better.",
)
_MISSING = flags.DEFINE_enum(
    "missing",
    "error",
    choices.MISSING,
    "What to do where a model has no score of a text.",
)
_SKIP_INCOMPLETE = flags.DEFINE_bool(
    "skip_incomplete", False, "The same as --missing=drop_texts."
)
_HIGHER_IS_BETTER = flags.DEFINE_bool(
    "higher_is_better",
    None,
    "Higher numbers are better, where --value does not say so. Without "
    "--value, scores between 0 and 1 become 1 - score; all else is negated.",
)
_LOWER_IS_BETTER = flags.DEFINE_bool(
    "lower_is_better", None, "The same as --nohigher_is_better."
)
ONLY_MODELS = shared_flags.only_models()
_GUESS_FAMILIES = flags.DEFINE_bool(
    "guess_families",
    False,
    "Guess the families of models without one from their names.",
)
_ONLY_SIZED = flags.DEFINE_bool(
    "only_sized", False, "Take only the models whose num_params are known."
)
_TEXT_ID = shared_flags.text_id("text_id")
_DOMAIN = shared_flags.domain(None)
_MODEL_COLUMN = flags.DEFINE_string(
    "model_column", "model", "Column of a long table that names the models."
)
_VALUE_COLUMN = flags.DEFINE_string(
    "value_column",
    "value",
    "Column that holds the scores: of a long table, or of JSON lines and "
    "Parquet with an object a text whose keys are the models.",
)
_DECIMAL_COMMA = flags.DEFINE_bool(
    "decimal_comma", False, "Numbers have a decimal comma: 1,234 is below 2."
)
_RUN = flags.DEFINE_string(
    "run",
    None,
    "Date or folder of the run to read where a model has several; the latest "
    "if unset.",
)
_ALLOW_OTHER_PROMPTS = flags.DEFINE_bool(
    "allow_other_prompts",
    False,
    "Take scores of one text although models saw it in other prompts.",
)
_TASKS = flags.DEFINE_list(
    "tasks", None, "Names of the tasks to read, of logs of several tasks."
)

flags.register_multi_flags_validator(
    ["higher_is_better", "lower_is_better"],
    lambda values: (
        values["higher_is_better"] is None or values["lower_is_better"] is None
    ),
    "give one of --higher_is_better and --lower_is_better.",
)


def table(path: str, *, keep_texts: bool = False) -> "scores.ScoreTable":
    """Returns a table, of a folder of score_texts only its finished models.

    A warning names those that are not finished.

    Args:
      path: Folder of a score table, the name of one that ships, or what others
        made.
      keep_texts: Whether texts or prompts that the folder keeps, or files of
        others hold, stay in the table.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: Something in the files cannot be right.
    """
    from mmc_jax import scores

    if not scores.is_table(path):
        if not os.path.exists(path) and os.path.basename(path) == path:
            raise FileNotFoundError(
                f"{path}: no such file or folder, and no score table of that "
                f"name ships; there is {', '.join(scores.shipped())}"
            )
        return read(path, keep_texts=keep_texts).table
    unfinished = scores.unfinished(path)
    if unfinished:
        logging.warning(
            "%s: left out, for their scoring has not ended: %s (score_texts "
            "goes on with them)",
            path,
            ", ".join(unfinished),
        )
    kept = keep_texts and os.path.isfile(os.path.join(path, "texts.parquet"))
    opened = scores.open(path, leave_out_unfinished=True, with_texts=kept)
    if ONLY_MODELS.value is not None:
        opened = opened.select(models=ONLY_MODELS.value)
    if _MODELS.value is not None:
        from mmc_jax import importers

        facts = importers.read_models(_MODELS.value)
        opened = importers.with_facts(opened, facts)
    return opened


def read(path: str, *, keep_texts: bool = False) -> "importers.Result":
    """Returns the score table of what others made, as the flags say.

    Args:
      path: File or folder of scores.
      keep_texts: Whether texts or prompts that it holds stay in the table.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ValueError: Something in the files cannot be right.
    """
    from mmc_jax import importers

    higher = _HIGHER_IS_BETTER.value
    if _LOWER_IS_BETTER.value is not None:
        higher = not _LOWER_IS_BETTER.value
    return importers.read(
        path,
        importers.Options(
            models=_MODELS.value,
            value=_VALUE.value,
            missing="drop_texts" if _SKIP_INCOMPLETE.value else _MISSING.value,
            only_models=ONLY_MODELS.value,
            higher_is_better=higher,
            guess_families=_GUESS_FAMILIES.value,
            only_sized=_ONLY_SIZED.value,
            keep_texts=keep_texts,
            text_id=_TEXT_ID.value,
            domain=_DOMAIN.value,
            model_column=_MODEL_COLUMN.value,
            value_column=_VALUE_COLUMN.value,
            decimal_comma=_DECIMAL_COMMA.value,
            run=_RUN.value,
            allow_other_prompts=_ALLOW_OTHER_PROMPTS.value,
            tasks=_TASKS.value,
        ),
        format=_FORMAT.value,
    )
