"""The band of a frontier against a loop over resamples."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier
from mmc_jax.frontier.generalisation import bootstrap
from mmc_jax.statistics import resampling
from tests import tolerances
from tests.frontier import brute_force


class BootstrapBandTest(parameterized.TestCase):
    @parameterized.product(
        search=[None, frontier.exhaustive], clustered=[False, True]
    )
    def test_against_a_loop(self, search, clustered):
        losses, costs = brute_force.pool(5, 14, 0)
        clusters = [f"{x % 4}" for x in range(14)] if clustered else None
        line = frontier.exhaustive(losses, costs)
        band = frontier.bootstrap_band(
            losses,
            costs,
            line.masks,
            search=search,
            clusters=clusters,
            num_resamples=9,
            seed=4,
            level=0.8,
        )
        rng = np.random.default_rng(4)
        cluster = np.arange(14) % 4 if clustered else np.arange(14)
        num_clusters = cluster.max() + 1
        expected, everything = [], []
        for _ in range(9):
            drawn = rng.integers(num_clusters, size=num_clusters)
            texts = np.concatenate(
                [np.flatnonzero(cluster == c) for c in drawn]
            )
            resampled = losses[:, texts]
            everything.append(resampled.min(axis=0).mean())
            row = []
            for mask, cost in zip(line.masks, line.costs, strict=True):
                fixed = tuple(np.flatnonzero(mask))
                bought = [
                    subset
                    for subset in brute_force.subsets(5, 5)
                    if subset == fixed
                    or (search and costs[list(subset)].sum() <= cost)
                ]
                row.append(
                    min(
                        brute_force.point(resampled, costs, subset)[1]
                        for subset in bought
                    )
                )
            expected.append(row)
        ends = [0.1, 0.9]
        exact = (
            line.costs,
            line.losses,
            np.mean(expected, axis=0),
            *np.quantile(expected, ends, axis=0),
            [
                losses.min(axis=0).mean(),
                *np.quantile(everything, ends),
                0.8,
            ],
        )
        for name, found, value in zip(band._fields, band, exact, strict=True):
            with self.subTest(name):
                np.testing.assert_allclose(
                    found, value, rtol=tolerances.MEAN_OF_LOSSES
                )

    def test_in_pieces(self):
        losses, costs = brute_force.pool(6, 20, 0)
        masks = frontier.exhaustive(losses, costs).masks
        whole = frontier.bootstrap_band(losses, costs, masks, num_resamples=7)
        with (
            absltest.mock.patch.object(bootstrap, "_MINIMA_AT_ONCE", 45),
            absltest.mock.patch.object(resampling, "_COUNTS_AT_ONCE", 65),
        ):
            pieces = frontier.bootstrap_band(
                losses, costs, masks, num_resamples=7
            )
        for a, b in zip(pieces, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerances.MEAN_OF_LOSSES)

    @parameterized.product(weighted=[False, True], largest=[None, 1e12])
    def test_in_blocks_of_texts(self, weighted, largest):
        losses, costs = brute_force.pool(6, 20, 0)
        if largest is not None:  # The others keep their digits.
            losses[:, 4] = largest
        masks = frontier.exhaustive(losses, costs).masks
        weights = np.arange(20) % 3 + 0.5 if weighted else None
        options = dict(num_resamples=7, weights=weights)
        whole = frontier.bootstrap_band(losses, costs, masks, **options)
        with (
            absltest.mock.patch.object(resampling, "MOST_TEXTS", 19),
            absltest.mock.patch.object(resampling, "BLOCK", 8),
            absltest.mock.patch.object(bootstrap, "_MINIMA_AT_ONCE", 24),
        ):
            found = frontier.bootstrap_band(losses, costs, masks, **options)
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerances.MEAN_OF_LOSSES)

    def test_choosing_anew_flatters_once_more(self):
        losses, costs = brute_force.pool(8, 40, 1)
        masks = frontier.exhaustive(losses, costs).masks
        fixed, anew = (
            frontier.bootstrap_band(
                losses, costs, masks, search=search, num_resamples=20
            )
            for search in (None, frontier.exhaustive)
        )
        # The same resamples: the best subset of each is no worse.
        self.assertTrue((anew.mean <= fixed.mean).all())
        self.assertLess(anew.mean.sum(), anew.losses.sum())

    @parameterized.parameters(
        ({"level": 1.0}, "level is 1.0"),
        ({"num_resamples": 0}, "num_resamples is 0"),
        ({"masks": [[False, False]]}, r"masks\[0\] has no model"),
        ({"masks": [[1, 0]]}, "masks has dtype int"),
        ({"clusters": ["a"]}, "1 clusters for 3 texts"),
    )
    def test_bad_arguments(self, arguments, message):
        masks = arguments.pop("masks", [[True, True]])
        with self.assertRaisesRegex(ValueError, message):
            frontier.bootstrap_band(np.ones((2, 3)), [1, 2], masks, **arguments)


if __name__ == "__main__":
    absltest.main()
