import itertools
import math

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.realizable import online, partitions, segment_arrays
from tests import test_segments, tolerances

_T, _M = 5, 3
_MASKS = np.array(
    [[True, True, True], [True, False, True], [False, True, False]]
)


def _nll(num_texts=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.exponential(2.0, (num_texts, _T, _M)).astype(np.float32)


def _mixed(nll, mask, prior):
    """Returns the loss of the mixture of all sequences of models."""
    models = np.flatnonzero(mask)
    total = 0.0
    for path in itertools.product(models, repeat=len(nll)):
        loss = sum(float(nll[t, i]) for t, i in enumerate(path))
        total += prior(path, len(models)) * math.exp(-loss)
    return -math.log(total)


def _prior_of_fixed_share(rate):
    def prior(path, k):
        if k == 1:  # There is no other model to change to.
            return 1.0
        found = 1 / k
        for one, two in itertools.pairwise(path):
            found *= 1 - rate if one == two else rate / (k - 1)
        return found

    return prior


def _prior_of_switches(path, k):
    """Sums over where blocks end; the next may have the same model."""

    def of_rest(start, t):
        """The block from `start` on has lasted up to segment t (from 1)."""
        model = path[start]
        if any(other != model for other in path[start:t]):
            return 0.0
        # Ends before segment t + 1, or goes on; `t` counts from 1.
        if t == len(path):
            return 1.0
        hazard = 1 / (t + 1)
        goes_on = (1 - hazard) * of_rest(start, t + 1)
        return goes_on + hazard * of_block(t)

    def of_block(start):
        stays = all(other == path[start] for other in path[start:])
        return (0.5 * stays + 0.5 * of_rest(start, start + 1)) / k

    return of_block(0)


def _best_partition(nll, mask, num_switches):
    models = np.flatnonzero(mask)
    return min(
        sum(float(nll[t, i]) for t, i in enumerate(path))
        for path in itertools.product(models, repeat=len(nll))
        if sum(a != b for a, b in itertools.pairwise(path)) <= num_switches
    )


def _by_hand(of_text):
    nll = _nll()
    return [[of_text(text, mask) for text in nll] for mask in _MASKS]


class OnlineTest(parameterized.TestCase):
    def test_bayes_mixture_is_that_of_texts(self):
        nll = _nll()
        expected = _by_hand(
            lambda text, mask: (
                -math.log(np.mean(np.exp(-text.sum(axis=0, dtype=float)[mask])))
            )
        )
        found = online.bayes_mixture(nll, _MASKS)
        np.testing.assert_allclose(found, expected, rtol=tolerances.ONLINE)
        with self.subTest("at every granularity"):
            merged = np.stack(
                [nll[:, :2].sum(axis=1), nll[:, 2:].sum(axis=1)], axis=1
            )
            for coarse in (merged, nll.sum(axis=1, keepdims=True)):
                np.testing.assert_allclose(
                    online.bayes_mixture(coarse, _MASKS),
                    found,
                    rtol=tolerances.ONLINE,
                )
        with self.subTest("fixed share that never changes"):
            np.testing.assert_allclose(
                online.fixed_share(nll, _MASKS, 0.0),
                found,
                rtol=tolerances.ONLINE,
            )
        with self.subTest("far from one another: nothing underflows"):
            far = np.array([[[0.0, 900.0]], [[900.0, 2000.0]]])
            np.testing.assert_allclose(
                online.bayes_mixture(far, [[True, True]]),
                [[math.log(2), 900 + math.log(2)]],
                rtol=tolerances.ONLINE,
            )

    def test_fixed_share_that_never_changes(self):
        """Also where the best of all is hopeless at first."""
        nll = [[[0.0, 200.0], [0.0, 200.0], [500.0, 0.0], [500.0, 0.0]]]
        masks = [[True, True]]
        for rate in (0.0, 1e-45):
            np.testing.assert_array_equal(
                online.fixed_share(nll, masks, rate),
                online.bayes_mixture(nll, masks),
            )

    @parameterized.parameters(0.05, 0.5, 1.0)
    def test_fixed_share_is_a_mixture_of_sequences(self, rate):
        prior = _prior_of_fixed_share(rate)
        np.testing.assert_allclose(
            online.fixed_share(_nll(), _MASKS, rate),
            _by_hand(lambda text, mask: _mixed(text, mask, prior)),
            rtol=tolerances.ONLINE,
        )

    def test_switch_distribution_is_a_mixture_of_sequences(self):
        np.testing.assert_allclose(
            online.switch_distribution(_nll(), _MASKS),
            _by_hand(lambda text, mask: _mixed(text, mask, _prior_of_switches)),
            rtol=tolerances.ONLINE,
        )

    def test_follow_the_leader(self):
        def expected(text, mask):
            models, loss = np.flatnonzero(mask), 0.0
            for t in range(_T):
                leader = models[text[:t, models].sum(axis=0).argmin()]
                loss += text[t, leader]
            return loss

        np.testing.assert_allclose(
            online.follow_the_leader(_nll(), _MASKS),
            _by_hand(expected),
            rtol=tolerances.ONLINE,
        )

    def test_prefix_router(self):
        nll = _nll()
        ends = np.tile(np.arange(10, 60, 10), (len(nll), 1))
        mixed = online.bayes_mixture(nll, _MASKS)
        for num_bytes, num_read in ((9, 0), (10, 1), (35, 3)):
            found = online.prefix_router(nll, _MASKS, ends, num_bytes)
            for s, mask in enumerate(_MASKS):
                models = np.flatnonzero(mask)
                for x, text in enumerate(nll):
                    before = text[:num_read, models].sum(axis=0, dtype=float)
                    best = models[before.argmin()]
                    expected = -math.log(np.mean(np.exp(-before)))
                    expected += text[num_read:, best].sum(dtype=float)
                    self.assertAlmostEqual(found[s, x], expected, places=4)
        whole = online.prefix_router(nll, _MASKS, ends, 50)
        np.testing.assert_allclose(whole, mixed, rtol=tolerances.ONLINE)

    def test_best_partitions(self):
        nll = _nll()
        found = partitions.best_partitions(nll, _MASKS, 6)
        for k in range(7):
            np.testing.assert_allclose(
                found[k],
                _by_hand(
                    lambda text, mask, k=k: _best_partition(text, mask, k)
                ),
                rtol=tolerances.ONLINE,
            )

    def test_bounds_hold(self):
        """On any scores, for any number of switches."""
        for seed in range(3):
            nll = _nll(seed=seed) * 4**seed
            nll[0, 3:] = 0  # A shorter text.
            num_segments = np.array([3, _T, _T, _T])
            best = partitions.best_partitions(nll, _MASKS, 4)
            switching = online.switch_distribution(nll, _MASKS)
            for rate in (0.01, 0.3):
                shared = online.fixed_share(nll, _MASKS, rate)
                for s, mask in enumerate(_MASKS):
                    for k in range(5):
                        bound = partitions.fixed_share_bound(
                            num_segments, int(mask.sum()), k, rate
                        )
                        slack = 1e-4 + bound
                        self.assertTrue((shared[s] <= best[k, s] + slack).all())
                        bound = partitions.switch_bound(
                            num_segments, int(mask.sum()), k
                        )
                        self.assertTrue(
                            (switching[s] <= best[k, s] + 1e-4 + bound).all()
                        )

    def test_bound_is_reached(self):
        """By a partition beside which no other has a likelihood."""
        nll = np.full((1, _T, 2), 60.0)
        path = [0, 0, 1, 1, 0]
        nll[0, np.arange(_T), path] = 0
        mask = np.ones((1, 2), bool)
        found = online.fixed_share(nll, mask, 0.2)[0, 0]
        bound = partitions.fixed_share_bound([_T], 2, 2, 0.2)[0]
        self.assertAlmostEqual(found, bound, places=4)

    def test_tuned_rate(self):
        rates = [0.001, 0.1, 0.5]
        nll = _nll(20)
        losses = [online.fixed_share(nll, _MASKS[:1], r).sum() for r in rates]
        self.assertEqual(
            online.tuned_rate(nll, _MASKS[0], rates), rates[np.argmin(losses)]
        )

    def test_texts_of_many_lengths(self):
        """Padding and batches change nothing."""
        rng = np.random.default_rng(1)
        lengths = rng.integers(1, 40, 30)
        nll = np.zeros((30, 40, _M), np.float32)
        for row, length in zip(nll, lengths, strict=True):
            row[:length] = rng.exponential(2.0, (length, _M))
        found = online.fixed_share(nll, _MASKS, 0.1)
        for x, length in enumerate(lengths):
            alone = online.fixed_share(nll[x : x + 1, :length], _MASKS, 0.1)
            np.testing.assert_allclose(
                found[:, x], alone[:, 0], rtol=tolerances.ONLINE
            )

    def test_segments_of_a_table(self):
        table = test_segments.table_of_tokens()
        cut = table.segments("token")
        found = segment_arrays.segment_losses(cut)
        self.assertEqual(found.text_ids, table.texts.ids)
        np.testing.assert_allclose(
            found.nll_nats.sum(axis=1).T, table.nll_nats, rtol=1e-6
        )
        np.testing.assert_array_equal(
            found.end_bytes[:, -1], table.texts.num_bytes
        )
        self.assertEqual(found.num_segments.sum(), len(cut.texts))
        with self.assertRaisesRegex(ValueError, "rows of the table|are texts"):
            segment_arrays.segment_losses(table)

    def test_refuses(self):
        nll = _nll()
        for arguments, message in (
            ((nll[0], _MASKS), "the shape"),
            ((nll, _MASKS[:, :2]), "the shape"),
            ((nll, np.zeros((1, 3), bool)), "one model at least"),
            ((nll * np.nan, _MASKS), "not finite"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                online.bayes_mixture(*arguments)
        with self.assertRaisesRegex(ValueError, "rate is 2"):
            online.fixed_share(nll, _MASKS, 2)
        with self.assertRaisesRegex(ValueError, "num_switches is -1"):
            partitions.best_partitions(nll, _MASKS, -1)
        with self.assertRaisesRegex(ValueError, "no rates"):
            online.tuned_rate(nll, _MASKS[0], [])
        with self.assertRaisesRegex(ValueError, "end_bytes has the shape"):
            online.prefix_router(nll, _MASKS, [[1]], 3)


if __name__ == "__main__":
    absltest.main()
