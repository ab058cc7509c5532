import json
import pathlib
import tempfile

import numpy as np
import tokenizers
from absl.testing import absltest, parameterized
from tokenizers import normalizers, pre_tokenizers, processors

from mmc_jax import training
from mmc_jax.scoring import tokenization
from tests.scoring import checkpoints

_TEXTS = (
    "In 2023, 17 of 400 don't  know\n\n\n   what I'll do.",
    "naïve Å and Å, 漢字, 🙂\u200d, \u00a0x ﬁ",
    f"a{checkpoints.SEPARATOR} b {checkpoints.SEPARATOR}",
    "\t\r\n",
    "x",
)
# Of each family, the classes that published tokenizer_config.json files name;
# None for a file that names none.
_CLASSES = {
    "gpt2": ("GPT2Tokenizer", "GPT2TokenizerFast"),
    "gpt_neox": ("GPTNeoXTokenizer", "GPTNeoXTokenizerFast"),
    "llama": ("LlamaTokenizer", "LlamaTokenizerFast"),
    "mamba": ("GPTNeoXTokenizer",),
    "qwen3": ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
}
_OF_ANY = ("TokenizersBackend", "PreTrainedTokenizerFast", None)


def _bpe():
    """Returns a tokenizer of which no class of transformers has the like."""
    tokenizer = training.bpe_tokenizer(
        3 * _TEXTS + 50 * ("2023 17 400 the don't know what",),
        300,
        checkpoints.SEPARATOR,
    )
    tokenizer.normalizer = normalizers.Replace("ﬁ", "fi")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _ids(texts):
    return [f"t{i}" for i in range(len(texts))]


def _encode(tokenizer, texts, vocab_size=10**6):
    return tokenization.encode(tokenizer, texts, _ids(texts), vocab_size)


class TokenizationTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _make(self, model_type="gpt_neox", **more):
        return checkpoints.make(
            self.folder, model_type, with_weights=False, **more
        )

    def _edit(self, name, edit):
        """Changes one of the folder's JSON files."""
        file = self.folder / name
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))


class TokensTest(TokenizationTest):
    @parameterized.named_parameters(
        (f"{model_type}_{name}", model_type, name)
        for model_type, names in _CLASSES.items()
        for name in (*names, *_OF_ANY)
    )
    def test_are_those_of_the_file(self, model_type, tokenizer_class):
        self._make(model_type, tokenizer=_bpe())

        def edit(config):
            config["tokenizer_class"] = tokenizer_class
            config.pop("backend")
            if tokenizer_class is None:
                config.pop("tokenizer_class")

        self._edit("tokenizer_config.json", edit)
        tokenizer = tokenization.load(self.folder)
        file = tokenizers.Tokenizer.from_file(
            str(self.folder / "tokenizer.json")
        )
        file.encode_special_tokens = True
        encoded = _encode(tokenizer, _TEXTS)
        for text, tokens in zip(_TEXTS, encoded.tokens, strict=True):
            self.assertEqual(tokens.dtype, np.int32)
            self.assertEqual(
                tokens.tolist(), file.encode(text, add_special_tokens=False).ids
            )
        self.assertEqual(
            tokenizer.prefix, ("bos", file.token_to_id(checkpoints.SEPARATOR))
        )

    def test_of_vocab_and_merges(self):
        self._make("gpt2")
        (self.folder / "tokenizer.json").unlink()
        bpe = training.bpe_tokenizer(_TEXTS, 280, checkpoints.SEPARATOR)
        bpe.model.save(str(self.folder))

        def edit(config):
            config["tokenizer_class"] = "GPT2Tokenizer"

        self._edit("tokenizer_config.json", edit)
        tokenizer = tokenization.load(self.folder)
        bpe.encode_special_tokens = True
        for text, tokens in zip(
            _TEXTS, _encode(tokenizer, _TEXTS).tokens, strict=True
        ):
            self.assertEqual(tokens.tolist(), bpe.encode(text).ids)
        self.assertEqual(
            tokenizer.prefix, ("bos", bpe.token_to_id(checkpoints.SEPARATOR))
        )

    def test_nothing_is_added(self):
        byte_tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        separator = byte_tokenizer.token_to_id(checkpoints.SEPARATOR)
        byte_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{checkpoints.SEPARATOR} $A {checkpoints.SEPARATOR}",
            special_tokens=[(checkpoints.SEPARATOR, separator)],
        )
        self._make(tokenizer=byte_tokenizer)

        def edit(config):
            config["add_bos_token"] = config["add_eos_token"] = True

        self._edit("tokenizer_config.json", edit)
        encoded = _encode(tokenization.load(self.folder), ["ab"])
        a, b = (byte_tokenizer.token_to_id(letter) for letter in "ab")
        self.assertEqual(encoded.tokens[0].tolist(), [a, b])

    def test_special_token_in_a_text_is_text(self):
        self._make()
        tokenizer = tokenization.load(self.folder)
        encoded = _encode(tokenizer, [checkpoints.SEPARATOR])
        self.assertLen(encoded.tokens[0], len(checkpoints.SEPARATOR))
        self.assertNotIn(tokenizer.prefix.token, encoded.tokens[0])
        self.assertTrue(encoded.round_trips[0])

    def test_long_texts_are_not_truncated_nor_short_ones_padded(self):
        byte_tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        byte_tokenizer.enable_truncation(20)
        byte_tokenizer.enable_padding(length=20)
        self._make(tokenizer=byte_tokenizer)

        def edit(config):
            config["model_max_length"] = 20

        self._edit("tokenizer_config.json", edit)
        encoded = _encode(tokenization.load(self.folder), ["x", 500 * "x"])
        self.assertEqual([len(row) for row in encoded.tokens], [1, 500])

    def test_do_not_depend_on_other_texts(self):
        self._make(tokenizer=_bpe())
        tokenizer = tokenization.load(self.folder)
        together = _encode(tokenizer, _TEXTS)
        for i, text in enumerate(_TEXTS):
            alone = _encode(tokenizer, [text])
            np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])
            self.assertEqual(alone.round_trips[0], together.round_trips[i])


class RoundTripsTest(TokenizationTest):
    def test_of_bytes(self):
        self._make()
        encoded = _encode(tokenization.load(self.folder), _TEXTS)
        self.assertEqual(encoded.round_trips.tolist(), 5 * [True])
        self.assertEqual(encoded.round_trips.dtype, bool)

    def test_of_a_lossy_tokenizer(self):
        byte_tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        byte_tokenizer.normalizer = normalizers.Lowercase()
        self._make(tokenizer=byte_tokenizer)
        encoded = _encode(
            tokenization.load(self.folder), ["small", "Large", "small too"]
        )
        self.assertEqual(encoded.round_trips.tolist(), [True, False, True])


class PrefixTest(TokenizationTest):
    @parameterized.named_parameters(
        ("both", dict(bos_token="<a>", eos_token="<b>"), ("bos", 0)),
        ("bos", dict(bos_token="<b>"), ("bos", 1)),
        ("eos", dict(eos_token="<b>"), ("eos", 1)),
        ("neither", {}, ("none", None)),
    )
    def test_policy(self, special_tokens, expected):
        byte_level = pre_tokenizers.ByteLevel
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
        tokenizer.train_from_iterator(
            (),
            tokenizers.trainers.BpeTrainer(
                special_tokens=["<a>", "<b>"],
                initial_alphabet=byte_level.alphabet(),
                show_progress=False,
            ),
        )
        self._make("llama", tokenizer=tokenizer, special_tokens=special_tokens)
        # Without names the ids of the model's config would count.
        (self.folder / "config.json").write_text("{}")
        self.assertEqual(tokenization.load(self.folder).prefix, expected)
        self.assertEqual(
            tokenization.load(self.folder, "none").prefix, ("none", None)
        )
        for asked in ("bos", "eos"):
            spelled = special_tokens.get(f"{asked}_token")
            with self.subTest(asked=asked):
                if spelled is None:
                    with self.assertRaisesRegex(
                        ValueError, f"names no {asked.upper()} token"
                    ):
                        tokenization.load(self.folder, asked)
                else:
                    self.assertEqual(
                        tokenization.load(self.folder, asked).prefix,
                        (asked, ["<a>", "<b>"].index(spelled)),
                    )

    def test_named_by_the_class_alone(self):
        # As the files of the first GPT-2 do.
        self._make("gpt2")
        (self.folder / "tokenizer_config.json").write_text("{}")
        self.assertEqual(tokenization.load(self.folder).prefix, ("bos", 0))

    def test_token_that_is_not_in_the_vocabulary(self):
        # transformers would give it an id beyond the model's.
        self._make("llama")

        def edit(config):
            config["bos_token"] = "<s>"

        self._edit("tokenizer_config.json", edit)
        self.assertEqual(tokenization.load(self.folder).prefix, ("eos", 0))


class RefusalsTest(TokenizationTest):
    def test_token_beyond_the_vocabulary(self):
        self._make()
        tokenizer = tokenization.load(self.folder)
        z = tokenizer.backend.token_to_id("z")
        _encode(tokenizer, ["a", "z"], vocab_size=z + 1)
        with self.assertRaisesRegex(
            ValueError, f"text 't1' has the token {z}.* ends at {z - 1}"
        ):
            _encode(tokenizer, ["a", "z"], vocab_size=z)

    def test_prefix_beyond_the_vocabulary(self):
        self._make()
        tokenizer = tokenization.load(self.folder)
        tokenizer = tokenizer._replace(prefix=tokenization.Prefix("bos", 256))
        with self.assertRaisesRegex(ValueError, "bos token is 256.* at 254"):
            _encode(tokenizer, ["a"], vocab_size=255)

    def test_text_without_tokens(self):
        byte_tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        byte_tokenizer.normalizer = normalizers.Strip()
        self._make(tokenizer=byte_tokenizer)
        with self.assertRaisesRegex(ValueError, "text 't1' has no tokens"):
            _encode(tokenization.load(self.folder), ["a", "  ", "b"])

    def test_no_tokenizer(self):
        for model_type in checkpoints.FAMILIES:
            with self.subTest(model_type):
                self._make(model_type)
                for file in self.folder.glob("tokenizer*"):
                    file.unlink()
                with self.assertRaisesRegex(
                    ValueError, f"{self.folder}: no tokenizer; tokenizer.json"
                ):
                    tokenization.load(self.folder)

    def test_damaged_tokenizer(self):
        self._make()
        (self.folder / "tokenizer.json").write_text('{"version": "1.0"')
        with self.assertRaisesRegex(ValueError, "tokenizer cannot be loaded"):
            tokenization.load(self.folder)

    def test_code_of_a_checkpoint_is_never_run(self):
        self._make("llama")
        ran = self.folder / "ran"
        (self.folder / "own.py").write_text(f"open({str(ran)!r}, 'w')")

        def edit(config):
            config["auto_map"] = {"AutoTokenizer": ["own.T", "own.T"]}

        self._edit("tokenizer_config.json", edit)
        try:
            tokenization.load(self.folder)
        except ValueError as error:
            self.assertIn("cannot be loaded", str(error))
        self.assertFalse(ran.exists())


if __name__ == "__main__":
    absltest.main()
