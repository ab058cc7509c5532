"""Models in the abstract: shapes, dtypes and shardings, no values."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax import pool
from mmc_jax.models import attributes, configs, layers, sharding

# Models in the abstract, by their configs: a trace takes a tenth of a second,
# and scoring asks for it several times. One holds shapes alone, some 100 KB.
_TRACED: dict[tuple[type, str], tuple[nnx.GraphDef, nnx.State]] = {}
_NUM_TRACED = 256
# What configs in files have besides: a model's shapes do not depend on it.
_NAMES_OF_FILES = {"architectures", "dtype"}


def checked_config(folder: pathlib.Path) -> transformers.PreTrainedConfig:
    """Returns the config of a folder or GGUF file, if it describes a model.

    Raises:
      FileNotFoundError: There is no config.json.
      ValueError: transformers or the port refuses the config.
    """
    config = configs.read(folder)
    check(folder, config)
    return config


def check(
    checkpoint: pathlib.Path, config: transformers.PreTrainedConfig
) -> None:
    """Refuses a config of which no model can be built; names its file.

    Args:
      checkpoint: The folder or GGUF file that the config is from.
      config: Config of the text model that is to be built.

    Raises:
      ValueError: The family is not ported, or refuses the config.
    """
    if not pool.is_gguf(checkpoint):
        checkpoint /= configs.CONFIG
    try:
        _traced(config)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error


def build(
    config: transformers.PreTrainedConfig, *, rngs: nnx.Rngs
) -> layers.LanguageModel:
    """Returns a new model with random parameters, float32.

    Raises:
      ValueError: The family is not ported, or refuses the config.
    """
    config = attributes.text(config)
    port = attributes.family(config)
    model = attributes.built(
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
      config: Hugging Face's config of any ported model.
      dtype: The dtype of the parameters, float32 or bfloat16.
      mesh: The devices over which the parameters are split, or a description of
        them (`jax.sharding.AbstractMesh`); None for one device.
      over_data: Whether the parameters are split over `data` too, and not over
        `model` alone; for None, if they would not fit otherwise.

    Raises:
      ValueError: The family is not ported, or refuses the config; or the dtype
        is another.
    """
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(
            f"dtype {jnp.dtype(dtype)}: use float32 or bfloat16 (float16 "
            "overflows in several families)"
        )
    model = _traced(config)
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
    set_values(model, chosen)
    return model


def _traced(config: transformers.PreTrainedConfig) -> layers.LanguageModel:
    """Returns a new model of shapes; equal configs are traced once."""
    settings = json.loads(config.to_json_string(use_diff=False))
    for name in _NAMES_OF_FILES & settings.keys():
        del settings[name]
    key = type(config), json.dumps(settings, sort_keys=True)
    if key not in _TRACED:
        model = nnx.eval_shape(lambda: build(config, rngs=layers.ShapesOnly(0)))
        for path, param in parameters(model).items():
            if not param.size:
                raise ValueError(f"{path} has the shape {param.shape}")
        while len(_TRACED) >= _NUM_TRACED:
            _TRACED.pop(next(iter(_TRACED)), None)
        _TRACED[key] = nnx.split(model)
    model = nnx.merge(*_TRACED[key], copy=True)
    model.config = attributes.text(config)
    return model


def parameters(model: layers.LanguageModel) -> dict[str, Any]:
    """Returns a model's parameters by their paths, all layers in one array.

    Those of an abstract model are `jax.ShapeDtypeStruct`.
    """
    state = nnx.to_flat_state(nnx.state(model))
    return {".".join(path): param.get_value() for path, param in state}


class Memory(NamedTuple):
    """The memory that the weights of a model take.

    Attributes:
      bytes_per_device: The bytes on each device of the mesh.
      undivided: The bytes of each parameter that the family's rules would split
        but that every device holds in full, because the number of devices does
        not divide its axis. By the parameter's path.
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


def _rules(config: transformers.PreTrainedConfig) -> sharding.Rules:
    return getattr(attributes.family(config), "SHARDING", sharding.RULES)


def set_values(model: layers.LanguageModel, values: Mapping[str, Any]) -> None:
    """Gives each parameter its value: an array, or a shape with its place.

    Args:
      model: The model, which is changed.
      values: Values by the parameters' paths.
    """
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
