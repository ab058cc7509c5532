"""Checkpoints in and out: Hugging Face folders, strictly.

Loading cannot half-succeed. The model is built in the abstract; each parameter
takes its tensor; a tensor that is missing, left over or of another shape, and a
config attribute that the port does not know, are errors. Saving is the exact
inverse.

A parameter's path is its tensor's name, but for the last part (`kernel` is
`weight` transposed, `embedding` and `scale` are `weight`) and for the stack of
layers, whose row i is layer i.
"""

import contextlib
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import transformers
from transformers.models.auto import modeling_auto

from mmc_jax import at_once, disk, pool
from mmc_jax.models import (
    adapters,
    attributes,
    cache,
    configs,
    gguf_files,
    hashes,
    hub,
    layers,
    placement,
    shapes,
    tensors,
    tied_heads,
    weight_files,
)

# The tensors of a checkpoint, in either format.
_Opened = tensors.Tensors | gguf_files.Tensors


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
    other. A host needs memory for its own parts and for one tensor.

    Args:
      checkpoint: A folder with config.json and safetensors (one file, or
        several with an index), a GGUF file, or a hub id.
      revision: The branch, tag or commit of a hub id.
      dtype: The dtype of the parameters, float32 or bfloat16.
      mesh: The devices over which the family's rules split the parameters, as
        from `sharding.mesh`; the default device for None.
      over_data: Whether the parameters are split over `data` too, and not over
        `model` alone; for None, if they would not fit otherwise.
      cache_dir: The folder where the converted parameters are kept, and taken
        from the next time; all processes must reach it.

    Raises:
      FileNotFoundError: The folder lacks config.json or safetensors.
      ValueError: The family is not ported; transformers or the port refuses the
        config; a tensor is missing, left over, of another shape, quantised in a
        way that is not read or not finite; float16 is asked for.
    """
    folder = hub.resolve(checkpoint, revision)
    config = configs.read(folder)
    entry = None
    if cache_dir is not None:
        entry = _entry(folder, config, dtype, cache_dir)
    with contextlib.ExitStack() as stack:
        opened = None
        is_cached = entry is not None and entry.is_dir()
        if not is_cached and not pool.is_gguf(folder):
            # Where there are none, what the config holds is said first.
            with contextlib.suppress(FileNotFoundError):
                opened = tensors.Tensors(folder, attributes.family(config))
                stack.enter_context(opened)
                # Before memory and time follow the sizes.
                opened.check_sizes(config)
        shapes.check(folder, config)
        model = shapes.abstract(
            config, dtype=dtype, mesh=mesh, over_data=over_data
        )
        params = shapes.parameters(model)
        values = None if entry is None else cache.restored(entry, params)
        if values is None:
            names = _tensor_names(config, params)
            if opened is None:
                opened = stack.enter_context(_opened(folder, config, names))
            values = _converted(opened, config, names, params)
            if entry is not None:
                cache.write(entry, values)
    shapes.set_values(model, values)
    return model


def model_files(checkpoint: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that a checkpoint's logits depend on.

    Args:
      checkpoint: A folder or a GGUF file.

    Raises:
      FileNotFoundError: There are no weights, or a part is missing.
      ValueError: The index of the weights cannot be read, or several files of
        other names may be meant.
    """
    if pool.is_gguf(checkpoint):
        return gguf_files.parts(checkpoint)
    files = [checkpoint / configs.CONFIG, *weight_files.find(checkpoint)]
    adapter = [checkpoint / adapters.CONFIG, checkpoint / adapters.WEIGHTS]
    return files + (adapter if adapter[0].is_file() else [])


def _entry(
    folder: pathlib.Path,
    config: transformers.PreTrainedConfig,
    dtype: jax.typing.DTypeLike,
    cache_dir: str | os.PathLike[str],
) -> pathlib.Path:
    """Returns where the cache keeps the converted parameters of a folder."""
    return cache.entry(
        cache_dir,
        hashes.file_hashes(model_files(folder), cache_dir=cache_dir),
        cache.code_version(attributes.family(config), sys.modules[__name__]),
        dtype,
    )


def save(
    model: layers.LanguageModel,
    folder: str | os.PathLike[str],
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> None:
    """Writes config.json and model.safetensors, as transformers reads them.

    Args:
      model: A model of any family.
      folder: The folder to write into. It is made if it is missing; files of
        these names are replaced.
      dtype: The dtype of the tensors on disk; the parameters' own if None.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stacks = tensors.stacks(attributes.family(model.config), model.config)
    rows = {}
    for path, value in shapes.parameters(model).items():
        names = tensors.tensor_names(path, stacks)
        value = np.asarray(value)
        value = value if dtype is None else value.astype(jnp.dtype(dtype))
        for name, row in zip(names.all, names.rows(value), strict=True):
            rows[name] = np.asarray(row, order="C")  # Scalars stay so.
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)  # They are plain numbers now.
    config = type(model.config).from_dict(settings)
    config.dtype = str(next(iter(rows.values())).dtype)
    architectures = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    config.architectures = [architectures[config.model_type]]
    # A reader never sees half a file, nor the config of another model.
    weights = folder / weight_files.WEIGHTS
    with at_once.alone(folder), at_once.replaced(weights) as new:
        try:
            safetensors.numpy.save_file(rows, new, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise disk.failure(weights, error) from error
        with at_once.replaced(folder / "config.json") as file:
            config.to_json_file(file)


def num_params(
    checkpoint: str | os.PathLike[str], *, revision: str | None = None
) -> int:
    """Returns the number of parameters of a checkpoint, tied ones once.

    Raises:
      FileNotFoundError: The folder lacks config.json.
      ValueError: The family is not ported, or refuses the config.
    """
    config = shapes.checked_config(hub.resolve(checkpoint, revision))
    params = shapes.parameters(shapes.abstract(config))
    return sum(param.size for param in params.values())


def _tensor_names(
    config: transformers.PreTrainedConfig, params: Iterable[str]
) -> dict[str, tensors.TensorNames]:
    """Returns the tensors of each parameter, by its path."""
    stacks = tensors.stacks(attributes.family(config), config)
    return {path: tensors.tensor_names(path, stacks) for path in params}


def _opened(
    checkpoint: pathlib.Path,
    config: transformers.PreTrainedConfig,
    names: Mapping[str, tensors.TensorNames],
) -> _Opened:
    """Returns the tensors of a folder or of a GGUF file."""
    if pool.is_gguf(checkpoint):
        expected = {name for group in names.values() for name in group.all}
        return gguf_files.Tensors(checkpoint, config, expected)
    return tensors.Tensors(checkpoint, attributes.family(config))


def _converted(
    opened: _Opened,
    config: transformers.PreTrainedConfig,
    names: Mapping[str, tensors.TensorNames],
    params: Mapping[str, jax.ShapeDtypeStruct],
) -> dict[str, jax.Array]:
    """Returns the parameters of a checkpoint, each where its sharding says."""
    tied = tensors.HEADS if config.tie_word_embeddings else ()
    expected = {name for group in names.values() for name in group.all}
    tied_heads.use_as_embedding(opened, tied, names, params)
    ignored = [*attributes.family(config).IGNORED, *map(re.escape, tied)]
    tensors.check_names(opened.folder, expected, opened.names, ignored)
    for path, group in names.items():
        for name in group.all:
            opened.check(name, group.of_tensor(params[path].shape))
    return {
        path: placement.placed(
            lambda region, path=path: tensors.parameter(
                opened, names[path], region, params[path].dtype
            ),
            param,
        )
        for path, param in params.items()
    }
