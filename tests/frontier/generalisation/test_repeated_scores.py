"""Oracles over repeated scores against loops, and around the truth."""

import itertools
import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from tests import tolerances


class RepeatedLossesTest(parameterized.TestCase):
    @parameterized.product(num_repeats=[2, 5], weighted=[False, True])
    def test_against_loops(self, num_repeats, weighted):
        rng = np.random.default_rng(num_repeats)
        # Of three values: ties, and sums that depend on their order.
        losses = rng.choice([0.1, 0.2, 0.7], (num_repeats, 4, 6))
        weights = np.arange(6.0) if weighted else None
        masks = np.array(
            [m for m in itertools.product([False, True], repeat=4) if any(m)]
        )
        found = frontier.repeated_losses(losses, masks, weights)
        for s, mask in enumerate(masks):
            subset = np.flatnonzero(mask)
            terms = np.zeros((3, 6))
            for x in range(6):
                own = losses[:, subset, x].tolist()
                columns = list(zip(*own, strict=True))
                terms[0, x] = np.mean([min(row) for row in own])
                terms[1, x] = min(np.mean(column) for column in columns)
                for r in range(num_repeats):
                    others = [math.fsum(c[:r] + c[r + 1 :]) for c in columns]
                    chosen = [
                        c[r]
                        for c, other in zip(columns, others, strict=True)
                        if other == min(others)
                    ]
                    terms[2, x] += np.mean(chosen) / num_repeats
            expected = np.average(terms, axis=1, weights=weights)
            np.testing.assert_allclose(
                [values[s] for values in found],
                expected,
                rtol=tolerances.MEAN_OF_LOSSES,
            )
        rises = tolerances.MEAN_OF_LOSSES
        self.assertTrue((found.one_run <= found.plug_in + rises).all())
        self.assertTrue((found.plug_in <= found.cross_fitted + rises).all())

    def test_the_truth_is_in_between(self):
        rng = np.random.default_rng(0)
        chance = rng.uniform(0.2, 0.8, (5, 4000))  # Of failing.
        losses = (rng.random((4, 5, 4000)) < chance).astype(float)
        truth = chance.min(axis=0).mean()
        found = frontier.repeated_losses(losses, np.ones((1, 5), bool))
        # Three standard errors are 0.02.
        self.assertLess(found.one_run[0], found.plug_in[0] - 0.02)
        self.assertLess(found.plug_in[0], truth - 0.02)
        self.assertGreater(found.cross_fitted[0], truth + 0.02)

    def test_one_model_needs_no_correction(self):
        losses = np.random.default_rng(0).random((3, 1, 9))
        for values in frontier.repeated_losses(losses, [[True]]):
            np.testing.assert_allclose(
                values, losses.mean(), rtol=tolerances.MEAN_OF_LOSSES
            )

    @parameterized.parameters(
        ((1, 2, 3), "at least 2 repeats"),
        ((2, 3), "at least 2 repeats"),
        ((2, 2, 0), "repeat 0: losses has shape"),
        ((2, 3, 3), r"masks has shape \(1, 2\)"),
    )
    def test_bad_shapes(self, shape, message):
        with self.assertRaisesRegex(ValueError, message):
            frontier.repeated_losses(np.ones(shape), [[True, True]])

    def test_bad_values(self):
        losses = np.ones((3, 2, 4))
        losses[2, 1, 3] = np.nan
        with self.assertRaisesRegex(ValueError, r"repeat 2: losses\[1, 3\]"):
            frontier.repeated_losses(losses, [[True, True]])
        with self.assertRaisesRegex(ValueError, r"masks\[1\] has no model"):
            frontier.repeated_losses(
                np.ones((2, 2, 2)), [[True, True], [False, False]]
            )


if __name__ == "__main__":
    absltest.main()
