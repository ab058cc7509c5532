"""Resamples, halves and held-out shares of texts, with and without clusters."""

import fractions
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import statistics
from mmc_jax.statistics import resampling

CLUSTERS = ["a", "b", "a", "c", "c", "c", "d"]


class ResamplingTest(parameterized.TestCase):
    def test_counts(self):
        (counts,) = statistics.resampled_counts(7, None, 20, seed=1)
        self.assertEqual(counts.shape, (20, 7))
        np.testing.assert_array_equal(counts.sum(axis=1), 7)
        (again,) = statistics.resampled_counts(7, None, 20, seed=1)
        np.testing.assert_array_equal(counts, again)

    def test_clusters_stay_together(self):
        (counts,) = statistics.resampled_counts(7, CLUSTERS, 20, seed=1)
        np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
        np.testing.assert_array_equal(counts[:, 3], counts[:, 5])
        np.testing.assert_array_equal(counts[:, [0, 1, 3, 6]].sum(axis=1), 4)

    def test_means(self):
        rows = np.random.default_rng(0).normal(size=(3, 7))
        weights = np.array([1.0, 2, 0, 1, 1, 3, 1])
        options = {"clusters": CLUSTERS, "num_resamples": 20, "seed": 1}
        found = statistics.resampled_means(rows, weights, **options)
        (counts,) = statistics.resampled_counts(7, CLUSTERS, 20, 1)
        for r, row in enumerate(counts):
            texts = np.repeat(np.arange(7), row.astype(int))
            expected = np.average(
                rows[:, texts], axis=1, weights=weights[texts]
            )
            np.testing.assert_allclose(found[r], expected, rtol=1e-12)

    @parameterized.parameters((None,), (CLUSTERS,))
    def test_means_of_some_texts_at_a_time(self, clusters):
        rows = np.random.default_rng(0).normal(size=(3, 7))
        rows[2] *= 1e-9  # It keeps its digits beside large ones.
        options = {"clusters": clusters, "num_resamples": 20, "seed": 1}
        expected = statistics.resampled_means(rows, None, **options)
        widths = []

        def rows_of(texts):
            widths.append(rows[:, texts].shape[1])
            return rows[:, texts]

        with (
            mock.patch.object(resampling, "MOST_TEXTS", 5),
            mock.patch.object(resampling, "BLOCK", 3),
        ):
            found = statistics.resampled_means_of(
                rows_of, None, num_texts=7, **options
            )
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        self.assertEqual(widths, [3, 3, 1])

    @parameterized.parameters(1, 2, 60, 1000)
    def test_counted_sums_are_exact(self, num_texts):
        rng = np.random.default_rng(0)
        counts = rng.integers(0, 4, (4, num_texts)).astype(float)
        rows = rng.lognormal(0, 3, (3, num_texts))
        rows *= rng.choice([-1, 1], rows.shape)
        found = statistics.counted_sums(counts, rows)
        for r, k in np.ndindex(found.shape):
            terms = [
                fractions.Fraction(n) * fractions.Fraction(v)
                for n, v in zip(
                    counts[r].tolist(), rows[k].tolist(), strict=True
                )
            ]
            error = abs(fractions.Fraction(float(found[r, k])) - sum(terms))
            self.assertLessEqual(error, 2**-52 * sum(map(abs, terms)))

    @parameterized.parameters((None, 4), (CLUSTERS, 2))
    def test_halves(self, clusters, num_clusters):
        index, total = statistics.cluster_index(7, clusters)
        for first in statistics.halves(7, clusters, 5, seed=0):
            self.assertLen(set(index[first]), num_clusters)
            self.assertLen(set(index[~first]), total - num_clusters)

    @parameterized.parameters((0.01, 1), (0.5, 2), (0.99, 3))
    def test_held_out_texts(self, share, num_clusters):
        index, _ = statistics.cluster_index(7, CLUSTERS)
        held_out = statistics.held_out_texts(7, CLUSTERS, share, seed=0)
        self.assertLen(set(index[held_out]), num_clusters)
        self.assertEmpty(set(index[held_out]) & set(index[~held_out]))

    def test_errors(self):
        for call, message in (
            (lambda: statistics.cluster_index(1, None), "at least 2"),
            (lambda: statistics.cluster_index(2, ["a", "a"]), "at least 2"),
            (lambda: statistics.cluster_index(3, ["a", "b"]), "2 clusters"),
            (lambda: next(statistics.halves(4, None, 0, 0)), "num_splits is 0"),
            (lambda: statistics.held_out_texts(4, None, 1.0, 0), "share is 1"),
            (
                lambda: next(statistics.resampled_counts(4, None, 0, 0)),
                "num_resamples is 0",
            ),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                call()


if __name__ == "__main__":
    absltest.main()
