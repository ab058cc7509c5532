"""The sandwich of tables: bounds, systems, lengths, and the shipped pool."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, oracle, realizable, report, scores
from mmc_jax.realizable import sandwich_of_tables
from mmc_jax.report.sections import merged
from tests import left_out, tolerances


def _table(num_models=4, num_texts=24, scale=30.0, seed=0):
    rng = np.random.default_rng(seed)
    count = np.arange(5, 5 + num_texts)
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(f"m{m}", "", "base", {"num_params": 2.0**m})
            for m in range(num_models)
        ),
        texts=corpus.Corpus(
            ids=tuple(f"t{x}" for x in range(num_texts)),
            domains=tuple("ab"[x % 2] for x in range(num_texts)),
            num_bytes=count,
            num_chars=count,
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=scale * rng.lognormal(0, 0.3, (num_models, num_texts)),
        num_tokens=np.tile(count, (num_models, 1)),
        num_scored=np.tile(count, (num_models, 1)),
    )


class SandwichTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_frontiers_lie_in_order(self):
        table = _table()
        found = realizable.sandwich(table, normalisation="bits_per_byte")
        self.assertTrue((found.mixed >= found.oracle.losses).all())
        slack = tolerances.MIXTURE_FLOAT64 * found.bounds
        self.assertTrue((found.mixed <= found.bounds + slack).all())
        sizes = found.oracle.masks.sum(axis=1)
        self.assertTrue((found.largest_overheads <= np.log(sizes)).all())
        self.assertTrue((found.mean_overheads <= found.largest_overheads).all())
        # No mixture beats what its budget buys of the oracle, and none is
        # worse than the best single model.
        for cost, loss in zip(
            found.mixture.costs, found.mixture.losses, strict=True
        ):
            within = found.oracle.losses[found.oracle.costs <= cost]
            self.assertGreaterEqual(loss, within.min())
            within = found.single.losses[found.single.costs <= cost]
            self.assertLessEqual(loss, within.min())
        self.assertIn("single", {**found.laws, **found.reasons})

    def test_of_many_subsets_some_are_mixed(self):
        with absltest.mock.patch.object(sandwich_of_tables, "_MOST_NUMBERS", 1):
            found = realizable.sandwich(_table())
        known = np.flatnonzero(~np.isnan(found.mixed))
        self.assertGreater(len(found.mixed), 2)
        np.testing.assert_array_equal(known, [0, len(found.mixed) - 1])

    def test_systems_add_up(self):
        table = _table()
        mask = np.array([True, False, True, True])
        one = realizable.systems(table, mask)
        nll = table.nll_nats
        self.assertEqual(one.models, ("m0", "m2", "m3"))
        self.assertAlmostEqual(one.best_single, nll.mean(axis=1).min())
        self.assertAlmostEqual(one.oracle, nll[mask].min(axis=0).mean())
        probability = np.exp(-nll[mask]).mean(axis=0)
        self.assertAlmostEqual(one.uniform, -np.log(probability).mean())
        self.assertLessEqual(one.fitted.nll_nats, one.uniform)
        self.assertLess(one.fitted.gap, tolerances.DUALITY_GAP)
        self.assertAlmostEqual(one.gain_share(one.oracle), 1)
        self.assertAlmostEqual(one.gain_share(one.best_single), 0)
        self.assertAlmostEqual(
            one.mean_overhead, realizable.overheads(nll, mask).mean()
        )

    def test_the_bound_is_checked(self):
        nll = np.array([[1.0, 2.0], [1.0, 2.0]])
        both = np.array([True, True])
        np.testing.assert_allclose(realizable.overheads(nll, both), 0)
        with (
            absltest.mock.patch.object(
                oracle, "mixture_nll", lambda nll, masks: nll[:1] + 1
            ),
            self.assertRaisesRegex(ArithmeticError, "text 0"),
        ):
            realizable.overheads(nll, both)

    def test_held_out_texts(self):
        table = _table(num_texts=60, scale=3.0)
        found = realizable.sandwich(
            table, held_out=0.5, num_resamples=50, seed=1
        ).held_out
        self.assertEqual((found.num_chosen_on, found.num_held_out), (30, 30))
        self.assertLess(found.oracle, found.best_single)
        self.assertLess(found.oracle, found.uniform)
        gain = found.best_single - found.oracle
        self.assertAlmostEqual(
            found.fitted_share.value, (found.best_single - found.fitted) / gain
        )
        self.assertLess(found.uniform_share.low, found.uniform_share.high)

    def test_lengths(self):
        # The first model is the better one in one domain, and hardly worse in
        # the other: too little to mix for, but for all 12 rows of a domain.
        table = _table(num_models=2)
        nll = np.tile([[1.0, 1.1], [1.5, 1.0]], 12)
        table = dataclasses.replace(table, nll_nats=nll)
        found = realizable.by_length(table, table.texts.domains)
        self.assertEqual([one.num_rows for one in found], [1, 2, 4, 8, None])
        self.assertEqual([one.mean_rows for one in found], [1, 2, 4, 6, 12])
        self.assertEqual(
            [one.pays for one in found], [False, False, False, False, True]
        )
        found = realizable.sandwich(table, lengths=found)
        self.assertEqual(found.pays_from, 12)
        found = found.lengths
        np.testing.assert_allclose(
            [one.systems.oracle / one.mean_rows for one in found], 1
        )

    def test_sections(self):
        table = _table()
        found = realizable.sandwich(
            table,
            held_out=0.3,
            num_resamples=20,
            lengths=realizable.by_length(table, table.texts.domains),
        )
        said = merged(report.sandwich_sections(found))
        self.assertEqual(set(said.figures), {"sandwich", "lengths"})
        words = "\n".join(said.sentences)
        for phrase in ("likelihood alone", "is a code", "log k", "rows"):
            self.assertIn(phrase, words)
        self.assertLen(said.numbers["frontier"], len(found.oracle.costs))
        out = pathlib.Path(tempfile.mkdtemp())
        report.write_sections(
            out, report.sandwich_sections(found)[:1], flags={}
        )
        self.assertTrue((out / "sandwich.svg").exists())

    def test_one_model_and_equal_models(self):
        for table in (_table(num_models=1), _table(scale=1.0)):
            nll = np.repeat(table.nll_nats[:1], len(table.models), axis=0)
            table = dataclasses.replace(table, nll_nats=nll)
            found = realizable.sandwich(table, held_out=0.5, num_resamples=5)
            self.assertIsNone(found.held_out.uniform_share)
            self.assertLen(found.mixture.costs, 1)
            np.testing.assert_allclose(
                found.mixture.losses, found.oracle.losses
            )
            said = "\n".join(merged(report.sandwich_sections(found)).sentences)
            self.assertIn("the oracle gains nothing", said)
            self.assertIsNone(found.pays_from)

    def test_other_scores_are_refused(self):
        table = _table()
        for unit, message in (
            ("error", "scores are error.*--value=nll_nats"),
            (None, "no stated unit.*--value=nll_nats"),
        ):
            other = dataclasses.replace(table, unit=unit)
            with self.assertRaisesRegex(ValueError, message):
                realizable.sandwich(other)
        negative = dataclasses.replace(table, nll_nats=-table.nll_nats)
        with self.assertRaisesRegex(ValueError, "'m0'.*'t0'.*not negative"):
            realizable.sandwich(negative)
        with self.assertRaisesRegex(ValueError, "under all models by one"):
            realizable.sandwich(table, normalisation="nats_per_token")


class SummedTest(absltest.TestCase):
    def test_sums(self):
        table = _table(num_texts=4)
        found = scores.summed(table, ["x", "y", "x", "x"])
        self.assertEqual(found.texts.ids, ("x", "y"))
        self.assertEqual(found.texts.domains, ("", "b"))
        np.testing.assert_array_equal(
            found.nll_nats[:, 0], table.nll_nats[:, [0, 2, 3]].sum(axis=1)
        )
        self.assertEqual(found.texts.num_bytes.tolist(), [5 + 7 + 8, 6])
        self.assertEqual(found.chars_per_token, table.chars_per_token)
        with self.assertRaisesRegex(ValueError, "2 groups for 4 texts"):
            scores.summed(table, ["x", "y"])

    def test_lengths_divide_as_losses_do(self):
        table = _table()
        for name in ("text_length", "bits_per_byte", "nats_per_char", "raw"):
            np.testing.assert_array_equal(
                scores.nll_of_table(table) / table.lengths(name),
                table.losses(name),
            )


if __name__ == "__main__":
    absltest.main()
