import pathlib
import tempfile

import numpy as np
import tokenizers
import transformers
from absl.testing import absltest
from flax import nnx

from mmc_jax import corpus, models, pool, scoring, training
from tests import tolerances

_SEPARATOR = "<|endoftext|>"
_TEXT = "def f(x):\n    return '東京', x  # and on, beyond one window of it\n"


class SurprisalTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        config = transformers.GPT2Config(
            vocab_size=257, n_positions=16, n_embd=8, n_layer=1, n_head=2
        )
        cls.model = models.build(config, rngs=nnx.Rngs(0))
        cls.folder = pathlib.Path(tempfile.mkdtemp(), "model")
        training.save_folder(
            cls.model,
            training.byte_tokenizer(_SEPARATOR),
            _SEPARATOR,
            {},
            cls.folder,
        )

    def _corpus(self, text):
        file = pathlib.Path(tempfile.mkdtemp(), "texts", "a.txt")
        file.parent.mkdir()
        file.write_text(text)
        return corpus.read(file.parent)

    def test_is_what_the_table_holds(self):
        """Token by token, over several windows, it adds up to the score."""
        shown = scoring.surprisal(self.folder, _TEXT)
        self.assertLen(shown.tokens, len(_TEXT.encode()))
        self.assertEqual(shown.tokens[:5], ["d", "e", "f", "Ġ", "f"])
        self.assertEqual(shown.num_scored, len(shown.tokens))
        self.assertEqual(shown.prefix.policy, "bos")
        self.assertTrue(np.isfinite(shown.nll_nats).all())
        self.assertEqual(shown.total_nats, shown.nll_nats.sum())
        model = pool.Model(
            "tiny", str(self.folder), None, "f", costs={"num_active_params": 7}
        )
        table = scoring.score(
            pool.Pool("mine", (model,)),
            self._corpus(_TEXT),
            pathlib.Path(tempfile.mkdtemp(), "scores"),
        )
        with self.subTest("total"):
            # Float32 values of two compiled shapes, summed in float64.
            np.testing.assert_allclose(
                shown.total_nats,
                table.nll_nats[0, 0],
                rtol=tolerances.SCORE_SHAPES,
            )
        with self.subTest("bits per byte"):
            np.testing.assert_allclose(
                shown.bits_per_byte,
                table.losses("bits_per_byte")[0, 0],
                rtol=tolerances.SCORE_SHAPES,
            )
        with self.subTest("costs: counted, and active as the pool tells"):
            costs = table.models[0].costs
            self.assertEqual(costs["num_active_params"], 7)
            self.assertEqual(
                costs["num_params"], models.num_params(self.folder)
            )

    def test_each_token_by_hand(self):
        """The log-softmax of PyTorch's model, separator first."""
        import torch

        network = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, dtype="float32"
        )
        text = "x = y + 1"
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        ids = [tokenizer.token_to_id(_SEPARATOR), *tokenizer.encode(text).ids]
        for prefix, row in (("own", ids), ("none", ids[1:])):
            with torch.no_grad():
                logits = network(torch.tensor([row])).logits[0, :-1]
            log_probs = torch.log_softmax(logits, dim=-1).numpy()
            expected = -log_probs[np.arange(len(row) - 1), row[1:]]
            shown = scoring.surprisal(
                self.folder, text, settings=scoring.Settings(prefix=prefix)
            )
            np.testing.assert_allclose(
                shown.nll_nats[-len(expected) :],
                expected,
                rtol=tolerances.SCORE_TORCH,
            )
            self.assertEqual(shown.num_scored, len(expected))

    def test_without_a_prefix(self):
        folder = pathlib.Path(tempfile.mkdtemp(), "model")
        models.save(self.model, folder)
        backend = tokenizers.Tokenizer(
            tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a")
        )
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend
        ).save_pretrained(folder)
        shown = scoring.surprisal(folder, "a b b")
        self.assertEqual(shown.tokens, ["a", "b", "b"])
        self.assertEqual(shown.prefix, ("none", None))
        self.assertEqual(shown.num_scored, 2)
        np.testing.assert_array_equal(
            np.isnan(shown.nll_nats), [True, False, False]
        )
        self.assertEqual(shown.total_nats, shown.nll_nats[1:].sum())

    def test_refuses(self):
        with self.assertRaisesRegex(ValueError, "no tokens"):
            scoring.surprisal(self.folder, "")
        with self.assertRaisesRegex(FileNotFoundError, "no config.json"):
            scoring.surprisal(tempfile.mkdtemp(), "a")


if __name__ == "__main__":
    absltest.main()
