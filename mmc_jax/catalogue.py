"""What is ported, what a pool asks for, and the memory that it takes.

Nothing is fetched: of a hub id only what the pool file states is known.
"""

import inspect
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from mmc_jax import models
from mmc_jax.pool import Model, Pool


class Row(NamedTuple):
    """A model of a pool, as far as it is known without its weights.

    Attributes:
      name: The model's.
      family: The model's.
      model_type: Hugging Face's; None where neither a config.json nor the pool
        file tells it.
      covered: Whether `mmc_jax.models.FAMILIES` has a port of it.
      num_params: Counted from a local config that has a port, else what the
        pool file states; None where it states nothing.
      num_active_params: What the pool file states.
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
            model_type = _model_type(path)
            if model_type in models.FAMILIES:
                num_params = models.num_params(model.checkpoint)
    return Row(
        name=model.name,
        family=model.family,
        model_type=model_type,
        covered=model_type in models.FAMILIES,
        num_params=_whole(num_params),
        num_active_params=_whole(num_active_params),
    )


def _model_type(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_bytes()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not readable as a config: {error}") from None


def _whole(count: float | None) -> int | None:
    return None if count is None else round(count)


def weight_bytes_per_device(
    num_params: int, dtype: DTypeLike, *, num_model_shards: int = 1
) -> int:
    """Returns the least bytes of weights that a device of a mesh holds.

    bytes = ceil(num_params / num_model_shards) * bytes of a parameter

    Every parameter is split over the mesh's model axis; along its data axis all
    devices hold the same. It is the least because an array whose axes the
    shards do not divide stays whole on every device, and because activations
    and logits come on top.

    Args:
      num_params: Of the whole model; all experts, also those that are not
        active.
      dtype: Of the parameters in memory.
      num_model_shards: Devices along the mesh's model axis.

    Raises:
      ValueError: A negative number of parameters, or no shard.

    >>> weight_bytes_per_device(8030261248, "bfloat16", num_model_shards=4)
    4015130624
    """
    if num_params < 0 or num_model_shards < 1:
        raise ValueError(
            f"{num_params} parameters on {num_model_shards} shards: neither "
            "a negative number of parameters nor less than one shard will do"
        )
    return -(-num_params // num_model_shards) * jnp.dtype(dtype).itemsize


def family_table(
    parity_errors: Mapping[str, float], pools: Iterable[Pool]
) -> str:
    """Returns the ports as a table in Markdown, one row a module.

    Args:
      parity_errors: By model type, the largest difference of a logit from
        PyTorch's, as a fraction of max|logit|, as the parity tests write it.
      pools: Where example checkpoints are looked up.
    """
    examples: dict[str, list[str]] = {}
    for pool in pools:
        for model in pool.models:
            of_type = examples.setdefault(model.facts.get("model_type"), [])
            if model.revision is not None and model.checkpoint not in of_type:
                of_type.append(model.checkpoint)
    rows = [
        "| port | `model_type` | example checkpoints | lines | parity error |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    for name, model_types in families().items():
        module = models.FAMILIES[model_types[0]]
        num_lines = len(inspect.getsource(module).splitlines())
        checkpoints = [c for t in model_types for c in examples.get(t, ())[:2]]
        errors = [parity_errors[t] for t in model_types if t in parity_errors]
        rows.append(
            f"| {name.rpartition('.')[2]} "
            f"| {', '.join(f'`{t}`' for t in model_types)} "
            f"| {', '.join(checkpoints[:3])} | {num_lines} "
            f"| {max(errors):.1e} |"
        )
    return "\n".join(rows)
