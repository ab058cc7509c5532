"""Tiny checkpoints, as transformers writes them, and texts to score."""

import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import tokenizers
import torch
import transformers

from mmc_jax import corpus, pool, training

# Positions of every model but Mamba: two buckets, 72 and 64.
CONTEXT = 72
SEPARATOR = "<|endoftext|>"
# More than the 257 tokens of the byte tokenizer, as in many real models.
VOCAB_SIZE = 264

_GATED = dict(
    hidden_size=20,
    intermediate_size=28,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    num_hidden_layers=2,
    max_position_embeddings=CONTEXT,
)
_CONFIGS = {
    "gpt2": dict(n_embd=24, n_head=3, n_layer=2, n_positions=CONTEXT),
    "gpt_neox": dict(
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=2,
        intermediate_size=44,
        max_position_embeddings=CONTEXT,
    ),
    "llama": _GATED,
    "mamba": dict(hidden_size=20, state_size=5, num_hidden_layers=2),
    "qwen3": _GATED,
}
FAMILIES = tuple(_CONFIGS)
# A mixture of experts, for what concerns those alone.
_MIXTURE = {
    "mixtral": _GATED | dict(num_local_experts=5, num_experts_per_tok=2)
}


def make(
    folder: pathlib.Path,
    model_type: str,
    *,
    tokenizer: tokenizers.Tokenizer | None = None,
    special_tokens: Mapping[str, str] | None = None,
    seed: int = 0,
    with_weights: bool = True,
    **changes,
) -> pathlib.Path:
    """Writes a checkpoint and returns its folder.

    Args:
      folder: Where to; it is made.
      model_type: One of `FAMILIES`, or "mixtral".
      tokenizer: One token a byte, if None.
      special_tokens: As for a tokenizer of transformers; BOS and EOS are the
        separator if None.
      seed: Of the weights.
      with_weights: Whether there is more than config and tokenizer.
      **changes: Of the config.
    """
    config = transformers.AutoConfig.for_model(
        model_type,
        **dict(vocab_size=VOCAB_SIZE, bos_token_id=0, eos_token_id=0)
        | (_CONFIGS | _MIXTURE)[model_type]
        | changes,
        use_cache=False,
    )
    if with_weights:
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
        model.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    save_tokenizer(folder, tokenizer, special_tokens)
    return folder


def save_tokenizer(
    folder: pathlib.Path,
    tokenizer: tokenizers.Tokenizer | None = None,
    special_tokens: Mapping[str, str] | None = None,
) -> None:
    """Writes the tokenizer of a checkpoint; the arguments are those of `make`.

    Args:
      folder: Folder of the checkpoint.
      tokenizer: Tokenizer to write.
      special_tokens: Special tokens by transformers' names.
    """
    if special_tokens is None:
        special_tokens = dict(bos_token=SEPARATOR, eos_token=SEPARATOR)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer or training.byte_tokenizer(SEPARATOR),
        **special_tokens,
    ).save_pretrained(folder)


def pool_of(**folders: pathlib.Path) -> pool.Pool:
    """Returns a pool of the folders, by name, each a family of its own."""
    return pool.Pool(
        "tiny",
        tuple(
            pool.Model(name, str(folder), None, f"family of {name}")
            for name, folder in folders.items()
        ),
    )


def corpus_of(texts: Sequence[str] | Mapping[str, str]) -> corpus.Corpus:
    """Returns a corpus; the ids are t0, t1, ... where none are given."""
    if not isinstance(texts, Mapping):
        texts = {f"t{i}": text for i, text in enumerate(texts)}
    lines = [json.dumps(dict(id=i, text=t)) for i, t in texts.items()]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "texts.jsonl"
        file.write_text("\n".join(lines))
        return corpus.read(file)
