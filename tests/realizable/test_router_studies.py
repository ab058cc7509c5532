"""All routers side by side, new models, and the law of a router."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import realizable
from mmc_jax.realizable.routers import ROUTERS
from tests import left_out
from tests.realizable import losses as tables


def _contest(**known):
    """Returns a contest in which dear models are better, each on some texts."""
    features, right = tables.answers(300, seed=2)
    offsets = np.array([[2.0], [1.6], [1.3], [1.2]])
    return tables.contest(
        features,
        right + offsets,
        costs=np.array([1.0, 3.0, 9.0, 27.0]),
        **known,
    )


class ComparedTest(parameterized.TestCase):
    def test_side_by_side(self):
        found, reasons = realizable.compared_routers(
            _contest(), ["best_single", "random", "ridge", "prefix"]
        )
        self.assertEqual(list(found), ["best_single", "random", "ridge"])
        self.assertIn("needs the texts' prefix losses", reasons["prefix"])
        self.assertEqual(found["best_single"].evaluation.closed_gap.value, 0)
        self.assertIsNone(found["random"].on_noise)
        self.assertLess(found["random"].evaluation.closed_gap.high, 0)
        self.assertGreater(found["ridge"].evaluation.closed_gap.value, 0.99)
        self.assertEqual(found["ridge"].on_noise.closed_gap.value, 0)
        areas = [entry.evaluation.area for entry in found.values()]
        self.assertEqual(min(areas), areas[2])

    def test_no_such_router(self):
        with self.assertRaisesRegex(ValueError, "no router 'x'"):
            realizable.compared_routers(_contest(), ["ridge", "x"])

    @parameterized.parameters(
        ({"cold_model": "z"}, "no model 'z'"),
        ({"law_router": "prefix"}, "needs the texts' prefix losses"),
        ({"routers": ["ridge", "x"]}, "no router 'x'"),
    )
    def test_faults_are_told_before_routers_learn(self, options, message):
        prepared = realizable.Prepared(_contest(), None, np.empty(0, int))
        with (
            mock.patch.object(ROUTERS["ridge"], "fit") as fit,
            self.assertRaisesRegex(ValueError, message),
        ):
            realizable.router_study(
                prepared, **{"routers": ["ridge"]} | options
            )
        fit.assert_not_called()

    def test_each_text_is_judged_by_who_never_saw_it(self):
        contest = _contest()
        groups = np.arange(300) // 2
        prepared = realizable.Prepared(contest, groups, np.empty(0, int))
        found = realizable.learned_router(prepared, "ridge")
        self.assertIsInstance(found, realizable.LearnedRouter)
        masks = np.array([[True, False, False, False], [True] * 4])
        chosen = found.chosen(masks)
        np.testing.assert_array_equal(chosen[0], 0)
        texts = np.arange(300)
        routed = contest.losses[chosen[1], texts].mean()
        self.assertLess(
            routed - contest.losses.min(axis=0).mean(),
            0.01 * contest.losses[0].mean(),
        )
        np.testing.assert_array_equal(found.with_reader(masks), masks)
        # Memory of the texts themselves would find even noise.
        noise = contest._replace(
            losses=np.random.default_rng(0).uniform(1, 2, (4, 300))
        )
        found = realizable.learned_router(
            prepared._replace(contest=noise), "nearest_neighbours"
        )
        routed = noise.losses[found.chosen(masks)[1], texts].mean()
        self.assertGreater(routed, 1.4)

    def test_what_reads_is_paid(self):
        contest = _contest()
        features = contest.texts.features._replace(reader="a")
        read = contest._replace(texts=contest.texts._replace(features=features))
        costs = [
            realizable.compared_routers(each, ["ridge"])[0][
                "ridge"
            ].evaluation.expected_cost
            for each in (contest, read)
        ]
        self.assertAlmostEqual(costs[1], costs[0] + 1)
        masks = np.array([[False, True, False, False]])
        self.assertEqual(read.subset_costs("ridge", masks), [4])
        self.assertEqual(read.subset_costs("best_single", masks), [3])
        other = read.texts.features._replace(reader="z")
        unknown = read._replace(texts=read.texts._replace(features=other))
        with self.assertRaisesRegex(ValueError, "'z', whose cost is not known"):
            unknown.subset_costs("ridge", masks)

    def test_a_prefix_is_read_by_all(self):
        prefix = np.zeros((4, 300))
        contest = _contest(prefix_losses=prefix)._replace(prefix_share=0.5)
        found = realizable.compared_routers(contest, ["prefix"])[0]["prefix"]
        # The best single model, the dearest; half of the text by the others.
        self.assertAlmostEqual(
            found.evaluation.expected_cost, 27 + 0.5 * (1 + 3 + 9)
        )


class ColdStartTest(parameterized.TestCase):
    def test_more_texts_close_more(self):
        found = realizable.cold_start(
            _contest(), "nearest_neighbours", "d", [4, 100, 1000]
        )
        self.assertEqual(found.num_texts, [4, 100, 150])
        routed = [e.routed.value for e in found.evaluations]
        self.assertLess(routed[-1], found.without.routed.value)
        self.assertLessEqual(routed[1], routed[0])
        self.assertGreater(found.evaluations[-1].closed_gap.value, 0.99)

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "no model 'x' beside others"):
            realizable.cold_start(_contest(), "ridge", "x")


class RouterLawTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_realized_frontier(self):
        contest = _contest()
        found = realizable.router_law(contest, "ridge", num_subsets=6)
        self.assertLen(found.evaluations, len(found.masks))
        self.assertLessEqual(len(found.masks), 6)
        np.testing.assert_array_equal(found.costs, found.masks @ contest.costs)
        for mask, evaluation, gap in zip(
            found.masks, found.evaluations, found.closed_gaps, strict=True
        ):
            self.assertGreaterEqual(
                evaluation.routed.value, evaluation.oracle.value
            )
            if mask.sum() > 1:
                self.assertGreater(gap.value, 0.9)
        # It knows which model is the best: the oracle's frontier.
        np.testing.assert_allclose(
            found.routed.losses[-1], found.oracle.losses[-1]
        )
        self.assertEqual(
            set(found.laws) | set(found.reasons), {"routed", "oracle", "single"}
        )

    def test_without_costs(self):
        with self.assertRaisesRegex(ValueError, "no budgets"):
            realizable.router_law(_contest()._replace(costs=None), "ridge")


if __name__ == "__main__":
    absltest.main()
