"""Functions that are compiled for the host's CPU, wherever JAX runs otherwise.

Fits are small. On an accelerator they would take longer to send than to
compute, and end in other digits.
"""

import functools
from collections.abc import Callable

import jax


def for_cpu(function: Callable, **options) -> Callable:
    """Returns the function compiled by `jax.jit`, to run on the host's CPU.

    Args:
      function: Function of arrays.
      **options: Arguments of `jax.jit`.
    """
    compiled = jax.jit(function, **options)

    @functools.wraps(function)
    def call(*arguments):
        with jax.default_device(_cpu()):
            return compiled(*arguments)

    return call


@functools.cache
def _cpu() -> jax.Device | None:
    """Returns the host's CPU; None where JAX was told to leave it alone."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
