"""Tokenizers from the metadata of GGUF files."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers

from mmc_jax.models import gguf_files
from mmc_jax.scoring import backends, sentencepiece_models

# Kinds of tokens in the metadata; those of SentencePiece have the same numbers.
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6

# Lists without which there is no tokenizer of a kind, and what is in them.
_LISTS = {
    "llama": {"tokens": str, "token_type": int, "scores": float},
    "gpt2": {"tokens": str, "token_type": int, "merges": str},
}
_FLAGS = ("add_bos_token", "add_space_prefix", "remove_extra_whitespaces")

# How words are split by the tokenizers of LLaMA 3 and Qwen 2, which differ in
# the number of digits that stay together.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|"
    r"\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Names of pre-tokenizers in the metadata, by what they do.
_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo")
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r")
_FALCON = ("falcon",)
_LLAMA3 = ("llama3", "llama-v3", "llama-bpe", "falcon3")
_QWEN2 = ("qwen2", "stablelm2")


def read(path: pathlib.Path) -> backends.TokenizerFiles:
    """Returns the tokenizer of a GGUF file.

    Raises:
      ValueError: It has none, or one of a kind that is not read.
    """
    metadata = gguf_files.open(path).metadata
    found = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    kind = found.get("model")
    if isinstance(kind, str) and kind in _LISTS:
        _check(found, kind, path)
    bos, eos = found.get("bos_token_id"), found.get("eos_token_id")
    if kind == "llama":
        backend, adds_bos = _of_pieces(found, path), True
    elif kind == "gpt2":
        architecture = metadata.get("general.architecture")
        backend, adds_bos = _of_merges(found, path, architecture), False
    else:
        raise ValueError(
            f"{path}: tokenizer.ggml.model={kind!r} is not read; llama "
            "(SentencePiece) and gpt2 (byte-level BPE) are"
        )
    adds_bos = found.get("add_bos_token", adds_bos)
    return backends.TokenizerFiles(backend, bos if adds_bos else None, bos, eos)


def _check(found: Mapping[str, Any], kind: str, path: pathlib.Path) -> None:
    """Refuses metadata of which no tokenizer can be made.

    Raises:
      ValueError: A list is missing, or is of other values or of another length
        than the tokens; a special token is none of them; text is normalised.
    """
    problems = []
    tokens = found.get("tokens")
    num_tokens = len(tokens) if isinstance(tokens, list) else 0
    for name, of_type in _LISTS[kind].items():
        values = found.get(name)
        is_list = isinstance(values, list) and all(
            isinstance(value, of_type) for value in values
        )
        if not is_list:
            problems.append(f"{name} is no list of {of_type.__name__}")
        elif name != "merges" and len(values) != num_tokens:
            problems.append(f"{name} has {len(values)} of {num_tokens} values")
        elif name == "merges" and not all(" " in merge for merge in values):
            problems.append("merges holds one that is no pair")
    for name in ("bos_token_id", "eos_token_id"):
        id = found.get(name)
        if id is not None and (type(id) is not int or not 0 <= id < num_tokens):
            problems.append(f"{name}={id!r} is none of {num_tokens} tokens")
    for name in _FLAGS:
        if not isinstance(found.get(name, True), bool):
            problems.append(f"{name}={found[name]!r} is neither true nor false")
    if found.get("precompiled_charsmap"):
        problems.append("precompiled_charsmap is not implemented")
    if problems:
        raise ValueError(
            f"{path}: tokenizer.ggml.* of its metadata: {'; '.join(problems)}"
        )


def _of_pieces(
    found: Mapping[str, Any], path: pathlib.Path
) -> sentencepiece_models.SentencePieceTokenizer:
    """Returns the SentencePiece model that the metadata describes."""
    tokens, kinds = found["tokens"], found["token_type"]
    model = sentencepiece_models.model_message()()
    for token, score, kind in zip(tokens, found["scores"], kinds, strict=True):
        if kind == _USER_DEFINED:
            # The model sees a text after its spaces were replaced.
            token = token.replace(" ", "\u2581")
        model.pieces.add(piece=token, score=score, type=kind)
    spec = model.trainer_spec
    spec.model_type = spec.BPE
    spec.byte_fallback = _BYTE in kinds
    spec.vocab_size = len(tokens)
    if _UNKNOWN in kinds:
        spec.unk_id = kinds.index(_UNKNOWN)
        spec.unk_piece = tokens[spec.unk_id]
    for name in ("bos", "eos"):
        id = found.get(f"{name}_token_id")
        if id is not None:
            setattr(spec, f"{name}_id", id)
            setattr(spec, f"{name}_piece", tokens[id])
    rules = model.normalizer_spec
    rules.name = "identity"
    rules.add_dummy_prefix = found.get("add_space_prefix", True)
    rules.remove_extra_whitespaces = found.get(
        "remove_extra_whitespaces", False
    )
    rules.escape_whitespaces = True
    return sentencepiece_models.SentencePieceTokenizer(
        model.SerializeToString(), path
    )


def _of_merges(
    found: Mapping[str, Any], path: pathlib.Path, architecture: str | None
) -> backends.FastTokenizer:
    """Returns the byte-level BPE tokenizer that the metadata describes."""
    name = found.get("pre") or ("gpt-2" if architecture == "gpt2" else None)
    splits, normalizer = _splits(name, path, found)
    tokens, kinds = found["tokens"], found["token_type"]
    try:
        model = tokenizers.models.BPE(
            {token: id for id, token in enumerate(tokens)},
            [tuple(merge.split(" ", 1)) for merge in found["merges"]],
            ignore_merges=name in _LLAMA3,
        )
    # The library raises Exception itself.
    except Exception as error:
        raise ValueError(
            f"{path}: its tokenizer cannot be loaded ({error})"
        ) from error
    tokenizer = tokenizers.Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            tokenizers.AddedToken(
                token, normalized=False, special=kind == _CONTROL
            )
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    return backends.FastTokenizer(tokenizer)


def _splits(
    name: str | None, path: pathlib.Path, found: Mapping[str, Any]
) -> tuple[list[pre_tokenizers.PreTokenizer], normalizers.Normalizer | None]:
    """Returns how texts are split into words, and how they are normalised.

    Raises:
      ValueError: The name is not known.
    """

    def by_bytes(use_regex: bool) -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.ByteLevel(
            add_prefix_space=found.get("add_space_prefix", False),
            use_regex=use_regex,
        )

    def by_words(digits: str) -> list[pre_tokenizers.PreTokenizer]:
        pattern = tokenizers.Regex(_WORDS.format(digits=digits))
        return [pre_tokenizers.Split(pattern, "isolated"), by_bytes(False)]

    if name in _GPT2:
        return [by_bytes(True)], None
    if name in _SINGLE_DIGITS:
        return [pre_tokenizers.Digits(True), by_bytes(True)], None
    if name in _FALCON:
        three = tokenizers.Regex("[0-9][0-9][0-9]")
        return [
            pre_tokenizers.Punctuation("contiguous"),
            by_bytes(True),
            pre_tokenizers.Digits(False),
            pre_tokenizers.Split(three, "isolated"),
        ], None
    if name in _LLAMA3:
        return by_words("{1,3}"), None
    if name in _QWEN2:
        return by_words(""), normalizers.NFC()
    known = (*_GPT2, *_SINGLE_DIGITS, *_FALCON, *_LLAMA3, *_QWEN2)
    raise ValueError(
        f"{path}: tokenizer.ggml.pre={name!r} is not read; these are: "
        f"{', '.join(known)}"
    )
