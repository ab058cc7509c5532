"""Two score tables side by side."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, scores
from tests import tolerances


def _table(nll_nats, num_scored) -> scores.ScoreTable:
    M, X = np.shape(nll_nats)
    num_scored = np.array(num_scored)
    texts = corpus.Corpus(
        ids=tuple(f"t{x}" for x in range(X)),
        domains=("",) * X,
        num_bytes=np.full(X, 9),
        num_chars=np.full(X, 9),
        sha256=tuple(f"{x:064}" for x in range(X)),
        texts=None,
    )
    return scores.ScoreTable(
        models=tuple(scores.ScoredModel(f"m{m}") for m in range(M)),
        texts=texts,
        nll_nats=np.array(nll_nats),
        num_tokens=num_scored + 1,
        num_scored=num_scored,
    )


class DifferencesTest(parameterized.TestCase):
    def test_by_hand(self):
        table = _table([[8.0, 3.0], [2.0, 0.0]], [[4, 3], [2, 1]])
        other = _table([[6.0, 3.0], [2.5, 0.0]], [[4, 3], [2, 1]])
        found = scores.differences(table, other)
        np.testing.assert_array_equal(
            found.nats_per_token, [[0.5, 0], [0.25, 0]]
        )
        np.testing.assert_array_equal(found.relative, [[0.25, 0], [0.25, 0]])
        np.testing.assert_array_equal(found.increase, [[-0.5, 0], [0.25, 0]])

    def test_of_two_models(self):
        table = _table([[8.0, 3.0], [6.0, 4.5], [6.0, 3.0]], 3 * [[4, 3]])
        found = scores.pair_differences(table, "m0", "m1")
        np.testing.assert_array_equal(found.increase, [[-0.5, 0.5]])
        np.testing.assert_array_equal(found.relative, [[0.25, 0.5]])
        back = scores.pair_differences(table, "m1", "m0")
        np.testing.assert_array_equal(back.increase, -found.increase)

    def test_of_two_models_that_do_not_compare(self):
        table = _table([[8.0, 3.0], [6.0, 4.5]], [[4, 3], [4, 2]])
        with self.assertRaisesRegex(ValueError, "'m0' and 'm1': text 't1'"):
            scores.pair_differences(table, "m0", "m1")
        with self.assertRaisesRegex(ValueError, "no model 'm7' .* m0, m1"):
            scores.pair_differences(table, "m0", "m7")

    def test_against_a_loop(self):
        rng = np.random.default_rng(0)
        num_scored = rng.integers(1, 50, (3, 101))
        nll = rng.uniform(1, 100, (2, 3, 101))
        found = scores.differences(*(_table(n, num_scored) for n in nll))
        for m, x in np.ndindex(3, 101):
            difference = abs(nll[0, m, x] - nll[1, m, x])
            np.testing.assert_allclose(
                found.nats_per_token[m, x],
                difference / num_scored[m, x],
                rtol=tolerances.DIFFERENCE,
            )
            np.testing.assert_allclose(
                found.relative[m, x],
                difference / nll[0, m, x],
                rtol=tolerances.DIFFERENCE,
            )

    @parameterized.named_parameters(
        (
            "models",
            dict(models=(scores.ScoredModel("other"),)),
            "other models: m0 and other",
        ),
        ("tokens", dict(num_scored=np.array([[3, 1]])), "'m0': text 't1'"),
        (
            "no_counts",
            dict(num_tokens=None, num_scored=None),
            "nats_per_token needs num_tokens",
        ),
        ("nothing_scored", dict(num_scored=np.array([[3, 0]])), "'t1'"),
    )
    def test_refused(self, changes, message):
        table = _table([[1.0, 2.0]], [[3, 4]])
        other = dataclasses.replace(table, **changes)
        with self.assertRaisesRegex(ValueError, message):
            scores.differences(table, other)

    def test_other_texts(self):
        table = _table([[1.0, 2.0]], [[3, 4]])
        texts = dataclasses.replace(table.texts, sha256=("a", "b"))
        other = dataclasses.replace(table, texts=texts)
        with self.assertRaisesRegex(ValueError, "other texts, 2 and 2"):
            scores.differences(table, other)

    @parameterized.parameters(1, 2, 100)
    def test_distribution(self, num_texts):
        values = np.random.default_rng(0).uniform(0, 1, (3, num_texts))
        found = scores.distribution(values)
        for m, row in enumerate(np.sort(values)):
            self.assertAlmostEqual(found.mean[m], sum(row) / num_texts)
            middle = row[(num_texts - 1) // 2], row[num_texts // 2]
            self.assertAlmostEqual(found.median[m], sum(middle) / 2)
            at = 0.95 * (num_texts - 1)  # Between the two nearest values.
            low, high = row[int(at)], row[min(int(at) + 1, num_texts - 1)]
            self.assertAlmostEqual(
                found.percentile_95[m], low + (at - int(at)) * (high - low)
            )
            self.assertEqual(found.max[m], row[-1])


class AgreementTest(absltest.TestCase):
    def test_by_hand(self):
        table = _table(
            [[8.0, 3.0], [2.0, 4.0], [2.0, 4.0]], np.ones((3, 2), int)
        )
        other = _table(
            [[1.0, 3.0], [2.5, 4.5], [2.0, 4.0]], np.ones((3, 2), int)
        )
        # In another order, with a model and a text of its own.
        other = other.select(models=["m2", "m0", "m1"], texts=[1, 0])
        found = scores.agreement(table, other)
        self.assertEqual(found.models, ("m0", "m1", "m2"))
        self.assertEqual(found.text_ids, ("t0", "t1"))
        np.testing.assert_array_equal(found.bias, [-3.5, 0.5, 0])
        np.testing.assert_array_equal(found.spread, [3.5, 0, 0])
        np.testing.assert_array_equal(found.largest, [7, 0.5, 0])
        np.testing.assert_array_equal(found.ranks, [3, 1, 1])
        np.testing.assert_array_equal(found.other_ranks, [1, 3, 2])
        self.assertEqual(
            found.worst_texts(9), [("t0", "m0", -7.0), ("t1", "m1", 0.5)]
        )
        self.assertLen(found.worst_texts(1), 1)

    def test_what_one_has_alone(self):
        table = _table([[8.0, 3.0], [2.0, 4.0]], np.ones((2, 2), int))
        with self.assertLogs("absl", "WARNING") as logs:
            found = scores.agreement(
                table.select(texts=[1]), table.select(models=["m1"])
            )
        self.assertIn("1 models of the first table and 0 of the", str(logs))
        self.assertIn("0 texts of the first table and 1 of the", str(logs))
        np.testing.assert_array_equal(found.difference, [[0]])

    def test_refusals(self):
        table = _table([[8.0, 3.0], [2.0, 4.0]], np.ones((2, 2), int))
        raw = dataclasses.replace(table, unit="raw")
        with self.assertRaisesRegex(ValueError, "units, nll_nats and raw"):
            scores.agreement(table, raw)
        unsaid = dataclasses.replace(table, unit=None)
        with self.assertRaisesRegex(ValueError, "is nll_nats, and that of"):
            scores.agreement(unsaid, table)
        with self.assertRaisesRegex(ValueError, "no common model: m0"):
            scores.agreement(
                table.select(models=["m0"]), table.select(models=["m1"])
            )
        swapped = dataclasses.replace(
            table.texts, sha256=table.texts.sha256[::-1]
        )
        with self.assertRaisesRegex(ValueError, "'t0' is another in each"):
            scores.agreement(table, dataclasses.replace(table, texts=swapped))


if __name__ == "__main__":
    absltest.main()
