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
import os
import pathlib
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import transformers
from flax import nnx
from transformers.models.auto import modeling_auto

from mmc_jax.models import (
    cache,
    configs,
    gguf_files,
    hub,
    layers,
    sharding,
    tensors,
)
from mmc_jax.models.tensors import WEIGHTS, weight_files


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
        several with an index), a GGUF file, or a hub id.
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
    folder = hub.resolve(checkpoint, revision)
    config = configs.read(folder)
    model = abstract(config, dtype=dtype, mesh=mesh, over_data=over_data)
    params = parameters(model)
    if cache_dir is None:
        _set_values(model, _converted(folder, config, params))
        return model
    entry = cache.entry(
        cache_dir,
        cache.file_hashes(model_files(folder), cache_dir=cache_dir),
        cache.code_version(configs.family(config), sys.modules[__name__]),
        dtype,
    )
    values = cache.restored(entry, params)
    if values is None:
        values = _converted(folder, config, params)
        cache.write(entry, values)
    _set_values(model, values)
    return model


def model_files(checkpoint: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that a checkpoint's logits depend on.

    Args:
      checkpoint: A folder or a GGUF file.

    Raises:
      FileNotFoundError: There are no weights, or a part is missing.
      ValueError: The index of the weights cannot be read.
    """
    if gguf_files.is_gguf(checkpoint):
        return gguf_files.parts(checkpoint)
    return [checkpoint / configs.CONFIG, *weight_files(checkpoint)]


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
    stacks = tensors.stacks(configs.family(model.config), model.config)
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
    config = configs.text(config)
    port = configs.family(config)
    model = configs.built(
        config, lambda watched: port.CausalLM(watched, rngs=rngs)
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
    model = abstract(configs.read(hub.resolve(checkpoint, revision)))
    return sum(param.size for param in parameters(model).values())


def _rules(config: transformers.PreTrainedConfig) -> sharding.Rules:
    return getattr(configs.family(config), "SHARDING", sharding.RULES)


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
    family = configs.family(config)
    stacks = tensors.stacks(family, config)
    names = {path: tensors.tensor_names(path, stacks) for path in params}
    expected = {name for group in names.values() for name in group.all}
    with (
        gguf_files.Tensors(folder, config, expected)
        if gguf_files.is_gguf(folder)
        else tensors.Tensors(folder, family)
    ) as opened:
        tied = tensors.HEADS if config.tie_word_embeddings else ()
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
    opened: tensors.Tensors | gguf_files.Tensors,
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
