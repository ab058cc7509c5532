"""Configs of checkpoint folders, and what in them is refused.

Keys that cannot change PyTorch's logits are named once in a warning (the rule
is in `attributes`). What can change them from outside the config class is
refused: a quantisation, an adapter beyond plain LoRA, code of its own. So are
sizes beyond any model's, and two names of one thing whose values differ.
"""

import copy
import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import transformers
from absl import logging

from mmc_jax import limits, pool
from mmc_jax.corpus import files
from mmc_jax.models import (
    adapters,
    attributes,
    gguf_files,
    tied_heads,
    weight_files,
)

CONFIG = "config.json"

# Files beside config.json that change what transformers or others would load.
_REFUSED_FILES = {
    "hf_quant_config.json": "quantised checkpoints are not read",
}

# Second names under which published files repeat an attribute. transformers
# ignores them, so a file whose two values differ does not say what it means:
# unless it has the known name as well, and the shapes of tensors tell which
# holds (mamba-790m-hf has a hidden_size of 1536 and a d_model of 2048).
_SHAPED = ("hidden_size", "intermediate_size", "num_hidden_layers")
_SYNONYMS = {
    "d_inner": "intermediate_size",
    "d_model": "hidden_size",
    "n_embd": "hidden_size",
    "n_embed": "hidden_size",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "num_layers": "num_hidden_layers",
}
_ROTARY_SYNONYMS = {
    "partial_rotary_factor": "partial_rotary_factor",
    "rope_pct": "partial_rotary_factor",
    "rope_percent": "partial_rotary_factor",
    "rope_theta": "rope_theta",
    "rotary_base": "rope_theta",
    "rotary_emb_base": "rope_theta",
    "rotary_pct": "partial_rotary_factor",
    "rotary_percentage": "partial_rotary_factor",
}

_FLOATS = ("Infinity", "-Infinity", "NaN")

# Sizes without which there is no model.
_AT_LEAST_ONE = (
    r"(num|n)_(hidden_)?layers?|(num_)?(attention_)?heads|n_heads?"
    r"|num_attention_heads|vocab_size|hidden_size|n_embd|d_model"
)
# A file can state any number, and memory and time would follow it: the names of
# sizes, all of a name, and the limit of each.
_LIMITS = {
    r"(num|n)_(hidden_)?layers?|attention_types|first_k_dense_replace": (
        "layers"
    ),
    r"vocab_size": "vocabulary",
    r".*(size|dim|rank|heads?|experts|groups|kernel)|d_(model|inner)"
    r"|n_(embd|embed|inner)|expand|expansion_ratio|lru_width": "width",
    r".*(position|context|seq|window|_ctx).*": "context",
}


def read(folder: pathlib.Path) -> transformers.PreTrainedConfig:
    """Returns the config of a checkpoint, of a larger model its text's.

    The checkpoint is a folder or a GGUF file. Keys that transformers ignores
    are named in a warning, once for a file. A config that ties head and
    embedding is untied where the folder's weights differ.

    Raises:
      FileNotFoundError: There is no config.json.
      ValueError: config.json cannot be read; its `model_type` is not ported;
        transformers or the port refuses what it holds; or a file beside it
        changes what would be loaded. The message names all that is refused.
    """
    if pool.is_gguf(folder):
        return gguf_files.open(folder).config()
    for name, reason in _REFUSED_FILES.items():
        if (folder / name).is_file():
            raise ValueError(f"{folder / name}: {reason}")
    if (folder / adapters.CONFIG).is_file():
        _check_adapter(folder)
    path = folder / CONFIG
    raw = read_json(path)
    model_type = raw.get("model_type")
    attributes.check_model_type(
        model_type, str(path), has_code="auto_map" in raw
    )
    config_class = transformers.CONFIG_MAPPING[model_type]
    if problems := _impossible(raw, config_class):
        raise ValueError(f"{path}: {'; '.join(problems)}")
    try:
        config = config_class.from_dict(_as_declared(raw, config_class))
        inner = attributes.text(config)
    except Exception as error:  # transformers raises errors of many types.
        said = " ".join(str(error).split())  # Some say it in several lines.
        raise ValueError(f"{path}: {said}") from error
    problems = _contradictions(raw, config)
    if inner is not config:
        attributes.check_model_type(inner.model_type, f"{path}: text_config")
        problems += _contradictions(raw.get("text_config") or {}, inner)
    if problems:
        # What the port refuses besides is said in the same message.
        problems += attributes.refused(inner)
        raise ValueError(f"{path}: {'; '.join(problems)}")
    ignored = attributes.unread(config, attributes.TOWERS)
    ignored |= attributes.unread(inner)
    _warn_unread(str(path), tuple(ignored))
    return tied_heads.as_in_files(inner, folder)


def _check_adapter(folder: pathlib.Path) -> None:
    """Refuses an adapter that is not plain LoRA, or lies without its base."""
    base = adapters.checked_config(folder).get("base_model_name_or_path")
    try:
        weight_files.find(folder)
    except FileNotFoundError:
        if (folder / adapters.WEIGHTS).is_file():
            raise ValueError(
                f"{folder / adapters.CONFIG}: an adapter alone; put "
                f"config.json and the weights of its base model {base!r} "
                "beside it, or merge the two (peft: merge_and_unload, then "
                "save_pretrained)"
            ) from None


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object of a config's file, as transformers reads it.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is too large, is not JSON, or holds no object.
    """
    return files.json_object(path, object_hook=_special_float)


def _special_float(content: dict[str, Any]) -> Any:
    """Returns the float that transformers writes as {"__float__": "NaN"}."""
    if list(content) == ["__float__"] and content["__float__"] in _FLOATS:
        return float(content["__float__"])
    return content


def _impossible(
    raw: Mapping[str, Any], config_class: type[transformers.PreTrainedConfig]
) -> list[str]:
    """Returns what no config can hold: huge numbers and names of methods."""
    problems = [
        f"{name!r} is a method of transformers' {config_class.__name__}"
        for name in raw
        if callable(getattr(config_class, name, None))
    ]
    port = attributes.FAMILIES[config_class.model_type]
    if raw.get("per_layer_config") and not hasattr(port, "PER_LAYER"):
        problems.append("per_layer_config is not ported")
    for name, key, number in _numbers(raw):
        if number < 1 and re.fullmatch(_AT_LEAST_ONE, key):
            problems.append(f"{name} is {number}; it is at least 1")
        found = (
            limit
            for names, limit in _LIMITS.items()
            if re.fullmatch(names, key)
        )
        most = limits.LIMITS[next(found, "integer")].most
        if abs(number) > most:
            shown = f"{number:,}" if abs(number) < 2**64 else "a number"
            problems.append(f"{name} is {shown}, more than {most:,}")
    return problems


def _numbers(
    value: Any, name: str = "", key: str = ""
) -> Iterator[tuple[str, str, int]]:
    """Yields the integers of nested values: full name, last name, value."""
    if isinstance(value, dict):
        for inner, content in value.items():
            full = f"{name}.{inner}" if name else inner
            yield from _numbers(content, full, inner)
    elif isinstance(value, list):
        for content in value:
            yield from _numbers(content, name, key)
    elif type(value) is int:
        yield name, key, value


def _as_declared(
    raw: Mapping[str, Any], config_class: type[transformers.PreTrainedConfig]
) -> dict[str, Any]:
    """Returns a config's content, integers made floats where a class needs it.

    transformers' classes refuse 6 where 6.0 is declared; JSON writes both.
    Names of kernels are left out.
    """
    content = copy.deepcopy(dict(raw))
    port = attributes.FAMILIES.get(config_class.model_type)
    for name in getattr(port, "KERNELS", ()):
        content.pop(name, None)
    for field in dataclasses.fields(config_class):
        kinds = str(field.type)
        if "float" in kinds and "int" not in kinds and field.name in content:
            content[field.name] = _floats(content[field.name])
    for name, inner in config_class.sub_configs.items():
        if not isinstance(content.get(name), dict):
            continue
        if inner is transformers.AutoConfig:  # The content says of which class.
            model_type = content[name].get("model_type")
            if model_type not in transformers.CONFIG_MAPPING:
                continue
            inner = transformers.CONFIG_MAPPING[model_type]
        if dataclasses.is_dataclass(inner):
            content[name] = _as_declared(content[name], inner)
    return content


def _floats(value: Any) -> Any:
    """Returns a number or the numbers of a list as floats."""
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if type(value) is int else value


def _contradictions(
    raw: Mapping[str, Any], config: transformers.PreTrainedConfig
) -> list[str]:
    """Returns the second names whose values differ from what is read."""
    problems = []
    for name, value in raw.items():
        known = _SYNONYMS.get(name)
        if None in (value, known) or not hasattr(config, known):
            continue
        in_file = {known, config.attribute_map.get(known)} & raw.keys()
        if known in _SHAPED and in_file:
            continue
        if value != (meant := getattr(config, known)):
            problems.append(f"{name}={value!r}, but {known}={meant!r}")
    # Of names that transformers takes for one another it reads either. It may
    # rename the values, as it does with types of layers.
    for other, name in config.attribute_map.items():
        value, meant = raw.get(other), raw.get(name)
        if None not in (value, meant) and value != meant:
            problems.append(f"{other}={value!r}, but {name}={meant!r}")
    rope = getattr(config, "rope_parameters", None) or {}
    for name in _ROTARY_SYNONYMS.keys() & raw.keys():
        value, meant = raw[name], rope.get(_ROTARY_SYNONYMS[name])
        if value is None or meant is None or value == meant:
            continue
        problems.append(
            f"{name}={value!r}, but {_ROTARY_SYNONYMS[name]} of "
            f"rope_parameters is {meant!r}"
        )
    return problems


@functools.cache
def _warn_unread(path: str, names: tuple[str, ...]) -> None:
    if names:
        logging.warning(
            "%s: transformers does not read %s; ignored here as well",
            path,
            ", ".join(names),
        )
