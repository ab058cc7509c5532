"""Minima of subsets that share models, against one subset at a time."""

import numpy as np
from absl.testing import absltest

from mmc_jax.oracle.subset_minima import (
    first_least,
    in_steps,
    minima_of_subsets,
)


class SubsetMinimaTest(absltest.TestCase):
    def test_equals_one_subset_at_a_time(self):
        rng = np.random.default_rng(0)
        losses = rng.normal(size=(9, 5))
        # Among them equal ones and one without a model.
        masks = np.concatenate([rng.random((60, 9)) < 0.6, np.eye(9) > 0])
        masks[[3, 7]], masks[5] = masks[11], False
        found = minima_of_subsets(losses, masks)
        for row, mask in zip(found, masks, strict=True):
            expected = losses[mask].min(axis=0, initial=np.inf)
            np.testing.assert_array_equal(row, expected)

    def test_subsets_that_grow_take_one_model_each(self):
        masks = np.tril(np.ones((6, 6), bool))
        order, steps = in_steps(masks[::-1])
        self.assertEqual([len(step.models) for step in steps], [1] * 6)
        np.testing.assert_array_equal(order, [5, 4, 3, 2, 1, 0])

    def test_first_least_is_argmin(self):
        rows = np.random.default_rng(0).integers(0, 3, (6, 40)).astype(float)
        np.testing.assert_array_equal(first_least(rows), rows.argmin(axis=0))

    def test_no_subsets(self):
        found = minima_of_subsets(np.ones((2, 3)), np.empty((0, 2), bool))
        self.assertEqual(found.shape, (0, 3))


if __name__ == "__main__":
    absltest.main()
