"""The card of a pool that was trained here: recipe, time, losses."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import oracle
from mmc_jax.scores import ScoreTable


def pool_card(
    table: ScoreTable,
    training: Mapping[str, Mapping[str, Any]],
    vocab_sizes: Mapping[str, int],
    unigram_bits_per_byte: Mapping[str, float],
    command: str,
) -> str:
    """Returns the card in Markdown.

    Args:
      table: The models' scores on held-out texts.
      training: Facts that `mmc_jax.training.save_folder` wrote, by model.
      vocab_sizes: Number of tokens in the vocabulary, by family; 257 is one
        token a byte and a separator.
      unigram_bits_per_byte: Loss of the tokens' frequencies in bits per byte,
        by family.
      command: Command that trains the pool.
    """
    losses = table.losses("bits_per_byte")
    facts = training[table.models[0].name]
    minutes = sum(facts["seconds"] for facts in training.values()) / 60
    recipe = _filled(
        f"""**Recipe**, the same at every size: {facts["num_steps"]:,} AdamW
        updates of {facts["tokens_per_step"]:,} tokens in sequences of
        {facts["seq_len"]}, {facts["warmup_fraction"]:.0%} warm-up to the
        highest learning rate, cosine decay to a tenth of it, weight decay
        {facts["weight_decay"]:g}, gradient norm clipped to
        {facts["max_grad_norm"]:g}, seed {facts["seed"]}. Data:
        `{facts["corpus"]}` of Python {facts["python"]}; a family samples the
        domains in its own mixture and has a learning rate of its own."""
    )
    hardware = _filled(
        f"""**Hardware**: {facts["device"]}, {facts["num_cores"]} cores, JAX
        {facts["jax"]}; {minutes:.0f} minutes in all (other programs ran beside
        it)."""
    )
    explained = _filled(
        f"""**Losses** in bits per byte on {len(table.texts)} held-out texts
        (mean over texts), the mean training loss of the last tenth of the steps
        in nats per token, and the minutes of training. The unigram column above
        is what the frequencies of a family's tokens alone reach on the same
        texts. An ideal choice among all models for each text reaches
        {oracle.exact_means(losses.min(axis=0)):.3f}."""
    )
    return f"""# A pool of {len(table.models)} small language models

Trained from nothing on text that comes with Python, so that everything in
mmc_jax can be tried on real models without a download. Ordinary Hugging Face
folders; weights in float16. They are for trying things on, not for use.

    {command}

{recipe}

{hardware}

| family | vocabulary | mixture | learning rate | unigram, bits per byte |
| --- | ---: | --- | ---: | ---: |
{_families(table, training, vocab_sizes, unigram_bits_per_byte)}

{explained}

{_models(table, training, losses)}
"""


def _models(
    table: ScoreTable,
    training: Mapping[str, Mapping[str, Any]],
    losses: np.ndarray,
) -> str:
    """Returns a table of the models in Markdown: losses by domain, and times.

    Args:
      table: The models' scores, of X texts.
      training: Facts of the training of each model, by name.
      losses: Loss of each text under each model, [M, X].
    """
    domains = sorted(set(table.texts.domains))
    chosen = {domain: table.domain_mask(domain) for domain in domains}
    header = ["model", "parameters", *domains, "all", "train loss", "minutes"]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for m, model in enumerate(table.models):
        facts = training[model.name]
        rows.append(
            [
                model.name,
                f"{model.costs['num_params']:,}",
                *(
                    f"{oracle.exact_means(losses[m, chosen[domain]]):.3f}"
                    for domain in domains
                ),
                f"{oracle.exact_means(losses[m]):.3f}",
                f"{facts['train_loss_nats']:.3f}",
                f"{facts['seconds'] / 60:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _families(
    table: ScoreTable,
    training: Mapping[str, Mapping[str, Any]],
    vocab_sizes: Mapping[str, int],
    unigram_bits_per_byte: Mapping[str, float],
) -> str:
    """Returns the rows of a table of the families in Markdown."""
    rows = []
    for family in dict.fromkeys(model.family for model in table.models):
        name = next(m.name for m in table.models if m.family == family)
        mixture = ", ".join(
            f"{domain} {share:.0%}"
            for domain, share in training[name]["mixture"].items()
        )
        rows.append(
            f"| {family} | {vocab_sizes[family]:,} | {mixture} | "
            f"{training[name]['learning_rate']:g} | "
            f"{unigram_bits_per_byte[family]:.3f} |"
        )
    return "\n".join(rows)


def _filled(paragraph: str) -> str:
    """Returns a paragraph in lines of at most 80 characters."""
    return textwrap.fill(" ".join(paragraph.split()), 80)
