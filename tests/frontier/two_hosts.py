"""One of two processes that prove a frontier; exits with 0 if it is right.

python -m tests.frontier.two_hosts INDEX PORT FOLDER
"""

import sys

import jax
import numpy as np

from mmc_jax import frontier, hosts, synthetic


def main(index: str, port: str, folder: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    hosts.initialize(f"localhost:{port}", 2, int(index), heartbeat_seconds=20)
    pool = synthetic.pool(16, 50, noise=0.1)
    found = frontier.certified(pool.losses, pool.costs, work_dir=folder)
    assert found.proven.all()
    expected = frontier.exhaustive(pool.losses, pool.costs)
    np.testing.assert_array_equal(found.frontier.costs, expected.costs)
    np.testing.assert_array_equal(found.frontier.masks, expected.masks)


if __name__ == "__main__":
    main(*sys.argv[1:])
