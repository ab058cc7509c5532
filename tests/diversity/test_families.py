import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, diversity, frontier, scores
from tests import tolerances
from tests.frontier import brute_force
from tests.frontier.test_pareto import points_of

FAMILIES = ("a", "b", "a", "c", "b", "a", "c")


def planted(correlation, num_texts, *, families=4, of_family=3, seed=0):
    """Returns losses [M, X], costs and families of equally good models.

    The losses of two models of one family correlate so much beyond the
    difficulty of the texts, those of two families not at all.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=num_texts)
    shared = rng.normal(size=(families, 1, num_texts))
    own = rng.normal(size=(families, of_family, num_texts))
    deviations = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    losses = (10 + difficulty + deviations).reshape(-1, num_texts)
    names = np.repeat([f"family-{i}" for i in range(families)], of_family)
    return losses, np.ones(len(losses)), names.tolist()


def pair_bonus_of_families(correlation):
    """What a mixed pair gains over a pair of one family, in the mean.

    The lesser of two standard normals has the mean -sqrt((1 - r) / pi).
    """
    return (1 - np.sqrt(1 - correlation)) / np.sqrt(np.pi)


class FrontiersTest(parameterized.TestCase):
    @parameterized.parameters((1, None), (2, 2), (3, 3), (1, 2))
    def test_homogeneous(self, min_size, max_size):
        losses, costs = brute_force.pool(7, 6, 1, whole_numbers=True)
        weights = [1.0, 3.0, 0.0, 2.0, 1.0, 4.0]
        found = diversity.homogeneous(
            losses,
            costs,
            FAMILIES,
            weights,
            min_size=min_size,
            max_size=max_size,
        )
        expected = brute_force.frontier(
            losses,
            costs,
            weights,
            max_size,
            lambda subset: (
                len(subset) >= min_size
                and len({FAMILIES[i] for i in subset}) == 1
            ),
        )
        self.assertEqual(points_of(found), expected)

    @parameterized.parameters((2, None), (2, 2), (3, 3))
    def test_heterogeneous(self, min_size, max_size):
        losses, costs = brute_force.pool(7, 6, 2, whole_numbers=True)
        found = diversity.heterogeneous(
            losses, costs, FAMILIES, min_size=min_size, max_size=max_size
        )
        expected = brute_force.frontier(
            losses,
            costs,
            None,
            max_size,
            lambda subset: (
                len(subset) >= min_size
                and len({FAMILIES[i] for i in subset}) > 1
            ),
        )
        self.assertEqual(points_of(found), expected)

    @parameterized.parameters(0, 1, 2)
    def test_the_two_together_are_the_unrestricted_one(self, seed):
        losses, costs = brute_force.pool(7, 50, seed)
        everything = frontier.exhaustive(losses, costs)
        same = diversity.homogeneous(losses, costs, FAMILIES)
        mixed = diversity.heterogeneous(losses, costs, FAMILIES)
        for line in (same, mixed):
            place = np.searchsorted(everything.costs, line.costs, "right") - 1
            self.assertTrue((line.losses >= everything.losses[place]).all())
        both = frontier.non_dominated(
            *map(np.concatenate, zip(same, mixed, strict=True))
        )
        np.testing.assert_array_equal(both.masks, everything.masks)
        np.testing.assert_array_equal(both.losses, everything.losses)

    def test_many_models_are_pruned(self):
        """30 models have too many subsets for the exact search."""
        losses, costs = brute_force.pool(30, 20, 3)
        families = [str(i % 3) for i in range(30)]
        mixed = diversity.heterogeneous(losses, costs, families)
        everything = frontier.pruned(losses, costs)
        self.assertLessEqual(mixed.losses[-1], everything.losses[-1] + 1e-12)
        for mask in mixed.masks:
            self.assertGreater(
                len({families[i] for i in np.flatnonzero(mask)}), 1
            )

    def test_what_there_is_not(self):
        losses, costs = brute_force.pool(3, 5, 4)
        with self.assertRaisesRegex(ValueError, "no family has 3 models"):
            diversity.homogeneous(losses, costs, "aab", min_size=3)
        with self.assertRaisesRegex(ValueError, "all models .* family 'a'"):
            diversity.heterogeneous(losses, costs, "aaa")
        with self.assertRaisesRegex(ValueError, "2 groups for 3 models"):
            diversity.homogeneous(losses, costs, "aa")


class CompareTest(parameterized.TestCase):
    def test_rises_with_planted_complementarity(self):
        found = []
        for correlation in (0.0, 0.3, 0.6, 0.9):
            losses, costs, families = planted(correlation, 3000)
            compared = diversity.compare(losses, costs, families, size=2)
            truth = pair_bonus_of_families(correlation)
            with self.subTest(correlation=correlation):
                self.assertLessEqual(compared.held_out.low[-1], truth)
                self.assertGreaterEqual(compared.held_out.high[-1], truth)
            found.append(compared.held_out.value[-1])
        self.assertTrue((np.diff(found) > 0).all(), found)

    def test_zero_within_its_interval_without_it(self):
        """Of 40 pools without complementarity the interval misses few.

        On the texts that chose the difference is above zero for most: there
        are 54 mixed pairs and 12 of one family.
        """
        holds, biased = [], []
        for seed in range(40):
            losses, costs, families = planted(0.0, 300, seed=seed)
            found = diversity.compare(
                losses, costs, families, size=2, num_resamples=300, seed=seed
            )
            holds.append(found.held_out.low[-1] <= 0 <= found.held_out.high[-1])
            biased.append(found.in_sample[-1] > 0)
        self.assertGreaterEqual(sum(holds), 35)  # 38 are expected.
        self.assertGreater(sum(biased), 30)

    def test_is_the_difference_of_the_frontiers(self):
        losses, costs = brute_force.pool(7, 80, 5)
        found = diversity.compare(losses, costs, FAMILIES, num_resamples=20)
        for budget, difference in zip(
            found.budgets, found.in_sample, strict=True
        ):
            same, mixed = (
                line.losses[line.costs <= budget].min()
                for line in (found.homogeneous, found.heterogeneous)
            )
            self.assertAlmostEqual(difference, same - mixed, places=14)
        with self.subTest("from the first budget that both afford"):
            self.assertEqual(
                found.budgets[0],
                max(found.homogeneous.costs[0], found.heterogeneous.costs[0]),
            )

    def test_weights_are_counts_of_texts(self):
        """Texts of weight 0 neither choose nor judge."""
        losses, costs = brute_force.pool(5, 60, 6)
        weights = np.ones(60)
        weights[40:] = 0
        losses[:, 40:] = 100 * np.random.default_rng(0).random((5, 20))
        found = diversity.compare(
            losses, costs, FAMILIES[:5], weights, num_splits=20
        )
        alone = diversity.compare(
            losses[:, :40], costs, FAMILIES[:5], num_splits=20
        )
        np.testing.assert_allclose(
            found.in_sample, alone.in_sample, rtol=tolerances.MEAN_OF_LOSSES
        )
        self.assertLess(np.abs(found.held_out.high).max(), 3)

    def test_clusters_judge_together(self):
        """Repeated texts narrow the interval unless they are one cluster."""
        losses, costs, families = planted(0.5, 60)
        repeated = np.repeat(losses, 9, axis=1)
        clusters = [str(x // 9) for x in range(540)]
        widths = []
        for given in (None, clusters):
            found = diversity.compare(
                repeated, costs, families, size=2, clusters=given
            )
            widths.append(found.held_out.high[-1] - found.held_out.low[-1])
        self.assertGreater(widths[1], 2 * widths[0])

    def test_bad_arguments(self):
        losses, costs = brute_force.pool(3, 5, 7)
        for options, message in (
            ({"num_budgets": 0}, "num_budgets is 0"),
            ({"num_splits": 0}, "num_splits is 0"),
            ({"num_resamples": 0}, "num_resamples is 0"),
            ({"clusters": ["a"] * 5}, "at least 2 are needed"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                diversity.compare(losses, costs, "aab", **options)


class GroupsOfTest(absltest.TestCase):
    def test_models_without_a_family_are_named(self):
        table = scores.ScoreTable(
            models=(
                scores.ScoredModel("m0", family="a", kind="instruct"),
                scores.ScoredModel("m1"),
                scores.ScoredModel("m2"),
            ),
            texts=corpus.Corpus(
                ids=("t",),
                domains=("",),
                num_bytes=np.zeros(1, int),
                num_chars=np.zeros(1, int),
                sha256=("",),
                texts=None,
            ),
            nll_nats=np.ones((3, 1)),
        )
        with self.assertRaisesRegex(ValueError, "without a family: m1, m2;"):
            diversity.groups_of(table)
        self.assertEqual(
            diversity.groups_of(table, "kind"), ("instruct", "base", "base")
        )
        with self.assertRaisesRegex(ValueError, "no grouping 'size'"):
            diversity.groups_of(table, "size")


if __name__ == "__main__":
    absltest.main()
