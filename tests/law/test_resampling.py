"""Bootstraps and jackknife against loops over the whole calculation."""

import functools
from unittest import mock

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, law, statistics
from mmc_jax.law import optima
from tests import tolerances

COSTS = 10.0 * 3.0 ** np.arange(7)
FAMILIES = ["a", "b", "a", "b", "a", "b", "c"]
NUM_TEXTS = 60


@functools.cache
def losses():
    """Returns the losses of 7 models that get better with size: [M, X]."""
    rng = np.random.default_rng(0)
    means = 3 * COSTS[:, None] ** -0.3 + 1
    return means * rng.lognormal(0, 0.2, (7, NUM_TEXTS))


def search(table, costs, weights):
    return frontier.pruned(table, costs, weights, max_size=2)


@functools.cache
def line():
    return search(losses(), COSTS, None)


class TextBootstrapTest(absltest.TestCase):
    def test_is_a_loop_over_resamples(self):
        found = law.text_bootstrap(
            losses(), line().costs, line().masks, num_resamples=5, seed=3
        )
        rng = np.random.default_rng(3)
        for row in range(5):
            drawn = rng.integers(NUM_TEXTS, size=NUM_TEXTS)
            resampled = losses()[:, drawn]
            points = [
                resampled[mask].min(axis=0).mean() for mask in line().masks
            ]
            fit = law.fit(line().costs, points)
            self.assertAlmostEqual(
                found.all_models[row], resampled.min(axis=0).mean()
            )
            np.testing.assert_allclose(
                found.laws.objective[row],
                fit.objective,
                rtol=tolerances.LAW_OBJECTIVE,
            )
            np.testing.assert_allclose(
                found.laws.alpha[row],
                fit.alpha,
                rtol=tolerances.LAW_OPTIMUM,
            )

    def test_clusters_stay_together(self):
        # One text of weight in each cluster: alike inside, so a cluster is a
        # text that counts for twelve.
        first = losses()[:, :5]
        clusters = [str(x) for x in range(5)]
        arguments = line().costs, line().masks
        of_texts = law.text_bootstrap(first, *arguments, num_resamples=5)
        of_clusters = law.text_bootstrap(
            np.repeat(first, 12, axis=1),
            *arguments,
            clusters=np.repeat(clusters, 12),
            num_resamples=5,
        )
        np.testing.assert_allclose(
            of_clusters.all_models,
            of_texts.all_models,
            rtol=tolerances.MEAN_OF_LOSSES,
        )

    def test_the_frontier_searched_anew(self):
        found = law.full_bootstrap(
            losses(), COSTS, search=search, num_resamples=3, seed=3
        )
        rng = np.random.default_rng(3)
        for row in range(3):
            drawn = rng.integers(NUM_TEXTS, size=NUM_TEXTS)
            traced = search(losses()[:, drawn], COSTS, None)
            fit = law.fit(traced.costs, traced.losses)
            np.testing.assert_allclose(
                found.laws.objective[row],
                fit.objective,
                rtol=tolerances.LAW_OBJECTIVE,
            )

    def test_bad_input(self):
        arguments = losses(), line().costs, line().masks
        for message, options in (
            ("3 clusters for 60 texts", {"clusters": ["a", "b", "c"]}),
            ("1 text or cluster", {"clusters": ["a"] * 60}),
            ("num_resamples is 0", {"num_resamples": 0}),
        ):
            with self.assertRaisesRegex(ValueError, message):
                law.text_bootstrap(*arguments, **options)
        with self.assertRaisesRegex(ValueError, r"\[F, 7\] is needed"):
            law.text_bootstrap(losses(), COSTS, np.ones((2, 3), bool))


class FitEachTest(absltest.TestCase):
    def test_laws_and_reasons(self):
        points = {
            "pool": (line().costs, line().losses),
            "few": (COSTS[:2], COSTS[:2]),
        }
        laws, reasons = law.fit_each(points)
        self.assertEqual(laws["pool"].fit[:4], law.fit(*points["pool"])[:4])
        self.assertIsNone(laws["pool"].resampled)
        self.assertIn("at least 4", reasons["few"])

        def resampled(name):
            raise ValueError(f"no texts of {name}")

        laws, reasons = law.fit_each(points, resampled)
        self.assertEmpty(laws)
        self.assertEqual(reasons["pool"], "no texts of pool")

    def test_few_points_are_fitted_by_the_programs_of_many(self):
        P, L = np.geomspace(1, 1e4, 20), np.geomspace(1, 1e4, 20) ** -0.3 + 2
        shapes, as_it_is = set(), optima.padded

        def padded(points, room):
            found = as_it_is(points, room)
            shapes.add(found.log_L.shape)
            return found

        with mock.patch.object(optima, "padded", padded):
            laws, _ = law.fit_each({"few": (P[::4], L[::4]), "many": (P, L)})
        self.assertEqual(shapes, {(64,)})
        for found in laws.values():
            np.testing.assert_allclose(
                found.fit[:3], (1, 0.3, 2), rtol=tolerances.LAW_PLANTED
            )


class JackknifeTest(absltest.TestCase):
    def test_is_the_pool_without_each(self):
        found = law.jackknife(losses(), COSTS, FAMILIES, search=search)
        self.assertEqual(found.labels, ("a", "b", "c"))
        for i, family in enumerate(found.labels):
            stays = [m for m in range(7) if FAMILIES[m] != family]
            traced = search(losses()[stays], COSTS[stays], None)
            fit = law.fit(traced.costs, traced.losses)
            np.testing.assert_allclose(
                found.laws.objective[i],
                fit.objective,
                rtol=tolerances.LAW_OBJECTIVE,
            )

    def test_what_leaves_no_law(self):
        found = law.jackknife(
            losses(), COSTS, ["a"] * 5 + ["b"] * 2, search=search
        )
        self.assertEqual(found.labels, ("b",))
        self.assertIn("at least 4 are needed", found.not_fitted["a"])
        with self.assertRaisesRegex(ValueError, "no law is left.*'a'"):
            law.jackknife(losses()[:2], COSTS[:2], ["a", "b"], search=search)
        with self.assertRaisesRegex(ValueError, "2 groups for 7 models"):
            law.jackknife(losses(), COSTS, ["a", "b"])


class SplitLawTest(absltest.TestCase):
    def test_selection_bias(self):
        # Equal models but for noise: what is selected is noise alone.
        rng = np.random.default_rng(1)
        table = 2 + COSTS[:, None] ** -0.3 + rng.uniform(0, 1, (7, NUM_TEXTS))
        found = law.split_law(table, COSTS, search=search)
        self.assertGreater((found.held_out - found.in_sample).mean(), 0.0)
        self.assertEqual(found.in_sample_law.num_points, len(found.costs))

    def test_a_cluster_is_not_split(self):
        clusters = [str(x % 4) for x in range(NUM_TEXTS)]
        found = law.split_law(losses(), COSTS, search=search, clusters=clusters)
        order = np.random.default_rng(0).permutation(4)
        chooses = np.isin(np.arange(NUM_TEXTS) % 4, order[:2])
        np.testing.assert_array_equal(
            found.in_sample, search(losses()[:, chooses], COSTS, None).losses
        )


class ResidualBootstrapTest(absltest.TestCase):
    def test_spreads_as_the_profile(self):
        P = np.geomspace(1e6, 1e10, 16)
        noise = np.random.default_rng(0).normal(0, 0.01, 16)
        L = (40 * P**-0.25 + 1.5) * np.exp(noise)
        laws = law.residual_bootstrap(P, L, num_resamples=128)
        low, high = statistics.percentile_interval(laws.L_inf)
        profile = law.profile(P, L)
        self.assertLess(abs(low - profile.low), 0.1)
        self.assertLess(abs(high - profile.high), 0.1)

    def test_standard_error(self):
        values = np.array([1.0, 4.0, 2.0, 7.0])
        self.assertAlmostEqual(
            law.standard_error(values),
            np.sqrt(3 / 4 * ((values - 3.5) ** 2).sum()),
        )


if __name__ == "__main__":
    absltest.main()
