"""Routing against asking every text at every price."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from tests import tolerances
from tests.frontier import brute_force

NUM_TEXTS = 7
WEIGHTS = [0.0, 3.0, 1.0, 2.0, 1.0, 4.0, 1.0]


def _best(losses, costs, price, text):
    """Returns the model of least loss + price x cost; of equals the dearest."""
    return min(
        range(len(costs)),
        key=lambda i: (
            losses[i][text] + price * costs[i][text],
            -costs[i][text],
            i,
        ),
    )


def _point(losses, costs, weights, price):
    """Returns the expected cost and loss at a price, and the shares."""
    shares = np.zeros(len(costs))
    cost = loss = 0.0
    for x, weight in enumerate(weights):
        i = _best(losses, costs, price, x)
        cost += weight * costs[i][x]
        loss += weight * losses[i][x]
        shares[i] += weight
    return np.array([cost, loss, *shares]) / sum(weights)


def _prices(losses, costs, weights):
    """Returns every price at which any two models tie on a text, falling."""
    prices = {
        (losses[i][x] - losses[j][x]) / (costs[j][x] - costs[i][x])
        for i, j in itertools.permutations(range(len(costs)), 2)
        for x in range(len(weights))
        if costs[j][x] > costs[i][x] and weights[x]
    }
    return sorted((p for p in prices if p > 0), reverse=True)


class RoutedTest(parameterized.TestCase):
    @parameterized.product(
        num_models=[1, 2, 5, 9],
        seed=[0, 1],
        whole_numbers=[False, True],
        weighted=[False, True],
        by_text=[False, True],
    )
    def test_between_all_prices(
        self, num_models, seed, whole_numbers, weighted, by_text
    ):
        losses, costs = brute_force.pool(
            num_models, NUM_TEXTS, seed, whole_numbers
        )
        of_texts = np.repeat(costs[:, None], NUM_TEXTS, axis=1)
        if by_text:
            rng = np.random.default_rng(seed)
            of_texts = of_texts * rng.integers(1, 4, of_texts.shape)
            costs = of_texts
        weights = WEIGHTS if weighted else [1.0] * NUM_TEXTS
        # Prices between two ties have one answer, whatever is rounded.
        ties = [1e9, *_prices(losses, of_texts, weights), 0.0]
        between = [
            (a + b) / 2 for a, b in itertools.pairwise(ties) if a > b * 1.001
        ]
        expected = np.array(
            [_point(losses, of_texts, weights, price) for price in between]
        )
        found = frontier.routed(
            losses, costs, WEIGHTS if weighted else None, between
        )
        with self.subTest("at given prices"):
            np.testing.assert_array_equal(found.lambdas, between)
            np.testing.assert_allclose(
                np.column_stack([found.costs, found.losses, found.shares]),
                expected,
                rtol=tolerances.MEAN_OF_LOSSES,
                atol=tolerances.MEAN_OF_LOSSES,
            )
        exact = frontier.routed(losses, costs, WEIGHTS if weighted else None)
        with self.subTest("the exact frontier holds all of them"):
            place = len(exact.lambdas) - np.searchsorted(
                exact.lambdas[::-1], between
            )
            np.testing.assert_allclose(
                exact.costs[place - 1],
                found.costs,
                rtol=tolerances.MEAN_OF_LOSSES,
            )
        with self.subTest("from the cheapest to the oracle"):
            weights = np.array(weights)
            self.assertEqual(exact.lambdas[0], np.inf)
            cheapest = np.average(of_texts.min(axis=0), weights=weights)
            self.assertAlmostEqual(exact.costs[0], cheapest, places=13)
            oracle = (losses.min(axis=0) * weights).sum() / weights.sum()
            self.assertAlmostEqual(exact.losses[-1], oracle, places=13)
        with self.subTest("a convex curve"):
            self.assertTrue((np.diff(exact.lambdas) < 0).all())
            self.assertTrue((np.diff(exact.costs) > 0).all())
            self.assertTrue((np.diff(exact.losses) < 0).all())
            np.testing.assert_allclose(
                -np.diff(exact.losses) / np.diff(exact.costs),
                exact.lambdas[1:],
                rtol=tolerances.SLOPE,
            )
        with self.subTest("shares"):
            np.testing.assert_allclose(
                exact.shares.sum(axis=1), 1, rtol=tolerances.MEAN_OF_LOSSES
            )
            self.assertTrue((exact.shares >= 0).all())

    def test_ties(self):
        # Whole numbers: the price 1 is a tie on each text.
        found = frontier.routed(
            [[3.0, 3.0], [2.0, 3.0], [1.0, 1.0], [1.0, 1.0]], [1, 2, 3, 3]
        )
        with self.subTest("corners in a line are one move, to the dearest"):
            np.testing.assert_array_equal(found.lambdas, [np.inf, 1.0])
        with self.subTest("of equals in both the first"):
            np.testing.assert_array_equal(
                found.shares, [[1, 0, 0, 0], [0, 0, 1, 0]]
            )
        with self.subTest("of equal costs the least loss"):
            found = frontier.routed([[2.0, 1.0], [1.0, 2.0]], [1, 1])
            np.testing.assert_array_equal(found.losses, [1.0])
            np.testing.assert_array_equal(found.shares, [[0.5, 0.5]])

    def test_some_points(self):
        losses, costs = brute_force.pool(9, 200, seed=3)
        exact = frontier.routed(losses, costs)
        found = frontier.routed(losses, costs, lambdas=20)
        with self.subTest("from the first to the last"):
            self.assertLen(found.costs, 20)
            for i in (0, -1):
                self.assertEqual(found.lambdas[i], exact.lambdas[i])
        with self.subTest("each is of the exact frontier"):
            place = np.searchsorted(-exact.lambdas, -found.lambdas)
            for a, b in zip(found, exact, strict=True):
                np.testing.assert_allclose(
                    a,
                    b[place],
                    rtol=tolerances.MEAN_OF_LOSSES,
                    atol=tolerances.MEAN_OF_LOSSES,
                )

    def test_some_models(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, seed=3)
        has = np.arange(9) % 2 == 0
        found = frontier.routed(losses, costs, models=has)
        expected = frontier.routed(losses[has], costs[has])
        np.testing.assert_array_equal(found.shares[:, has], expected.shares)
        np.testing.assert_array_equal(found.shares[:, ~has], 0)
        np.testing.assert_array_equal(found.losses, expected.losses)

    @parameterized.parameters(False, True)
    def test_expected_costs(self, weighted):
        losses, costs = brute_force.pool(5, NUM_TEXTS, 1, whole_numbers=True)
        weights = WEIGHTS if weighted else None
        masks = np.array(list(itertools.product([False, True], repeat=5)))
        found = frontier.expected_costs(losses, costs, masks, weights)
        for mask, cost in zip(masks[1:], found[1:], strict=True):
            last = frontier.routed(losses, costs, weights, models=mask)
            self.assertAlmostEqual(cost, last.costs[-1], places=14)
        self.assertEqual(found[0], 0)

    def test_costs_that_no_text_changes(self):
        losses, costs = brute_force.pool(9, NUM_TEXTS, seed=3)
        costs[4] = costs[2]
        losses[4] = losses[2]
        found = frontier.routed(
            losses, np.repeat(costs[:, None], NUM_TEXTS, axis=1)
        )
        expected = frontier.routed(losses, costs)
        np.testing.assert_array_equal(found.lambdas, expected.lambdas)
        np.testing.assert_array_equal(found.shares, expected.shares)
        np.testing.assert_array_equal(found.losses, expected.losses)
        np.testing.assert_allclose(
            found.costs, expected.costs, rtol=tolerances.MEAN_OF_LOSSES
        )

    @parameterized.parameters(False, True)
    def test_chunks_of_texts(self, by_text):
        losses, costs = brute_force.pool(9, 50, seed=3)
        if by_text:
            costs = costs[:, None] * np.arange(1, 51)
        expected = frontier.routed(losses, costs)
        with absltest.mock.patch("mmc_jax.frontier.routing._CHUNK", 9 * 7):
            found = frontier.routed(losses, costs)
        np.testing.assert_array_equal(found.lambdas, expected.lambdas)
        np.testing.assert_allclose(
            found.losses, expected.losses, rtol=tolerances.MEAN_OF_LOSSES
        )

    def test_bad_input(self):
        losses, costs = np.ones((3, 4)), np.ones(3)
        for message, arguments in (
            (r"models has shape \(2,\)", {"models": np.ones(2, bool)}),
            ("models has shape .* int64", {"models": np.ones(3, int)}),
            ("models has none", {"models": np.zeros(3, bool)}),
            (r"lambdas\[1\] is -1", {"lambdas": [1, -1]}),
            (r"lambdas\[0\] is nan", {"lambdas": [np.nan]}),
            (r"lambdas has shape \(1, 1\)", {"lambdas": [[1]]}),
            ("lambdas is 1; .* at least 2", {"lambdas": 1}),
            ("lambdas is 2.5", {"lambdas": 2.5}),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                frontier.routed(losses, costs, **arguments)
        query_costs = np.ones((3, 4))
        query_costs[1, 2] = -1
        for message, of_texts in (
            (r"costs has shape \(3, 3\), and losses \(3, 4\)", np.ones((3, 3))),
            (r"costs\[1, 2\] .* is -1.0; finite", query_costs),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                frontier.routed(losses, of_texts)
        for message, masks in (
            (r"masks has shape \(3,\)", np.ones(3, bool)),
            ("masks has dtype int64", np.ones((1, 3), int)),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                frontier.expected_costs(losses, costs, masks)
        with (
            absltest.mock.patch("mmc_jax.frontier.routing._MAX_SHARES", 2),
            self.assertRaisesRegex(ValueError, "1 points of 3 shares"),
        ):
            frontier.routed(losses, costs)


if __name__ == "__main__":
    absltest.main()
