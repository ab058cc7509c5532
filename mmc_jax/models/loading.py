"""Checkpoints in and out: Hugging Face folders, strictly.

Loading cannot half-succeed. The model is built in the abstract; each parameter
takes its tensor; a tensor that is missing, left over or of another shape, and a
config attribute that the port does not know, are errors. Saving is the exact
inverse.

A parameter's path is its tensor's name, but for the last part (`kernel` is
`weight` transposed, `embedding` and `scale` are `weight`) and for the stack of
layers, whose row i is layer i.
"""

import json
import os
import pathlib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
import transformers
from flax import nnx
from transformers.models.auto import modeling_auto

from mmc_jax.models import layers
from mmc_jax.models.families import FAMILIES

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Files of a hub repository that scoring needs: no weights but safetensors, no
# code.
_FILES = ("*.json", "tokenizer*", "*.model", "*.txt")
_WEIGHT_FILES = ("*.safetensors",)
# Where the hub's cache keeps what it has fetched of a commit.
_SNAPSHOT = re.compile(r"snapshots/([0-9a-f]{40})$")

_TENSOR_NAMES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}
# What else a head has, a bias say, stands beside its weight.
_HEAD_MODULES = ("lm_head.", "embed_out.", "head.")
_HEADS = tuple(f"{module}weight" for module in _HEAD_MODULES)

# Equals no value of a config.
_ABSENT = object()

# Attributes of a config that do not change the logits of a causal model.
_IRRELEVANT = frozenset(
    """
    _name_or_path activation_dropout architectures attention_dropout
    attn_pdrop bos_token_id chunk_size_feed_forward classifier_dropout
    decoder_start_token_id dropout dtype emb_pdrop embd_pdrop embed_dropout
    embedding_fraction eos_token_id final_w_init_variance_scale
    gradient_checkpointing hidden_dropout id2label init_device init_std
    initializer_range label2id layerdrop learned_pos_emb
    max_position_embeddings max_seq_len max_window_layers model_type n_ctx
    output_attentions output_hidden_states output_router_logits pad_token_id
    pretraining_tp problem_type rescale_prenorm_residual resid_dropout
    resid_pdrop return_dict router_aux_loss_coef router_jitter_noise
    summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj task_specific_params time_step_init_scheme
    time_step_scale tokenizer_class torch_dtype transformers_version
    use_associative_scan use_cache use_mambapy w_init_variance_scale
    """.split()
) | frozenset(
    # Of models that see besides: how their towers meet.
    """
    boi_token_index eoi_token_index image_token_index mm_tokens_per_image
    text_config vision_config
    """.split()
)
# What published files hold besides, and transformers never reads; where a class
# knows the name, a port must read it.
_NEVER_READ = frozenset(
    """
    _block_types apply_residual_connection_post_layernorm
    attention_probs_dropout_prob attention_softmax_in_fp32 auto_map
    aux_loss_alpha bias_dropout_fusion cache_implementation d_inner d_model
    embeddings_scale_by_sqrt_dim ep_size ff_factor fused_add_norm hidden_act
    hidden_activation hidden_dropout_prob init_config intermediate_size
    is_llama_config layer_switch learned_embeddings masked_softmax_fusion
    max_sequence_length model_max_length n_inner n_layer norm_before_gate
    offset_alibi pad_vocab_size_multiple prefix rms_norm rope_interleaved
    rotary scale_attn_weights scale_embeddings seq_aux seq_length
    skip_bias_add skip_bias_add_qkv sliding_window_pattern
    sliding_window_size ssm_cfg tokenizer_name unk_token_id
    use_embedding_sharing use_parallel_embedding verbose
    """.split()
)


def load(
    checkpoint: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> layers.LanguageModel:
    """Returns the model of a checkpoint; `model.config` is Hugging Face's.

    Args:
      checkpoint: A folder with config.json and safetensors (one file, or
        several with an index), or a hub id.
      revision: A branch, tag or commit of the hub id.
      dtype: Of the parameters: float32 or bfloat16.

    Raises:
      FileNotFoundError: The folder lacks config.json or safetensors.
      ValueError: The family is not ported; the config has a value that the port
        does not implement or an attribute that it does not know; a tensor is
        missing, left over or of another shape; float16 is asked for.
    """
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(
            f"dtype {jnp.dtype(dtype)}: use float32 or bfloat16 (float16 "
            "overflows in several families)"
        )
    folder = resolve(checkpoint, revision)
    config = read_config(folder)
    family = _family(config)
    model = _abstract(config)
    state = nnx.to_flat_state(nnx.state(model))
    stacks = _stacks(family, config)
    names = [_tensor_names(path, stacks) for path, _ in state]
    with _Tensors(folder, family) as tensors:
        tied = _HEADS if config.tie_word_embeddings else ()
        expected = {name for group in names for name in group.all}
        ignored = [*family.IGNORED, *map(re.escape, tied)]
        _check_names(folder, expected, tensors.names, ignored)
        tables = [
            group.all[0]
            for (path, _), group in zip(state, names, strict=True)
            if path[-1] == "embedding"
        ]
        _check_tied_heads(folder, tensors, tied, tables)
        values = [
            (path, variable.replace(_read(tensors, group, variable, dtype)))
            for (path, variable), group in zip(state, names, strict=True)
        ]
    nnx.update(model, nnx.from_flat_state(values))
    return model


def save(
    model: layers.LanguageModel,
    folder: str | os.PathLike[str],
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> None:
    """Writes config.json and model.safetensors, as transformers reads them.

    Args:
      model: Any model of `FAMILIES`.
      folder: Is made if it is missing; files of these names are replaced.
      dtype: Of the tensors on disk; the parameters' own if None.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stacks = _stacks(_family(model.config), model.config)
    tensors = {}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        group = _tensor_names(path, stacks)
        value = np.asarray(variable[...])
        value = value if dtype is None else value.astype(jnp.dtype(dtype))
        for name, row in zip(group.all, group.rows(value), strict=True):
            tensors[name] = np.ascontiguousarray(row)
    config = type(model.config).from_dict(model.config.to_dict())
    config.dtype = str(next(iter(tensors.values())).dtype)
    architectures = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    config.architectures = [architectures[config.model_type]]
    config.save_pretrained(folder)
    # A reader never sees half a file.
    partial = folder / f".{WEIGHTS}.partial"
    safetensors.numpy.save_file(tensors, partial, metadata={"format": "pt"})
    partial.rename(folder / WEIGHTS)


def build(
    config: transformers.PreTrainedConfig, *, rngs: nnx.Rngs
) -> layers.LanguageModel:
    """Returns a new model with random parameters, float32.

    Raises:
      ValueError: As for `load`, of the config.
    """
    config = _text_config(config)
    watched = _WatchedConfig(config)
    family = _family(config)
    model = family.CausalLM(watched, rngs=rngs)
    watched.check(
        irrelevant=getattr(family, "IRRELEVANT", ()),
        restated=getattr(family, "RESTATED", {}),
    )
    model.config = config
    return model


def num_params(
    checkpoint: str | os.PathLike[str], *, revision: str | None = None
) -> int:
    """Returns the number of parameters of a checkpoint, tied ones once.

    Raises:
      FileNotFoundError: The folder lacks config.json.
      ValueError: As for `load`, of the config.
    """
    model = _abstract(read_config(resolve(checkpoint, revision)))
    return sum(p.size for p in jax.tree.leaves(nnx.state(model)))


def resolve(
    checkpoint: str | os.PathLike[str],
    revision: str | None = None,
    *,
    with_weights: bool = True,
) -> pathlib.Path:
    """Returns the local folder of a checkpoint; a hub id is fetched.

    Args:
      checkpoint: As for `load`.
      revision: As for `load`.
      with_weights: Whether the weights of a hub id are fetched as well.

    Raises:
      FileNotFoundError: Neither a folder nor a hub id that can be reached.
      ValueError: A revision of a folder.
    """
    folder = pathlib.Path(checkpoint)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"{folder}: a local folder has no revision {revision!r}"
            )
        return folder
    try:
        fetched = huggingface_hub.snapshot_download(
            str(checkpoint),
            revision=revision,
            allow_patterns=[*_FILES, *(_WEIGHT_FILES if with_weights else ())],
        )
    except Exception as error:
        raise FileNotFoundError(
            f"{checkpoint}: no such folder, and not fetched from the hub "
            f"({type(error).__name__}: {error})"
        ) from error
    return pathlib.Path(fetched)


def resolved_revision(folder: pathlib.Path) -> str | None:
    """Returns the commit that a hub id was resolved to, of other folders None.

    A branch or tag may move on; the commit tells for good what was scored.

    Args:
      folder: As `resolve` returns it.
    """
    snapshot = _SNAPSHOT.search(folder.as_posix())
    return snapshot and snapshot[1]


def read_config(folder: pathlib.Path) -> transformers.PreTrainedConfig:
    """Returns the config of a checkpoint folder, of a larger model its text's.

    Raises:
      FileNotFoundError: There is no config.json.
      ValueError: Its `model_type` is not ported, or transformers refuses it, or
        a larger model has an attribute that nobody knows.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no config.json")
    model_type = json.loads(path.read_text()).get("model_type")
    _check_model_type(model_type, str(path))
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
    except Exception as error:  # Of many types, few of them ValueErrors.
        raise ValueError(f"{path}: {error}") from error
    return _text_config(config)


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the safetensors files of a checkpoint folder.

    Raises:
      FileNotFoundError: There are none, or one of the index is missing.
      ValueError: The index names a file outside the folder.
    """
    index = folder / INDEX
    # As in transformers, one file goes before an index beside it.
    if index.is_file() and not (folder / WEIGHTS).is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
        for name in names:
            if pathlib.Path(name).name != name:
                raise ValueError(f"{index}: {name!r} is outside the folder")
        files = [folder / name for name in sorted(names)]
    else:
        files = [folder / WEIGHTS]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: missing; only safetensors are read, which "
                "transformers' save_pretrained writes"
            )
    return files


class _WatchedConfig:
    """A config that notes what is read of it: that is what a port handles."""

    def __init__(self, config: transformers.PreTrainedConfig):
        self._config = config
        self._default = type(config)()
        self._undeclared = getattr(_family(config), "UNDECLARED", ())
        self._read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        # A file may add any attribute; transformers reads its class's only,
        # and those that a family says.
        if not hasattr(self._default, name) and name not in self._undeclared:
            raise AttributeError(f"{type(self._config).__name__} has no {name}")
        value = getattr(self._config, name)
        self._read.add(self._config.attribute_map.get(name, name))
        return value

    def check(
        self, *, irrelevant: Sequence[str], restated: Mapping[str, Any]
    ) -> None:
        """Refuses what nobody read, unless it stands at its default.

        Args:
          irrelevant: What does not change the family's logits.
          restated: What a file may say besides, and its only value.
        """
        default = self._default.to_dict()
        for name, value in self._config.to_dict().items():
            if name in self._read or name in _IRRELEVANT:
                continue
            if name in irrelevant:
                continue
            if name not in default and name in _NEVER_READ:
                continue
            if value != {**restated, **default}.get(name, _ABSENT):
                raise ValueError(
                    f"config attribute {name}={value!r}: the port of "
                    f"{self._config.model_type} does not implement it"
                )


def _text_config(
    config: transformers.PreTrainedConfig,
) -> transformers.PreTrainedConfig:
    """Returns the config of the text tower; of most models it is their own."""
    text_config = config.get_text_config()
    if text_config is not config:
        watched = _WatchedConfig(config)
        if watched.tie_word_embeddings != text_config.tie_word_embeddings:
            raise ValueError(
                f"tie_word_embeddings={config.tie_word_embeddings}, but the "
                "text_config has the opposite"
            )
        watched.check(irrelevant=(), restated={})
    return text_config


class _TensorNames(NamedTuple):
    """The tensors of one parameter: one, or one a row of its stacks.

    Attributes:
      all: Their names, row after row.
      stack_shape: Rows of each stack that the parameter is in.
      transposed: Whether a tensor is the transpose of its row.
    """

    all: list[str]
    stack_shape: tuple[int, ...]
    transposed: bool

    def rows(self, value: np.ndarray) -> np.ndarray:
        """Returns a view of a parameter's value with one row a tensor."""
        rows = value.reshape(-1, *value.shape[len(self.stack_shape) :])
        return np.swapaxes(rows, -1, -2) if self.transposed else rows


class _Tensors:
    """The tensors of all files of a folder, by their full names."""

    def __init__(self, folder: pathlib.Path, family: types.ModuleType):
        self._files = [
            safetensors.safe_open(file, framework="np")
            for file in weight_files(folder)
        ]
        renamed = getattr(family, "RENAMED", {})
        in_file = [
            (_renamed(name, renamed), name, file)
            for file in self._files
            for name in file.keys()  # noqa: SIM118
        ]
        # Files of the bare model leave the prefix out.
        prefix = family.PREFIX
        bare = not any(full.startswith(prefix) for full, _, _ in in_file)
        self._places: dict[str, tuple[str, Any]] = {}
        for full, name, file in in_file:
            in_head = full.startswith(_HEAD_MODULES)
            full = prefix + full if bare and not in_head else full
            if full in self._places:
                raise ValueError(f"{folder}: tensor {name} stands there twice")
            self._places[full] = (name, file)

    def __enter__(self) -> "_Tensors":
        return self

    def __exit__(self, *_) -> None:
        for file in self._files:
            file.__exit__(None, None, None)

    @property
    def names(self) -> set[str]:
        return set(self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        name_in_file, file = self._places[name]
        return file.get_tensor(name_in_file)


def _renamed(name: str, renamed: dict[str, str]) -> str:
    """Returns a tensor's name with another beginning, if the family has one."""
    for beginning, other in renamed.items():
        if name.startswith(beginning):
            return other + name.removeprefix(beginning)
    return name


def _check_model_type(model_type: str | None, where: str) -> None:
    if model_type not in FAMILIES:
        raise ValueError(
            f"{where}: model_type {model_type!r} is not ported; ported are "
            f"{', '.join(sorted(FAMILIES))}"
        )


def _family(config: transformers.PreTrainedConfig) -> types.ModuleType:
    _check_model_type(config.model_type, type(config).__name__)
    return FAMILIES[config.model_type]


def _abstract(config: transformers.PreTrainedConfig) -> layers.LanguageModel:
    return nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0)))


def _stacks(
    family: types.ModuleType, config: transformers.PreTrainedConfig
) -> dict[str, layers.Stack]:
    """Returns the stacks of a model by their paths."""
    if hasattr(family, "stacks"):
        return family.stacks(config)
    name = family.LAYERS.rpartition(".")[2]
    return {family.LAYERS: layers.Stack(name, range(config.num_hidden_layers))}


def _tensor_names(
    path: tuple[str, ...], stacks: dict[str, layers.Stack]
) -> _TensorNames:
    """Returns the tensors of a parameter; a stack is one tensor a row."""
    *modules, leaf = path
    names, shape = [""], []
    for depth, module in enumerate(modules, start=1):
        stack = stacks.get(".".join(modules[:depth]))
        if stack is None:
            names = [f"{name}{module}." for name in names]
            continue
        shape.append(len(stack.numbers))
        names = [
            f"{name}{stack.name}.{number}."
            for name in names
            for number in stack.numbers
        ]
    last = _TENSOR_NAMES.get(leaf, leaf)
    names = [name + last for name in names]
    return _TensorNames(names, tuple(shape), leaf == "kernel")


def _check_names(
    folder: pathlib.Path,
    expected: set[str],
    found: set[str],
    ignored: list[str],
) -> None:
    missing = sorted(expected - found)
    if missing:
        raise ValueError(f"{folder}: tensors are missing: {_some(missing)}")
    left_over = [
        name
        for name in sorted(found - expected)
        if not any(re.search(pattern, name) for pattern in ignored)
    ]
    if left_over:
        raise ValueError(
            f"{folder}: tensors that the port does not know: {_some(left_over)}"
        )


def _check_tied_heads(
    folder: pathlib.Path,
    tensors: _Tensors,
    heads: tuple[str, ...],
    tables: list[str],
) -> None:
    """Refuses a head that stands in the file but is no embedding table."""
    for head in tensors.names.intersection(heads):
        if not any(
            np.array_equal(tensors[head], tensors[table]) for table in tables
        ):
            raise ValueError(
                f"{folder}: tie_word_embeddings is true, but {head} differs "
                "from the embedding"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _read(
    tensors: _Tensors,
    group: _TensorNames,
    variable: nnx.Variable,
    dtype: jax.typing.DTypeLike,
) -> jax.Array:
    """Returns a parameter's value from its tensors, checked and cast."""
    value = np.empty(variable.shape, jnp.dtype(dtype))
    for name, row in zip(group.all, group.rows(value), strict=True):
        tensor = tensors[name]
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(
                f"tensor {name} is {tensor.dtype}: quantised checkpoints are "
                "not read"
            )
        if tensor.shape != row.shape:
            raise ValueError(
                f"tensor {name} has shape {tensor.shape}, the port needs "
                f"{row.shape}"
            )
        row[...] = tensor
    return jnp.asarray(value)
