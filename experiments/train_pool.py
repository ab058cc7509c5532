"""Trains the shipped pool, or models to measure similarity on, from nothing.

  python -m experiments.train_pool --out=mmc_jax/pools/stdlib20

trains 5 families x 4 sizes and writes the pool's README, with the recipe, the
time and the losses on held-out texts. On 2 cores it takes one to two hours.

  python -m experiments.train_pool --study=similarity --out=results/similarity

trains pairs of models that share all but the seed, the mixture, the tokenizer
or the architecture, and writes what each pair gains on held-out texts into
result.json and a figure. On 2 cores it takes about half an hour.

Both write the pool's YAML file beside its folder. A killed run goes on where it
was; a finished model is skipped.
"""

import json
import os
import pathlib
import platform

import jax
import numpy as np
import yaml
from absl import flags

from experiments import pool_recipe, program, similarity_recipe
from mmc_jax import (
    corpus,
    diversity,
    oracle,
    pool,
    report,
    scoring,
    training,
)
from mmc_jax.models import tensors
from mmc_jax.scoring import compilation_cache

_NORMALISATION = "bits_per_byte"
_RECIPES = {"stdlib": pool_recipe, "similarity": similarity_recipe}

_STUDY = flags.DEFINE_enum(
    "study", "stdlib", list(_RECIPES), "Which models are trained."
)
_OUT = flags.DEFINE_string("out", None, "The pool's folder.", required=True)
_WORK_DIR = flags.DEFINE_string(
    "work_dir", "results/train_pool", "Where the states of training are kept."
)
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Updates of each model; the study's own if left out."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights and batches; the first.")
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts_per_domain", 100, "Held-out texts that the losses are of."
)


def _train(run, tokenizer, streams, folder):
    """Trains one model and writes its folder."""
    separator = tokenizer.token_to_id(pool_recipe.SEPARATOR)
    config = run.config
    config.vocab_size = tokenizer.get_vocab_size()
    config.bos_token_id = config.eos_token_id = separator
    config.pad_token_id = None
    work_dir = pathlib.Path(_WORK_DIR.value, run.name)
    model, measured = training.train(
        config, streams, run.recipe, work_dir, name=run.name
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
    training.save_folder(model, tokenizer, pool_recipe.SEPARATOR, facts, folder)


def _write_card(out, table, texts, facts, tokenizers, streams):
    """Writes the shipped pool's README."""
    unigrams = {}
    for family, tokenizer in tokenizers.items():
        counts = np.zeros(tokenizer.get_vocab_size())
        for stream in streams[family].values():
            counts += np.bincount(stream, minlength=len(counts))
        tokens = [tokenizer.encode(text).ids for text in texts.texts]
        unigrams[family] = training.unigram_bits_per_byte(
            counts, tokens, texts.num_bytes
        )
    vocab_sizes = {n: t.get_vocab_size() for n, t in tokenizers.items()}
    command = f"python -m experiments.train_pool --out={_OUT.value}"
    card = report.pool_card(table, facts, vocab_sizes, unigrams, command)
    (out / "README.md").write_text(card)


def main():
    compilation_cache.enable()
    study = _RECIPES[_STUDY.value]
    out = pathlib.Path(_OUT.value)
    texts = corpus.embedded("train")
    tokenizers = study.trained_tokenizers(texts)
    streams = {
        name: training.token_streams(texts, tokenizer, pool_recipe.SEPARATOR)
        for name, tokenizer in tokenizers.items()
    }
    entries = []
    num_steps = _NUM_STEPS.value or study.NUM_STEPS
    for run in study.runs(num_steps, _SEED.value):
        checkpoint = f"{out.name}/{run.name}"
        entries.append(
            {"name": run.name, "checkpoint": checkpoint, "family": run.family}
        )
        folder = out / run.name
        if not (folder / tensors.WEIGHTS).exists():
            _train(
                run, tokenizers[run.tokenizer], streams[run.tokenizer], folder
            )
    content = {"name": out.name, "models": entries}
    out.with_suffix(".yaml").write_text(
        yaml.safe_dump(content, sort_keys=False)
    )
    held_out = corpus.embedded("held_out").sample(_NUM_TEXTS.value)
    table = scoring.score(
        pool.read(out.with_suffix(".yaml")),
        held_out,
        pathlib.Path(_WORK_DIR.value, "scores", _STUDY.value),
    )
    facts = {
        model.name: json.loads((out / model.name / "training.json").read_text())
        for model in table.models
    }
    if _STUDY.value == "stdlib":
        _write_card(out, table, held_out, facts, tokenizers, streams)
        return
    losses = table.losses(_NORMALISATION)
    levels = similarity_recipe.levels(table.models)
    groups = diversity.similarity(losses, levels, table.texts.domains)
    section = report.similarity_section(
        table, groups, levels, facts, oracle.exact_means(losses), _NORMALISATION
    )
    print(report.write_sections(out, [section], flags=program.flag_values()))


if __name__ == "__main__":
    program.run(main)
