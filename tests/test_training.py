import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from absl.testing import absltest
from flax import nnx

from mmc_jax import corpus, models, training
from tests import tolerances

_SEPARATOR = "<|endoftext|>"


def _corpus() -> corpus.Corpus:
    folder = pathlib.Path(tempfile.mkdtemp())
    for domain, line in (("a", "to be or not to be\n"), ("b", "x = y + 1\n")):
        (folder / domain).mkdir()
        for i in range(3):
            (folder / domain / f"{i}.txt").write_text(str(i) + line * 40)
    return corpus.read(folder)


def _config() -> transformers.GPT2Config:
    return transformers.GPT2Config(
        vocab_size=257, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )


def _recipe(**changes) -> training.Recipe:
    recipe = training.Recipe(
        mixture={"a": 0.75, "b": 0.25},
        seq_len=16,
        num_steps=10,
        tokens_per_step=64,
    )
    return recipe._replace(**changes)


class TokenizerTest(absltest.TestCase):
    def test_bytes(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        self.assertEqual(tokenizer.get_vocab_size(), 257)
        text = "naïve 東京\n"
        ids = tokenizer.encode(text).ids
        self.assertLen(ids, len(text.encode()))
        self.assertEqual(tokenizer.decode(ids), text)

    def test_bpe_is_shorter_and_gives_the_text_back(self):
        texts = _corpus().texts
        tokenizer = training.bpe_tokenizer(texts, 300, _SEPARATOR)
        self.assertLessEqual(tokenizer.get_vocab_size(), 300)
        ids = tokenizer.encode(texts[0]).ids
        self.assertLess(len(ids), len(texts[0].encode()) / 2)
        self.assertEqual(tokenizer.decode(ids), texts[0])

    def test_tokens_span_words_where_they_are_not_split(self):
        texts = _corpus().texts
        spans = {}
        for split_words in (True, False):
            tokenizer = training.bpe_tokenizer(
                texts, 300, _SEPARATOR, split_words=split_words
            )
            with self.subTest(split_words=split_words):
                self.assertEqual(
                    tokenizer.decode(tokenizer.encode(texts[0]).ids), texts[0]
                )
            # A space inside a token, such as "to be".
            spans[split_words] = any(
                "\u0120" in token[1:] for token in tokenizer.get_vocab()
            )
        self.assertEqual(spans, {True: False, False: True})


class StreamTest(absltest.TestCase):
    def test_a_separator_stands_before_each_text(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        texts = _corpus()
        streams = training.token_streams(texts, tokenizer, _SEPARATOR)
        self.assertEqual(sorted(streams), ["a", "b"])
        start = tokenizer.token_to_id(_SEPARATOR)
        self.assertEqual(streams["a"][0], start)
        self.assertEqual((streams["a"] == start).sum(), 3)
        num_bytes = texts.num_bytes[[d == "a" for d in texts.domains]].sum()
        self.assertLen(streams["a"], num_bytes + 3)

    def test_batches(self):
        streams = {"a": np.arange(100), "b": np.arange(1000, 1100)}
        recipe = _recipe(tokens_per_step=16 * 400)
        rows = training.batch(streams, recipe, step=3)
        with self.subTest("shape"):
            self.assertEqual(rows.shape, (400, 17))
        with self.subTest("a row is a run of the stream"):
            np.testing.assert_array_equal(np.diff(rows, axis=1), 1)
        with self.subTest("mixture"):
            # 400 draws at 0.75: five standard deviations are 0.11.
            share = (rows[:, 0] < 1000).mean()
            self.assertBetween(share, 0.64, 0.86)
        with self.subTest("seed and step fix it"):
            again = training.batch(streams, recipe, step=3)
            np.testing.assert_array_equal(rows, again)
            other = training.batch(streams, recipe, step=4)
            self.assertFalse(np.array_equal(rows, other))


class TrainTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        # Optax' Adam raises a float to the power of an integer count.
        self.enter_context(jax.numpy_dtype_promotion("standard"))

    def test_resumes_after_a_kill(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        streams = training.token_streams(_corpus(), tokenizer, _SEPARATOR)

        def trained(folder):
            return training.train(
                _config(), streams, _recipe(), folder, name="tiny"
            )

        root = pathlib.Path(tempfile.mkdtemp())
        model, measured = trained(root / "whole")
        steps = []
        real_batch = training.batch

        def dying_batch(streams, recipe, step):
            if step == 7 and 7 not in steps:
                steps.append(step)
                raise KeyboardInterrupt
            steps.append(step)
            return real_batch(streams, recipe, step)

        with mock.patch.object(training, "batch", dying_batch):
            with self.assertRaises(KeyboardInterrupt):
                trained(root / "killed")
            resumed, measured_again = trained(root / "killed")
        with self.subTest("only what was not saved is done again"):
            self.assertEqual(steps, [*range(8), *range(6, 10)])
        with self.subTest("the same model"):
            jax.tree.map(
                np.testing.assert_array_equal,
                nnx.to_pure_dict(nnx.state(model)),
                nnx.to_pure_dict(nnx.state(resumed)),
            )
        with self.subTest("the same losses"):
            self.assertEqual(
                measured["train_loss_nats"], measured_again["train_loss_nats"]
            )

    def test_another_recipe_begins_anew(self):
        """Whatever lies there: no model is trained with two recipes."""
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        streams = training.token_streams(_corpus(), tokenizer, _SEPARATOR)
        root = pathlib.Path(tempfile.mkdtemp())

        def trained(folder, **changes):
            recipe = _recipe(num_steps=2)._replace(**changes)
            _, measured = training.train(
                _config(), streams, recipe, folder, name="tiny"
            )
            return measured["train_loss_nats"]

        trained(root / "used")
        for changes in (dict(num_steps=3), dict(seed=1)):
            with self.subTest(**changes):
                self.assertEqual(
                    trained(root / "used", **changes),
                    trained(root / f"new-{min(changes)}", **changes),
                )

    def test_two_at_once(self):
        streams = {"a": np.zeros(100, np.uint16), "b": np.ones(100, np.uint16)}
        folder = pathlib.Path(tempfile.mkdtemp())
        arguments = _config(), streams, _recipe(num_steps=1), folder

        def during(*_):
            training.train(*arguments, name="second")

        with (
            mock.patch.object(training, "batch", during),
            self.assertRaisesRegex(
                BlockingIOError, "another run is training into this folder"
            ),
        ):
            training.train(*arguments, name="first")

    def test_flipped_bit_in_the_state(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        streams = training.token_streams(_corpus(), tokenizer, _SEPARATOR)
        folder = pathlib.Path(tempfile.mkdtemp())
        arguments = _config(), streams, _recipe(num_steps=2), folder
        training.train(*arguments, name="tiny")
        restore = training.ocp.CheckpointManager.restore

        def flipped(*args, **kwargs):
            saved = restore(*args, **kwargs)
            losses = np.array(saved["state"]["losses"])
            losses.view(np.uint8)[3] ^= 16
            saved["state"]["losses"] = losses
            return saved

        with (
            mock.patch.object(
                training.ocp.CheckpointManager, "restore", flipped
            ),
            self.assertRaisesRegex(ValueError, f"{folder}.*damaged; delete"),
        ):
            training.train(*arguments, name="tiny")

    def test_learns(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        streams = training.token_streams(_corpus(), tokenizer, _SEPARATOR)
        _, measured = training.train(
            _config(),
            streams,
            _recipe(num_steps=60, learning_rate=0.03),
            pathlib.Path(tempfile.mkdtemp()),
            name="tiny",
        )
        self.assertLess(measured["train_loss_nats"], np.log(257) / 2)


class SaveFolderTest(absltest.TestCase):
    def test_is_an_ordinary_checkpoint(self):
        tokenizer = training.byte_tokenizer(_SEPARATOR)
        model = models.build(_config(), rngs=nnx.Rngs(0))
        folder = pathlib.Path(tempfile.mkdtemp(), "model")
        training.save_folder(model, tokenizer, _SEPARATOR, {"a": 1}, folder)
        loaded = transformers.AutoTokenizer.from_pretrained(folder)
        text = "def f(x):\n    return x"
        ids = loaded(text, add_special_tokens=False).input_ids
        with self.subTest("tokenizer"):
            self.assertEqual(ids, tokenizer.encode(text).ids)
            self.assertEqual(loaded.bos_token, _SEPARATOR)
        with self.subTest("weights, rounded to float16"):
            network = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype="float32"
            )
            tokens = np.array([ids[:16]])
            import torch

            with torch.no_grad():
                expected = network(torch.tensor(tokens)).logits.numpy()
            logits = models.load(folder)(jnp.asarray(tokens))
            np.testing.assert_allclose(
                logits,
                expected,
                rtol=0,
                atol=tolerances.PARITY_LOGITS * np.abs(expected).max(),
            )


if __name__ == "__main__":
    absltest.main()
