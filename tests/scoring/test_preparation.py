"""Lengths of batches: when they follow from the texts, and when they do not."""

from unittest import mock

import jax
from absl.testing import absltest

from mmc_jax import corpus, pool
from mmc_jax.scoring import checkpoints, meshes, preparation
from mmc_jax.scoring.settings import Settings


class BucketLengthsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        (model,) = pool.read("stdlib20").select(["mamba-30k"]).models
        self.settings = Settings(num_data=1)
        self.checkpoint = checkpoints.open(
            model.checkpoint, model.revision, self.settings
        )
        self.texts = corpus.embedded("held_out").sample(1)

    def lengths(self, num_rows):
        return preparation.bucket_lengths(
            self.checkpoint,
            self.texts,
            self.settings,
            meshes.mesh(self.settings),
            num_rows,
        )

    def test_many_tokens_have_lengths_of_their_own(self):
        self.assertEqual(self.lengths({500: 1000, 250: 1}), [512])

    def test_a_few_texts_have_the_same_lengths_beside_others(self):
        fixed = self.lengths(None)
        self.assertEqual(self.lengths({500: 10}), fixed)
        self.assertEqual(self.lengths({90: 7, 500: 10}), fixed)

    def test_elsewhere_the_texts_do_not_count(self):
        with mock.patch.object(jax, "default_backend", lambda: "tpu"):
            self.assertEqual(self.lengths({500: 1000}), self.lengths(None))


if __name__ == "__main__":
    absltest.main()
