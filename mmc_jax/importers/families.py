"""Families guessed from the names of models, where that is asked for."""

import dataclasses
import re
from collections.abc import Sequence

from absl import logging

from mmc_jax.scores import ScoredModel

# Words of names that say how a model was tuned or how large it is.
_NO_FAMILY = frozenset(
    """
    base chat hf instruct it large lite medium meta micro mini nano plus preview
    pro small the tiny turbo ultra v xl xxl
    """.split()
)


def guess(name: str) -> str:
    """Returns the family that a model's name suggests, "" if it suggests none.

    It is made of the words before the first number, in small letters, without
    the organisation and without words such as "instruct" or "small".

    Args:
      name: Name of a model, with or without its organisation.

    >>> guess("meta-llama/Llama-2-7b-hf"), guess("EleutherAI/gpt-neo-1.3B")
    ('llama', 'gpt-neo')
    """
    words = []
    for word in re.split(r"[-_ .]+", name.rpartition("/")[2].lower()):
        letters = re.match(r"[^\W\d_]*", word)[0]
        if letters and letters not in _NO_FAMILY:
            # qwen2 is of qwen; 7b has no letters in front.
            words.append(letters)
        if letters != word:
            break
    return "-".join(words)


def guessed(
    models: Sequence[ScoredModel], asked_for: bool
) -> tuple[list[ScoredModel], dict[str, str]]:
    """Returns the models with families, and those that were guessed, by name.

    Args:
      models: Models of which some may have no family.
      asked_for: Whether to guess at all.
    """
    if not asked_for:
        return list(models), {}
    families = {m.name: guess(m.name) for m in models if not m.family}
    members: dict[str, list[str]] = {}
    for name, family in families.items():
        members.setdefault(family, []).append(name)
    for family, names in members.items():
        logging.warning(
            "family %r guessed from the names: %s", family, ", ".join(names)
        )
    return [
        dataclasses.replace(
            model,
            family=families[model.name],
            provenance={**model.provenance, "family": "guessed from the name"},
        )
        if model.name in families
        else model
        for model in models
    ], families
