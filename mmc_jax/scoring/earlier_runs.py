"""Models of a finished table of which an earlier run knows all there is to say.

To find out which key a checkpoint's scores have, and what the model costs,
takes transformers, Flax, its tokenizer and a trace of the model: seconds for a
table in which nothing is missing. So both are kept in the user's cache, under a
name that is made of all that they follow from: the pool's line, the settings,
the files of the checkpoint and this code. It imports none of those libraries.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging

import mmc_jax
from mmc_jax import at_once, pool, scores
from mmc_jax.models import hashes
from mmc_jax.scores import files
from mmc_jax.scoring.runs import Run
from mmc_jax.scoring.settings import Settings

# Packages that read checkpoints.
_PACKAGES = ("flax", "jax", "numpy", "tokenizers", "transformers")


def up_to_date(models: Sequence[pool.Model], run: Run) -> list[str]:
    """Returns the models whose finished scores are what this run would make.

    All others have to be looked at, which says of each what is the matter.

    Args:
      models: Models of the pool.
      run: The run; its table has the corpus.
    """
    # Several processes would have to agree.
    if run.cache is None or jax.process_count() > 1:
        return []
    finished = files.finished_models(
        run.out,
        [model.name for model in models if _is_written(model.name, run)],
    )
    return [
        model.name
        for model in models
        if model.name in finished
        and _is_as_known(model, finished[model.name], run)
    ]


def _is_written(name: str, run: Run) -> bool:
    """Returns whether all files of a model are there, and no parts of one."""
    return (
        scores.is_finished(run.out, name)
        and not files.parts_folder(run.out, name).exists()
        and (not run.settings.keep_tokens or scores.keeps_tokens(run.out, name))
    )


def _is_as_known(
    model: pool.Model, finished: scores.ScoredModel, run: Run
) -> bool:
    """Returns whether a finished model is what its checkpoint gives today."""
    name = name_of(model, run.settings)
    kept = None if name is None else _kept(run.cache, name)
    if kept is None:
        return False
    key, costs = kept
    of_model = model.family, model.kind, costs
    if of_model != (finished.family, finished.kind, finished.costs):
        return False
    paths = [pathlib.Path(model.checkpoint, file) for file in key["files"]]
    try:
        found = hashes.file_hashes(paths, cache_dir=run.settings.cache_dir)
    except OSError:
        return False
    return {**key, "files": found} == finished.provenance.get("key")


def name_of(model: pool.Model, settings: Settings) -> str | None:
    """Returns the name under which key and costs of a model are kept.

    None for what is no local folder. Files count with their sizes and times.

    Args:
      model: Model of the pool.
      settings: How texts are scored.
    """
    folder = pathlib.Path(model.checkpoint)
    try:
        if not folder.is_dir():
            return None
        listed = sorted(
            (entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            for entry in os.scandir(folder)
            for stat in (entry.stat(),)
        )
    except OSError:
        return None
    of_model = str(folder), model.revision, model.context, model.costs
    # A dtype, a window, a stride and a prefix; the rest changes no score.
    of_scores = settings[:4]
    return hashes.json_sha256([of_model, of_scores, listed, _code()])


def keep(
    folder: pathlib.Path | None,
    name: str | None,
    key: Mapping[str, Any],
    costs: Mapping[str, float],
) -> None:
    """Keeps key and costs of a model for `up_to_date`.

    Args:
      folder: Where to keep them; nothing is kept for None.
      name: Name from `name_of`, of before the checkpoint was read; nothing is
        kept for None.
      key: All that the model's scores depend on but the texts.
      costs: Costs of the model by name.
    """
    if name is None or folder is None:
        return
    content = [dict(key), dict(costs)]
    text = json.dumps([*content, hashes.json_sha256(content)])
    try:
        with at_once.replaced(folder / f"{name}.json") as new:
            new.write_text(text)
    except OSError as error:
        logging.warning("%s: not kept for the next run: %s", folder, error)


def _kept(
    folder: pathlib.Path, name: str
) -> tuple[dict[str, Any], dict[str, float]] | None:
    """Returns the key and the costs that `keep` has written, if it has."""
    try:
        text = (folder / f"{name}.json").read_bytes()
        key, costs, digest = json.loads(text)
        if digest == hashes.json_sha256([key, costs]):
            return key, costs
    except (OSError, ValueError, TypeError, RecursionError):
        pass  # There is none, or it is no use.
    return None


@functools.cache
def _code() -> str:
    """Returns a hash of this package's code and of the versions of others."""
    digest = hashlib.sha256()
    root = pathlib.Path(mmc_jax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    for package in _PACKAGES:
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()
