"""The kernels over the devices of a mesh; a backend computes on each.

M models, X texts, S subsets.

A mesh has an axis "subsets", an axis "texts", or both; other axes repeat the
work. Each device takes its subsets and its texts, and sums them on its own.
Then the texts' partial sums are added over the axis "texts" (`psum`). Integers
are the same to the last bit as on one device. Float32 sums are off by at most
one more rounding of 6e-8 for each device on that axis.

Several hosts (`jax.distributed`) need arrays that all of them hold in full, or
arrays that already lie over the mesh.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mmc_jax.oracle import backends, xla

_SUBSETS, _TEXTS = "subsets", "texts"


def oracle_sums(
    losses: jax.Array,
    masks: jax.Array,
    weights: jax.Array | None,
    backend: str | None,
    mesh: Mesh,
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix, over the subsets' axis: [S].

    Raises:
      ValueError: a mesh with neither axis.
    """
    return _oracle_sums(losses, masks, weights, backend, _checked(mesh))


def min_sum(
    values: jax.Array,
    losses: jax.Array,
    weights: jax.Array | None,
    backend: str | None,
    mesh: Mesh,
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx), over subsets' axis: [S, M].

    Raises:
      ValueError: a mesh with neither axis.
    """
    return _min_sum(values, losses, weights, backend, _checked(mesh))


@functools.partial(jax.jit, static_argnames=("backend", "mesh"))
def _oracle_sums(losses, masks, weights, backend, mesh):
    num_texts, num_subsets = losses.shape[1], masks.shape[0]
    losses, weights = (
        _filled(losses, mesh, _TEXTS),
        _filled(weights, mesh, _TEXTS),
    )
    sums = _summed_over_texts(
        functools.partial(backends.oracle_sums, backend=backend),
        mesh,
        (P(None, _TEXTS), P(_SUBSETS, None), P(_TEXTS)),
        P(_SUBSETS),
    )(losses, _filled(masks, mesh, _SUBSETS, axis=0), weights)[:num_subsets]
    if sums.dtype == jnp.int64:
        # Without a model, the added texts count the largest number and not 0.
        excess = (losses.shape[1] - num_texts) * jnp.iinfo(losses.dtype).max
        sums = sums - jnp.where(masks.any(axis=1), 0, excess)
    return sums


@functools.partial(jax.jit, static_argnames=("backend", "mesh"))
def _min_sum(values, losses, weights, backend, mesh):
    num_subsets = values.shape[0]
    values = _filled(_filled(values, mesh, _TEXTS), mesh, _SUBSETS, axis=0)
    return _summed_over_texts(
        functools.partial(backends.min_sum, backend=backend),
        mesh,
        (P(_SUBSETS, _TEXTS), P(None, _TEXTS), P(_TEXTS)),
        P(_SUBSETS, None),
    )(values, _filled(losses, mesh, _TEXTS), _filled(weights, mesh, _TEXTS))[
        :num_subsets
    ]


def _checked(mesh: Mesh) -> Mesh:
    """Returns the mesh with axes of type Auto, the others refuse odd slices."""
    if not {_SUBSETS, _TEXTS} & set(mesh.axis_names):
        raise ValueError(
            f"mesh has the axes {mesh.axis_names}; {_SUBSETS!r} or {_TEXTS!r} "
            "is needed."
        )
    return Mesh(mesh.devices, mesh.axis_names)


def _filled(
    table: jax.Array | None, mesh: Mesh, name: str, axis: int = -1
) -> jax.Array | None:
    """Returns the table with zeros until all devices have shares of a size."""
    if table is None:
        return None
    return xla.padded(table, mesh.shape.get(name, 1), axis=axis)


def _summed_over_texts(
    function: Callable[..., jax.Array],
    mesh: Mesh,
    in_specs: tuple[P, ...],
    out_specs: P,
) -> Callable[..., jax.Array]:
    """Returns the function on shares of its arguments, its results added up."""

    def share(*arrays):
        sums = function(*arrays)
        if _TEXTS in mesh.axis_names:
            sums = jax.lax.psum(sums, _TEXTS)
        return sums

    def on_mesh(spec):
        return P(*(name if name in mesh.axis_names else None for name in spec))

    return jax.shard_map(
        share,
        mesh=mesh,
        in_specs=tuple(on_mesh(spec) for spec in in_specs),
        out_specs=on_mesh(out_specs),
        # What a foreign function returns is not known to be the same over axes
        # that it does not use.
        check_vma=False,
    )
