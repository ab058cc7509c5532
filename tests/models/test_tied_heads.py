"""Tied heads whose files say otherwise: as transformers loads them."""

import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import models
from mmc_jax.models import configs, sharding, tied_heads, weight_files
from tests import tolerances
from tests.models import test_parity

# The name of each port's head on disk.
_HEADS = {
    "gpt2": "lm_head.weight",
    "gpt_neox": "embed_out.weight",
    "llama": "lm_head.weight",
}


class TiedHeadsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def saved(self, model_type: str, **changes) -> dict[str, np.ndarray]:
        """Saves a tied model and returns its tensors."""
        config = test_parity.make_config(
            model_type, tie_word_embeddings=True, **changes
        )
        test_parity.make_reference(config, perturbed=True).save_pretrained(
            self.folder
        )
        return safetensors.numpy.load_file(self.folder / weight_files.WEIGHTS)

    def write(self, tensors: dict[str, np.ndarray]) -> None:
        file = self.folder / weight_files.WEIGHTS
        safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})

    def embedding(self, tensors: dict[str, np.ndarray]) -> np.ndarray:
        endings = ("wte.weight", "embed_in.weight", "embed_tokens.weight")
        (name,) = (name for name in tensors if name.endswith(endings))
        return tensors[name]

    @parameterized.parameters(*_HEADS.items())
    def test_a_head_that_differs_is_the_file_s(self, model_type, head):
        tensors = self.saved(model_type)
        tied = models.num_params(self.folder)
        table = self.embedding(tensors)
        changed = table.copy()
        changed[-1, -1] += 1
        self.write(tensors | {head: changed})
        with self.assertLogs("absl", level="WARNING") as logged:
            config = configs.read(self.folder)
        self.assertIn(f"{head} differs from the", "".join(logged.output))
        self.assertFalse(config.tie_word_embeddings)
        self.assertEqual(models.num_params(self.folder), tied + table.size)
        # Said once.
        with self.assertNoLogs(level="WARNING"):
            model = models.load(self.folder)
        reference = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, attn_implementation="eager"
        ).eval()
        tokens = test_parity.random_tokens(model_type, 2, 33)
        expected = test_parity.reference_logits(reference, tokens)
        error = test_parity.error(model(jnp.asarray(tokens)), expected)
        self.assertLess(error, tolerances.PARITY_LOGITS)

    def test_a_head_that_is_equal_stays_tied(self):
        tensors = self.saved("llama")
        expected = models.num_params(self.folder)
        self.write(tensors | {_HEADS["llama"]: self.embedding(tensors)})
        self.assertEqual(models.num_params(self.folder), expected)
        self.assertTrue(configs.read(self.folder).tie_word_embeddings)

    def test_over_a_mesh(self):
        tensors = self.saved("llama", vocab_size=160)
        table = self.embedding(tensors)
        self.write(tensors | {_HEADS["llama"]: table + 1})
        split = models.load(self.folder, mesh=sharding.mesh(1, 8))
        np.testing.assert_array_equal(
            np.asarray(split.lm_head.kernel.get_value()), (table + 1).T
        )

    def test_weights_that_are_missing_or_damaged(self):
        self.saved("llama")
        file = self.folder / weight_files.WEIGHTS
        config = configs.read(self.folder)
        for change in (lambda: file.write_bytes(b"no weights"), file.unlink):
            change()
            read = tied_heads.as_in_files(config, self.folder)
            self.assertTrue(read.tie_word_embeddings)


if __name__ == "__main__":
    absltest.main()
