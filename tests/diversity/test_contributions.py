import itertools
import math

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import diversity, oracle
from tests import tolerances
from tests.frontier import brute_force


def _shapley(losses, weights=None):
    """All 2^M subsets by the kernel, and the definition's weights."""
    num_models = len(losses)
    masks = np.array(list(itertools.product([False, True], repeat=num_models)))
    with jax.enable_x64(True):
        oracle_losses = np.asarray(oracle.oracle_losses(losses, masks, weights))
    nobody = np.average(losses.max(axis=0), weights=weights)
    gains = nobody - np.where(masks.any(axis=1), oracle_losses, nobody)
    gain_of = dict(zip(map(tuple, masks.tolist()), gains, strict=True))
    values = np.zeros(num_models)
    for mask in masks:
        for i in np.flatnonzero(~mask):
            joined = mask.copy()
            joined[i] = True
            size = int(mask.sum())
            share = 1 / (num_models * math.comb(num_models - 1, size))
            values[i] += share * (
                gain_of[tuple(joined.tolist())] - gain_of[tuple(mask.tolist())]
            )
    return values


class ShapleyTest(parameterized.TestCase):
    @parameterized.product(
        shape=((1, 1), (2, 1), (3, 7), (9, 40)),
        weighted=[False, True],
        whole_numbers=[False, True],
    )
    def test_against_all_subsets(self, shape, weighted, whole_numbers):
        losses, _ = brute_force.pool(*shape, 1, whole_numbers)
        weights = np.arange(shape[1]) % 3 + 1.0 if weighted else None
        found = diversity.shapley(losses, weights)
        np.testing.assert_allclose(
            found.values,
            _shapley(losses, weights),
            rtol=0,
            atol=tolerances.MEAN_OF_LOSSES,
        )

    @parameterized.parameters((2, 5), (71, 10_000))
    def test_sum_to_what_the_pool_gains(self, num_models, num_texts):
        losses, _ = brute_force.pool(num_models, num_texts, 2)
        gain = losses.max(axis=0).mean() - losses.min(axis=0).mean()
        total = diversity.shapley(losses).values.sum()
        self.assertAlmostEqual(total / gain, 1, delta=tolerances.SHAPLEY_SUM)

    def test_axioms(self):
        losses, _ = brute_force.pool(5, 60, 3)
        losses[3] = losses[1]
        losses[4] = losses.max(axis=0)
        values = diversity.shapley(losses).values
        with self.subTest("equals get the same"):
            self.assertAlmostEqual(values[1], values[3], places=14)
        with self.subTest("who saves nothing gets nothing"):
            self.assertEqual(values[4], 0)
        with self.subTest("order does not matter"):
            turned = diversity.shapley(losses[::-1]).values[::-1]
            np.testing.assert_allclose(
                turned, values, rtol=0, atol=tolerances.MEAN_OF_LOSSES
            )

    def test_standard_errors(self):
        losses, _ = brute_force.pool(4, 500, 4)
        found = diversity.shapley(losses)
        of_each = np.array(
            [diversity.shapley(text[:, None]).values for text in losses.T]
        )
        np.testing.assert_allclose(
            found.standard_errors,
            of_each.std(axis=0) / np.sqrt(500),
            rtol=tolerances.DIFFERENCE,
        )


class WinSharesTest(absltest.TestCase):
    def test_one_by_one(self):
        losses, _ = brute_force.pool(6, 50, 5, whole_numbers=True)
        weights = np.arange(50) % 4 + 1.0
        expected = np.zeros(6)
        for column, weight in zip(losses.T.tolist(), weights, strict=True):
            winners = [i for i in range(6) if column[i] == min(column)]
            for i in winners:
                expected[i] += weight / len(winners) / weights.sum()
        found = diversity.win_shares(losses, weights)
        np.testing.assert_allclose(
            found, expected, rtol=tolerances.MEAN_OF_LOSSES
        )
        self.assertAlmostEqual(found.sum(), 1, places=14)


class MarginalContributionsTest(absltest.TestCase):
    def test_one_by_one(self):
        losses, _ = brute_force.pool(6, 50, 6)
        losses[2] = losses.max(axis=0)
        found = diversity.marginal_contributions(losses)
        for i in range(6):
            others = np.delete(losses, i, axis=0)
            expected = others.min(axis=0).mean() - losses.min(axis=0).mean()
            self.assertAlmostEqual(found[i], expected, places=13)
        self.assertEqual(found[2], 0)

    def test_the_only_model(self):
        found = diversity.marginal_contributions([[1.0, 2.0]])
        self.assertEqual(found.tolist(), [np.inf])


class EliminationTest(parameterized.TestCase):
    @parameterized.product(weighted=[False, True], whole_numbers=[False, True])
    def test_one_by_one(self, weighted, whole_numbers):
        losses, _ = brute_force.pool(7, 40, 8, whole_numbers)
        weights = np.arange(40) % 4 + 1.0 if weighted else None
        share = np.ones(40) if weights is None else weights
        found = diversity.elimination(losses, weights)
        left = list(range(7))
        for dropped, loss in zip(found.order, found.losses, strict=True):
            of_left = np.average(losses[left].min(axis=0), weights=share)
            self.assertAlmostEqual(loss, of_left, places=13)
            if len(left) > 1:
                without = [
                    np.average(
                        losses[[m for m in left if m != i]].min(axis=0),
                        weights=share,
                    )
                    for i in left
                ]
                least = without[left.index(dropped)]
                self.assertAlmostEqual(least, min(without), places=13)
            left.remove(dropped)
        self.assertEmpty(left)


class CorrelationsTest(absltest.TestCase):
    def test_against_numpy(self):
        losses, _ = brute_force.pool(5, 40, 7)
        counts = np.arange(40) % 3
        found = diversity.residual_correlations(losses, counts)
        repeated = np.repeat(losses, counts, axis=1)
        difficulty = repeated.mean(axis=0)
        residuals = [
            row - np.polyval(np.polyfit(difficulty, row, 1), difficulty)
            for row in repeated
        ]
        np.testing.assert_allclose(
            found, np.corrcoef(residuals), rtol=0, atol=tolerances.DIFFERENCE
        )

    def test_independent_models(self):
        """What sums to 0 over 5 models correlates at -1/4."""
        losses = np.random.default_rng(8).normal(size=(5, 100_000))
        found = diversity.residual_correlations(losses)
        others = found[~np.eye(5, dtype=bool)]
        # A correlation has a standard error of 1 / sqrt(100,000) = 0.003.
        self.assertLess(np.abs(others + 1 / 4).max(), 0.015)

    def test_nothing_but_difficulty(self):
        text = np.random.default_rng(1).random(30)
        found = diversity.residual_correlations([text, 2 * text + 1, text - 1])
        self.assertTrue(np.isnan(found).all())
        constant = diversity.residual_correlations(np.ones((3, 4)))
        self.assertTrue(np.isnan(constant).all())

    def test_group_means(self):
        matrix = np.arange(16.0).reshape(4, 4)
        matrix += matrix.T
        matrix[0, 1] = matrix[1, 0] = np.nan
        found = diversity.group_means(matrix, ["a", "a", "b", "b"])
        self.assertEqual(found.within, matrix[2, 3])
        self.assertEqual(found.across, matrix[:2, 2:].mean())
        alone = diversity.group_means(matrix, ["a"] * 4)
        self.assertTrue(np.isnan(alone.across))


if __name__ == "__main__":
    absltest.main()
