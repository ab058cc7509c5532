"""Trains the models of a study, one after another, and scores them."""

import os
import pathlib
import platform
from typing import Any, NamedTuple

import jax
import numpy as np
import tokenizers
import yaml

from mmc_jax import (
    at_once,
    corpus,
    diversity,
    oracle,
    pool,
    report,
    scores,
    scoring,
    training,
)
from mmc_jax.corpus import files
from mmc_jax.models import weight_files

from . import shipped, similarity
from .shipped import SEPARATOR, Run

_NORMALISATION = "bits_per_byte"
_FACTS = "training.json"
STUDIES = {"stdlib": shipped, "similarity": similarity}


class TrainedPool(NamedTuple):
    """A pool that was trained.

    Attributes:
      tokenizers: The study's tokenizers, by name.
      streams: Tokens of the training texts, by tokenizer and domain.
      table: Scores of the held-out texts.
      texts: The held-out texts.
      facts: How each model was trained, by the model's name.
    """

    tokenizers: dict[str, tokenizers.Tokenizer]
    streams: dict[str, dict[str, np.ndarray]]
    table: scores.ScoreTable
    texts: corpus.Corpus
    facts: dict[str, dict[str, Any]]


def trained_pool(
    name: str,
    out: str,
    work_dir: str,
    *,
    num_steps: int | None,
    seed: int,
    num_texts_per_domain: int,
) -> TrainedPool:
    """Trains what is not there yet, writes the pool's YAML file and scores it.

    Args:
      name: The study, one of STUDIES.
      out: Folder of the models; the YAML file stands beside it.
      work_dir: Folder of the states of training and of the scores.
      num_steps: Updates of each model; the study's own number if None.
      seed: Seed of the first models' weights and batches.
      num_texts_per_domain: Number of held-out texts of each domain.

    Raises:
      ValueError: A model is there that was trained with another recipe.
      BlockingIOError: Another run is at the same training.
    """
    study, folder = STUDIES[name], pathlib.Path(out)
    texts = corpus.embedded("train")
    of_study = study.trained_tokenizers(texts)
    streams = {
        key: training.token_streams(texts, tokenizer, SEPARATOR)
        for key, tokenizer in of_study.items()
    }
    runs = list(study.runs(num_steps or study.NUM_STEPS, seed))
    for run in runs:
        if (folder / run.name / weight_files.WEIGHTS).exists():
            _check_recipe(run, folder / run.name)
        else:
            tokenizer = of_study[run.tokenizer]
            train(run, tokenizer, streams[run.tokenizer], folder, work_dir)
    pool_file = _write_pool(runs, folder)
    held_out = corpus.embedded("held_out").sample(num_texts_per_domain)
    table = scoring.score(
        pool.read(pool_file), held_out, pathlib.Path(work_dir, "scores", name)
    )
    facts = {
        run.name: files.json_object(folder / run.name / _FACTS) for run in runs
    }
    return TrainedPool(of_study, streams, table, held_out, facts)


def _check_recipe(run: Run, folder: pathlib.Path) -> None:
    """Refuses a model that is there, but of other steps, seed or texts."""
    facts = files.json_object(folder / _FACTS)
    # The texts are those that come with Python.
    recipe = {**run.recipe._asdict(), "python": platform.python_version()}
    differing = [
        f"{name} is {facts.get(name)} there and {value} now"
        for name, value in recipe.items()
        if facts.get(name) != value
    ]
    if differing:
        raise ValueError(
            f"{folder}: a model of another recipe ({'; '.join(differing)}); "
            "name another folder with --out, or delete this one"
        )


def train(
    run: Run,
    tokenizer: tokenizers.Tokenizer,
    streams: dict[str, np.ndarray],
    folder: pathlib.Path,
    work_dir: str,
) -> None:
    """Trains one model and writes its folder below `folder`."""
    separator = tokenizer.token_to_id(SEPARATOR)
    config = run.config
    config.vocab_size = tokenizer.get_vocab_size()
    config.bos_token_id = config.eos_token_id = separator
    config.pad_token_id = None
    state = pathlib.Path(work_dir, run.name)
    model, measured = training.train(
        config, streams, run.recipe, state, name=run.name
    )
    facts = {
        **run.recipe._asdict(),
        **measured,
        "corpus": "mmc_jax.corpus.embedded('train')",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "num_cores": os.cpu_count(),
    }
    training.save_folder(model, tokenizer, SEPARATOR, facts, folder / run.name)


def write_card(trained: TrainedPool, out: str) -> None:
    """Writes the README of the shipped pool into its folder."""
    unigrams = {}
    for family, tokenizer in trained.tokenizers.items():
        counts = np.zeros(tokenizer.get_vocab_size())
        for stream in trained.streams[family].values():
            counts += np.bincount(stream, minlength=len(counts))
        tokens = [tokenizer.encode(text).ids for text in trained.texts.texts]
        unigrams[family] = training.unigram_bits_per_byte(
            counts, tokens, trained.texts.num_bytes
        )
    card = report.pool_card(
        trained.table,
        trained.facts,
        {n: t.get_vocab_size() for n, t in trained.tokenizers.items()},
        unigrams,
        f"python -m experiments.train_pool --out={out}",
    )
    with at_once.replaced(pathlib.Path(out, "README.md")) as partial:
        partial.write_text(card)


def write_similarity(
    trained: TrainedPool, out: str, flags: dict[str, Any]
) -> str:
    """Writes what pairs that differ in chosen factors gain, and returns it."""
    table, levels = trained.table, similarity.levels(trained.table.models)
    losses = table.losses(_NORMALISATION)
    section = report.similarity_section(
        table,
        diversity.similarity(losses, levels, table.texts.domains),
        levels,
        trained.facts,
        oracle.exact_means(losses),
        _NORMALISATION,
    )
    return report.write_sections(out, [section], flags=flags)


def _write_pool(runs: list[Run], folder: pathlib.Path) -> pathlib.Path:
    """Writes the pool's YAML file and returns its path."""
    entries = [
        {
            "name": run.name,
            "checkpoint": f"{folder.name}/{run.name}",
            "family": run.family,
        }
        for run in runs
    ]
    content = {"name": folder.name, "models": entries}
    path = folder.with_suffix(".yaml")
    with at_once.replaced(path) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
