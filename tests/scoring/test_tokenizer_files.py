"""Folders as strangers have them: a tokenizer is the sum of its files."""

import io
import json
import pathlib
import sys
import tempfile
from unittest import mock

import sentencepiece
import tokenizers
from absl.testing import absltest, parameterized
from tokenizers import pre_tokenizers, processors

from mmc_jax import training
from mmc_jax.scoring import sentencepiece_models, tokenization

_SEPARATOR = "<|endoftext|>"
# What a model is trained on, and longer runs than those.
_TEXTS = (
    *tokenization.TRICKY_TEXTS,
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A:\n    pass\n",
    "\n    return",
    " ",
    "   \n  ",
    60 * "A",
    8 * "ababab",
    "a\u2028b\u2029c",
    "end of two spaces  ",
)


def _piece_model(**options) -> sentencepiece.SentencePieceProcessor:
    """Returns a SentencePiece model trained on the texts."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([t for t in _TEXTS if "\0" not in t] * 20),
        model_writer=written,
        vocab_size=500,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=5,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def _added(content: str, **changes) -> dict:
    return {
        "content": content,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
        "special": False,
    } | changes


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _write(self, name: str, content: dict) -> None:
        (self.folder / name).write_text(json.dumps(content))

    def _write_bpe(self, **changes) -> tokenizers.Tokenizer:
        """Writes tokenizer.json of 400 tokens and returns it."""
        tokenizer = training.bpe_tokenizer(3 * _TEXTS, 400, _SEPARATOR)
        for name, value in changes.items():
            setattr(tokenizer, name, value)
        tokenizer.save(str(self.folder / "tokenizer.json"))
        return tokenizer

    def _write_pieces(self, name: str = "tokenizer.model", **options):
        model = _piece_model(**options)
        (self.folder / name).write_bytes(model.serialized_model_proto())
        return model

    def _ids(self, texts=_TEXTS) -> list[list[int]]:
        return tokenization.load(self.folder).backend.encode(texts)


class SentencePieceTest(FolderTest):
    @parameterized.product(
        model_type=("unigram", "bpe"),
        byte_fallback=(True, False),
        add_dummy_prefix=(True, False),
        remove_extra_whitespaces=(True, False),
        normalization_rule_name=("identity", "nmt_nfkc"),
    )
    def test_ids_are_the_library_s(self, **options):
        model = self._write_pieces(**options)
        self._write(
            "tokenizer_config.json",
            {"tokenizer_class": "LlamaTokenizer", "legacy": False},
        )
        self.assertEqual(self._ids(), [model.encode(text) for text in _TEXTS])

    def test_nothing_is_lost_without_normalisation(self):
        self._write_pieces(
            model_type="bpe",
            byte_fallback=True,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
        )
        lost = tokenization.lost_texts(tokenization.load(self.folder))
        # SentencePiece takes its own mark for a space.
        self.assertEqual(lost, ["\u2581under \u0120mark \u010a"])

    def test_normalisation_is_listed(self):
        self._write_pieces(byte_fallback=True)
        lost = tokenization.lost_texts(tokenization.load(self.folder))
        self.assertIn("two  spaces   three", lost)
        self.assertNotIn("plain words", lost)

    def test_pieces_that_a_user_defined(self):
        model = self._write_pieces(
            user_defined_symbols=["<tab>", "\n\n"],
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            byte_fallback=True,
        )
        ids = {text: model.piece_to_id(text) for text in ("<tab>", "\n\n")}
        self._write(
            "tokenizer_config.json",
            {
                "added_tokens_decoder": {
                    str(id): _added(text) for text, id in ids.items()
                }
            },
        )
        texts = (*_TEXTS, "x<tab> y", "<tab>", "\n\n\n")
        self.assertEqual(self._ids(texts), [model.encode(t) for t in texts])
        self.assertIn(ids["<tab>"], self._ids(["x<tab> y"])[0])

    def test_tokens_added_beside_the_model(self):
        model = self._write_pieces(byte_fallback=True)
        size = model.get_piece_size()
        self._write("added_tokens.json", {"<tab>": size, "<t": size + 1})
        tokenizer = tokenization.load(self.folder)
        ids = tokenizer.backend.encode(["a<tab>b<t", "plain words"])
        self.assertEqual(
            ids,
            [
                [*model.encode("a"), size, *model.encode("b"), size + 1],
                model.encode("plain words"),
            ],
        )
        self.assertEqual(
            tokenizer.backend.decode(ids), ["a<tab>b<t", "plain words"]
        )
        self.assertEqual(tokenizer.backend.id_to_token(size), "<tab>")

    def test_prefix_is_the_model_s_own(self):
        for names in ({}, {"bos_token": "", "eos_token": ""}):
            with self.subTest(names=names):
                self._write_pieces()
                self._write("tokenizer_config.json", names)
                # The first LLaMA's files had these ids wrong.
                self._write("config.json", {"bos_token_id": 0})
                self.assertEqual(
                    tokenization.load(self.folder).prefix, ("bos", 1)
                )

    def test_xglm(self):
        model = self._write_pieces("sentencepiece.bpe.model")
        self._write("config.json", {"model_type": "xglm"})
        tokenizer = tokenization.load(self.folder)
        # Its post-processor puts </s> before a text.
        self.assertEqual(tokenizer.prefix, ("eos", 2))
        first = {0: 3, 1: 0, 2: 2}
        expected = [
            [first.get(piece, piece + 1) for piece in model.encode(text)]
            for text in _TEXTS
        ]
        ids = tokenizer.backend.encode(_TEXTS)
        self.assertEqual(ids, expected)
        self.assertEqual(
            tokenizer.backend.decode(ids),
            [model.decode(model.encode(text)) for text in _TEXTS],
        )

    @parameterized.parameters(True, False)
    def test_space_before_a_text_that_the_config_wants(self, asked):
        options = dict(model_type="bpe", normalization_rule_name="identity")
        expected = self._write_pieces(add_dummy_prefix=asked, **options)
        self._write_pieces(add_dummy_prefix=not asked, **options)
        self._write("tokenizer_config.json", {"add_prefix_space": asked})
        # Both are trained on the same texts, but for the space.
        text = "plain words"
        decoded = expected.decode(expected.encode(text))
        self.assertEqual(decoded, text)
        tokenizer = tokenization.load(self.folder)
        first = tokenizer.backend.id_to_token(self._ids([text])[0][0])
        self.assertEqual(first.startswith("\u2581"), asked)

    def test_a_file_of_another_kind(self):
        (self.folder / "tokenizer.model").write_text("aGVsbG8= 0\n")
        with self.assertRaisesRegex(
            ValueError, "tokenizer.model.*no SentencePiece model.*tokenizer.js"
        ):
            tokenization.load(self.folder)

    def test_an_added_token_at_the_place_of_a_piece(self):
        self._write_pieces()
        self._write("added_tokens.json", {"<tab>": 7})
        with self.assertRaisesRegex(ValueError, "'<tab>' has the id 7, which"):
            tokenization.load(self.folder)


class AddedTokensTest(FolderTest):
    def test_three_places_are_one(self):
        tokenizer = self._write_bpe()
        size = tokenizer.get_vocab_size()
        tokenizer.add_tokens([tokenizers.AddedToken("    ", normalized=False)])
        expected = [
            tokenizer.encode(t, add_special_tokens=False).ids
            for t in ("a    b", "\n        x")
        ]
        self.assertIn(size, expected[0])
        for name, files in (
            (
                "added_tokens_decoder",
                {
                    "tokenizer_config.json": {
                        "added_tokens_decoder": {str(size): _added("    ")}
                    }
                },
            ),
            ("added_tokens.json", {"added_tokens.json": {"    ": size}}),
        ):
            with self.subTest(name):
                self._write("tokenizer_config.json", {})
                for file, content in files.items():
                    self._write(file, content)
                self.assertEqual(self._ids(("a    b", "\n        x")), expected)

    def test_the_config_s_list_goes_before_the_older_file(self):
        size = self._write_bpe().get_vocab_size()
        self._write(
            "tokenizer_config.json",
            {"added_tokens_decoder": {str(size): _added("<a>")}},
        )
        self._write("added_tokens.json", {"<b>": size})
        ids = self._ids(("<a>", "<b>"))
        self.assertEqual(ids[0], [size])
        self.assertNotIn(size, ids[1])

    def test_special_ones_are_text(self):
        size = self._write_bpe().get_vocab_size()
        self._write(
            "tokenizer_config.json",
            {"additional_special_tokens": ["<a>", {"content": "<b>"}]},
        )
        self._write("added_tokens.json", {"<a>": size, "<b>": size + 1})
        for row in self._ids(("<a>", "<b>")):
            self.assertLess(max(row), size)

    def test_an_id_that_it_would_not_get(self):
        size = self._write_bpe().get_vocab_size()
        self._write("added_tokens.json", {"<a>": size + 3})
        with self.assertRaisesRegex(
            ValueError, f"'<a>' has the id {size + 3} .* added as {size};"
        ):
            tokenization.load(self.folder)

    def test_lists_that_are_none(self):
        self._write_bpe()
        for decoder in ({"x": _added("a")}, {"1": "a"}, {"1": {"text": "a"}}):
            with self.subTest(decoder=decoder):
                self._write(
                    "tokenizer_config.json", {"added_tokens_decoder": decoder}
                )
                with self.assertRaisesRegex(
                    ValueError, "tokenizer_config.json: added tokens that are"
                ):
                    tokenization.load(self.folder)


class SpaceTest(FolderTest):
    @parameterized.parameters(True, False)
    def test_the_config_decides(self, asked):
        tokenizer = self._write_bpe(
            pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=not asked)
        )
        self._write("tokenizer_config.json", {"add_prefix_space": asked})
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=asked
        )
        self.assertEqual(self._ids(("words",)), [tokenizer.encode("words").ids])

    @parameterized.product(
        class_name=("LlamaTokenizerFast", "PreTrainedTokenizerFast"),
        by_normalizer=(True, False),
    )
    def test_pieces_without_a_space_before_a_text(
        self, class_name, by_normalizer
    ):
        tokenizer = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                {"\u2581": 0, "a": 1, "\u2581a": 2}, [("\u2581", "a")]
            )
        )
        if by_normalizer:
            tokenizer.normalizer = tokenizers.normalizers.Sequence(
                [
                    tokenizers.normalizers.Prepend("\u2581"),
                    tokenizers.normalizers.Replace(" ", "\u2581"),
                ]
            )
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
        tokenizer.save(str(self.folder / "tokenizer.json"))
        self._write(
            "tokenizer_config.json",
            {"tokenizer_class": class_name, "add_prefix_space": False},
        )
        # Of all classes only LLaMA's heed it.
        first = 1 if class_name.startswith("Llama") else 2
        self.assertEqual(self._ids(["a a"]), [[first, 2]])


class SettingsTest(FolderTest):
    """What tokenizer.json says from the days of its training."""

    def test_dropout_of_merges(self):
        self._write_bpe()
        expected = self._ids()
        file = self.folder / "tokenizer.json"
        content = json.loads(file.read_text())
        content["model"]["dropout"] = 0.5
        file.write_text(json.dumps(content))
        self.assertEqual(self._ids(), expected)

    @parameterized.parameters(
        (["tokenizer.4.0.0.json", "tokenizer.json"], 300),
        (["tokenizer.4.0.0.json", "tokenizer.4.30.0.json"], 350),
        (["tokenizer.5.1.0.json", "tokenizer.json"], 400),
        (["tokenizer.json"], 400),
    )
    def test_files_for_versions(self, names, vocab_size):
        self._write_bpe()
        for version, size in (("4.0.0", 300), ("4.30.0", 350), ("5.1.0", 310)):
            training.bpe_tokenizer(_TEXTS, size, _SEPARATOR).save(
                str(self.folder / f"tokenizer.{version}.json")
            )
        self._write("tokenizer_config.json", {"fast_tokenizer_files": names})
        backend = tokenization.load(self.folder).backend
        self.assertEqual(backend.tokenizer.get_vocab_size(), vocab_size)


class PrefixTest(FolderTest):
    def _template(self, tokens: str, ids: dict[str, int]):
        return processors.TemplateProcessing(
            single=f"{tokens} $A", special_tokens=list(ids.items())
        )

    def test_what_the_post_processor_puts_in_front(self):
        # As XGLM's files have it: the end token begins a text.
        tokenizer = training.bpe_tokenizer(_TEXTS, 300, _SEPARATOR)
        size = tokenizer.get_vocab_size()
        tokenizer.add_special_tokens(["<s>", "</s>", "<x>"])
        special = {"<s>": size, "</s>": size + 1, "<x>": size + 2}
        self._write(
            "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"}
        )
        for tokens, expected in (
            ("</s>", ("eos", size + 1)),
            ("<s>", ("bos", size)),
            ("<x>", ("post_processor", size + 2)),
            ("<x> <s>", ("bos", size)),
        ):
            with self.subTest(tokens):
                tokenizer.post_processor = self._template(tokens, special)
                tokenizer.save(str(self.folder / "tokenizer.json"))
                self.assertEqual(
                    tokenization.load(self.folder).prefix, expected
                )

    def test_without_tokenizer_config(self):
        self._write_bpe()
        for config, expected in (
            ({"bos_token_id": 3, "eos_token_id": 0}, ("bos", 3)),
            ({"bos_token_id": None, "eos_token_id": [0, 5]}, ("eos", 0)),
            ({"bos_token_id": 10**6}, ("none", None)),
            ({}, ("none", None)),
        ):
            with self.subTest(config=config):
                self._write("config.json", config)
                self.assertEqual(
                    tokenization.load(self.folder).prefix, expected
                )

    def test_older_map_of_names(self):
        self._write_bpe()
        self._write("config.json", {"bos_token_id": 3})
        self._write("tokenizer_config.json", {"tokenizer_class": "Any"})
        self._write(
            "special_tokens_map.json", {"eos_token": {"content": _SEPARATOR}}
        )
        self.assertEqual(tokenization.load(self.folder).prefix, ("eos", 0))

    @parameterized.parameters("", None)
    def test_names_of_nothing(self, name):
        self._write_bpe()
        self._write("config.json", {"eos_token_id": 7})
        self._write(
            "tokenizer_config.json", {"bos_token": name, "eos_token": name}
        )
        # An empty name says nothing; null says that there is no such token.
        expected = ("eos", 7) if name == "" else ("none", None)
        self.assertEqual(tokenization.load(self.folder).prefix, expected)

    def test_names_of_nothing_beside_a_vocabulary(self):
        bpe = training.bpe_tokenizer(_TEXTS, 300, _SEPARATOR)
        bpe.model.save(str(self.folder))
        self._write("config.json", {"model_type": "gpt2", "bos_token_id": 0})
        self._write(
            "tokenizer_config.json",
            {"tokenizer_class": "GPT2Tokenizer", "bos_token": ""},
        )
        self.assertEqual(tokenization.load(self.folder).prefix, ("bos", 0))

    @parameterized.parameters(
        # The tokenizer's class, the model's type, names in files, the prefix.
        (None, "gpt2", {}, "bos"),
        ("GPTNeoXTokenizerFast", None, {}, "bos"),
        ("GPT2Tokenizer", "llama", {"bos_token": None}, "eos"),
        ("Qwen2Tokenizer", None, {}, "eos"),
        ("LlamaTokenizerFast", "gpt2", {}, "none"),
        ("PreTrainedTokenizerFast", "gpt2", {}, "none"),
    )
    def test_tokens_of_the_class(self, name, model_type, names, expected):
        bpe = training.bpe_tokenizer(_TEXTS, 300, _SEPARATOR)
        bpe.save(str(self.folder / "tokenizer.json"))
        stated = {} if name is None else {"tokenizer_class": name}
        self._write("tokenizer_config.json", stated | names)
        self._write("config.json", {"model_type": model_type})
        policy, token = tokenization.load(self.folder).prefix
        # Both are one token here, and "bos" goes before "eos".
        self.assertEqual(policy, expected)
        self.assertEqual(token, None if expected == "none" else 0)

    def test_class_of_a_bare_vocabulary(self):
        bpe = training.bpe_tokenizer(_TEXTS, 300, _SEPARATOR)
        bpe.model.save(str(self.folder))
        self._write("config.json", {"model_type": "gpt2"})
        self.assertEqual(tokenization.load(self.folder).prefix, ("bos", 0))


class RefusalsTest(FolderTest):
    def test_pointers_of_git_lfs(self):
        self._write_bpe()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with self.subTest(name):
                (self.folder / name).write_text(
                    "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
                )
                with self.assertRaisesRegex(
                    ValueError, f"{name}: a pointer of Git LFS .*git lfs pull"
                ):
                    tokenization.load(self.folder)

    def test_formats_that_are_not_read(self):
        (self.folder / "tekken.json").write_text("{}")
        with self.assertRaisesRegex(ValueError, "tekken.json is in a format"):
            tokenization.load(self.folder)

    def test_configs_that_are_none(self):
        self._write_bpe()
        for text, reason in (
            ("[]", "not readable as an object"),
            ("{", "not readable"),
        ):
            with self.subTest(text):
                (self.folder / "tokenizer_config.json").write_text(text)
                with self.assertRaisesRegex(
                    ValueError, f"tokenizer_config.json: {reason}"
                ):
                    tokenization.load(self.folder)

    def test_a_byte_order_mark_is_read_over(self):
        self._write_bpe()
        self._write("tokenizer_config.json", {"eos_token": _SEPARATOR})
        for name in ("tokenizer.json", "tokenizer_config.json"):
            file = self.folder / name
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        self.assertEqual(tokenization.load(self.folder).prefix, ("eos", 0))


class MessageTest(absltest.TestCase):
    def test_of_another_protobuf(self):
        with (
            mock.patch.dict(sys.modules, {"sentencepiece": None}),
            self.assertRaisesRegex(ImportError, "install -U sentencepiece pr"),
        ):
            sentencepiece_models.model_message()


if __name__ == "__main__":
    absltest.main()
