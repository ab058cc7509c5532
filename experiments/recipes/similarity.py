"""Models that differ in chosen factors alone; train_pool --study=similarity.

A full factorial design: two mixtures x two tokenizers x two architectures, each
with several seeds. Any two of the models share all but what their levels say,
and every model is a member of as many pairs of one kind as any other.

Both tokenizers are byte-level BPE with 1,024 tokens, trained on the same texts
of all domains in equal shares; a token of one ends where a word does, that of
the other may span words. Models of one architecture have the same config,
whatever their tokenizer, and of one seed the same initial weights. A sequence
holds as many tokens as stand for 512 bytes, so that all models see the same
amount of text, and those of one seed nearly the same passages of a domain.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import tokenizers

from mmc_jax import training
from mmc_jax.corpus import Corpus
from mmc_jax.scores import ScoredModel

from . import shipped
from .shipped import SEPARATOR, Run

NUM_STEPS = 240
NUM_SEEDS = 3
BYTES_PER_SEQUENCE = 512

_VOCAB_SIZE = 1024
_SEQUENCES_PER_STEP = 8


class Tokenizer(NamedTuple):
    """A level of the factor `tokenizer`.

    Attributes:
      split_words: Whether a token ends where a word does.
      seq_len: Tokens that stand for 512 bytes of all domains.
    """

    split_words: bool
    seq_len: int


# LLaMA with 125,520 parameters, Mamba with 123,088.
FACTORS = {
    "mixture": {
        "text": shipped.mixture(0.4, 0.4, 0.1, 0.1),
        "code": shipped.mixture(0.1, 0.1, 0.4, 0.4),
    },
    "tokenizer": {
        "words": Tokenizer(True, 201),
        "spans": Tokenizer(False, 190),
    },
    "architecture": {
        "llama": functools.partial(shipped.llama, 48, 3),
        "mamba": functools.partial(shipped.mamba, 56, 3),
    },
}


def trained_tokenizers(texts: Corpus) -> dict[str, tokenizers.Tokenizer]:
    """Returns the tokenizers, trained on the domains in equal shares."""
    equal = shipped.mixture(0.25, 0.25, 0.25, 0.25)
    chosen = shipped.sampled_texts(texts, equal)
    return {
        name: training.bpe_tokenizer(
            chosen, _VOCAB_SIZE, SEPARATOR, split_words=level.split_words
        )
        for name, level in FACTORS["tokenizer"].items()
    }


def runs(num_steps: int, seed: int) -> Iterator[Run]:
    """Yields the models to train, all of one seed before the next."""
    for replicate in range(seed, seed + NUM_SEEDS):
        for levels in itertools.product(*FACTORS.values()):
            mixture, tokenizer, architecture = levels
            seq_len = FACTORS["tokenizer"][tokenizer].seq_len
            recipe = training.Recipe(
                mixture=FACTORS["mixture"][mixture],
                seq_len=seq_len,
                num_steps=num_steps,
                tokens_per_step=_SEQUENCES_PER_STEP * seq_len,
                seed=replicate,
            )
            family = "-".join(levels)
            config = FACTORS["architecture"][architecture]()
            name = f"{family}-{replicate}"
            yield Run(name, family, tokenizer, config, recipe)


def levels(models: Iterable[ScoredModel]) -> dict[str, tuple[str, ...]]:
    """Returns the level of each factor, the seed among them, by model."""
    rows = [model.name.split("-") for model in models]
    return dict(zip([*FACTORS, "seed"], zip(*rows, strict=True), strict=True))
