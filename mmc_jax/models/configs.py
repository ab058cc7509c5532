"""What a config may hold. The standard is what transformers' PyTorch does.

A key that transformers' config class declares, or that its modelling code
reads, must be read by the port, or be declared inert with a reason, or stand at
its default. Any other key cannot change PyTorch's logits: it is named once in a
warning and kept in the provenance. What can change the logits from outside the
config class is refused: a quantisation, an adapter, code of the checkpoint's
own.
"""

import copy
import dataclasses
import functools
import json
import pathlib
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import transformers
from absl import logging
from flax import nnx

from mmc_jax.models import gguf_files, rotary
from mmc_jax.models.families import FAMILIES

CONFIG = "config.json"
_Model = TypeVar("_Model")

# Files beside config.json that change what transformers or others would load.
_REFUSED_FILES = {
    "adapter_config.json": "an adapter (LoRA or another of peft) is not "
    "applied; merge it into its base model (peft: merge_and_unload, then "
    "save_pretrained) and score the merged folder",
    "hf_quant_config.json": "quantised checkpoints are not read",
}

_TRAINING = "only training uses it"
_INITIALISATION = "it sets values that the checkpoint's weights replace"
_OUTPUTS = "it says what a call returns, not its logits"
_TOKENS = "it names tokens for generation or padding"
_NAMES = "it names classes, types or versions"
_HEADS = "it belongs to heads for classification or summaries"
_SPEED = "it chooses between ways to compute the same numbers"
_CONTEXT = (
    "it is a length of texts; tables of positions read it where it counts"
)
# Attributes that many classes of transformers declare and that do not change
# the logits of a causal model, each with the reason.
INERT: Mapping[str, str] = {
    name: reason
    for reason, names in {
        _TRAINING: "activation_dropout attention_dropout attn_pdrop "
        "classifier_dropout dropout emb_pdrop embd_pdrop embed_dropout "
        "gradient_checkpointing hidden_dropout layerdrop resid_dropout "
        "resid_pdrop router_aux_loss_coef router_jitter_noise",
        _INITIALISATION: "final_w_init_variance_scale init_device init_std "
        "initializer_range rescale_prenorm_residual time_step_init_scheme "
        "time_step_scale w_init_variance_scale",
        _OUTPUTS: "output_attentions output_hidden_states "
        "output_router_logits return_dict use_cache",
        _TOKENS: "bos_token_id decoder_start_token_id eos_token_id "
        "pad_token_id task_specific_params",
        _NAMES: "_name_or_path architectures dtype model_type tokenizer_class "
        "torch_dtype transformers_version",
        _HEADS: "id2label label2id num_labels problem_type summary_activation "
        "summary_first_dropout summary_last_dropout summary_proj_to_labels "
        "summary_type summary_use_proj",
        _SPEED: "_attn_implementation _experts_implementation "
        "chunk_size_feed_forward pretraining_tp use_associative_scan "
        "use_mambapy",
        _CONTEXT: "max_position_embeddings max_seq_len n_ctx",
    }.items()
    for name in names.split()
}
# Attributes of vision-language configs that the text tower does not use.
TOWERS: Mapping[str, str] = dict.fromkeys(
    "boi_token_index eoi_token_index image_token_id image_token_index "
    "mm_tokens_per_image text_config vision_config".split(),
    "it joins the vision tower and the text tower",
)

# Attributes that transformers reads though most classes do not declare them,
# each with the values that change nothing. A port that reads one handles it.
UNDECLARED: Mapping[str, Callable[[transformers.PreTrainedConfig], tuple]] = {
    "quantization_config": lambda config: (None,),
    "fusion_config": lambda config: (None,),
    "transformers_weights": lambda config: (None, "model.safetensors"),
    "_is_quantized": lambda config: (None, False),
    "is_causal": lambda config: (None, True),
    "head_dim": lambda config: (
        None,
        config.hidden_size // config.num_attention_heads,
    ),
}

# Second names under which published files repeat an attribute. transformers
# ignores them, so a file whose two values differ does not say what it means.
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

# A larger config.json is refused before it is parsed; published ones have at
# most some 100 kB.
_MAX_BYTES = 2**24
# The largest sizes that are built, each far above any published model's. A file
# can state any number, and memory and time would follow it.
_MAX_LAYERS = 10_000
_MAX_WIDTH = 2**22
_MAX_VOCAB = 2**26
_MAX_CONTEXT = 2**31
_MAX_INTEGER = 2**53
# The names of such sizes, all of a name, and the most of each.
_LIMITS = {
    r"(num|n)_(hidden_)?layers?|attention_types|first_k_dense_replace": (
        _MAX_LAYERS
    ),
    r"vocab_size": _MAX_VOCAB,
    r".*(size|dim|rank|heads?|experts|groups|kernel)|d_(model|inner)"
    r"|n_(embd|embed|inner)|expand|expansion_ratio|lru_width": _MAX_WIDTH,
    r".*(position|context|seq|window|_ctx).*": _MAX_CONTEXT,
}


def read(folder: pathlib.Path) -> transformers.PreTrainedConfig:
    """Returns the config of a checkpoint, of a larger model its text's.

    The checkpoint is a folder or a GGUF file. Keys that transformers ignores
    are named in a warning, once for a file.

    Raises:
      FileNotFoundError: There is no config.json.
      ValueError: config.json cannot be read; its `model_type` is not ported;
        transformers or the port refuses what it holds; or a file beside it
        changes what would be loaded. The message names all that is refused.
    """
    if gguf_files.is_gguf(folder):
        return gguf_files.open(folder).config()
    for name, reason in _REFUSED_FILES.items():
        if (folder / name).is_file():
            raise ValueError(f"{folder / name}: {reason}")
    path = folder / CONFIG
    raw = read_json(path)
    model_type = raw.get("model_type")
    _check_model_type(model_type, str(path), has_code="auto_map" in raw)
    config_class = transformers.CONFIG_MAPPING[model_type]
    if problems := _impossible(raw, config_class):
        raise ValueError(f"{path}: {'; '.join(problems)}")
    try:
        config = config_class.from_dict(_as_declared(raw, config_class))
        inner = text(config)
    except Exception as error:  # transformers raises errors of many types.
        raise ValueError(f"{path}: {error}") from error
    if problems := _contradictions(raw, config):
        # What the port refuses besides is said in the same message.
        problems += _refused(inner)
        raise ValueError(f"{path}: {'; '.join(problems)}")
    _warn_unread(str(path), (*unread(config, TOWERS), *unread(inner)))
    return inner


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the object of a JSON file; a byte order mark is no part of it.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is too large, is not JSON, or holds no object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent}: no {path.name}")
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path}: larger than {_MAX_BYTES:,} bytes")
    try:
        content = json.loads(
            path.read_bytes().decode("utf-8-sig"), object_hook=_special_float
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds {type(content).__name__} where an object of keys "
            "and values is needed"
        )
    return content


def _special_float(content: dict[str, Any]) -> Any:
    """Returns the float that transformers writes as {"__float__": "NaN"}."""
    if list(content) == ["__float__"] and content["__float__"] in _FLOATS:
        return float(content["__float__"])
    return content


def text(
    config: transformers.PreTrainedConfig,
) -> transformers.PreTrainedConfig:
    """Returns the config of the text tower; of most models it is their own.

    Raises:
      ValueError: The larger model has an attribute that nobody knows.
    """
    inner = config.get_text_config()
    if inner is not config:
        watched = Watched(config)
        problems = []
        if watched.tie_word_embeddings != inner.tie_word_embeddings:
            problems = [
                f"tie_word_embeddings={config.tie_word_embeddings}, but the "
                "text_config has the opposite"
            ]
        problems += watched.refused({**INERT, **TOWERS})
        if problems:
            raise ValueError("; ".join(problems))
    return inner


def family(config: transformers.PreTrainedConfig) -> types.ModuleType:
    """Returns the port of a config; ValueError if there is none."""
    _check_model_type(config.model_type, type(config).__name__)
    return FAMILIES[config.model_type]


def unread(
    config: transformers.PreTrainedConfig,
    inert: Mapping[str, str] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Returns the attributes that transformers neither declares nor reads.

    They cannot change the logits. Those inside `rope_parameters` and other
    dictionaries have the names of both, with a dot between.

    Args:
      config: The config of any ported model.
      inert: Names that are left out, each with the reason.
    """
    default = _default(type(config))
    known = {*INERT, *inert, *UNDECLARED, *_undeclared(config)}
    found = {
        name: value
        for name, value in config.to_dict().items()
        if name not in known and not hasattr(default, name)
    }
    rope = getattr(config, "rope_parameters", None) or {}
    for name, value in rotary.unread(rope).items():
        found[f"rope_parameters.{name}"] = value
    for part, value in vars(config).items():
        if isinstance(value, transformers.PreTrainedConfig) and (
            part not in inert
        ):
            inside = unread(value, inert)
            found |= {f"{part}.{name}": v for name, v in inside.items()}
    return found


def built(
    config: transformers.PreTrainedConfig, make: Callable[["Watched"], _Model]
) -> _Model:
    """Returns what `make` makes of a config, and checks what it left unread.

    Args:
      config: The config of a text model.
      make: The constructor of the model.

    Raises:
      ValueError: The port refuses an attribute. The message names all that it
        refuses.
    """
    watched = Watched(config)
    try:
        model = make(watched)
    except ValueError as error:
        problems = [str(error)]
    else:
        problems = watched.refused(inert(config))
        if not problems:
            return model
    raise ValueError("; ".join(dict.fromkeys([*problems, *_refused(config)])))


def inert(config: transformers.PreTrainedConfig) -> dict[str, str]:
    """Returns the attributes that a port may leave unread, with the reasons."""
    return {**INERT, **getattr(family(config), "INERT", {})}


class Watched:
    """A config that notes what is read of it: that is what a port handles."""

    def __init__(self, config: transformers.PreTrainedConfig):
        self._config = config
        self._default = _default(type(config))
        self._undeclared = _undeclared(config)
        self._read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        # A file may add any attribute. transformers reads those that the class
        # declares, and those that the family names.
        if not hasattr(self._default, name) and name not in self._undeclared:
            raise AttributeError(f"{type(self._config).__name__} has no {name}")
        value = getattr(self._config, name)
        self._read.add(self._config.attribute_map.get(name, name))
        return value

    @property
    def names_read(self) -> frozenset[str]:
        """The attributes that were read so far."""
        return frozenset(self._read)

    def refused(self, inert: Mapping[str, str]) -> list[str]:
        """Returns what counts and was not read, one sentence an attribute.

        Args:
          inert: Attributes that may be left unread, each with the reason.
        """
        config, default = self._config, self._default.to_dict()
        problems = []
        if config.is_heterogeneous:
            problems.append("per_layer_config is not ported")
        for name, value in config.to_dict().items():
            if name in self._read or name in inert:
                continue
            if name in default:
                harmless = (default[name],)
            elif name in UNDECLARED:
                harmless = UNDECLARED[name](config)
            else:
                continue
            if value not in harmless:
                problems.append(
                    f"config attribute {name}={value!r}: the port of "
                    f"{config.model_type} does not implement it"
                )
        return problems


@functools.cache
def _default(
    config_class: type[transformers.PreTrainedConfig],
) -> transformers.PreTrainedConfig:
    return config_class()


def _undeclared(config: transformers.PreTrainedConfig) -> tuple[str, ...]:
    """Returns what a port reads though transformers' class lacks it."""
    port = FAMILIES.get(config.model_type)
    return getattr(port, "UNDECLARED", ())


def _check_model_type(
    model_type: Any, where: str, *, has_code: bool = False
) -> None:
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(
            f"{where}: model_type {model_type!r} is not ported"
            + (" and its own code (auto_map) is never run" if has_code else "")
            + f"; ported are {', '.join(sorted(FAMILIES))}"
        )


def _impossible(
    raw: Mapping[str, Any], config_class: type[transformers.PreTrainedConfig]
) -> list[str]:
    """Returns what no config can hold: huge numbers and names of methods."""
    problems = [
        f"{name!r} is a method of transformers' {config_class.__name__}"
        for name in raw
        if callable(getattr(config_class, name, None))
    ]
    if raw.get("per_layer_config") is not None:
        problems.append("per_layer_config is not ported")
    for name, key, number in _numbers(raw):
        limits = (
            limit
            for names, limit in _LIMITS.items()
            if re.fullmatch(names, key)
        )
        most = next(limits, _MAX_INTEGER)
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
    """
    content = copy.deepcopy(dict(raw))
    for field in dataclasses.fields(config_class):
        kinds = str(field.type)
        if "float" in kinds and "int" not in kinds and field.name in content:
            content[field.name] = _floats(content[field.name])
    for name, inner in config_class.sub_configs.items():
        if isinstance(content.get(name), dict) and dataclasses.is_dataclass(
            inner
        ):
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
    synonyms = {**_SYNONYMS, **type(config).attribute_map}
    synonyms |= {known: name for name, known in config.attribute_map.items()}
    problems = []
    for name, value in raw.items():
        known = synonyms.get(name)
        if value is None or not hasattr(config, known or ""):
            continue
        if value != (meant := getattr(config, known)):
            problems.append(f"{name}={value!r}, but {known}={meant!r}")
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


def _refused(config: transformers.PreTrainedConfig) -> list[str]:
    """Returns all that the port of a config refuses.

    A constructor stops at the first attribute that it refuses. That one is set
    to its default, and the constructor tried again, until it passes.
    """
    port, allowed = family(config), inert(config)
    config = copy.deepcopy(config)
    problems: list[str] = []
    for _ in range(len(config.to_dict())):
        watched = Watched(config)
        try:
            nnx.eval_shape(
                lambda watched=watched: port.CausalLM(watched, rngs=nnx.Rngs(0))
            )
        except ValueError as error:
            problems.append(str(error))
        else:
            return problems + watched.refused(allowed)
        if not _set_to_default(config, problems[-1]):
            break
    return problems


def _set_to_default(
    config: transformers.PreTrainedConfig, problem: str
) -> bool:
    """Sets the attribute that a message names to its default, if it can."""
    default = _default(type(config))
    for name in sorted(default.to_dict(), key=len, reverse=True):
        value, usual = getattr(config, name, None), getattr(default, name, None)
        named = re.search(rf"\b{re.escape(name)}\b", problem)
        quoted = isinstance(value, str) and repr(value) in problem
        if (named or quoted) and value != usual:
            setattr(config, name, usual)
            return True
    return False


@functools.cache
def _warn_unread(path: str, names: tuple[str, ...]) -> None:
    if names:
        logging.warning(
            "%s: transformers does not read %s; ignored here as well",
            path,
            ", ".join(names),
        )
