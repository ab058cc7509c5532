"""Which texts judge: near-duplicates, hashes, domains."""

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import realizable

_TEXT = (
    "A router that has seen a text in training knows the answer already; what "
    "it closes there says nothing of texts that are new to it, number {}."
)


class NearDuplicatesTest(parameterized.TestCase):
    def test_found_across_the_split(self):
        rng = np.random.default_rng(0)
        texts = [
            " ".join(map(str, rng.integers(10**6, size=20))) for _ in range(50)
        ]
        texts += [_TEXT.format(1), _TEXT.format(2).upper() + "  "]
        groups = realizable.near_duplicates(texts)
        np.testing.assert_array_equal(groups[:51], np.arange(51))
        self.assertEqual(groups[51], 50)
        judges = np.arange(52) == 51
        np.testing.assert_array_equal(
            realizable.leaked_texts(groups, judges), [51]
        )
        test = realizable.split_by_text([str(x) for x in range(52)], groups)
        self.assertEqual(test[50], test[51])
        self.assertEmpty(realizable.leaked_texts(groups, test))

    def test_chains_are_one_group(self):
        words = [f"word{i}" for i in range(60)]
        texts = [" ".join(words[i : i + 40]) for i in (0, 3, 6, 9, 12)]
        groups = realizable.near_duplicates(texts)
        np.testing.assert_array_equal(groups, 0)

    def test_folds(self):
        groups = np.array([0, 0, 2, 3, 4, 5, 5, 5])
        found = realizable.folds([str(x) for x in range(8)], groups, 3)
        self.assertEqual(sorted(set(found.tolist())), [0, 1, 2])
        self.assertLen({(g, f) for g, f in zip(groups, found, strict=True)}, 5)
        with self.assertRaisesRegex(ValueError, "make no two folds"):
            realizable.folds(["a", "b"], np.zeros(2, int), 3)

    def test_short_and_blank_texts(self):
        groups = realizable.near_duplicates(["", " ", "a", "A", "b"])
        np.testing.assert_array_equal(groups, [0, 0, 2, 2, 4])

    def test_many_of_one_kind(self):
        """A template with one word changed is one group, and takes no time."""
        texts = [_TEXT.format(x) for x in range(2000)]
        groups = realizable.near_duplicates(texts)
        np.testing.assert_array_equal(groups, 0)

    @parameterized.parameters(0.0, 1.5)
    def test_resemblance(self, value):
        with self.assertRaisesRegex(ValueError, "above 0 and up to 1"):
            realizable.near_duplicates(["a"], value)


class SplitTest(parameterized.TestCase):
    def test_a_text_stays_on_its_side(self):
        keys = [str(x) for x in range(200)]
        alone = np.arange(200)
        test = realizable.split_by_text(keys, alone, share=0.25, seed=1)
        self.assertBetween(test.mean(), 0.15, 0.35)
        fewer = realizable.split_by_text(keys[:50], alone[:50], 0.25, seed=1)
        np.testing.assert_array_equal(fewer, test[:50])
        other = realizable.split_by_text(keys, alone, 0.25, seed=2)
        self.assertTrue((other != test).any())

    def test_refused(self):
        for share in (0.0, 1.0):
            with self.assertRaisesRegex(
                ValueError, "between 0 and 1 is needed"
            ):
                realizable.split_by_text(["a", "b"], np.arange(2), share)
        with self.assertRaisesRegex(ValueError, "one side without texts"):
            realizable.split_by_text(["a", "b"], np.zeros(2, int))
        with self.assertRaisesRegex(ValueError, "1 groups for 2 texts"):
            realizable.split_by_text(["a", "b"], np.zeros(1, int))

    def test_by_domain(self):
        domains = list("aabbccdd")
        test = realizable.split_by_domain(domains, share=0.5, seed=3)
        self.assertEqual(test.sum(), 4)
        for first, second in zip(test[::2], test[1::2], strict=True):
            self.assertEqual(first, second)

    def test_domains_refused(self):
        with self.assertRaisesRegex(ValueError, "all texts are of the domain"):
            realizable.split_by_domain(["a", "a"])
        with self.assertRaisesRegex(ValueError, "no text of domain 'x'; the"):
            realizable.split_by_domain(["a", "b"], ["x"])
        with self.assertRaisesRegex(ValueError, "none is left to learn from"):
            realizable.split_by_domain(["a", "b"], ["a", "b"])


if __name__ == "__main__":
    absltest.main()
