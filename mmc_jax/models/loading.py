"""Checkpoints in and out: Hugging Face folders, strictly.

Loading cannot half-succeed. The model is built in the abstract; each parameter
takes its tensor; a tensor that is missing, left over or of another shape, and a
config attribute that the port does not know, are errors. Saving is the exact
inverse.

A parameter's path is its tensor's name, but for the last part (`kernel` is
`weight` transposed, `embedding` and `scale` are `weight`) and for the stack of
layers, whose row i is layer i.
"""

import functools
import json
import os
import pathlib
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import transformers
from flax import nnx
from transformers.models.auto import modeling_auto

from mmc_jax.models import cache, layers, sharding, tensors
from mmc_jax.models.families import FAMILIES
from mmc_jax.models.tensors import WEIGHTS, weight_files

CONFIG = "config.json"
# Files of a hub repository that scoring needs: no weights but safetensors, no
# code.
_FILES = ("*.json", "tokenizer*", "*.model", "*.txt")
_WEIGHT_FILES = ("*.safetensors",)
# Where the hub's cache keeps what it has fetched of a commit.
_SNAPSHOT = re.compile(r"snapshots/([0-9a-f]{40})$")

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
    mesh: jax.sharding.Mesh | None = None,
    over_data: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> layers.LanguageModel:
    """Returns the model of a checkpoint; `model.config` is Hugging Face's.

    Each process reads only what its own devices hold, one parameter after the
    other: a host needs memory for its own parts and for one tensor, no more.

    Args:
      checkpoint: A folder with config.json and safetensors (one file, or
        several with an index), or a hub id.
      revision: A branch, tag or commit of the hub id.
      dtype: Of the parameters: float32 or bfloat16.
      mesh: Over which the parameters are split, as from `sharding.mesh`, by
        the family's rules; the default device for None.
      over_data: Split them over `data` too, not over `model` alone; for None
        if they would not fit otherwise.
      cache_dir: Where the converted parameters are kept, and taken from the
        next time; all processes must reach it.

    Raises:
      FileNotFoundError: The folder lacks config.json or safetensors.
      ValueError: The family is not ported; the config has a value that the port
        does not implement or an attribute that it does not know; a tensor is
        missing, left over or of another shape; float16 is asked for.
    """
    folder = resolve(checkpoint, revision)
    config = read_config(folder)
    model = abstract(config, dtype=dtype, mesh=mesh, over_data=over_data)
    params = parameters(model)
    if cache_dir is None:
        _set_values(model, _converted(folder, config, params))
        return model
    entry = cache.entry(
        cache_dir,
        cache.file_hashes(
            [folder / CONFIG, *weight_files(folder)], cache_dir=cache_dir
        ),
        cache.code_version(_family(config), sys.modules[__name__]),
        dtype,
    )
    values = cache.restored(entry, params)
    if values is None:
        values = _converted(folder, config, params)
        cache.write(entry, values)
    _set_values(model, values)
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
    stacks = tensors.stacks(_family(model.config), model.config)
    rows = {}
    for path, value in parameters(model).items():
        names = tensors.tensor_names(path, stacks)
        value = np.asarray(value)
        value = value if dtype is None else value.astype(jnp.dtype(dtype))
        for name, row in zip(names.all, names.rows(value), strict=True):
            rows[name] = np.ascontiguousarray(row)
    config = type(model.config).from_dict(model.config.to_dict())
    config.dtype = str(next(iter(rows.values())).dtype)
    architectures = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    config.architectures = [architectures[config.model_type]]
    config.save_pretrained(folder)
    # A reader never sees half a file.
    partial = folder / f".{WEIGHTS}.partial"
    safetensors.numpy.save_file(rows, partial, metadata={"format": "pt"})
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


def abstract(
    config: transformers.PreTrainedConfig,
    *,
    dtype: jax.typing.DTypeLike = jnp.float32,
    mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh | None = None,
    over_data: bool | None = None,
) -> layers.LanguageModel:
    """Returns a model that has shapes, dtypes and shardings, and no values.

    It can be lowered and compiled for: `jax.jit(f).lower(model, ...)`.

    Args:
      config: Hugging Face's.
      dtype: Of the parameters: float32 or bfloat16.
      mesh: As for `load`; it may be a description of one.
      over_data: As for `load`.

    Raises:
      ValueError: As for `load`, of the config and the dtype.
    """
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(
            f"dtype {jnp.dtype(dtype)}: use float32 or bfloat16 (float16 "
            "overflows in several families)"
        )
    model = nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0)))
    shapes = {path: value.shape for path, value in parameters(model).items()}

    def values(over_data: bool) -> dict[str, jax.ShapeDtypeStruct]:
        places = dict.fromkeys(shapes)
        if mesh is not None:
            places = sharding.shardings(
                shapes, _rules(config), mesh, over_data=over_data
            )
        return {
            path: jax.ShapeDtypeStruct(shape, dtype, sharding=places[path])
            for path, shape in shapes.items()
        }

    chosen = values(bool(over_data))
    if over_data is None and mesh is not None:
        num_bytes = sharding.bytes_per_device(chosen)
        if not sharding.fits(num_bytes, mesh):
            chosen = values(True)
    _set_values(model, chosen)
    return model


def parameters(model: layers.LanguageModel) -> dict[str, Any]:
    """Returns a model's parameters by their paths, layers in one.

    Those of an abstract model are `jax.ShapeDtypeStruct`.
    """
    state = nnx.to_flat_state(nnx.state(model))
    return {".".join(path): param.get_value() for path, param in state}


class Memory(NamedTuple):
    """What the weights of a model take.

    Attributes:
      bytes_per_device: On each device of their mesh.
      undivided: Bytes of what the family's rules would split and every device
        holds whole, since the mesh does not divide its axis; by path.
    """

    bytes_per_device: int
    undivided: dict[str, int]


def memory(model: layers.LanguageModel) -> Memory:
    """Returns what the weights of a model, or of an abstract one, take."""
    values = parameters(model)
    return Memory(
        sharding.bytes_per_device(values),
        sharding.undivided(values, _rules(model.config)),
    )


def num_params(
    checkpoint: str | os.PathLike[str], *, revision: str | None = None
) -> int:
    """Returns the number of parameters of a checkpoint, tied ones once.

    Raises:
      FileNotFoundError: The folder lacks config.json.
      ValueError: As for `load`, of the config.
    """
    model = abstract(read_config(resolve(checkpoint, revision)))
    return sum(param.size for param in parameters(model).values())


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
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {CONFIG}")
    model_type = json.loads(path.read_text()).get("model_type")
    _check_model_type(model_type, str(path))
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=False
        )
    except Exception as error:  # Of many types, few of them ValueErrors.
        raise ValueError(f"{path}: {error}") from error
    return _text_config(config)


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


def _check_model_type(model_type: str | None, where: str) -> None:
    if model_type not in FAMILIES:
        raise ValueError(
            f"{where}: model_type {model_type!r} is not ported; ported are "
            f"{', '.join(sorted(FAMILIES))}"
        )


def _family(config: transformers.PreTrainedConfig) -> types.ModuleType:
    _check_model_type(config.model_type, type(config).__name__)
    return FAMILIES[config.model_type]


def _rules(config: transformers.PreTrainedConfig) -> sharding.Rules:
    return getattr(_family(config), "SHARDING", sharding.RULES)


def _set_values(model: layers.LanguageModel, values: Mapping[str, Any]) -> None:
    state = nnx.to_flat_state(nnx.state(model))
    nnx.update(
        model,
        nnx.from_flat_state(
            [
                (path, param.replace(values[".".join(path)]))
                for path, param in state
            ]
        ),
    )


def _converted(
    folder: pathlib.Path,
    config: transformers.PreTrainedConfig,
    params: Mapping[str, jax.ShapeDtypeStruct],
) -> dict[str, jax.Array]:
    """Returns the parameters of a folder, each where its sharding says."""
    family = _family(config)
    stacks = tensors.stacks(family, config)
    names = {path: tensors.tensor_names(path, stacks) for path in params}
    with tensors.Tensors(folder, family) as opened:
        tied = tensors.HEADS if config.tie_word_embeddings else ()
        expected = {name for group in names.values() for name in group.all}
        ignored = [*family.IGNORED, *map(re.escape, tied)]
        tensors.check_names(folder, expected, opened.names, ignored)
        for path, group in names.items():
            for name in group.all:
                opened.check(name, group.of_tensor(params[path].shape))
        for head in opened.names.intersection(tied):
            _check_tied_head(opened, head, names, params)
        return {
            path: _placed(
                lambda part, path=path: opened.parameter(
                    names[path], part, params[path].dtype
                ),
                param,
            )
            for path, param in params.items()
        }


def _check_tied_head(
    opened: tensors.Tensors,
    head: str,
    names: Mapping[str, tensors.TensorNames],
    params: Mapping[str, jax.ShapeDtypeStruct],
) -> None:
    """Refuses a head that stands in the file but is no embedding table."""
    tables = {
        names[path].all[0]: _local_parts(param)
        for path, param in params.items()
        if path.endswith(".embedding")
    }
    if not any(
        all(opened.equal(head, table, part) for part in parts)
        for table, parts in tables.items()
    ):
        raise ValueError(
            f"{opened.folder}: tie_word_embeddings is true, but {head} differs "
            "from the embedding"
        )


def _placed(
    read: Callable[[tensors.Part], np.ndarray], param: jax.ShapeDtypeStruct
) -> jax.Array:
    """Returns a parameter where its sharding says, from what `read` returns."""
    # Devices that hold the same part share its reading, and CPUs its memory.
    read = functools.cache(read)
    if param.sharding is None:
        value = jax.device_put(read(_part((), param.shape)))
    else:
        value = jax.make_array_from_callback(
            param.shape,
            param.sharding,
            lambda index: read(_part(index, param.shape)),
            dtype=param.dtype,
        )
    # Or else the host would hold what the devices have not yet taken.
    return jax.block_until_ready(value)


def _local_parts(param: jax.ShapeDtypeStruct) -> set[tensors.Part]:
    """Returns the parts of a parameter that this host's devices hold."""
    if param.sharding is None:
        return {_part((), param.shape)}
    places = param.sharding.addressable_devices_indices_map(param.shape)
    return {_part(index, param.shape) for index in places.values()}


def _part(index: tuple[slice, ...], shape: tuple[int, ...]) -> tensors.Part:
    """Returns an index with the bounds that it leaves open."""
    index = index + (len(shape) - len(index)) * (slice(None),)
    return tuple(
        range(*axis.indices(size))
        for axis, size in zip(index, shape, strict=True)
    )
