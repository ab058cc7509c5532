"""Results have the same bytes whatever computed them."""

import os

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, synthetic
from mmc_jax.oracle import backends, cpu


def arrays_of(result):
    """Yields the arrays and numbers of a named tuple of named tuples."""
    for value in result:
        if isinstance(value, tuple):
            yield from arrays_of(value)
        elif value is not None:
            yield np.asarray(value)


def ways():
    """Returns environments that force implementations which round apart.

    Those between the best and the plainest level: tests/oracle/test_cpu.py.
    """
    found = {"xla": {backends.VARIABLE: "xla"}}
    if cpu.why_not() is None:
        for level, threads in ((cpu.levels()[0], "1"), (cpu.levels()[-1], "3")):
            found[f"{level}, {threads} threads"] = {
                backends.VARIABLE: "cpu",
                "MMC_ORACLE_CPU_LEVEL": level,
                "MMC_ORACLE_CPU_THREADS": threads,
            }
    return found


class CanonicalTest(absltest.TestCase):
    def test_same_bytes_of_every_backend(self):
        pool = synthetic.pool(12, 300, noise=0.1)
        table, costs = pool.losses, pool.costs
        counts = np.random.default_rng(0).integers(0, 3, 300)
        shares = np.random.default_rng(1).random(300)
        halves = table[:, :150], table[:, 150:]
        results = {
            "single_models": lambda: frontier.single_models(table, costs),
            "pruned": lambda: frontier.pruned(table, costs),
            "counts": lambda: frontier.pruned(table, costs, counts),
            "shares": lambda: frontier.pruned(table, costs, shares),
            "exhaustive": lambda: frontier.exhaustive(table, costs, max_size=3),
            "held_out": lambda: frontier.held_out(
                frontier.pruned(halves[0], costs).masks, halves[1], costs
            ),
            "cross_fitted": lambda: frontier.cross_fitted(
                table, costs, search=frontier.pruned, num_splits=2
            ),
            "routed": lambda: frontier.routed(table, costs),
            "bootstrap": lambda: frontier.bootstrap_band(
                table, costs, np.eye(12, dtype=bool), num_resamples=20
            ),
            "certified": lambda: frontier.certified(table, costs),
            "certified, shares": lambda: frontier.certified(
                table[:8], costs[:8], shares
            ),
        }
        for name, result in results.items():
            expected = None
            for way, variables in ways().items():
                with (
                    self.subTest(result=name, way=way),
                    absltest.mock.patch.dict(os.environ, variables),
                ):
                    found = [a.tobytes() for a in arrays_of(result())]
                    expected = expected or found
                    self.assertEqual(found, expected)


if __name__ == "__main__":
    absltest.main()
