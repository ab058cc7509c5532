"""The recipe of the shipped pool: 5 families x 4 sizes; train_pool follows it.

Each family has a tokenizer and a mixture of domains of its own, as real ones
have, and the same recipe at every size.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import tokenizers
import transformers

from mmc_jax import training
from mmc_jax.corpus import Corpus

SEQ_LEN = 256
SEPARATOR = "<|endoftext|>"
SIZES = ("30k", "100k", "300k", "1m")
NUM_STEPS = 1200

# Many small updates: at one price in tokens, four times as many updates of a
# quarter of the batch, at a higher learning rate, end far lower.
_TOKENS_PER_STEP = 1024

# Texts of the training split that a tokenizer is trained on.
_TOKENIZER_TEXTS = 4000


class Run(NamedTuple):
    """One model to train.

    Attributes:
      name: Name of the model, unique in its study.
      family: Family of the model in the pool file.
      tokenizer: Name of one of the study's tokenizers.
      config: Hugging Face's config, without the vocabulary.
      recipe: Data, length and seed of the training.
    """

    name: str
    family: str
    tokenizer: str
    config: transformers.PreTrainedConfig
    recipe: training.Recipe


@dataclasses.dataclass(frozen=True)
class Family:
    """A line of models: what all of its sizes share.

    Attributes:
      vocab_size: Number of tokens of the BPE tokenizer; None for bytes.
      mixture: Shares of the domains.
      configs: Hugging Face's config of each size, without the vocabulary.
      learning_rate: Highest learning rate of the training, of every size.
    """

    vocab_size: int | None
    mixture: dict[str, float]
    configs: dict[str, transformers.PreTrainedConfig]
    learning_rate: float = 6e-3


def _gpt2(width, num_layers):
    return transformers.GPT2Config(
        n_positions=SEQ_LEN, n_embd=width, n_layer=num_layers, n_head=2
    )


def _gpt_neox(width, num_layers):
    return transformers.GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=4 * width,
        max_position_embeddings=SEQ_LEN,
    )


def _gated(config_class, width, num_layers, **more):
    return config_class(
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=8 * width // 3,
        max_position_embeddings=SEQ_LEN,
        tie_word_embeddings=True,
        **more,
    )


def llama(width, num_layers):
    """Returns the config of a LLaMA with one key head for two queries."""
    return _gated(transformers.LlamaConfig, width, num_layers)


def _qwen3(width, num_layers):
    head_dim = max(16, width // 2)
    return _gated(
        transformers.Qwen3Config, width, num_layers, head_dim=head_dim
    )


def mamba(width, num_layers):
    """Returns the config of a Mamba with four states a feature."""
    return transformers.MambaConfig(
        hidden_size=width, num_hidden_layers=num_layers, state_size=4
    )


def _sizes(config, small, medium, large, largest):
    sizes = {"30k": small, "100k": medium, "300k": large, "1m": largest}
    return {name: config(*size) for name, size in sizes.items()}


def mixture(prose, docstring, python, c):
    """Returns the share of each domain by name."""
    return {"prose": prose, "docstring": docstring, "python": python, "c": c}


# Each family is a specialist: nine tenths of its text are of one domain, or of
# two. The sizes of one name differ by a fifth from family to family.
FAMILIES = {
    "gpt2": Family(
        768,
        mixture(0.03, 0.91, 0.03, 0.03),
        _sizes(_gpt2, (24, 2), (48, 3), (80, 4), (128, 5)),
        # At the rate of the others its larger sizes end above the smaller.
        learning_rate=2.5e-3,
    ),
    "gpt_neox": Family(
        320,
        mixture(0.03, 0.47, 0.47, 0.03),
        _sizes(_gpt_neox, (32, 2), (48, 3), (80, 4), (144, 5)),
    ),
    "llama": Family(
        512,
        mixture(0.91, 0.03, 0.03, 0.03),
        _sizes(llama, (24, 2), (44, 3), (72, 4), (120, 5)),
    ),
    "qwen3": Family(
        1024,
        mixture(0.03, 0.03, 0.91, 0.03),
        _sizes(_qwen3, (20, 2), (44, 3), (76, 4), (124, 5)),
    ),
    "mamba": Family(
        None,
        mixture(0.02, 0.02, 0.02, 0.94),
        _sizes(mamba, (32, 2), (56, 3), (88, 4), (160, 4)),
    ),
}


def sampled_texts(texts: Corpus, mixture: dict[str, float]) -> tuple[str, ...]:
    """Returns the texts of a mixture that a tokenizer is trained on."""
    chosen = []
    for domain, share in mixture.items():
        of_domain = [
            text
            for text, name in zip(texts.texts, texts.domains, strict=True)
            if name == domain
        ]
        chosen += of_domain[: round(share * _TOKENIZER_TEXTS)]
    return tuple(chosen)


def trained_tokenizers(texts: Corpus) -> dict[str, tokenizers.Tokenizer]:
    """Returns each family's tokenizer, trained on its own mixture."""
    return {
        name: training.byte_tokenizer(SEPARATOR)
        if family.vocab_size is None
        else training.bpe_tokenizer(
            sampled_texts(texts, family.mixture), family.vocab_size, SEPARATOR
        )
        for name, family in FAMILIES.items()
    }


def runs(num_steps: int, seed: int) -> Iterator[Run]:
    """Yields the models to train, all of one size before the next."""
    for size in SIZES:
        for name, family in FAMILIES.items():
            recipe = training.Recipe(
                mixture=family.mixture,
                seq_len=SEQ_LEN,
                num_steps=num_steps,
                tokens_per_step=_TOKENS_PER_STEP,
                learning_rate=family.learning_rate,
                seed=seed,
            )
            yield Run(
                f"{name}-{size}", name, name, family.configs[size], recipe
            )
