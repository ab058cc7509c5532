"""Which implementation of the kernels serves a call.

A backend is a module with two pure functions on checked arrays, `min_sum` and
`oracle_sums` (the contract is in kernels.py), and two about itself: `supports`
(a dtype) and `why_not` (what keeps it from running here, None where it can). It
may have a third kernel, `union_sums`, which is `min_sum` of minima elsewhere.

A call is served by the backend that it names; else by the one that the
environment variable MMC_ORACLE_BACKEND names; else by that of the platform on
which the arrays lie. Under `jit` the platform is known only when the program is
lowered, and so XLA is given one branch a platform, of which it keeps one.
"""

import functools
import os
from collections.abc import Callable
from types import ModuleType

import jax
from absl import logging
from jax.extend.backend import backends as jax_platforms

from mmc_jax.oracle import cpu, gpu, tpu, xla

_MODULES = {"cpu": cpu, "gpu": gpu, "tpu": tpu, "xla": xla}

# JAX's name of the platform on which a backend is at home.
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}

# The names that calls and MMC_ORACLE_BACKEND may use.
NAMES = tuple(_MODULES)

# The environment variable.
VARIABLE = "MMC_ORACLE_BACKEND"


def min_sum(
    values: jax.Array,
    losses: jax.Array,
    weights: jax.Array | None,
    backend: str | None,
) -> jax.Array:
    """Returns sum over x of w_x min(V_sx, L_mx), by the backend: [S, M]."""
    return _served("min_sum", backend, values, losses, weights)


def oracle_sums(
    losses: jax.Array,
    masks: jax.Array,
    weights: jax.Array | None,
    backend: str | None,
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S} L_ix, by the backend: [S]."""
    return _served("oracle_sums", backend, losses, masks, weights)


def union_sums(
    losses: jax.Array,
    masks: jax.Array,
    others: jax.Array,
    weights: jax.Array | None,
    backend: str | None,
) -> jax.Array:
    """Returns sum over x of w_x min_{i in S or R} L_ix, by it: [S, R]."""
    return _served("union_sums", backend, losses, masks, others, weights)


def runnable(dtype: jax.typing.DTypeLike) -> dict[str, ModuleType]:
    """Returns the backends that can run here on the dtype, by name."""
    platforms = jax_platforms()
    return {
        name: module
        for name, module in _MODULES.items()
        if _PLATFORMS.get(name, "cpu") in platforms
        and module.why_not() is None
        and module.supports(dtype)
    }


def _served(
    kernel: str, backend: str | None, table: jax.Array, *others: jax.Array
) -> jax.Array:
    if backend is None:
        # An empty variable is none.
        backend = os.environ.get(VARIABLE) or None
    if backend is None:
        platforms = jax_platforms()
        for name, platform in _PLATFORMS.items():
            reason = _MODULES[name].why_not() if platform in platforms else None
            if reason is not None:
                logging.log_first_n(
                    logging.WARNING,
                    "The oracle kernels run by XLA on %s: %s",
                    1,
                    platform,
                    reason,
                )
        return _by_platform(kernel, table, *others)
    if backend not in _MODULES:
        raise ValueError(
            f"backend (or {VARIABLE}) is {backend!r}; one of "
            f"{', '.join(NAMES)} is needed."
        )
    module = _MODULES[backend]
    platform = _PLATFORMS.get(backend)
    reason = module.why_not()
    if platform is not None and platform not in jax_platforms():
        reason = f"JAX has no {platform} device here"
    if reason is None and not module.supports(table.dtype):
        reason = f"it has no kernel for {table.dtype}"
    if reason is not None:
        raise ValueError(f"backend {backend!r} cannot serve: {reason}.")
    return _kernel_of(module, kernel)(table, *others)


def _kernel_of(module: ModuleType, kernel: str) -> Callable[..., jax.Array]:
    if kernel == "union_sums" and not hasattr(module, kernel):
        return functools.partial(_union_sums, module.min_sum)
    return getattr(module, kernel)


@functools.partial(jax.jit, static_argnums=0)
def _union_sums(min_sum, losses, masks, others, weights):
    values, joined = (xla.minima(losses, part) for part in (masks, others))
    return min_sum(values, joined, weights)


@functools.partial(jax.jit, static_argnums=0)
def _by_platform(kernel: str, table: jax.Array, *others: jax.Array):
    branches = {
        _PLATFORMS[name]: _kernel_of(module, kernel)
        for name, module in runnable(table.dtype).items()
        if name in _PLATFORMS
    }
    return jax.lax.platform_dependent(
        table, *others, default=_kernel_of(xla, kernel), **branches
    )
