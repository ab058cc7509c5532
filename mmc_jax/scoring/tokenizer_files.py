"""The tokenizer files of a checkpoint folder, put together to one backend.

A tokenizer is the sum of its files, as the fast tokenizers of transformers 4.57
read them: tokenizer.json, or a SentencePiece model, or a vocabulary; the tokens
that tokenizer_config.json or added_tokens.json add; the names of the special
tokens, which are the class's own where no file has any.
"""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from mmc_jax import limits
from mmc_jax.corpus import files
from mmc_jax.scoring import sentencepiece_models, tokenizer_classes
from mmc_jax.scoring.backends import Backend, FastTokenizer, TokenizerFiles

# The kinds of files of which each makes a tokenizer, in the order in which they
# are looked for.
_SENTENCEPIECE = (
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "*.model",
)
_VOCABULARIES = ("vocab*",)
# Formats for which there is no reader.
_UNREADABLE = ("tekken.json", "*.tiktoken")
# A tokenizer.json for transformers from some version on.
_VERSIONED = re.compile(r"tokenizer\.(\d+(?:\.\d+)*)\.json")
# The version whose fast tokenizers are the standard.
_VERSION = (4, 57)
# Classes whose tokens are pieces, with a mark for the space before a text.
_OF_PIECES = ("CodeLlamaTokenizer", "LlamaTokenizer")
# What tokens and prefix may depend on, in a checkpoint folder.
FILES = (
    "*.model",
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer*",
    "vocab*",
)


def read(folder: pathlib.Path) -> TokenizerFiles:
    """Returns the tokenizer of a checkpoint: of a folder, or of a GGUF file.

    Raises:
      ValueError: There is none that can be read; the message names the file.
    """
    if folder.is_file():
        # Needs models and with them much that folders do not.
        from mmc_jax.scoring import gguf_tokenizers

        return gguf_tokenizers.read(folder)
    config = _json(folder / "tokenizer_config.json")
    names = _special_names(folder, config)
    model_config = _json(folder / "config.json")
    class_name = tokenizer_classes.class_name(config, model_config)
    file = folder / _file_name(config)
    model = _first(folder, _SENTENCEPIECE)
    in_front = own_bos = own_eos = None
    if file.is_file():
        files.refuse_pointer(file)
        backend = FastTokenizer(_from_file(file))
        _add_tokens(folder, backend.tokenizer, config, names)
        _set_prefix_space(backend.tokenizer, config)
        if class_name in _OF_PIECES and config.get("add_prefix_space") is False:
            backend = FastTokenizer(_without_prefix_space(backend.tokenizer))
        in_front = backend.put_in_front()
    elif model is not None:
        files.refuse_pointer(model)
        limits.check_file("tokenizer", model)
        backend = sentencepiece_models.SentencePieceTokenizer(
            model.read_bytes(),
            model,
            added={
                token.content: id
                for id, token in _added_tokens(folder, config, names)
                if not token.special
            },
            is_xglm=class_name == "XGLMTokenizer",
            add_prefix_space=config.get("add_prefix_space"),
        )
        in_front = backend.in_front
        own_bos, own_eos = backend.bos, backend.eos
    elif _first(folder, _VOCABULARIES) is not None:
        backend = FastTokenizer(_of_vocabulary(folder, config))
        _add_tokens(folder, backend.tokenizer, config, names)
        in_front = backend.put_in_front()
    else:
        raise ValueError(f"{folder}: no tokenizer; {_what_to_do(folder)}")
    ids = {
        name: _special_id(backend, names.get(f"{name}_token"))
        for name in ("bos", "eos")
    }
    if not names.keys() & {"bos_token", "eos_token"}:
        # No file names them: the ids of the model's config are left.
        own_bos = _first_id(own_bos, model_config.get("bos_token_id"), backend)
        own_eos = _first_id(own_eos, model_config.get("eos_token_id"), backend)
        ids = {"bos": own_bos, "eos": own_eos}
    for name, token in tokenizer_classes.special_tokens(class_name).items():
        if ids[name] is None and f"{name}_token" not in names:
            ids[name] = _special_id(backend, token)
    return TokenizerFiles(backend, in_front, ids["bos"], ids["eos"])


def _file_name(config: dict[str, Any]) -> str:
    """Returns the name of tokenizer.json, which may be one for new versions.

    Of those that tokenizer_config.json lists, the newest that is not newer than
    the standard's version.
    """
    versions = {(): "tokenizer.json"}
    for name in config.get("fast_tokenizer_files") or ():
        if match := _VERSIONED.fullmatch(str(name)):
            versions[tuple(map(int, match[1].split(".")))] = name
    return versions[max(v for v in versions if v[:2] <= _VERSION)]


def _first(
    folder: pathlib.Path, patterns: Sequence[str]
) -> pathlib.Path | None:
    """Returns the first file of the folder that a pattern matches, if any."""
    found = (
        file
        for pattern in patterns
        for file in sorted(folder.glob(pattern))
        if file.is_file()
    )
    return next(found, None)


def _what_to_do(folder: pathlib.Path) -> str:
    """Returns what a folder without a readable tokenizer needs."""
    needed = "tokenizer.json and tokenizer_config.json must lie beside the"
    other = _first(folder, _UNREADABLE)
    if other is None:
        return f"{needed} weights"
    return (
        f"{other.name} is in a format that is not read; {needed} weights "
        "(transformers' save_pretrained of the tokenizer writes them)"
    )


def _json(file: pathlib.Path) -> dict[str, Any]:
    """Returns a JSON object of a file, an empty one where there is no file."""
    return files.json_object(file) if file.is_file() else {}


def _from_file(file: pathlib.Path) -> tokenizers.Tokenizer:
    """Returns the tokenizer of tokenizer.json, which may begin with a BOM."""
    limits.check_file("tokenizer", file)
    try:
        content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        return tokenizers.Tokenizer.from_buffer(content)
    # The library raises Exception itself.
    except Exception as error:
        raise ValueError(
            f"{file}: its tokenizer cannot be loaded "
            f"({type(error).__name__}: {error})"
        ) from error


def _of_vocabulary(
    folder: pathlib.Path, config: dict[str, Any]
) -> tokenizers.Tokenizer:
    """Returns the tokenizer that transformers makes of a bare vocabulary."""
    import transformers

    for pattern in (*_VOCABULARIES, "merges.txt"):
        for file in folder.glob(pattern):
            limits.check_file("tokenizer", file)
    # An empty name would have transformers look for it without end.
    empty = {
        key: None
        for key, value in config.items()
        if key.endswith("_token") and _content(value) == ""
    }
    try:
        wrapper = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, **empty
        )
        return wrapper.backend_tokenizer
    except Exception as error:
        raise ValueError(
            f"{folder}: its tokenizer cannot be loaded "
            f"({type(error).__name__}: {error})"
        ) from error


def _content(token: Any) -> Any:
    """Returns a token's text; files spell it out or wrap it in an object."""
    return token.get("content") if isinstance(token, dict) else token


def _special_names(
    folder: pathlib.Path, config: dict[str, Any]
) -> dict[str, str | None]:
    """Returns the special tokens by role, such as "bos_token".

    None where a file says that there is no such token. The file
    special_tokens_map.json counts only where the other lists no added tokens,
    as in transformers 4.57. An empty name names nothing.
    """
    named = dict(config)
    if "added_tokens_decoder" not in config:
        named |= _json(folder / "special_tokens_map.json")
    return {
        key: _content(value)
        for key, value in named.items()
        if key.endswith("_token")
        and (value is None or isinstance(_content(value), str))
        and _content(value) != ""
    }


def _additional_names(config: dict[str, Any]) -> list[str]:
    tokens = config.get("additional_special_tokens") or ()
    return [str(_content(token)) for token in tokens]


def _added_tokens(
    folder: pathlib.Path,
    config: dict[str, Any],
    names: dict[str, str | None],
) -> list[tuple[int, tokenizers.AddedToken]]:
    """Returns the tokens that files beside the tokenizer add, by id.

    Those of tokenizer_config.json; where it has none, of added_tokens.json.
    """
    special = {*filter(None, names.values()), *_additional_names(config)}
    decoder = config.get("added_tokens_decoder")
    file = folder / "tokenizer_config.json"
    if decoder is None:
        file = folder / "added_tokens.json"
        decoder = {
            id: {
                "content": content,
                "normalized": content not in special,
                "special": content in special,
            }
            for content, id in _json(file).items()
        }
    found = []
    try:
        for id, token in decoder.items():
            made = tokenizers.AddedToken(
                **{k: v for k, v in token.items() if k != "__type"}
            )
            if not made.content:
                raise ValueError(f"the one of id {id} is empty")
            made.special = made.special or made.content in special
            found.append((int(id), made))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: added tokens that are none ({error})"
        ) from error
    return sorted(found, key=lambda row: row[0])


def _add_tokens(
    folder: pathlib.Path,
    tokenizer: tokenizers.Tokenizer,
    config: dict[str, Any],
    names: dict[str, str | None],
) -> None:
    """Adds the tokens that files beside the tokenizer add.

    Raises:
      ValueError: A token would stand at another id than its file says.
    """
    there = {repr(t) for t in tokenizer.get_added_tokens_decoder().values()}
    for id, token in _added_tokens(folder, config, names):
        if repr(token) not in there:
            tokenizer.add_tokens([token])
        found = tokenizer.token_to_id(token.content)
        used = not token.special or token.content in names.values()
        if used and found != id:
            raise ValueError(
                f"{folder}: the added token {token.content!r} has the id {id} "
                f"in its file, but would be added as {found}; write a "
                "tokenizer.json that holds it"
            )


def _set_prefix_space(
    tokenizer: tokenizers.Tokenizer, config: dict[str, Any]
) -> None:
    """Sets whether a space goes before a text, as tokenizer_config.json says.

    Where it says nothing there is none: so transformers 4.57 reads the files
    of byte-level tokenizers, whatever tokenizer.json has.
    """
    state = tokenizer.pre_tokenizer
    if not isinstance(state, pre_tokenizers.ByteLevel):
        return
    asked = bool(config.get("add_prefix_space", False))
    if state.add_prefix_space != asked:
        state.add_prefix_space = asked
        tokenizer.pre_tokenizer = state


def _without_prefix_space(
    tokenizer: tokenizers.Tokenizer,
) -> tokenizers.Tokenizer:
    """Returns a tokenizer of pieces that puts no space before a text."""
    state = json.loads(tokenizer.to_str())
    normalizer = state["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer])
    kept = [step for step in steps if step.get("type") != "Prepend"]
    if "normalizers" in normalizer:
        normalizer["normalizers"] = kept
    elif not kept:
        state["normalizer"] = None
    splitter = state["pre_tokenizer"] or {}
    for step in splitter.get("pretokenizers", [splitter]):
        if step.get("type") == "Metaspace":
            step["prepend_scheme"] = "never"
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _special_id(backend: Backend, name: str | None) -> int | None:
    return None if name is None else backend.token_to_id(name)


def _first_id(own: int | None, stated: Any, backend: Backend) -> int | None:
    """Returns a special token's id: the tokenizer's own, else the model's."""
    if own is not None:
        return own
    if isinstance(stated, list):
        stated = stated[0] if stated else None
    if not isinstance(stated, int) or isinstance(stated, bool):
        return None
    return stated if backend.id_to_token(stated) is not None else None
