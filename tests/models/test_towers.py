"""Models that see or hear: their text tower is loaded, and nothing else."""

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
from mmc_jax.models import configs, families, towers, weight_files
from tests import tolerances
from tests.models import test_parity
from tests.models.cases import WRAPPERS


def _config(wrapper: str, **changes) -> transformers.PreTrainedConfig:
    """Returns a tiny config whose text tower is a case of the parity test."""
    text, rest = WRAPPERS[wrapper]
    return transformers.AutoConfig.for_model(
        wrapper,
        text_config=test_parity.make_config(text, **changes).to_dict(),
        **{**rest, **changes},
    )


_BERT = dict(model_type="bert")
_MISTRAL3 = dict(model_type="mistral3")


def _plain(folder: pathlib.Path, tensors) -> pathlib.Path:
    """Returns a folder whose weights are those tensors again."""
    safetensors.numpy.save_file(tensors, folder / weight_files.WEIGHTS)
    return folder


def _other_names(name: str) -> str:
    """Returns a tensor's name in files of the other age."""
    for memory, file in (
        ("model.language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ):
        if name.startswith(memory):
            return file + name.removeprefix(memory)
        if name.startswith(file):
            return memory + name.removeprefix(file)
    inner = name.removeprefix("model.")
    return inner if inner != name else f"model.{name}"


class TowersTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def saved(self, wrapper, **changes) -> transformers.PreTrainedModel:
        reference = test_parity.make_reference(
            _config(wrapper, **changes), perturbed=True
        )
        reference.save_pretrained(self.folder)
        return reference

    def change_names(self, change) -> dict[str, np.ndarray]:
        path = self.folder / weight_files.WEIGHTS
        tensors = safetensors.numpy.load_file(path)
        tensors = {change(name): tensor for name, tensor in tensors.items()}
        safetensors.numpy.save_file(tensors, path)
        return tensors

    def change_config(self, **changes):
        path = self.folder / configs.CONFIG
        config = json.loads(path.read_text())
        for name, value in changes.items():
            both = isinstance(value, dict)
            config[name] = config[name] | value if both else value
        path.write_text(json.dumps(config))

    def assert_parity(self, model, reference, text):
        if text == "llama4_text":
            # Without an image the larger model fails in transformers 5.24.
            reference = reference.language_model
        tokens = test_parity.random_tokens(text, 2, 261)
        expected = test_parity.reference_logits(reference, tokens)
        self.assertLess(
            test_parity.error(test_parity.forward(model, tokens), expected),
            tolerances.PARITY_LOGITS,
        )

    def test_every_wrapper_has_a_case(self):
        self.assertEqual(set(WRAPPERS), set(families.WRAPPERS))

    @parameterized.parameters(*WRAPPERS)
    def test_text_tower(self, wrapper):
        """Logits and parameters are the text's, by names of either age."""
        text, _ = WRAPPERS[wrapper]
        reference = self.saved(wrapper)
        model = models.load(self.folder)
        self.assert_parity(model, reference, text)
        self.assertEqual(model.config.model_type, text)
        alone = test_parity.make_reference(model.config, perturbed=False)
        num_saved = sum(x.numel() for x in test_parity.saved_buffers(alone))
        self.assertEqual(
            models.num_params(self.folder), alone.num_parameters() + num_saved
        )
        names = self.change_names(_other_names)
        self.assertTrue(any(towers.is_other(name) for name in names))
        jax.tree.map(
            np.testing.assert_array_equal,
            nnx.state(model),
            nnx.state(models.load(self.folder)),
        )
        more = {name: f"{name}s" for name in names if "norm" in name}
        self.change_names(lambda name: more.get(name, name))
        with self.assertRaisesRegex(ValueError, "missing.*layers.0.*norm"):
            models.load(self.folder)

    @parameterized.parameters(*WRAPPERS)
    def test_tensors_that_are_nobodys(self, wrapper):
        """They are an error in a wrapper, and another tower's in a text."""
        self.saved(wrapper)
        path = self.folder / weight_files.WEIGHTS
        tensors = safetensors.numpy.load_file(path)
        more = {"moon_tower.weight": np.ones(3, np.float32)}
        safetensors.numpy.save_file({**tensors, **more}, path)
        with self.assertRaisesRegex(ValueError, "not know: .*moon_tower"):
            models.load(self.folder)
        models.save(models.load(_plain(self.folder, tensors)), self.folder)
        texts = safetensors.numpy.load_file(path)
        other = next(name for name in tensors if towers.is_other(name))
        safetensors.numpy.save_file({**texts, other: tensors[other]}, path)
        with self.assertRaisesRegex(ValueError, f"not know: .*{other}"):
            models.load(self.folder)

    def test_head_of_its_own(self):
        reference = self.saved("gemma3", tie_word_embeddings=False)
        model = models.load(self.folder)
        self.assert_parity(model, reference, "gemma3_text")

    def test_the_larger_model_says_whether_the_head_is_tied(self):
        """As in transformers; where the files have two tables, they say."""
        reference = self.saved("mistral3")
        self.change_config(tie_word_embeddings=True)
        self.assertFalse(configs.read(self.folder).tie_word_embeddings)
        self.assert_parity(models.load(self.folder), reference, "ministral3")
        self.change_names(
            lambda name: "vision_tower.x" if "lm_head" in name else name
        )
        self.assertTrue(configs.read(self.folder).tie_word_embeddings)
        models.load(self.folder)

    def test_integers_where_the_text_needs_floats(self):
        self.saved("mistral3")
        self.change_config(text_config=dict(attention_dropout=0))
        self.change_config(text_config=dict(rms_norm_eps=1))
        self.assertEqual(configs.read(self.folder).rms_norm_eps, 1.0)

    def test_what_is_saved_is_a_text_model(self):
        reference = self.saved("gemma3")
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

    @parameterized.parameters(dict(moon="full"), dict(text_config={"moon": 1}))
    def test_a_key_that_transformers_ignores(self, **changes):
        self.saved("gemma3")
        original = models.load(self.folder)
        self.change_config(**changes)
        with self.assertLogs("absl", level="WARNING") as logs:
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
        (dict(text_config=dict(n_head=9)), "n_head=9, but num_attention_he"),
        (dict(model_type="mistral3", text_config=_BERT), "'bert'"),
        (dict(model_type="mistral3", text_config=_MISTRAL3), "'mistral3'"),
    )
    def test_refused(self, changes, message):
        self.saved("gemma3")
        self.change_config(**changes)
        for read in (models.num_params, models.load):
            with self.assertRaises(ValueError) as raised:
                read(self.folder)
            self.assertIn(message, str(raised.exception))


if __name__ == "__main__":
    absltest.main()
