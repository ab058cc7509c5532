"""Pool and mixture at the best single model's budget, on other texts."""

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, realizable, report, scores
from mmc_jax.statistics import Estimate, halves


def _table(nll, costs, unit="nll_nats", domains=None):
    num_texts = nll.shape[1]
    count = np.full(num_texts, 4)
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(f"m{m}", costs={"num_params": float(cost)})
            for m, cost in enumerate(costs)
        ),
        texts=corpus.Corpus(
            ids=tuple(f"t{x}" for x in range(num_texts)),
            domains=domains or ("",) * num_texts,
            num_bytes=count,
            num_chars=count,
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=nll,
        unit=unit,
    )


def _specialists(num_texts=64):
    """Two cheap models that are each good on half of the texts, a dear one."""
    rng = np.random.default_rng(0)
    nll = 6 + 0.1 * rng.random((3, num_texts))
    nll[0, ::2] -= 4
    nll[1, 1::2] -= 4
    nll[2] -= 2.5
    return nll, [1, 1, 2]


def _sentences(section):
    found = section.numbers["answer"]["sentences"]
    return [sentence["words"] for sentence in found]


class EqualBudgetTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nll, costs = _specialists()
        cls.found = realizable.equal_budget(
            _table(cls.nll, costs), normalisation="raw", num_resamples=50
        )

    def test_other_texts_judge(self):
        found, nll = self.found, self.nll
        for choice in found.chosen:
            self.assertEqual(choice.single, "m2")
            self.assertEqual(choice.budget, 2.0)
            self.assertEqual(choice.pool, ("m0", "m1"))
        self.assertAlmostEqual(found.single.value, nll[2].mean())
        self.assertAlmostEqual(found.pool.value, nll[:2].min(axis=0).mean())
        self.assertAlmostEqual(
            found.lower.value, found.single.value - found.pool.value
        )
        self.assertLess(found.lower_percent.low, found.lower_percent.value)
        self.assertLess(found.lower_percent.value, found.lower_percent.high)

    def test_mixture_is_what_the_other_half_fitted(self):
        """Its weights are those of the half that does not count."""
        rows = np.empty(self.nll.shape[1])
        (first,) = halves(len(rows), None, 1, 0)
        for half, choice in zip(
            (first, ~first), self.found.chosen, strict=True
        ):
            self.assertEqual(choice.mixture, ("m0", "m1"))
            pi = realizable.fitted_weights(self.nll[:2][:, half]).weights
            likelihood = pi @ np.exp(-self.nll[:2][:, ~half])
            rows[~half] = -np.log(likelihood)
        self.assertAlmostEqual(self.found.mixture.value, rows.mean())
        share = (self.found.single.value - rows.mean()) / self.found.lower.value
        self.assertAlmostEqual(self.found.mixture_share.value, share)

    def test_words(self):
        section = report.answer_section(self.found, unit="nats")
        pool, mixture, router = _sentences(section)
        self.assertIn("those of m2", pool)
        self.assertIn("(m0, m1)", pool)
        self.assertIn("percent [", pool)
        self.assertIn("attains", mixture)
        self.assertIn("compare_systems --routers=all", router)

    def test_words_of_routers_measured_before(self):
        gap = {"value": 0.5, "low": 0.4, "high": 0.625, "level": 0.95}
        entries = {
            "ridge": {"closed_gap": gap, "routed": {"value": 1.5}},
            "\x1b[1m": {
                "closed_gap": {"value": None, "low": None},
                "routed": {"value": 2.5},
            },
        }
        routers = {"entries": entries}
        section = report.answer_section(
            self.found, unit="nats", routers=routers
        )
        sentence = _sentences(section)[2]
        self.assertIn("(ridge, the best of 2 on these texts)", sentence)
        self.assertIn("50 percent [40, 62.5]", sentence)
        self.assertEqual(
            section.numbers["answer"]["router"]["closed_gap"]["low"], 0.4
        )
        found = report.router_answer(routers)
        self.assertIsInstance(found, report.RouterAnswer)
        self.assertIsNone(report.router_answer({"entries": {}}))
        for wrong in (
            {},
            {"entries": [1]},
            {"entries": {"ridge": {"closed_gap": gap}}},
            {"entries": {"ridge": {"closed_gap": gap, "routed": [1]}}},
            {"entries": {"a": {"closed_gap": {"value": "1"}, "routed": gap}}},
        ):
            with self.assertRaisesRegex(ValueError, "compare_systems writes"):
                report.router_answer(wrong)

    def test_words_of_two_choices_and_of_losses(self):
        """Both halves' subsets are named; no interval below 0 "holds 0"."""
        first, second = self.found.chosen
        found = self.found._replace(
            chosen=(first, second._replace(single="m1", pool=("m2" * 99,))),
            lower=Estimate(-1.0, -2.0, -0.5),
            lower_percent=Estimate(np.nan),
        )
        pool = _sentences(report.answer_section(found, unit="nats"))[0]
        self.assertIn("(2, those of m2 or m1, the best", pool)
        self.assertIn("(m0, m1; the other half chose m2m2", pool)
        self.assertNotIn("m2" * 99, pool)
        self.assertIn("loses 1 [0.5, 2] more, ", pool)
        self.assertNotIn("holds 0", pool)

    def test_no_pool_is_better(self):
        nll, costs = _specialists()
        nll[2] = 0.5
        found = realizable.equal_budget(
            _table(nll, costs, unit=None),
            normalisation="raw",
            num_resamples=20,
        )
        self.assertEqual(found.lower.value, 0)
        self.assertIsNone(found.mixture_share)
        section = report.answer_section(found, unit="nats")
        pool, mixture, _ = _sentences(section)
        self.assertIn("no pool loses less", pool)
        self.assertIn("nothing for a mixture", mixture)

    def test_scores_without_a_mixture(self):
        nll, costs = _specialists()
        found = realizable.equal_budget(
            _table(nll - 10, costs, unit=None, domains=tuple("aabb" * 16)),
            normalisation="raw",
            by_domain=True,
            num_resamples=20,
        )
        self.assertIsNone(found.mixture)
        self.assertIn("nll_nats", found.why_no_share)
        # Losses below 0 have no percentages.
        self.assertTrue(np.isnan(found.lower_percent.value))
        section = report.answer_section(found, unit="nats")
        self.assertIn("not known", _sentences(section)[1])
        self.assertIsInstance(found.lower, Estimate)


if __name__ == "__main__":
    absltest.main()
