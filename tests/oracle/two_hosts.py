"""One of two hosts with two CPU devices each; exits with 0 if all is equal.

python -m tests.oracle.two_hosts INDEX PORT
"""

import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmc_jax import oracle
from tests import tolerances
from tests.oracle import brute_force


def main(index: str, port: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(index))
    losses, values, masks, weights = brute_force.random_case(
        11, 5, 203, np.float32
    )
    for shape, names in (((4,), ("texts",)), ((2, 2), ("subsets", "texts"))):
        mesh = jax.make_mesh(shape, names)
        for got, expected in (
            (
                oracle.oracle_losses(losses, masks, weights, mesh=mesh),
                brute_force.oracle_sums(losses, masks, weights) / weights.sum(),
            ),
            (
                oracle.min_sum(values, losses, mesh=mesh),
                brute_force.min_sum(values, losses),
            ),
        ):
            np.testing.assert_allclose(
                multihost_utils.process_allgather(got, tiled=True),
                expected,
                rtol=tolerances.KERNEL_FLOAT32,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
