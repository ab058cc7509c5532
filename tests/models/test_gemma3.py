"""Gemma 3 that sees: its text tower is loaded, and nothing else of it."""

import json
import pathlib
import tempfile

import jax
import numpy as np
import safetensors.numpy
import transformers
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax import models
from mmc_jax.models import weight_files
from tests import tolerances
from tests.models import test_parity


def _config(**changes) -> transformers.Gemma3Config:
    """Returns a tiny config whose text tower is the case of gemma3_text."""
    return transformers.Gemma3Config(
        text_config=test_parity.make_config("gemma3_text", **changes),
        vision_config=dict(
            model_type="siglip_vision_model",
            hidden_size=12,
            intermediate_size=20,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
        ),
        mm_tokens_per_image=4,
        boi_token_index=136,
        eoi_token_index=137,
        image_token_index=138,
        **changes,
    )


def _other_names(name: str) -> str:
    """Returns a tensor's name as in memory, which some files have."""
    if name.startswith("language_model.lm_head."):
        return name.removeprefix("language_model.")
    if name.startswith("language_model."):
        name = name.replace("language_model.model.", "language_model.")
    return f"model.{name}"


class Gemma3Test(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def saved(self, **changes) -> transformers.PreTrainedModel:
        reference = test_parity.make_reference(
            _config(**changes), perturbed=True
        )
        reference.save_pretrained(self.folder)
        return reference

    def change_names(self, change):
        path = self.folder / weight_files.WEIGHTS
        tensors = safetensors.numpy.load_file(path)
        tensors = {change(name): tensor for name, tensor in tensors.items()}
        safetensors.numpy.save_file(tensors, path)
        return tensors

    @parameterized.product(
        change=(lambda name: name, _other_names), tied=(True, False)
    )
    def test_logits(self, change, tied):
        reference = self.saved(tie_word_embeddings=tied)
        names = self.change_names(change)
        head = "language_model.lm_head.weight"
        self.assertEqual(change(head) in names, not tied)
        model = models.load(self.folder)
        tokens = test_parity.random_tokens("gemma3_text", 2, 261)
        self.assertLess(
            test_parity.error(
                model(tokens), test_parity.reference_logits(reference, tokens)
            ),
            tolerances.PARITY_LOGITS,
        )

    def test_what_is_saved_is_a_text_model(self):
        reference = self.saved()
        model = models.load(self.folder)
        models.save(model, self.folder / "text")
        returned, notes = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder / "text",
            output_loading_info=True,
            attn_implementation="eager",
        )
        self.assertFalse(any(notes.values()), notes)
        self.assertIsInstance(returned, transformers.Gemma3ForCausalLM)
        tokens = test_parity.random_tokens("gemma3_text", 2, 20)
        np.testing.assert_array_equal(
            test_parity.reference_logits(returned, tokens),
            test_parity.reference_logits(reference, tokens),
        )

    def test_num_params(self):
        reference = self.saved()
        self.assertEqual(
            models.num_params(self.folder),
            reference.model.language_model.num_parameters(),
        )

    def test_missing_tensor_is_named(self):
        self.saved()
        name = "language_model.model.layers.0.self_attn.q_norm.weight"
        more = name.replace("q_norm", "r_norm")
        self.change_names(lambda n: more if n == name else n)
        with self.assertRaisesRegex(ValueError, "missing.*layers.0.*q_norm"):
            models.load(self.folder)

    @parameterized.parameters(dict(moon="full"), dict(text_config={"moon": 1}))
    def test_a_key_that_transformers_ignores(self, **changes):
        self.saved()
        original = models.load(self.folder)
        path = self.folder / "config.json"
        config = json.loads(path.read_text())
        for name, value in changes.items():
            both = isinstance(value, dict)
            config[name] = config[name] | value if both else value
        path.write_text(json.dumps(config))
        with self.assertLogs(level="WARNING") as logs:
            again = models.load(self.folder)
        self.assertIn("does not read moon", "".join(logs.output))
        jax.tree.map(
            np.testing.assert_array_equal, nnx.state(original), nnx.state(again)
        )

    @parameterized.parameters(
        (dict(is_encoder_decoder=True), "is_encoder_decoder=True"),
        (dict(tie_word_embeddings=False), "tie_word_embeddings=False"),
        (
            dict(text_config=dict(attn_logit_softcapping=9.0)),
            "attn_logit_softcapping=9.0",
        ),
        (
            dict(text_config=dict(use_bidirectional_attention=True)),
            "use_bidirectional_attention=True",
        ),
    )
    def test_refused(self, changes, message):
        self.saved()
        path = self.folder / "config.json"
        config = json.loads(path.read_text())
        for name, value in changes.items():
            both = isinstance(value, dict)
            config[name] = config[name] | value if both else value
        path.write_text(json.dumps(config))
        for read in (models.num_params, models.load):
            with self.assertRaises(ValueError) as raised:
                read(self.folder)
            self.assertIn(message, str(raised.exception))


if __name__ == "__main__":
    absltest.main()
