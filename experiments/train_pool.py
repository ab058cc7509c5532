"""Trains the shipped pool: 5 families x 4 sizes, from nothing.

  python -m experiments.train_pool --out=mmc_jax/pools/stdlib20

A killed run goes on where it was; a finished model is skipped. At the end the
pool's YAML file is written beside its folder, and into it a README with the
recipe, the time and the losses on held-out texts. On 2 cores it takes one to
two hours.
"""

import json
import os
import pathlib
import platform

import jax
import numpy as np
import yaml
from absl import flags

from experiments import pool_recipe, program
from mmc_jax import corpus, models, pool, report, scoring, training

_OUT = flags.DEFINE_string("out", None, "The pool's folder.", required=True)
_WORK_DIR = flags.DEFINE_string(
    "work_dir", "results/train_pool", "Where the states of training are kept."
)
_NUM_STEPS = flags.DEFINE_integer("num_steps", 450, "Updates of each model.")
_SEED = flags.DEFINE_integer("seed", 0, "Of weights and batches.")
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts_per_domain", 100, "Held-out texts that the README tells of."
)


def _train(name, family, config, tokenizer, streams):
    """Trains one model and writes its folder."""
    separator = tokenizer.token_to_id(pool_recipe.SEPARATOR)
    config.vocab_size = tokenizer.get_vocab_size()
    config.bos_token_id = config.eos_token_id = separator
    config.pad_token_id = None
    recipe = training.Recipe(
        mixture=family.mixture,
        seq_len=pool_recipe.SEQ_LEN,
        num_steps=_NUM_STEPS.value,
        seed=_SEED.value,
    )
    work_dir = pathlib.Path(_WORK_DIR.value, name)
    model, measured = training.train(
        config, streams, recipe, work_dir, name=name
    )
    facts = {
        **recipe._asdict(),
        **measured,
        "corpus": "mmc_jax.corpus.embedded('train')",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "num_cores": os.cpu_count(),
    }
    folder = pathlib.Path(_OUT.value, name)
    training.save_folder(model, tokenizer, pool_recipe.SEPARATOR, facts, folder)


def _write_card(out, tokenizers, streams):
    """Scores held-out texts and writes the pool's README."""
    texts = corpus.embedded("held_out").sample(_NUM_TEXTS.value)
    table = scoring.score(
        pool.read(out.with_suffix(".yaml")),
        texts,
        pathlib.Path(_WORK_DIR.value, "scores"),
    )
    unigrams = {}
    for family, tokenizer in tokenizers.items():
        counts = np.zeros(tokenizer.get_vocab_size())
        for stream in streams[family].values():
            counts += np.bincount(stream, minlength=len(counts))
        tokens = [tokenizer.encode(text).ids for text in texts.texts]
        unigrams[family] = report.unigram_bits_per_byte(
            counts, tokens, texts.num_bytes
        )
    facts = {
        model.name: json.loads((out / model.name / "training.json").read_text())
        for model in table.models
    }
    vocab_sizes = {n: t.get_vocab_size() for n, t in tokenizers.items()}
    command = f"python -m experiments.train_pool --out={_OUT.value}"
    card = report.pool_card(table, facts, vocab_sizes, unigrams, command)
    (out / "README.md").write_text(card)


def main():
    out = pathlib.Path(_OUT.value)
    texts = corpus.embedded("train")
    tokenizers, streams = {}, {}
    for name, family in pool_recipe.FAMILIES.items():
        tokenizers[name] = pool_recipe.tokenizer(family, texts)
        streams[name] = training.token_streams(
            texts, tokenizers[name], pool_recipe.SEPARATOR
        )
    entries = []
    for size in pool_recipe.SIZES:
        for family_name, family in pool_recipe.FAMILIES.items():
            name = f"{family_name}-{size}"
            checkpoint = f"{out.name}/{name}"
            entries.append(
                {"name": name, "checkpoint": checkpoint, "family": family_name}
            )
            if not (out / name / models.loading.WEIGHTS).exists():
                _train(
                    name,
                    family,
                    family.configs[size],
                    tokenizers[family_name],
                    streams[family_name],
                )
    content = {"name": out.name, "models": entries}
    out.with_suffix(".yaml").write_text(
        yaml.safe_dump(content, sort_keys=False)
    )
    _write_card(out, tokenizers, streams)


if __name__ == "__main__":
    program.run(main)
