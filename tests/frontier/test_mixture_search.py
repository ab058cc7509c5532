"""The frontier of mixtures against all subsets, one after the other."""

import itertools
from unittest import mock

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, oracle
from mmc_jax.frontier import mixture_search
from tests import tolerances


def _case(seed, num_models=6, num_texts=11):
    rng = np.random.default_rng(seed)
    nll = rng.lognormal(1, 0.5, (num_models, num_texts))
    costs = rng.integers(1, 9, num_models).astype(float)
    return nll, costs, rng.integers(1, 9, num_texts).astype(float)


class MixtureTest(absltest.TestCase):
    def test_all_subsets(self):
        nll, costs, lengths = _case(0)
        masks = np.array(list(itertools.product([False, True], repeat=6)))[1:]
        losses = oracle.exact_mixture_losses(nll, masks, lengths=lengths)
        expected = frontier.non_dominated(masks @ costs, losses, masks)
        evaluated = []
        found = frontier.mixture(
            nll,
            costs,
            lengths=lengths,
            exhaustive=True,
            on_progress=evaluated.append,
        )
        self.assertEqual(sum(evaluated), 63)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        polished = frontier.mixture(nll, costs, lengths=lengths)
        for a, b in zip(polished, expected, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_no_subset_is_one_exchange_from_a_better(self):
        nll, costs, _ = _case(1, num_models=8, num_texts=40)
        weights = np.random.default_rng(1).integers(0, 3, 40).astype(float)
        found = frontier.mixture(
            nll, costs, weights, starts=np.eye(8, dtype=bool)[:1]
        )
        for mask in found.masks:
            near = [mask ^ row for row in np.eye(8, dtype=bool)]
            near += [
                mask ^ a ^ b
                for a, b in itertools.combinations(np.eye(8, dtype=bool), 2)
                if (mask & a).any() != (mask & b).any()
            ]
            near = np.array([other for other in near if other.any()])
            losses = oracle.exact_mixture_losses(nll, near, None, weights)
            places = np.searchsorted(found.costs, near @ costs, "right") - 1
            at_least = np.where(places >= 0, found.losses[places], np.inf)
            slack = tolerances.MIXTURE_FLOAT64 * np.abs(losses)
            self.assertTrue((losses + slack >= at_least).all())

    def test_of_many_models_those_that_are_good_for_their_cost_are_added(self):
        nll, _, _ = _case(2)
        # The first is the best, and the last but one loses most beyond it.
        nll[0], nll[4] = nll.min(axis=0) - 0.1, nll.max(axis=0)
        costs = np.arange(1.0, 7.0)
        starts = np.ones((1, 6), bool)
        with mock.patch.object(mixture_search, "_MOST_CANDIDATES", 5):
            evaluated = []
            found = frontier.mixture(
                nll, costs, starts=starts, on_progress=evaluated.append
            )
        every = []
        frontier.mixture(nll, costs, starts=starts, on_progress=every.append)
        self.assertLess(sum(evaluated), sum(every))
        self.assertEqual(found.costs[0], 1)
        np.testing.assert_array_equal(
            found.losses, oracle.exact_mixture_losses(nll, found.masks)
        )
        with (
            mock.patch.object(mixture_search, "_MOST_CANDIDATES", 5),
            mock.patch.object(mixture_search, "_MOST_TRIED", 0),
        ):
            cut = frontier.mixture(nll, costs, starts=starts)
        at = np.searchsorted(found.costs, cut.costs, "right") - 1
        self.assertTrue((cut.losses >= found.losses[at]).all())

    def test_exchanges_on_some_of_many_texts(self):
        nll, costs, lengths = _case(2, num_texts=60)
        searched = frontier.mixture(nll, costs, lengths=lengths)
        with mock.patch.object(mixture_search, "_MOST_TEXTS", 20):
            found = frontier.mixture(nll, costs, lengths=lengths)
        np.testing.assert_array_equal(
            found.losses,
            oracle.exact_mixture_losses(nll, found.masks, lengths=lengths),
        )
        at = np.searchsorted(searched.costs, found.costs, "right") - 1
        self.assertTrue((found.losses >= searched.losses[at]).all())
        self.assertEqual(found.costs[0], costs.min())

    def test_equal_models_are_ties(self):
        nll = np.ones((3, 4))
        found = frontier.mixture(nll, [1.0, 1.0, 1.0])
        np.testing.assert_array_equal(found.masks, [[True, False, False]])

    def test_bad_input(self):
        with self.assertRaisesRegex(ValueError, "all are tried of up to 20"):
            frontier.mixture(np.ones((21, 2)), np.ones(21), exhaustive=True)
        with self.assertRaisesRegex(ValueError, r"lengths\[1\] is 0"):
            frontier.mixture(np.ones((2, 2)), np.ones(2), lengths=[1.0, 0])


if __name__ == "__main__":
    absltest.main()
