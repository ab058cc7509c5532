import numpy as np
from absl.testing import absltest

from mmc_jax import diversity
from tests import tolerances


class DomainLossesTest(absltest.TestCase):
    def test_against_means(self):
        losses = np.random.default_rng(0).lognormal(size=(4, 30))
        domains = [f"d{x % 3}" for x in range(30)]
        found = diversity.domain_losses(losses, domains)
        self.assertEqual(found.domains, ("d0", "d1", "d2"))
        for d in range(3):
            some = losses[:, d::3]
            self.assertEqual(found.num_texts[d], 10)
            np.testing.assert_allclose(
                found.losses[d],
                some.mean(axis=1),
                rtol=0,
                atol=tolerances.MEAN_OF_LOSSES,
            )
            self.assertAlmostEqual(found.oracle[d], some.min(axis=0).mean())

    def test_domains_of_other_texts(self):
        with self.assertRaisesRegex(ValueError, "2 domains for 3 texts"):
            diversity.domain_losses([[1.0, 2.0, 3.0]], "ab")


class ExtremeTextsTest(absltest.TestCase):
    def test_order_and_ties(self):
        losses = [[1.0, 3.0, 3.0, 1.0], [1.0, 4.0, 3.0, 0.5]]
        found = diversity.extreme_texts(losses, 9)
        self.assertEqual(found.worst.tolist(), [1, 2, 0, 3])
        self.assertEqual(found.best_model, 0)
        self.assertEqual(found.contested.tolist(), [3, 0, 1, 2])
        self.assertEqual(found.gains.tolist(), [0, 0, 0, 0.5])

    def test_no_texts(self):
        with self.assertRaisesRegex(ValueError, "at least 1"):
            diversity.extreme_texts([[1.0]], 0)


if __name__ == "__main__":
    absltest.main()
