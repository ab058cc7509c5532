"""Exact oracle losses against rational arithmetic."""

import fractions

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import oracle


def rational_losses(losses, masks, weights):
    """Returns the oracle losses by `fractions`, rounded once: [S]."""
    if weights is None:
        weights = np.ones(losses.shape[1])
    losses, weights = losses[:, weights > 0], weights[weights > 0]
    weights = [fractions.Fraction(float(w)) for w in weights]
    found = []
    for mask in masks:
        minima = losses[mask].min(axis=0, initial=np.inf)
        if np.isinf(minima).any():
            found.append(np.inf)
            continue
        terms = map(fractions.Fraction, minima)
        total = sum(w * t for w, t in zip(weights, terms, strict=True))
        found.append(float(total / sum(weights)))
    return np.array(found)


def powers(rng, shape, largest):
    return 10.0 ** rng.integers(-largest, largest, shape)


# Tables [M, X] that rounding, overflow and underflow could spoil.
LOSSES = {
    "ordinary": lambda rng, shape: rng.lognormal(size=shape),
    "of both signs": lambda rng, shape: rng.normal(size=shape),
    "whole": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "20 orders of magnitude": lambda rng, shape: (
        rng.normal(size=shape) * powers(rng, shape, 20)
    ),
    "300 orders of magnitude": lambda rng, shape: (
        rng.normal(size=shape) * powers(rng, shape, 300)
    ),
    "the largest": lambda rng, shape: rng.choice([-1, 0.9, 1], shape) * 1.7e308,
    "the smallest": lambda rng, shape: rng.integers(-5, 6, shape) * 5e-324,
    "the largest beside the smallest": lambda rng, shape: rng.choice(
        [1.7e308, 5e-324], shape
    ),
    "infinity": lambda rng, shape: np.where(
        rng.random(shape) < 0.1, np.inf, rng.normal(size=shape)
    ),
}

WEIGHTS = {
    "none": lambda rng, size: None,
    "counts": lambda rng, size: (np.arange(size) + 1) % 3,
    "shares": lambda rng, size: rng.random(size),
    "300 orders of magnitude": lambda rng, size: powers(rng, size, 300),
    "the smallest": lambda rng, size: rng.integers(1, 3, size) * 5e-324,
    "the largest": lambda rng, size: np.full(size, 1e308),
    "the largest beside the smallest": lambda rng, size: rng.choice(
        [1.7e308, 5e-324], size
    ),
}


class ExactTest(parameterized.TestCase):
    @parameterized.product(losses=list(LOSSES), weights=list(WEIGHTS))
    def test_is_the_rational_mean_rounded_once(self, losses, weights):
        rng = np.random.default_rng(0)
        for num_models, num_texts in [(1, 1), (2, 2), (3, 17), (5, 40)]:
            table = LOSSES[losses](rng, (num_models, num_texts))
            counts = WEIGHTS[weights](rng, num_texts)
            masks = rng.random((6, num_models)) < 0.6
            np.testing.assert_array_equal(
                oracle.exact_losses(table, masks, counts),
                rational_losses(table, masks, counts),
            )

    def test_of_many_texts(self):
        """More texts and subsets than a block has."""
        rng = np.random.default_rng(1)
        table = rng.lognormal(size=(3, 9000))
        masks = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]] * 7, bool)
        for weights in (None, rng.integers(0, 3, 9000), rng.random(9000)):
            np.testing.assert_array_equal(
                oracle.exact_losses(table, masks, weights)[:3],
                rational_losses(table, masks[:3], weights),
            )

    def test_does_not_depend_on_the_order(self):
        rng = np.random.default_rng(2)
        table, masks = rng.normal(size=(4, 999)), rng.random((5, 4)) < 0.5
        weights = rng.random(999)
        texts, models = rng.permutation(999), rng.permutation(4)
        np.testing.assert_array_equal(
            oracle.exact_losses(
                table[models][:, texts], masks[:, models], weights[texts]
            ),
            oracle.exact_losses(table, masks, weights),
        )

    def test_means(self):
        values = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 4.0]])
        np.testing.assert_array_equal(
            oracle.exact_means(values), [0.2, np.float64(7) / 3]
        )
        self.assertEqual(oracle.exact_means([1.0, 4.0], [3, 1]), 1.75)

    def test_no_subsets(self):
        found = oracle.exact_losses([[1.0]], np.zeros((0, 1), bool))
        self.assertEqual(found.shape, (0,))

    @parameterized.parameters(
        ("a model and a text", np.zeros((2, 0)), np.ones((1, 2), bool), None),
        (r"\[S, 2\] is needed", np.zeros((2, 3)), np.ones((1, 3), bool), None),
        ("masks has dtype int", np.zeros((1, 1)), np.ones((1, 1), int), None),
        (r"losses\[0, 1\] .* is nan", [[0, np.nan]], [[True]], None),
        (r"losses\[0, 0\] .* is -inf", [[-np.inf, 1]], [[True]], None),
        (r"weights has shape \(1,\)", [[0, 1]], [[True]], [1]),
        (r"weights\[1\] is -1", [[0, 1]], [[True]], [1, -1]),
        (r"weights\[0\] is inf", [[0, 1]], [[True]], [np.inf, 1]),
        ("all 0", [[0, 1]], [[True]], [0, 0]),
    )
    def test_refuses(self, message, losses, masks, weights):
        with self.assertRaisesRegex(ValueError, message):
            oracle.exact_losses(losses, masks, weights)


if __name__ == "__main__":
    absltest.main()
