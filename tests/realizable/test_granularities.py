"""The law of granularity, on tables whose law is known."""

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, realizable, report, scores
from mmc_jax.realizable import Controls, granularities
from mmc_jax.report import drawing
from tests import left_out

_KINDS = ("bytes:32", "word")
_NUM_TEXTS, _NUM_WORDS = 24, 64
_LENGTHS = (2, 5)


def _table(nll_of_words, num_models=4):
    """Returns a table whose tokens are words, the same for all models.

    Args:
      nll_of_words: Function of a generator and the words' lengths that returns
        the words' nll, [M, number of words].
    """
    rng = np.random.default_rng(0)
    texts, tokens = {}, [([], []) for _ in range(num_models)]
    for x in range(_NUM_TEXTS):
        lengths = rng.choice(_LENGTHS, _NUM_WORDS)
        texts[f"t{x:02d}"] = "".join(
            " " + "x" * (length - 1) for length in lengths
        )
        nll = nll_of_words(rng, lengths)
        for (values, ends), row in zip(tokens, nll, strict=True):
            values.append(row)
            ends.append(np.cumsum(lengths))
    sizes = np.array([len(text) for text in texts.values()])
    kept = {f"m{m}": scores.token_scores(*row) for m, row in enumerate(tokens)}
    counts = np.full((num_models, _NUM_TEXTS), _NUM_WORDS)
    return scores.ScoreTable(
        tuple(
            scores.ScoredModel(name, name, costs={"num_params": 10.0 * 2**m})
            for m, name in enumerate(kept)
        ),
        corpus.Corpus(
            ids=tuple(texts),
            domains=("",) * len(texts),
            num_bytes=sizes,
            num_chars=sizes,
            sha256=("",) * len(texts),
            texts=tuple(texts.values()),
        ),
        np.array([scores.tokens.sums_of_texts(row) for row in kept.values()]),
        counts,
        counts,
        tokens=kept,
    )


def _specialists(rng, lengths):
    """Each model is good at words of one length, and bad at the others."""
    del rng
    good = np.array(_LENGTHS)[np.arange(4) % 2]
    return np.where(good[:, None] == lengths, 1.0, 3.0) * lengths


def _noise(rng, lengths):
    """All models are equal, up to noise of each word and model."""
    base = lengths * rng.uniform(2, 4, len(lengths))
    return base + lengths * rng.normal(0, 0.7, (4, len(lengths)))


def _controls(nll_of_words, families=None):
    """Returns what each control gains over texts, and the oracle's gain."""
    rng = np.random.default_rng(0)
    lengths = rng.choice(_LENGTHS, _NUM_TEXTS * _NUM_WORDS)
    losses = nll_of_words(rng, lengths)
    of_text = np.repeat(np.arange(_NUM_TEXTS), _NUM_WORDS)
    texts = losses.reshape(len(losses), _NUM_TEXTS, -1).sum(axis=2)
    by_text = texts.min(axis=0).mean()
    found = realizable.control_losses(
        losses,
        [f"t{x:02d}" for x in of_text],
        lengths,
        range(len(losses)) if families is None else families,
        num_draws=3,
    )
    gain = by_text - losses.min(axis=0).sum() / _NUM_TEXTS
    return [by_text - draws.mean() for draws in found], gain


def _study(nll_of_words, **options):
    return realizable.granularity(
        _table(nll_of_words),
        kinds=_KINDS,
        num_resamples=20,
        **options,
    )


class GranularityTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())
        cls.specialists = _study(_specialists)
        cls.noise = _study(_noise)

    def _gains(self, found):
        """Returns gain over texts and what the control has of it, by words."""
        level = next(level for level in found.levels if level.kind == "word")
        texts = found.levels[0].all_models.value
        shares = [found.noise_share(level, name) for name in Controls._fields]
        return texts - level.all_models.value, shares

    def test_specialists_are_no_noise(self):
        gain, noise = self._gains(self.specialists)
        texts = self.specialists.levels[0].all_models.value
        self.assertGreater(gain, 0.3 * texts)
        # What a model is better at by length stays in its permuted losses.
        self.assertAlmostEqual(noise[0], 1.0)
        self.assertLess(np.abs(noise[1:]).max(), 0.01)

    def test_noise_is_all_noise(self):
        gain, noise = self._gains(self.noise)
        self.assertGreater(gain, 0)
        # Segments are hard for all at once: an upper bound.
        self.assertGreater(noise[0], 1.2)
        np.testing.assert_allclose(noise[1:], 1.0, atol=0.15)

    def test_losses_of_independent_models(self):
        """Nothing is shared: what permuted losses gain is what is gained."""
        found, gain = _controls(
            lambda rng, lengths: lengths * rng.exponential(2, (4, len(lengths)))
        )
        self.assertAlmostEqual(found[0] / gain, 1.0, delta=0.05)

    def test_families_that_err_alike(self):
        """Their noise is found where the models of a family move together."""

        def alike(rng, lengths):
            noise = lengths * rng.normal(0, 0.7, (5, len(lengths)))
            return lengths * rng.uniform(3, 5, len(lengths)) + noise.repeat(
                4, 0
            )

        names = np.repeat(list("abcde"), 4)
        found, gain = _controls(alike, names)
        self.assertGreater(found[1] / gain, 1.15)
        self.assertAlmostEqual(found[2] / gain, 1.0, delta=0.15)
        one, _ = _controls(alike, ["a"] * 20)
        self.assertTrue(np.isnan(one[2]))

    def test_spread_of_segments_is_shared(self):
        """Where models are far apart on some segments, noise is as well."""

        def spread(rng, lengths):
            size = lengths * rng.exponential(0.7, len(lengths))
            noise = rng.normal(size=(20, len(lengths)))
            return 4 * lengths + size * noise

        found, gain = _controls(spread)
        self.assertAlmostEqual(found[1] / gain, 1.0, delta=0.1)

    def test_finer_is_never_worse(self):
        for found in (self.specialists, self.noise):
            losses = [level.all_models.value for level in found.levels]
            self.assertEqual(
                [level.kind for level in found.levels], ["text", *_KINDS]
            )
            self.assertEqual(losses, sorted(losses, reverse=True))
            for level in found.levels:
                interval = level.all_models
                self.assertLessEqual(interval.low, interval.value)
                self.assertLessEqual(interval.value, interval.high)
                self.assertAlmostEqual(level.pool.losses[-1], interval.value)

    def test_text_is_its_own_control(self):
        for found in (self.specialists, self.noise):
            text = found.levels[0]
            for one in text.controls:
                self.assertAlmostEqual(one.value, text.all_models.value)
            self.assertTrue(np.isnan(found.noise_share(text)))

    def test_systems(self):
        """None beats the oracle of its granularity; bounds hold."""
        for found in (self.specialists, self.noise):
            mixtures = {level.systems.bayes_mixture for level in found.levels}
            self.assertLess(max(mixtures) - min(mixtures), 1e-6)
            for level in found.levels:
                systems = level.systems
                for name in (
                    "fixed_share",
                    "switch_distribution",
                    "follow_the_leader",
                ):
                    self.assertGreater(
                        getattr(systems, name),
                        level.all_models.value - 1e-6,
                    )
                self.assertContainsSubset(systems.rates, granularities.RATES)
                for row in level.regrets:
                    self.assertTrue(row.holds and row.switch_holds)
                partitions = [row.partition for row in level.regrets]
                self.assertEqual(partitions, sorted(partitions, reverse=True))

    def test_runs_of_specialists_are_followed(self):
        """Fixed share beats the oracle per text where models take turns."""

        def turns(rng, lengths):
            del rng
            turn = np.arange(len(lengths)) // 16 % 2
            is_mine = np.arange(4)[:, None] % 2 == turn
            return np.where(is_mine, 1.0, 4.0) * lengths

        found = _study(turns)
        words = found.levels[2].systems
        self.assertLess(
            words.fixed_share, 0.9 * found.levels[0].all_models.value
        )
        self.assertLess(words.switch_distribution, words.bayes_mixture)

    def test_section(self):
        section = report.granularity_section(self.noise)
        rows = section.numbers["granularity"]["levels"]
        self.assertEqual([row["kind"] for row in rows], ["text", *_KINDS])
        self.assertEqual(rows[0]["num_segments"], _NUM_TEXTS)
        self.assertTrue(any("word" in line for line in section.sentences))
        self.assertTrue(any("bound" in line for line in section.sentences))
        for draw in section.figures.values():
            files = drawing.saved(draw)
            self.assertIn(b"<svg", files["svg"][:500])

    def test_refuses(self):
        table = _table(_noise)
        with self.assertRaisesRegex(ValueError, "'raw': losses of segments"):
            realizable.granularity(table, normalisation="raw")
        with self.assertRaisesRegex(ValueError, "at least 2"):
            realizable.granularity(table.select(models=["m0"]))


if __name__ == "__main__":
    absltest.main()
