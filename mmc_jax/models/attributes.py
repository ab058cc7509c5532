"""Which attributes of a config count. The standard is transformers' PyTorch.

An attribute that transformers' config class declares, or that its modelling
code reads, must be read by the port, or be declared inert with a reason, or
stand at its default. Any other attribute cannot change PyTorch's logits.
"""

import copy
import functools
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import transformers
from flax import nnx

from mmc_jax.models import layers, quantised, rotary
from mmc_jax.models.families import FAMILIES, WRAPPERS

_Model = TypeVar("_Model")

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
    "audio_config audio_token_id boa_token_id boi_token_id boi_token_index "
    "eoa_token_index eoi_token_id eoi_token_index image_token_id "
    "image_token_index mm_tokens_per_image multimodal_projector_bias "
    "projector_hidden_act spatial_merge_size text_config video_token_id "
    "vision_config vision_end_token_id vision_feature_layer "
    "vision_start_token_id".split(),
    "it belongs to other towers, or joins them to the text's",
)

# Attributes that transformers reads though most classes do not declare them,
# each with the values that change nothing. A port that reads one handles it.
UNDECLARED: Mapping[str, Callable[[transformers.PreTrainedConfig], tuple]] = {
    "quantization_config": lambda config: (
        None,
        *filter(quantised.is_read, [config.to_dict()["quantization_config"]]),
    ),
    "fusion_config": lambda config: (None,),
    "transformers_weights": lambda config: (None, "model.safetensors"),
    "_is_quantized": lambda config: (None, False),
    "is_causal": lambda config: (None, True),
    "head_dim": lambda config: (
        None,
        config.hidden_size // config.num_attention_heads,
    ),
}


# Names of the number of positions that a query sees.
_WINDOWS = ("attention_window_size", "sliding_window", "window_size")
# Names of the number of experts, and of those that a token gets.
_NUM_EXPERTS = (
    *("num_local_experts", "num_experts", "n_routed_experts"),
    "moe_num_experts",
)
_EXPERTS_OF_TOKEN = ("num_experts_per_tok", "top_k_experts", "moe_topk")
_HEADS_OF_BOTH = ("num_attention_heads", "num_key_value_heads")


def text(
    config: transformers.PreTrainedConfig,
) -> transformers.PreTrainedConfig:
    """Returns the config of the text tower; of most models it is their own.

    Whether head and embedding are tied is what the larger model says, which
    has the head.

    Raises:
      ValueError: The larger model has an attribute that nobody knows; or it
        has a head of its own and the text tower a tied one.
    """
    inner = config.get_text_config()
    if inner.is_heterogeneous:
        # Else transformers refuses to compare it with another config.
        inner.allow_global_per_layer_attribute_access = True
    if inner is not config:
        watched = Watched(config)
        problems = []
        tied = watched.tie_word_embeddings
        if inner.tie_word_embeddings and not tied:
            problems = [
                f"tie_word_embeddings={tied}, but the text_config has the "
                "opposite"
            ]
        problems += watched.refused({**INERT, **TOWERS})
        if inner.model_type in WRAPPERS:
            problems.append(f"text_config: {inner.model_type!r} is no text")
        if problems:
            raise ValueError("; ".join(problems))
        if tied and not inner.tie_word_embeddings:
            inner = copy.deepcopy(inner)
            inner.tie_word_embeddings = True
    return inner


def family(config: transformers.PreTrainedConfig) -> types.ModuleType:
    """Returns the port of a config; ValueError if there is none."""
    check_model_type(config.model_type, type(config).__name__)
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
    known |= default.to_dict().keys()
    found = {
        name: value
        for name, value in config.to_dict().items()
        if name not in known and not hasattr(default, name)
    }
    rope = getattr(config, "rope_parameters", None) or {}
    own = getattr(FAMILIES.get(config.model_type), "ROTARY", ())
    for name, value in rotary.unread(rope, own).items():
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
    # Sizes that fit no model end in errors of many kinds.
    except Exception as error:
        raise ValueError(
            f"no {config.model_type} can be built of this config "
            f"({type(error).__name__}: {error})"
        ) from error
    else:
        problems = watched.refused(inert(config)) + watched.impossible()
        if not problems:
            return model
    raise ValueError("; ".join(dict.fromkeys([*problems, *refused(config)])))


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
        of_layers = getattr(FAMILIES.get(config.model_type), "PER_LAYER", ())
        if config.is_heterogeneous:
            layers = config.to_dict()["per_layer_config"].values()
            if {name for layer in layers for name in layer} - {*of_layers}:
                problems.append("per_layer_config is not ported")
        for name, value in config.to_dict().items():
            if name in self._read or name in inert or name in of_layers:
                continue
            if name in default:
                harmless = (default[name],)
            elif name in UNDECLARED:
                harmless = UNDECLARED[name](config)
            else:
                continue
            if value not in harmless:
                shown = repr(value)
                shown = shown if len(shown) <= 200 else f"{shown[:200]} ..."
                problems.append(
                    f"config attribute {name}={shown}: the port of "
                    f"{config.model_type} does not implement it"
                )
        return problems

    def impossible(self) -> list[str]:
        """Returns the sizes that were read and that no model has.

        PyTorch fails on them, some only when it computes.
        """
        problems = []
        for name in _WINDOWS:
            window = getattr(self._config, name, None)
            if name in self._read and type(window) is int and window < 1:
                problems.append(f"{name}={window}; it is at least 1")
        if {*_HEADS_OF_BOTH} <= self._read:
            heads, kv_heads = (getattr(self._config, n) for n in _HEADS_OF_BOTH)
            if kv_heads == 0:
                problems.append("num_key_value_heads=0; it is at least 1")
            elif kv_heads and heads % kv_heads:
                problems.append(
                    f"num_attention_heads={heads} is no multiple of "
                    f"num_key_value_heads={kv_heads}"
                )
        return problems + self._impossible_experts()

    def _impossible_experts(self) -> list[str]:
        """Returns a number of a token's experts that there are not."""

        def found(names: tuple[str, ...]) -> tuple[str, Any]:
            named = self._config.attribute_map
            values = (
                (name, getattr(self._config, name, None))
                for name in names
                if named.get(name, name) in self._read
            )
            return next(((n, v) for n, v in values if v), ("", 0))

        def numbers(value: Any) -> list[int]:  # Some give one a layer.
            return value if isinstance(value, list) else [value]

        name, num_experts = found(_NUM_EXPERTS)
        of_token, chosen = found(_EXPERTS_OF_TOKEN)
        if not num_experts or max(numbers(chosen)) <= min(numbers(num_experts)):
            return []
        return [f"{of_token}={chosen}, but {name}={num_experts}"]


@functools.cache
def _default(
    config_class: type[transformers.PreTrainedConfig],
) -> transformers.PreTrainedConfig:
    return config_class()


def _undeclared(config: transformers.PreTrainedConfig) -> tuple[str, ...]:
    """Returns what a port reads though transformers' class lacks it."""
    port = FAMILIES.get(config.model_type)
    return getattr(port, "UNDECLARED", ())


def check_model_type(
    model_type: Any, where: str, *, has_code: bool = False
) -> None:
    """Refuses a model type without a port.

    Args:
      model_type: The value of that name in a config.
      where: The beginning of the message, such as the config's file.
      has_code: Whether the checkpoint brings code of its own.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(
            f"{where}: model_type {model_type!r} is not ported"
            + (" and its own code (auto_map) is never run" if has_code else "")
            + f"; ported are {', '.join(sorted(FAMILIES))}"
        )


def refused(config: transformers.PreTrainedConfig) -> list[str]:
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
                lambda watched=watched: port.CausalLM(
                    watched, rngs=layers.ShapesOnly(0)
                )
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
    # Those of layers have no value of the model.
    of_layers = ("per_layer_config", *getattr(family(config), "PER_LAYER", ()))
    names = default.to_dict().keys() - of_layers
    for name in sorted(names, key=len, reverse=True):
        value, usual = getattr(config, name, None), getattr(default, name, None)
        named = re.search(rf"\b{re.escape(name)}\b", problem)
        quoted = isinstance(value, str) and repr(value) in problem
        if (named or quoted) and value != usual:
            setattr(config, name, usual)
            return True
    return False
