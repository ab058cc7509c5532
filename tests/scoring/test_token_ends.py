import io
import pathlib

import numpy as np
import sentencepiece
import tokenizers
from absl.testing import absltest, parameterized
from tokenizers import decoders, normalizers, pre_tokenizers

from mmc_jax import training
from mmc_jax.scoring import (
    backends,
    sentencepiece_models,
    token_ends,
    tokenization,
)

_SEPARATOR = "<|endoftext|>"
_TEXTS = (
    *tokenization.TRICKY_TEXTS,
    "def f(x):\n    return x ** 2  # squared\n\n\n",
    "a </s> b<s>c",
    "\r\n\t \t\r\n",
    "e\u0301\u0323 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u6f22\u5b57",
)
_MOST = len(_TEXTS) - 1
_PLAIN = [text for text in _TEXTS if "\0" not in text]


def _byte_level() -> backends.FastTokenizer:
    tokenizer = training.bpe_tokenizer(_TEXTS, 320, _SEPARATOR)
    # As GPT-NeoX: runs of spaces are tokens that no merge makes.
    tokenizer.add_tokens(["    ", "\t\t"])
    return backends.FastTokenizer(tokenizer)


def _pieces(**options) -> sentencepiece_models.SentencePieceTokenizer:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_PLAIN * 20),
        model_writer=written,
        vocab_size=420,
        hard_vocab_limit=False,
        character_coverage=0.98,
        byte_fallback=True,
        minloglevel=5,
        **options,
    )
    return sentencepiece_models.SentencePieceTokenizer(
        written.getvalue(), pathlib.Path("model"), added={"<x>": 10**6}
    )


def _exact_pieces(**options) -> sentencepiece_models.SentencePieceTokenizer:
    return _pieces(
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        **options,
    )


def _llama() -> backends.FastTokenizer:
    """A tokenizer.json as converted from SentencePiece: bytes, a space put."""
    alphabet = sorted({c for text in _PLAIN for c in text if c.isascii()})
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += ["\u2581", "\u2581a", *(c for c in alphabet if c != " ")]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {name: i for i, name in enumerate(names)},
            [("\u2581", "a")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backends.FastTokenizer(tokenizer)


def _word_pieces() -> backends.FastTokenizer:
    names = ["[UNK]", "plain", "word", "##s", "x", "=", "y", "caf\u00e9"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {name: i for i, name in enumerate(names)}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return backends.FastTokenizer(tokenizer)


def _characters() -> backends.FastTokenizer:
    alphabet = sorted({character for text in _TEXTS for character in text})
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE({c: i for i, c in enumerate(alphabet)}, [])
    )
    tokenizer.decoder = decoders.Fuse()
    return backends.FastTokenizer(tokenizer)


def _ends(backend, texts=_TEXTS):
    ids = backend.encode(texts)
    same = [a == b for a, b in zip(backend.decode(ids), texts, strict=True)]
    return ids, same, token_ends.Follower(backend).ends(texts, ids, same)


class TokenEndsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("byte_level", _byte_level, len(_TEXTS)),
        # A "\u2581" that stands in a text comes back as a space.
        (
            "pieces_bpe",
            lambda: _exact_pieces(model_type="bpe"),
            len(_TEXTS) - 1,
        ),
        ("pieces_unigram", _exact_pieces, len(_TEXTS) - 1),
        ("pieces_nfkc", _pieces, 8),
        ("llama", _llama, _MOST),
        ("characters", _characters, len(_TEXTS)),
    )
    def test_prefixes_decode_to_the_bytes_before_an_end(self, make, fewest):
        """What the tokens up to an end decode to ends there as well."""
        backend = make()
        ids, same, ends = _ends(backend)
        num_followed = 0
        for text, row, known, found in zip(
            _TEXTS, ids, same, ends, strict=True
        ):
            self.assertEqual(found is not None, known, text)
            if found is None:
                continue
            num_followed += 1
            raw = text.encode()
            self.assertEqual(found.dtype, np.int32)
            self.assertLen(found, len(row))
            self.assertEqual(found[-1], len(raw))
            self.assertTrue((np.diff(found) >= 0).all())
            prefixes = backend.decode([row[: i + 1] for i in range(len(row))])
            for end, decoded in zip(found, prefixes, strict=True):
                if "\ufffd" in decoded:  # Ends inside a character.
                    continue
                self.assertEqual(
                    decoded.strip(" "), raw[:end].decode().strip(" ")
                )
        self.assertGreaterEqual(num_followed, fewest)

    def test_each_byte_of_a_character(self):
        """Byte-level tokens end inside characters."""
        bytes_alone = backends.FastTokenizer(
            training.byte_tokenizer(_SEPARATOR)
        )
        _, _, ends = _ends(bytes_alone)
        for text, found in zip(_TEXTS, ends, strict=True):
            np.testing.assert_array_equal(
                found, np.arange(1, 1 + len(text.encode()))
            )

    def test_word_pieces(self):
        """Spaces go to the word behind them; lost texts are left out."""
        texts = ("plain words", "x = y", "x  = y", "Xy", "x caf\u00e9 y", "x ")
        _, same, ends = _ends(_word_pieces(), texts)
        self.assertEqual(same, [True, True, False, False, True, False])
        self.assertEqual(ends[0].tolist(), [5, 10, 11])
        self.assertEqual(ends[1].tolist(), [1, 3, 5])
        self.assertEqual(ends[4].tolist(), [1, 7, 9])
        for x in (2, 3, 5):
            self.assertIsNone(ends[x])

    def test_text_that_the_normaliser_changes(self):
        texts = ("\ufb01ne", "fine", "two  spaces", "two spaces")
        _, same, ends = _ends(_pieces(), texts)
        self.assertEqual(same, [False, True, False, True])
        self.assertEqual([found is None for found in ends], [True, False] * 2)

    def test_token_beside_the_model(self):
        backend = _exact_pieces()
        text = "a<x>b  <x> c"
        _, same, ends = _ends(backend, [text])
        self.assertTrue(same[0])
        self.assertContainsSubset([1, 4, 7, 10, 12], ends[0].tolist())
        self.assertEqual(backend.surface(10**6), b"<x>")
        self.assertEqual(backend.surface(10**7), b"")

    def test_a_tokenizer_that_says_nothing(self):
        """An unknown decoder whose characters are not known: never a guess."""
        backend = _characters()
        backend.surface = lambda id: b"?"
        backend.ends = lambda text, ids: [5] * len(ids)
        self.assertIsNone(
            token_ends.Follower(backend).ends(["ab"], [[0, 1]], [1])[0]
        )


if __name__ == "__main__":
    absltest.main()
