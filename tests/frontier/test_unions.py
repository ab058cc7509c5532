"""Tiles are computed ahead of the filter, in order."""

import threading

import numpy as np
from absl.testing import absltest

from mmc_jax.frontier import unions
from mmc_jax.statistics.inputs import checked_inputs


class AheadTest(absltest.TestCase):
    def test_order(self):
        for num_tiles in (0, 1, 2, 7):
            with self.subTest(num_tiles=num_tiles):
                pairs = list(unions.ahead(np.negative, range(num_tiles)))
                self.assertEqual(pairs, [(i, -i) for i in range(num_tiles)])

    def test_the_next_is_computed_while_one_is_looked_at(self):
        begun = {tile: threading.Event() for tile in range(3)}

        def sums(tile):
            begun[tile].set()
            return tile

        for tile, _ in unions.ahead(sums, range(3)):
            if tile < 2:
                self.assertTrue(begun[tile + 1].wait(timeout=60))

    def test_an_error_comes_out(self):
        def sums(tile):
            raise ValueError(f"tile {tile}")

        with self.assertRaisesRegex(ValueError, "tile 0"):
            list(unions.ahead(sums, range(2)))


class LossChunksTest(absltest.TestCase):
    def sums(self, losses):
        inputs = checked_inputs(losses, np.ones(len(losses)), None)
        chunks = unions.loss_chunks(inputs)
        none = np.zeros((1, len(losses)), bool)
        single = np.eye(len(losses), dtype=bool)
        return chunks, unions.union_sums(chunks, single, none)[:, 0]

    def test_few_losses_far_above_the_others_leave_these_their_digits(self):
        rng = np.random.default_rng(0)
        losses = rng.lognormal(size=(6, 80))
        chunks, usual = self.sums(losses)
        self.assertLen(chunks, 1)
        losses[2, 7], losses[4, 9] = 1e12, 3e12
        chunks, sums = self.sums(losses)
        self.assertLen(chunks, 2)
        # Sums in the order of the losses, also of models that differ little.
        np.testing.assert_array_equal(
            np.argsort(sums), np.argsort(losses.mean(axis=1))
        )
        others = [0, 1, 3, 5]
        np.testing.assert_allclose(
            np.diff(sums[others]) / np.diff(usual[others]),
            (sums[1] - sums[0]) / (usual[1] - usual[0]),
            rtol=1e-6,
        )

    def test_losses_of_any_size(self):
        rng = np.random.default_rng(0)
        losses = rng.normal(size=(6, 80))
        expected = self.sums(losses)[1]
        for power in (-1000, 900, 1020):
            with self.subTest(power=power):
                found = self.sums(np.ldexp(losses, power))[1]
                np.testing.assert_array_equal(found, expected)


if __name__ == "__main__":
    absltest.main()
