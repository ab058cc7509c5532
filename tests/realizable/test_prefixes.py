"""Losses of beginnings, from the scores of tokens."""

import dataclasses

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, realizable, scores


def _table(ends=((1, 2, 4), (2, 4), (9,))):
    """One model; the tokens' nats are 1, 2, 3 ... and the first has none."""
    tokens = scores.token_scores(
        [
            np.arange(len(e)) + np.where(np.arange(len(e)), 0, np.nan)
            if len(e) > 2
            else np.arange(1.0, 1 + len(e))
            for e in ends
        ],
        ends,
    )
    texts = corpus.Corpus(
        ("x", "y", "z"),
        ("",) * 3,
        np.array([4, 4, 9]),
        np.array([4, 4, 9]),
        ("",) * 3,
        None,
    )
    return scores.ScoreTable(
        (scores.ScoredModel("m"),),
        texts,
        np.ones((1, 3)),
        tokens={"m": tokens},
    )


class PrefixTest(absltest.TestCase):
    def test_nats_a_byte(self):
        found = realizable.prefix_losses(_table(), 2)
        # Text x: its first token is not scored; the second has 1 nat. Text z
        # has no token there: the mean of the others.
        np.testing.assert_allclose(found, [[1 / 2, 1 / 2, 1 / 2]])
        found = realizable.prefix_losses(_table(), 9)
        np.testing.assert_allclose(found, [[3 / 4, 3 / 4, 1 / 9]])

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "at least 1 is needed"):
            realizable.prefix_losses(_table(), 0)
        with self.assertRaisesRegex(ValueError, "no token of any text ends"):
            realizable.prefix_losses(_table(((3, 4, 5), (3, 4), (9,))), 2)
        without = dataclasses.replace(_table(), tokens=None)
        with self.assertRaisesRegex(ValueError, "--keep_tokens"):
            realizable.prefix_losses(without, 2)


if __name__ == "__main__":
    absltest.main()
