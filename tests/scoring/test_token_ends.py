import io
import itertools
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


_DIGITS = pre_tokenizers.Digits(individual_digits=True)
_WORDS = tokenizers.Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BARE = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
# How published byte-level tokenizers cut a text before they merge.
_CUTS = {
    "gpt2": _GPT2,
    "prefix_space": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "bare": _BARE,
    "tiktoken": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_WORDS, "isolated"), _BARE]
    ),
    "bloom": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                tokenizers.Regex(" ?[^(\\s|[.,!?])]+"), "isolated"
            ),
            _BARE,
        ]
    ),
    "starcoder": pre_tokenizers.Sequence([_DIGITS, _GPT2]),
    "falcon": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            _GPT2,
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(
                tokenizers.Regex("[0-9][0-9][0-9]"), "isolated"
            ),
        ]
    ),
    "deepseek": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}"), "isolated"),
            pre_tokenizers.Split(
                tokenizers.Regex("[\u4e00-\u9fa5\u3040-\u30ff]+"), "isolated"
            ),
            pre_tokenizers.Split(_WORDS, "isolated"),
            _BARE,
        ]
    ),
}


def _byte_level(cut=_GPT2, normalizer=None) -> backends.FastTokenizer:
    tokenizer = training.bpe_tokenizer(_TEXTS, 320, _SEPARATOR)
    tokenizer.pre_tokenizer = cut
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    # As GPT-NeoX: runs of spaces are tokens that no merge makes.
    tokenizer.add_tokens(["    ", "\t\t"])
    return backends.FastTokenizer(tokenizer)


def _metaspace(scheme: str, normalizer=None) -> backends.FastTokenizer:
    """Unigram pieces of the tokenizers library: unknown characters are <unk>.

    As converted from T5 and XLM-R.
    """
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.Unigram(
            [("<unk>", 0.0), ("\u2581", -2.0)]
            + [(c, -4.0) for c in "abcdefghijklmnopqrstuvwxyz.,\u00e91"]
            + [("\u2581wor", -3.0), ("ds", -3.0), ("\u2581on", -3.0)],
            unk_id=0,
        )
    )
    tokenizer.normalizer = normalizer or normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return backends.FastTokenizer(tokenizer)


def _bert() -> backends.FastTokenizer:
    names = ["[UNK]", *"abcdefghijklmnopqrstuvwxyz", "plain", "word", "cafe"]
    names += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {name: i for i, name in enumerate(names)}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
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


def _llama(*, puts_space: bool = True) -> backends.FastTokenizer:
    """A tokenizer.json as converted from SentencePiece: bytes, a space put.

    That of Gemma puts none.
    """
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
    steps = [
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    if puts_space:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), tokenizer.normalizer]
        )
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
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


def _normaliser(backend):
    """Returns what a tokenizer makes of a text, without a space it puts."""
    if not isinstance(backend, sentencepiece_models.SentencePieceTokenizer):
        made = backend.tokenizer.normalizer
        return lambda text: made.normalize_str(text)
    model = backend._model
    alone = model.normalize("a")

    def normalise(text):
        made = model.normalize(text).replace("\u2581", " ")
        made = made[alone.index("a") :]
        return made.removesuffix(" ") if alone.endswith("\u2581") else made

    return normalise


def _spelled(backend, text, ids):
    """Returns what tokens up to each one spell of the normalised text."""
    if isinstance(backend, sentencepiece_models.SentencePieceTokenizer):
        model = backend._model
        in_front = model.normalize("a").startswith("\u2581")
        surfaces = [
            bytes([int(piece[3:5], 16)])
            if model.is_byte(id)
            else piece.replace("\u2581", " ").encode()
            for id, piece in zip(
                ids, model.encode(text, out_type=str), strict=True
            )
        ]
    else:
        normalised = backend.tokenizer.normalizer.normalize_str(text)
        surfaces = list(map(backend.surface, ids))
        in_front = b"".join(surfaces) == b" " + normalised.encode()
        if not in_front and b"".join(surfaces) != normalised.encode():
            found = backend._of_normalised.encode(normalised)
            return [normalised[:end].encode() for _, end in found.offsets]
    joined = b"".join(surfaces)[in_front:]
    ends = itertools.accumulate(map(len, surfaces))
    return [joined[: max(end - in_front, 0)] for end in ends]


def _ends(backend, texts=_TEXTS):
    ids = backend.encode(texts)
    same = [a == b for a, b in zip(backend.decode(ids), texts, strict=True)]
    return ids, same, token_ends.Follower(backend).ends(texts, ids)


# Each kind of tokenizer, and how many of the texts come back from its tokens.
_KINDS = (
    *(
        (f"byte_level_{name}", lambda cut=cut: _byte_level(cut), len(_TEXTS))
        for name, cut in _CUTS.items()
        if name != "prefix_space"
    ),
    # What a space in front does to the text is not undone by the decoder.
    (
        "byte_level_prefix_space",
        lambda: _byte_level(_CUTS["prefix_space"]),
        1,
    ),
    (
        "byte_level_nfc",
        lambda: _byte_level(_CUTS["tiktoken"], normalizers.NFC()),
        _MOST - 1,
    ),
    # A "\u2581" that stands in a text comes back as a space.
    ("pieces_bpe", lambda: _exact_pieces(model_type="bpe"), _MOST),
    ("pieces_unigram", _exact_pieces, _MOST),
    ("pieces_nfkc", _pieces, 8),
    (
        "pieces_suffix",
        lambda: _pieces(treat_whitespace_as_suffix=True),
        0,
    ),
    (
        "pieces_nfkc_cf",
        lambda: _pieces(
            normalization_rule_name="nfkc_cf", add_dummy_prefix=False
        ),
        7,
    ),
    ("llama", _llama, _MOST),
    ("gemma", lambda: _llama(puts_space=False), _MOST),
    ("characters", _characters, len(_TEXTS)),
)


class TokenEndsTest(parameterized.TestCase):
    @parameterized.named_parameters(*_KINDS)
    def test_prefixes_decode_to_the_bytes_before_an_end(self, make, fewest):
        """What the tokens up to an end decode to ends there as well."""
        backend = make()
        ids, same, ends = _ends(backend)
        num_followed = 0
        for text, row, known, found in zip(
            _TEXTS, ids, same, ends, strict=True
        ):
            if not row:
                continue
            self.assertIsNotNone(found, text)
            raw = text.encode()
            self.assertEqual(found.dtype, np.int32)
            self.assertLen(found, len(row))
            self.assertEqual(found[-1], len(raw))
            self.assertTrue((np.diff(found) >= 0).all())
            if not known:
                continue
            num_followed += 1
            prefixes = backend.decode([row[: i + 1] for i in range(len(row))])
            for end, decoded in zip(found, prefixes, strict=True):
                if "\ufffd" in decoded:  # Ends inside a character.
                    continue
                self.assertEqual(
                    decoded.strip(" "), raw[:end].decode().strip(" ")
                )
        self.assertGreaterEqual(num_followed, fewest)

    @parameterized.named_parameters(
        ("nfkc", _pieces),
        ("identity", _exact_pieces),
        ("suffix", lambda: _pieces(treat_whitespace_as_suffix=True)),
        (
            "nfkc_cf",
            lambda: _pieces(
                normalization_rule_name="nfkc_cf", add_dummy_prefix=False
            ),
        ),
        ("fast_nfc", lambda: _byte_level(_GPT2, normalizers.NFC())),
        (
            "fast_nfkd_lower",
            lambda: _byte_level(
                _CUTS["tiktoken"],
                normalizers.Sequence(
                    [
                        normalizers.NFKD(),
                        normalizers.StripAccents(),
                        normalizers.Lowercase(),
                    ]
                ),
            ),
        ),
        (
            "fast_collapsed",
            lambda: _byte_level(
                _GPT2, normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
            ),
        ),
        ("metaspace_always", lambda: _metaspace("always")),
        ("metaspace_never", lambda: _metaspace("never")),
        ("metaspace_first", lambda: _metaspace("first")),
        ("bert", _bert),
    )
    def test_normalised_texts_by_brute_force(self, make):
        """An end is where the normaliser makes of the text what tokens spell.

        The normaliser sees each beginning of a text. Where the tokens up to an
        end spell what it makes of some beginning, the end is that of one;
        where they end inside of what it makes of a character, the end is that
        of the shortest beginning of which it makes as much.
        """
        backend = make()
        normalise = _normaliser(backend)
        texts = (
            *_TEXTS,
            "",
            "  \ufb01ne  cafe\u0301\u0323 \u00bd  ",
            "\u01c4 \u2167\u3000\u3000\uac01 \u1100\u1161\u11a8 \u0130",
            "a\u200b\u0301 b\x01 \ufdfa.",
        )
        ids, _, ends = _ends(backend, texts)
        for text, row, found in zip(texts, ids, ends, strict=True):
            if not row:
                continue
            self.assertIsNotNone(found, text)
            spelled = _spelled(backend, text, row)
            # What is made of each beginning; an "x" keeps spaces at its end.
            made = [
                normalise(text[:n] + "x")[:-1].encode()
                for n in range(len(text) + 1)
            ]
            sizes = np.cumsum([0, *(len(c.encode()) for c in text)])
            whole = normalise(text).encode()
            for end, prefix in zip(found[:-1], spelled, strict=False):
                # The least of which the normaliser makes as much.
                least = min(
                    (
                        m
                        for m in made
                        if whole.startswith(m) and len(m) >= len(prefix)
                    ),
                    key=len,
                    default=whole,
                )
                where = [n for n, m in enumerate(made) if m == least]
                if end in sizes[where] or (least == whole and end == sizes[-1]):
                    continue
                # Bytes of a character that was not changed are followed.
                start = sizes[np.searchsorted(sizes, end, "right") - 1]
                self.assertTrue(
                    prefix.endswith(text.encode()[start:end]) and end > start,
                    (text, text.encode()[:end], prefix),
                )
            self.assertEqual(found[-1], sizes[-1])

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
        # The words are there, but for what the tokens do not give back.
        self.assertEqual(ends[2].tolist(), [1, 4, 6])
        self.assertEqual(ends[5].tolist(), [2])

    def test_text_that_the_normaliser_changes(self):
        texts = ("\ufb01ne", "fine", "two  spaces", "two spaces")
        _, same, ends = _ends(_pieces(), texts)
        self.assertEqual(same, [False, True, False, True])
        # A ligature is one character, however many tokens make it.
        self.assertEqual(ends[0][-1], 5)
        self.assertTrue((np.isin(ends[0], [0, 3, 4, 5])).all())
        self.assertEqual(ends[2][-1], 11)

    def test_normaliser_that_cannot_be_followed(self):
        """What becomes of a piece depends on what is around it."""
        for normalizer in (
            normalizers.Strip(),
            normalizers.Replace(tokenizers.Regex("a.*b"), "c"),
            normalizers.Prepend("x"),
        ):
            backend = _byte_level(_GPT2, normalizer)
            _, _, ends = _ends(backend, [" a  b ", "plain"])
            self.assertIsNone(ends[0])

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
            token_ends.Follower(backend).ends(["ab"], [[0, 1]])[0]
        )


if __name__ == "__main__":
    absltest.main()
