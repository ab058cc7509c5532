"""Which device holds what: a mesh over data and model, and rules by name.

A rule is (a regex of parameter paths, the PartitionSpec of their last axes).
The axes of stacks stand before those. They are never split, so that each device
has its share of every layer. Weights are split over `model`. Layers that make
heads or hidden features are split by outputs; layers that take them are split
by inputs (Megatron-LM, Shoeybi et al., arXiv 1909.08053). Tables and heads are
split by the vocabulary. XLA adds the communication. Scores are the same on
every mesh.
"""

import math
import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Rules = tuple[tuple[str, P], ...]

# Largest share of a device's memory for weights; the rest is for activations.
_WEIGHTS_SHARE = 0.75


def mesh(
    num_data: int | None = None,
    num_model: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Returns devices as a mesh: data x model.

    Args:
      num_data: Number of devices along `data`, over which batches are split;
        None for as many as there are.
      num_model: Number of devices along `model`, over which weights are split.
      devices: The devices to take from; None for those of all processes.

    Raises:
      ValueError: There are fewer devices; or `num_model` does not divide their
        number; or they belong to several processes and some are left out.
    """
    devices = jax.devices() if devices is None else devices
    num_processes = len({device.process_index for device in devices})
    if num_data is None and num_model > 0 and len(devices) % num_model == 0:
        num_data = len(devices) // num_model
    if (num_data or 0) < 1 or num_model < 1:
        raise ValueError(
            f"a mesh of {num_data} x {num_model} on {len(devices)} devices: "
            "both are at least 1, and num_model divides the devices where "
            "num_data is not given"
        )
    num_devices = num_data * num_model
    if num_devices > len(devices) or (
        num_devices < len(devices) and num_processes > 1
    ):
        raise ValueError(
            f"a mesh of {num_data} x {num_model} needs {num_devices} devices, "
            f"and there are {len(devices)} in {num_processes} processes"
        )
    return jax.make_mesh(
        (num_data, num_model),
        ("data", "model"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices[:num_devices],
    )


def columns(*modules: str) -> Rules:
    """Returns rules for linear layers [in, out] that are split by outputs."""
    return (
        (_of(modules, "kernel|weight"), P(None, "model")),
        (_of(modules, "bias"), P("model")),
    )


def rows(*modules: str) -> Rules:
    """Returns rules for linear layers [in, out] that are split by inputs."""
    return (
        (_of(modules, "kernel|weight"), P("model", None)),
        (_of(modules, "bias"), P()),
    )


def tables(*modules: str) -> Rules:
    """Returns rules for embeddings [V, D] that are split by the vocabulary."""
    return ((_of(modules, "embedding"), P("model", None)),)


def features(*parameters: str, rank: int = 1) -> Rules:
    """Returns rules for parameters that are split along the first axis.

    Args:
      parameters: Regexes of the last names of paths.
      rank: Number of axes of such a parameter, without those of stacks.
    """
    spec = P("model", *(rank - 1) * [None])
    return tuple((rf"(^|\.)({name})$", spec) for name in parameters)


def replicated(*modules: str) -> Rules:
    """Returns rules for modules that every device holds, small ones."""
    return ((_of(modules, r"\w+"), P()),)


def _of(modules: Sequence[str], leaves: str) -> str:
    return rf"(^|\.)({'|'.join(modules)})\.({leaves})$"


NORMS = replicated(r"\w*norm\w*", r"ln_\w+")
# Rules for LLaMA and for all families that use its names.
RULES = (
    *columns("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "lm_head"),
    *rows("o_proj", "down_proj"),
    *tables("embed_tokens"),
    *NORMS,
)


def shardings(
    shapes: Mapping[str, tuple[int, ...]],
    rules: Rules,
    mesh: Mesh | AbstractMesh,
    *,
    over_data: bool = False,
) -> dict[str, NamedSharding]:
    """Returns where each parameter's parts stand, by its path.

    An axis that the number of devices does not divide is not split.

    Args:
      shapes: Shapes of the parameters by path, the axes of stacks first.
      rules: Rules of the family; exactly one matches each path.
      mesh: The devices, with the axes `data` and `model`.
      over_data: Whether what the rules split over `model` is split over all
        devices. A batch then goes through all of them, as if they stood along
        `model`.

    Raises:
      ValueError: A path matches no rule, or several.
    """
    return {
        path: NamedSharding(
            mesh, _spec(shape, _rule(path, rules), mesh.shape, over_data)
        )
        for path, shape in shapes.items()
    }


def _rule(path: str, rules: Rules) -> P:
    matching = [rule for rule in rules if re.search(rule[0], path)]
    if len(matching) != 1:
        raise ValueError(
            f"parameter {path} matches {len(matching)} sharding rules, not "
            f"one: {[pattern for pattern, _ in matching]}"
        )
    return matching[0][1]


def _spec(
    shape: tuple[int, ...],
    rule: P,
    sizes: Mapping[str, int],
    over_data: bool,
) -> P:
    """Returns a parameter's spec: what a rule asks for and the shape allows."""

    def split(size: int) -> tuple[str, ...] | str | None:
        if over_data and size % (sizes["model"] * sizes["data"]) == 0:
            return ("model", "data")
        return "model" if size % sizes["model"] == 0 else None

    stacks = (len(shape) - len(rule)) * [None]
    axes = zip(rule, shape[len(stacks) :], strict=True)
    return P(*stacks, *(split(size) if name else None for name, size in axes))


def bytes_per_device(
    params: Mapping[str, jax.Array | jax.ShapeDtypeStruct],
) -> int:
    """Returns the bytes of parameters that each device of their mesh holds.

    Args:
      params: Arrays, or their shapes, with shardings; one without is on one
        device.
    """
    return sum(
        math.prod(_shard_shape(value)) * value.dtype.itemsize
        for value in params.values()
    )


def undivided(
    params: Mapping[str, jax.Array | jax.ShapeDtypeStruct], rules: Rules
) -> dict[str, int]:
    """Returns the bytes of what a rule splits but every device holds in full.

    Args:
      params: Arrays, or their shapes, with shardings, by path.
      rules: The rules that gave the shardings.
    """
    return {
        path: value.size * value.dtype.itemsize
        for path, value in params.items()
        if isinstance(value.sharding, NamedSharding)
        and any(_rule(path, rules))
        and not any(value.sharding.spec)
    }


def _shard_shape(value: jax.Array | jax.ShapeDtypeStruct) -> tuple[int, ...]:
    if value.sharding is None:
        return value.shape
    return value.sharding.shard_shape(value.shape)


def fits(num_bytes: int, mesh: Mesh | AbstractMesh) -> bool:
    """Returns whether weights leave a device of the mesh room to work.

    True where a device does not state its memory, as CPUs do not, or where the
    mesh is only described. All processes get the same answer.
    """
    if isinstance(mesh, AbstractMesh):
        return True
    stats = [device.memory_stats() or {} for device in mesh.local_devices]
    limit = min(stat.get("bytes_limit", math.inf) for stat in stats)
    # Processes must agree, or they would compile different programs.
    limit = np.min(multihost_utils.process_allgather(np.array(limit)))
    return bool(num_bytes <= _WEIGHTS_SHARE * limit)
