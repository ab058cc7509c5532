"""The names that users write: DESIGN's list, for all that is built."""

import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from mmc_jax import (
    corpus,
    diversity,
    frontier,
    importers,
    law,
    models,
    oracle,
    pool,
    report,
    scores,
    scoring,
)

_SHIPPED = "stdlib20"


class PublicNamesTest(absltest.TestCase):
    def test_from_a_checkpoint_to_a_law(self):
        texts = corpus.embedded("held_out").sample(1)
        models_of_pool = pool.read(_SHIPPED).select(["gpt2-30k", "gpt2-100k"])
        checkpoint = models_of_pool.models[0].checkpoint

        model = models.load(checkpoint, dtype=jnp.float32)
        self.assertIn(model.config.model_type, models.FAMILIES)
        logits = model(jnp.zeros((2, 5), jnp.int32))
        self.assertEqual(logits.shape, (2, 5, model.config.vocab_size))

        out = pathlib.Path(tempfile.mkdtemp(), "scores")
        table = scoring.score(models_of_pool, texts, out)
        self.assertIsInstance(table, scores.ScoreTable)
        again = scores.open(out).select(models=[m.name for m in table.models])
        np.testing.assert_array_equal(table.nll_nats, again.nll_nats)
        self.assertEqual(table.nll_nats.shape, (2, len(texts)))
        self.assertEqual(table.texts.ids, texts.ids)

        losses = table.losses("text_length")
        masks = np.array([[True, False], [True] * 2])
        by_kernel = oracle.oracle_losses(losses, masks)
        self.assertEqual(by_kernel.shape, (2,))
        sums = oracle.min_sum(losses[:1], losses)
        self.assertEqual(sums.shape, (1, 2))

        f = frontier.pruned(losses, table.costs("num_params"))
        self.assertEqual(f.masks.shape, (len(f.costs), 2))
        exact = frontier.exhaustive(losses, table.costs("num_params"))
        self.assertLessEqual(exact.losses[-1], f.losses[-1])

        gains = diversity.pair_gains(losses)
        self.assertEqual(gains.shape, (2, 2))
        bonus = diversity.pair_bonus(losses[0], losses[1], 10, 0)
        self.assertAlmostEqual(bonus.estimate.value, gains[0, 1])

        costs = np.geomspace(1e6, 1e9, 6)
        fit = law.fit(costs, 3 * costs**-0.2 + 1)
        self.assertAlmostEqual(fit.alpha, 0.2, places=6)
        self.assertGreater(fit.A, 0)
        self.assertGreater(fit.L_inf, 0)
        self.assertLess(fit.objective, 1e-12)
        self.assertTrue(callable(importers.csv))
        self.assertTrue(callable(report.write_sections))


if __name__ == "__main__":
    absltest.main()
