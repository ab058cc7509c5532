"""The drawn pools: real sizes, the stated law, the same numbers every time."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier, pool, synthetic
from tests import tolerances


class SyntheticPoolTest(parameterized.TestCase):
    def test_has_the_catalogue_by_size(self):
        drawn = synthetic.pool(71, 3, 0.03)
        models = {model.name: model for model in pool.read("base71").models}
        self.assertSameElements(drawn.names, models)
        self.assertLen(drawn.names, 71)
        for name, family, cost in zip(
            drawn.names, drawn.families, drawn.costs, strict=True
        ):
            self.assertEqual(family, models[name].family)
            self.assertEqual(cost, models[name].costs["num_params"])
        self.assertTrue((np.diff(drawn.costs) >= 0).all())
        self.assertEqual(drawn.losses.shape, (71, 3))
        self.assertEqual(drawn.losses.dtype, np.float64)

    @parameterized.parameters(1, 2, 14, 70)
    def test_a_smaller_pool_is_a_part(self, num_models):
        whole = synthetic.pool(71, 20, 0.1, seed=3)
        part = synthetic.pool(num_models, 20, 0.1, seed=3)
        self.assertLen(set(part.names), num_models)
        rows = [whole.names.index(name) for name in part.names]
        np.testing.assert_array_equal(part.losses, whole.losses[rows])
        with self.subTest("spread evenly by size"):
            steps = np.diff(rows)
            if num_models > 1:
                self.assertEqual((rows[0], rows[-1]), (0, 70))
                self.assertLessEqual(steps.max() - steps.min(), 1)

    def test_fewer_texts_are_the_first_of_more(self):
        few, more = (synthetic.pool(5, x, 0.03) for x in (7, 30))
        np.testing.assert_array_equal(few.losses, more.losses[:, :7])

    def test_is_what_its_formula_says(self):
        noisy, plain = (synthetic.pool(71, 4000, e, 1) for e in (0.1, 0.0))
        logs = np.log(noisy.losses) - np.log(plain.losses)
        with self.subTest("the noise"):
            np.testing.assert_allclose(
                logs.std(), 0.1, rtol=tolerances.DRAWN_NOISE
            )
        with self.subTest(
            "without noise a family's models differ in size only"
        ):
            size = 400 * plain.costs**-0.35 + 2.21
            rest = plain.losses / size[:, None]
            rows = {}
            for row, family in zip(rest, plain.families, strict=True):
                np.testing.assert_allclose(
                    rows.setdefault(family, row),
                    row,
                    rtol=tolerances.NORMALISATION,
                )
        with self.subTest("8 domains, in which families differ"):
            ratio = rest[0] / rest[plain.families.index("bloom")]
            self.assertLen(np.unique(ratio.round(9)), 8)

    def test_the_seed_decides(self):
        a, again, b = (synthetic.pool(4, 9, 0.03, s) for s in (1, 1, 2))
        np.testing.assert_array_equal(a.losses, again.losses)
        self.assertFalse((a.losses == b.losses).any())
        self.assertEqual(a.names, b.names)

    def test_more_models_than_the_catalogue_has(self):
        drawn = synthetic.pool(75, 4, 0.1)
        catalogue = synthetic.pool(71, 4, 0.1)
        self.assertLen(set(drawn.names), 75)
        self.assertEqual(drawn.names[:2], ("gpt2", "gpt2-2"))
        self.assertEqual(drawn.costs[0], drawn.costs[1])
        self.assertTrue((np.diff(drawn.costs) >= 0).all())
        with self.subTest("the second has noise of its own"):
            self.assertFalse((drawn.losses[0] == drawn.losses[1]).any())
        with self.subTest("the first is that of the catalogue"):
            np.testing.assert_array_equal(drawn.losses[0], catalogue.losses[0])

    def test_noise_makes_a_richer_frontier(self):
        sizes = []
        for noise in (0.03, 0.1):
            drawn = synthetic.pool(14, 500, noise)
            sizes.append(len(frontier.pruned(drawn.losses, drawn.costs).costs))
        self.assertGreater(sizes[1], sizes[0])

    @parameterized.parameters(
        ((7101, 5, 0.03), "num_models is 7101; 1 to 7,100"),
        ((0, 5, 0.03), "num_models is 0"),
        ((5, 0, 0.03), "num_texts is 0"),
        ((5, 5, -0.1), "noise is -0.1"),
        ((5, 5, float("nan")), "noise is nan"),
        ((5, 5, 0.1, -1), "seed is -1"),
    )
    def test_bad_arguments(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            synthetic.pool(*arguments)


if __name__ == "__main__":
    absltest.main()
