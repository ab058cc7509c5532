"""From a score table and its texts to a contest."""

import dataclasses

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, pool, realizable, scores


def _texts(*texts, ids=None):
    return corpus.Corpus(
        tuple(ids or (f"t{x}" for x in range(len(texts)))),
        ("",) * len(texts),
        np.array([len(text) for text in texts]),
        np.array([len(text) for text in texts]),
        tuple(f"hash of {text}" for text in texts),
        texts,
    )


def _table(texts, **facts):
    nll = np.arange(2.0 * len(texts)).reshape(2, -1) + 1
    return scores.ScoreTable(
        (
            scores.ScoredModel("gpt2-30k", costs={"num_params": 1.0}),
            scores.ScoredModel("b", costs={"num_params": 4.0}),
        ),
        texts.counts,
        nll,
        **facts,
    )


class MatchedTextsTest(absltest.TestCase):
    def test_by_hash_then_by_id(self):
        known = _texts("one", "two").counts
        other = _texts("two", "three", "one", ids="xyz")
        found = realizable.matched_texts(other, known)
        self.assertEqual(found.texts, ("one", "two"))
        self.assertEqual(found.ids, ("t0", "t1"))
        without = dataclasses.replace(known, sha256=("", ""))
        with self.assertRaisesRegex(ValueError, "2 of 2 texts .* or other ids"):
            realizable.matched_texts(other, without)
        named = dataclasses.replace(other, ids=("t1", "u", "t0"))
        found = realizable.matched_texts(named, without)
        self.assertEqual(found.texts, ("one", "two"))

    def test_other_texts(self):
        with self.assertRaisesRegex(
            ValueError, "the first is 't1': it has oth"
        ):
            realizable.matched_texts(
                _texts("one", "2"), _texts("one", "two").counts
            )


class PreparationTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.texts = _texts(*(f"text {x * 7919}" * 4 for x in range(12)))

    def _prepared(self, table, **options):
        return realizable.prepared_contest(
            table, normalisation="raw", texts=self.texts, **options
        )

    def test_costs_of_queries(self):
        spent = np.arange(24.0).reshape(2, 12)
        found = self._prepared(_table(self.texts, query_costs=spent)).contest
        single = np.repeat([[0.0], [1.0]], found.test.sum(), axis=1)
        evaluation = found.evaluation("best_single", single)
        self.assertAlmostEqual(
            evaluation.expected_cost, spent[0, found.test].mean()
        )
        # Budgets of subsets are still in parameters.
        masks = np.array([[True, True]])
        self.assertEqual(found.subset_costs("best_single", masks), [5])

    def test_mixtures_of_likelihoods_alone(self):
        masks = np.array([[True, False]])
        found = self._prepared(_table(self.texts)).contest
        np.testing.assert_allclose(
            found.mixture_losses(masks), found.losses[0, found.test].mean()
        )
        other = self._prepared(_table(self.texts, unit="error")).contest
        self.assertIsNone(other.mixture_losses(masks))

    def test_splits(self):
        texts = dataclasses.replace(self.texts, domains=tuple(6 * "ab"))
        split = realizable.Split("domain", test_domains=["b"])
        found = self._prepared(_table(texts), split=split)
        np.testing.assert_array_equal(found.contest.test, 6 * [False, True])
        with self.assertRaisesRegex(ValueError, "no split 'x'"):
            self._prepared(_table(texts), split=realizable.Split("x"))
        alone = realizable.prepared_contest(_table(texts), normalisation="raw")
        self.assertIsNone(alone.groups)

    def test_features_that_cannot_be(self):
        ids = self.texts.ids
        with self.assertRaisesRegex(ValueError, "'ngrams' need the texts"):
            realizable.text_features(["ngrams"], ids, None)
        with self.assertRaisesRegex(ValueError, "need a model that reads"):
            realizable.text_features(["hidden"], ids, self.texts)
        self.assertIsNone(realizable.text_features([], ids, self.texts))

    def test_the_cheapest_reads(self):
        models = pool.read("stdlib20")
        found = realizable.cheapest_model(_table(self.texts), models)
        self.assertEqual(found.name, "gpt2-30k")


class RouterStudyTest(absltest.TestCase):
    def test_all_that_is_asked(self):
        texts = _texts(*(f"text {x * 7919}" * 4 for x in range(40)))
        table = _table(texts)
        prepared = realizable.prepared_contest(
            table, normalisation="raw", texts=texts, num_resamples=10
        )
        found = realizable.router_study(
            prepared,
            ["best_single"],
            law_router="best_single",
            num_subsets=2,
            cold_model="b",
            cold_texts=[4],
        )
        self.assertEqual(list(found.entries), ["best_single"])
        self.assertIsNotNone(found.law.mixture)
        self.assertEqual(found.cold.router, "best_single")


if __name__ == "__main__":
    absltest.main()
