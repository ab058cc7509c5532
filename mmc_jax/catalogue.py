"""What is ported, what a pool asks for, and the memory that it takes.

Nothing is fetched: of a hub id only what the pool file states is known.
"""

import collections
import inspect
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import yaml
from jax.typing import DTypeLike

from mmc_jax import models
from mmc_jax.models import configs
from mmc_jax.pool import Model, Pool


class Row(NamedTuple):
    """A model of a pool, as far as it is known without its weights.

    Attributes:
      name: Name of the model.
      family: Family of the model.
      model_type: Hugging Face's name of the architecture; None where neither a
        config.json nor the pool file states it.
      covered: Whether `mmc_jax.models.FAMILIES` has a port of it.
      num_params: Number of parameters, counted from a local config that has a
        port, else from the pool file; None where it states none.
      num_active_params: Number of parameters that a token uses, from the pool
        file; None where it states none.
    """

    name: str
    family: str
    model_type: str | None
    covered: bool
    num_params: int | None
    num_active_params: int | None


def families() -> dict[str, tuple[str, ...]]:
    """Returns the model types of each port, by the name of its module."""
    by_module: dict[str, list[str]] = {}
    for model_type, module in models.FAMILIES.items():
        by_module.setdefault(module.__name__, []).append(model_type)
    return {name: tuple(sorted(by_module[name])) for name in sorted(by_module)}


def rows(pool: Pool) -> list[Row]:
    """Returns what is known of each model of a pool, in its order.

    Raises:
      ValueError: A local config.json cannot be read, or its port refuses it.
    """
    return [_row(model) for model in pool.models]


def _row(model: Model) -> Row:
    model_type = model.facts.get("model_type")
    num_params = model.costs.get("num_params")
    num_active_params = model.costs.get("num_active_params")
    if model.revision is None:
        # Read as it stands, so that a model without a port has a row as well.
        path = pathlib.Path(model.checkpoint, "config.json")
        if path.is_file():
            model_type = configs.read_json(path).get("model_type")
            if model_type in models.FAMILIES:
                num_params = models.num_params(model.checkpoint)
    return Row(
        name=model.name,
        family=model.family,
        model_type=model_type,
        covered=model_type in models.FAMILIES,
        num_params=_rounded(num_params),
        num_active_params=_rounded(num_active_params),
    )


def _rounded(count: float | None) -> int | None:
    return None if count is None else round(count)


class Weights(NamedTuple):
    """The memory that the weights of a model take on each device of a mesh.

    Attributes:
      bytes_per_device: Bytes of the weights; activations and logits add to it.
      is_exact: Whether the rules of the model's port give the number. For a
        model that is not here it is a lower bound: all weights evenly split.
      undivided: The bytes of each parameter that the rules would split but that
        every device holds in full, because the number of devices does not
        divide its axis. By the parameter's path.
    """

    bytes_per_device: int
    is_exact: bool
    undivided: dict[str, int]


def weights(
    model: Model,
    dtype: DTypeLike,
    *,
    num_data: int = 1,
    num_model: int = 1,
    over_data: bool = False,
) -> Weights | None:
    """Returns what a model's weights take; None where nothing is known of it.

    Args:
      model: A model with a local config.json that has a port, or with a number
        of parameters (of all experts) in the pool file.
      dtype: Dtype of the parameters in memory.
      num_data: Number of devices along the mesh's `data`.
      num_model: Number of devices along the mesh's `model`, over which weights
        are split.
      over_data: Whether the weights are split over all devices.

    Raises:
      ValueError: A local config.json cannot be read, or its port refuses it.

    >>> costs = {"num_params": 8030261248}
    >>> model = Model("llama-8b", "some/llama", "main", "llama", costs=costs)
    >>> weights(model, "bfloat16", num_model=4).bytes_per_device
    4015130624
    """
    row = _row(model)
    if model.revision is None and row.covered:
        mesh = jax.sharding.AbstractMesh(
            (num_data, num_model), ("data", "model")
        )
        config = configs.read(pathlib.Path(model.checkpoint))
        memory = models.memory(
            models.abstract(config, dtype=dtype, mesh=mesh, over_data=over_data)
        )
        return Weights(memory.bytes_per_device, True, memory.undivided)
    if row.num_params is None:
        return None
    num_shards = num_model * (num_data if over_data else 1)
    least = -(-row.num_params // num_shards) * jnp.dtype(dtype).itemsize
    return Weights(least, False, {})


class Tried(NamedTuple):
    """A published checkpoint that was tried, and with which of its files.

    Attributes:
      checkpoint: Name of the checkpoint on the hub.
      model_type: Hugging Face's name of the architecture.
      config: "file" for the published config.json, "rebuilt" for the published
        sizes in the form of its family's files, "GGUF" for a file's metadata.
      tokenizer: The file whose tokens were compared; None where none was.
      weights: The file with which texts were scored; None where none was.
    """

    checkpoint: str
    model_type: str
    config: str
    tokenizer: str | None = None
    weights: str | None = None


def tried(path: str | os.PathLike[str]) -> list[Tried]:
    """Returns the checkpoints that were tried, from a YAML file of facts."""
    rows = yaml.safe_load(pathlib.Path(path).read_text())
    return [Tried(**row) for row in rows]


def tried_table(rows: Iterable[Tried]) -> str:
    """Returns the checkpoints that were tried as a table in Markdown."""
    lines = [
        "| checkpoint | `model_type` | config | tokenizer | weights |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join(
        lines
        + [
            f"| {row.checkpoint} | `{row.model_type}` | {row.config} "
            f"| {row.tokenizer or ''} | {row.weights or ''} |"
            for row in rows
        ]
    )


def family_table(
    parity_errors: Mapping[str, float],
    pools: Iterable[Pool],
    tried: Iterable[Tried],
) -> str:
    """Returns the ports as a table in Markdown, one row a module.

    Args:
      parity_errors: The largest difference of a logit from PyTorch's, as a
        fraction of max|logit|, by model type, as the parity tests write it.
      pools: Pools from which example checkpoints are taken.
      tried: Published checkpoints that were tried; their configs are counted.
    """
    examples: dict[str, list[str]] = {}
    for pool in pools:
        for model in pool.models:
            of_type = examples.setdefault(model.facts.get("model_type"), [])
            if model.revision is not None and model.checkpoint not in of_type:
                of_type.append(model.checkpoint)
    configs_tried = collections.Counter(row.model_type for row in tried)
    rows = [
        "| port | `model_type` | example checkpoints | configs tried | lines "
        "| parity error |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for name, model_types in families().items():
        module = models.FAMILIES[model_types[0]]
        num_lines = len(inspect.getsource(module).splitlines())
        checkpoints = [c for t in model_types for c in examples.get(t, ())[:2]]
        errors = [parity_errors[t] for t in model_types if t in parity_errors]
        num_tried = sum(configs_tried[t] for t in model_types)
        rows.append(
            f"| {name.rpartition('.')[2]} "
            f"| {', '.join(f'`{t}`' for t in model_types)} "
            f"| {', '.join(checkpoints[:3])} | {num_tried} | {num_lines} "
            f"| {max(errors):.1e} |"
        )
    return "\n".join(rows)
