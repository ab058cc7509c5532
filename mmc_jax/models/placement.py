"""Parameters on their devices: each device gets only what it holds."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from mmc_jax.models import tensors


def placed(
    read: Callable[[tensors.Region], np.ndarray], param: jax.ShapeDtypeStruct
) -> jax.Array:
    """Returns a parameter where its sharding says.

    Args:
      read: Function that returns the values of a region of the parameter.
      param: Shape, dtype and sharding of the parameter.
    """
    # Devices that hold the same part share its reading, and CPUs its memory.
    read = functools.cache(read)
    if param.sharding is None:
        value = jax.device_put(read(_region((), param.shape)))
    else:
        value = jax.make_array_from_callback(
            param.shape,
            param.sharding,
            lambda index: read(_region(index, param.shape)),
            dtype=param.dtype,
        )
    # Or else the host would hold what the devices have not yet taken.
    return jax.block_until_ready(value)


def local_regions(param: jax.ShapeDtypeStruct) -> set[tensors.Region]:
    """Returns the parts of a parameter that this host's devices hold."""
    if param.sharding is None:
        return {_region((), param.shape)}
    places = param.sharding.addressable_devices_indices_map(param.shape)
    return {_region(index, param.shape) for index in places.values()}


def _region(index: tuple[slice, ...], shape: tuple[int, ...]) -> tensors.Region:
    """Returns an index with the bounds that it leaves open."""
    index = index + (len(shape) - len(index)) * (slice(None),)
    return tuple(
        range(*axis.indices(size))
        for axis, size in zip(index, shape, strict=True)
    )
