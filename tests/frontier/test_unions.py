"""Tiles are computed ahead of the filter, in order."""

import threading

import numpy as np
from absl.testing import absltest

from mmc_jax.frontier import unions


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


if __name__ == "__main__":
    absltest.main()
