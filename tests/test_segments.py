"""Segments of texts at the boundaries that all tokenizers share."""

import dataclasses
import itertools

import numpy as np
from absl import logging
from absl.testing import absltest, parameterized

from mmc_jax import corpus, frontier, law, oracle, scores
from mmc_jax.diversity import whose_words
from mmc_jax.frontier.generalisation import bootstrap
from mmc_jax.scores import segmentation
from tests import tolerances

_TEXTS = {
    "code": "def f(x):\n\treturn x_1 + 42  # two\n\nclass A:\n    pass\n",
    "prose": 'He said "no." Then he left! Why? (So it goes.) \u6f22\u5b57\u3002'
    "\u304b\u306a\r\n",
    "wide": "e\u0301 \U0001f469\u200d\U0001f4bb  \u00e9\u00e9 </s> \t\tend",
    "one": "x",
}
_KINDS = ("text", "line", "sentence", "word", "token", "bytes:16", "bytes:5")


def _corpus(texts):
    return corpus.Corpus(
        ids=tuple(texts),
        domains=tuple("a" if i % 2 else "b" for i in range(len(texts))),
        num_bytes=np.array([len(t.encode()) for t in texts.values()]),
        num_chars=np.array([len(t) for t in texts.values()]),
        sha256=tuple(f"{i:064x}" for i in range(len(texts))),
        texts=tuple(texts.values()),
    )


def table_of_tokens(texts=_TEXTS, num_models=3, seed=0, unscored=(), share=0.5):
    """Returns a table of random tokens; some first ones are unscored."""
    rng = np.random.default_rng(seed)
    made = _corpus(texts)
    tokens, nll = {}, np.empty((num_models, len(made)))
    num_tokens, num_scored = np.empty((2, *nll.shape), np.int64)
    for m in range(num_models):
        values, ends = [], []
        for x, size in enumerate(made.num_bytes):
            inner = np.flatnonzero(rng.random(size - 1) < share) + 1
            ends.append(np.append(inner, size))
            values.append(rng.exponential(size=len(ends[-1])))
            if m in unscored:
                values[-1][0] = np.nan
            num_tokens[m, x] = len(ends[-1])
        tokens[f"m{m}"] = scores.token_scores(values, ends)
        nll[m] = scores.tokens.sums_of_texts(tokens[f"m{m}"])
        num_scored[m] = num_tokens[m] - (m in unscored)
    return scores.ScoreTable(
        tuple(
            scores.ScoredModel(f"m{m}", f"f{m % 2}", costs={"num_params": 2**m})
            for m in range(num_models)
        ),
        made,
        nll,
        num_tokens,
        num_scored,
        tokens=tokens,
    )


def _by_hand(table, x):
    """Returns the common boundaries of a text, by a plain intersection."""
    ends = [
        set(table.tokens[m.name].of_text(x)[1].tolist()) for m in table.models
    ]
    return sorted(set.intersection(*ends) - {0})


def _mean(table, losses):
    losses, weights = losses
    return float(np.average(losses.min(axis=0), weights=weights))


class SegmentsTest(parameterized.TestCase):
    def test_common_boundaries_are_the_intersection(self):
        for seed in range(5):
            table = table_of_tokens(seed=seed)
            cut = table.segments("token")
            ends = cut.places.start_bytes + cut.texts.num_bytes
            for x, id_ in enumerate(table.texts.ids):
                rows = [
                    y for y, t in enumerate(cut.places.text_ids) if t == id_
                ]
                self.assertEqual(ends[rows].tolist(), _by_hand(table, x))

    @parameterized.parameters(*_KINDS)
    def test_segments_sum_to_texts(self, kind):
        table = table_of_tokens()
        cut = table.segments(kind)
        for x, id_ in enumerate(table.texts.ids):
            rows = np.array([t == id_ for t in cut.places.text_ids])
            np.testing.assert_allclose(
                cut.nll_nats[:, rows].sum(axis=1),
                table.nll_nats[:, x],
                rtol=tolerances.TOKEN_SUMS,
            )
            np.testing.assert_array_equal(
                cut.num_tokens[:, rows].sum(axis=1), table.num_tokens[:, x]
            )
            self.assertEqual(
                cut.texts.num_bytes[rows].sum(), table.texts.num_bytes[x]
            )
            self.assertAlmostEqual(cut.places.shares[rows].sum(), 1.0)
            first = int(rows.argmax())
            self.assertEqual(cut.places.start_bytes[first], 0)
            self.assertEqual(cut.texts.domains[first], table.texts.domains[x])
        self.assertIsNone(table.clusters())
        self.assertEqual(cut.clusters(), cut.places.text_ids)
        self.assertEqual(cut.clusters(by_domain=True), cut.texts.domains)

    @parameterized.parameters(
        "text_length", "bits_per_byte", "nats_per_char", "raw"
    )
    def test_means_are_those_of_texts(self, normalisation):
        table = table_of_tokens()
        expected = table.losses(normalisation).mean(axis=1)
        for kind in _KINDS:
            cut = table.segments(kind)
            np.testing.assert_allclose(
                cut.losses(normalisation).mean(axis=1),
                expected,
                rtol=tolerances.TOKEN_SUMS,
            )
            losses, weights = cut.weighted_losses(normalisation)
            np.testing.assert_allclose(
                np.average(losses, axis=1, weights=weights),
                expected,
                rtol=tolerances.TOKEN_SUMS,
            )
        self.assertIsNone(table.weighted_losses(normalisation)[1])

    def test_finer_is_never_worse(self):
        chains = (
            ("text", "bytes:32", "bytes:16", "bytes:8", "token"),
            ("text", "line", "word", "token"),
        )
        for seed in range(4):
            table = table_of_tokens(seed=seed, share=0.8)
            for chain in chains:
                means = [
                    _mean(cut, cut.weighted_losses("bits_per_byte"))
                    for cut in map(table.segments, chain)
                ]
                for coarse, fine in itertools.pairwise(means):
                    self.assertLessEqual(fine, coarse * (1 + 1e-12))

    def test_where_lines_words_and_sentences_end(self):
        """With a token for each byte every cut is at its place."""
        table = table_of_tokens(share=2.0)
        raw = dict(_TEXTS)
        found = {}
        for kind in ("line", "sentence", "word"):
            cut = table.segments(kind)
            pieces = {id_: [] for id_ in raw}
            for id_, start, size in zip(
                cut.places.text_ids,
                cut.places.start_bytes,
                cut.texts.num_bytes,
                strict=True,
            ):
                piece = raw[id_].encode()[start : start + size]
                pieces[id_].append(piece.decode())
            found[kind] = pieces
        self.assertEqual(
            found["line"]["code"],
            _TEXTS["code"].splitlines(keepends=True),
        )
        self.assertEqual(
            found["sentence"]["prose"],
            [
                'He said "no."',
                " Then he left!",
                " Why?",
                " (So it goes.)",
                " \u6f22\u5b57\u3002",
                "\u304b\u306a\r\n",
            ],
        )
        self.assertEqual(
            found["word"]["code"][:9],
            ["def", " f", "(", "x", "):", "\n", "\t", "return", " x_1"],
        )
        self.assertEqual(
            found["word"]["wide"][-4:], [" </", "s", ">", " \t\tend"]
        )

    def test_bytes(self):
        cut = table_of_tokens(share=2.0).select(texts=[0]).segments("bytes:16")
        self.assertEqual(cut.texts.num_bytes.tolist(), [16, 16, 16, 5])
        self.assertEqual(cut.texts.ids[1], "code[16:32]")

    def test_what_some_model_does_not_score(self):
        """It is a segment of no model, and the others are fair."""
        table = table_of_tokens(unscored=(1,), share=0.7)
        plain = table_of_tokens(share=0.7)
        for kind in _KINDS:
            cut = table.segments(kind)
            self.assertTrue((cut.num_scored == cut.num_tokens).all())
            for x, id_ in enumerate(table.texts.ids):
                rows = np.array([t == id_ for t in cut.places.text_ids])
                end = table.tokens["m1"].of_text(x)[1][0]
                first = next(b for b in _by_hand(table, x) if b >= end)
                if first == table.texts.num_bytes[x]:
                    self.assertFalse(rows.any())
                    continue
                self.assertEqual(cut.places.start_bytes[rows].min(), first)
                nll, ends = plain.tokens["m0"].of_text(x)
                np.testing.assert_allclose(
                    cut.nll_nats[0, rows].sum(),
                    nll[ends > first].sum(),
                    rtol=tolerances.TOKEN_SUMS,
                )

    def test_texts_that_are_not_followed(self):
        table = table_of_tokens()
        tokens = dict(table.tokens)
        is_followed = np.array([True, False, True, True])
        tokens["m2"] = tokens["m2"]._replace(is_followed=is_followed)
        table = dataclasses.replace(table, tokens=tokens)
        self.assertEqual(scores.unfollowed_texts(table), {"prose": ["m2"]})
        with self.assertLogs(logging.get_absl_logger(), "WARNING") as said:
            cut = table.segments("token")
        self.assertIn("1 of 4 texts are left out", said.output[0])
        self.assertIn("'prose' (by m2)", said.output[0])
        self.assertNotIn("prose", cut.places.text_ids)
        tokens["m2"] = tokens["m2"]._replace(is_followed=np.zeros(4, bool))
        with self.assertRaisesRegex(ValueError, "no text can be cut.*'code'"):
            dataclasses.replace(table, tokens=tokens).segments("text")

    def test_no_boundary_in_common(self):
        table = table_of_tokens({"t": "abcd"}, num_models=2)
        tokens = {
            "m0": scores.token_scores([[1.0, 2.0]], [[1, 4]]),
            "m1": scores.token_scores([[1.0, 1.0]], [[2, 4]]),
        }
        table = dataclasses.replace(table, tokens=tokens)
        with self.assertLogs(logging.get_absl_logger(), "WARNING") as said:
            cut = table.segments("token")
        self.assertIn("share no boundary inside any text", said.output[0])
        self.assertLen(cut.texts, 1)

    def test_refuses_ends_that_cannot_be(self):
        """Behind the text, before it, falling, or none at all."""
        table = table_of_tokens({"s": "abcd", "t": "abcd"}, num_models=2)
        good = scores.token_scores([[1.0, 2.0]] * 2, [[1, 4]] * 2)
        for ends in ([1, 5], [-1, 4], [5, 4], [1, 3]):
            bad = scores.token_scores([[1.0, 2.0]] * 2, [[1, 4], ends])
            for tokens in ((bad, good), (good, bad)):
                broken = dataclasses.replace(
                    table, tokens=dict(zip(("m0", "m1"), tokens, strict=True))
                )
                with self.assertRaisesRegex(ValueError, "text 't' do not lead"):
                    broken.segments("token")
        none = scores.token_scores([[1.0, 2.0], []], [[1, 4], []])
        with self.assertRaisesRegex(ValueError, "text 't' do not lead"):
            dataclasses.replace(
                table, tokens={"m0": good, "m1": none}
            ).segments("token")

    def test_a_space_put_before_the_text(self):
        """Its token ends where the text begins, and belongs to what follows."""
        table = table_of_tokens({"t": "ab"}, num_models=1)
        tokens = {"m0": scores.token_scores([[1.0, 2.0, 4.0]], [[0, 1, 2]])}
        cut = dataclasses.replace(table, tokens=tokens).segments("token")
        self.assertEqual(cut.nll_nats.tolist(), [[3.0, 4.0]])
        self.assertEqual(cut.num_tokens.tolist(), [[2, 1]])

    def test_selection(self):
        cut = table_of_tokens().segments("token")
        some = cut.select(texts=np.array([5, 0]))
        self.assertEqual(
            some.places.text_ids,
            (cut.places.text_ids[5], cut.places.text_ids[0]),
        )
        np.testing.assert_array_equal(
            some.places.start_bytes, cut.places.start_bytes[[5, 0]]
        )

    def test_refuses(self):
        table = table_of_tokens()
        bare = dataclasses.replace(
            table, texts=dataclasses.replace(table.texts, texts=None)
        )
        for kind in ("words", "bytes", "bytes:0", "bytes:x", "bytes:N", ""):
            with self.assertRaisesRegex(ValueError, "no segments .*bytes:N"):
                table.segments(kind)
        self.assertEqual(segmentation.checked_kind("bytes:64"), ("bytes", 64))
        with self.assertRaisesRegex(ValueError, "need the texts themselves"):
            bare.segments("word")
        with self.assertRaisesRegex(ValueError, "no text 'one'"):
            bare.segments("word", table.texts.select([0, 1, 2]))
        other = dataclasses.replace(table.texts, sha256=("z",) * 4)
        with self.assertRaisesRegex(ValueError, "'code' .* not the one"):
            bare.segments("word", other)
        self.assertLen(bare.segments("word", table.texts).models, 3)
        with self.assertRaisesRegex(ValueError, "segments already"):
            table.segments("text").segments("text")
        with self.assertRaisesRegex(ValueError, "'m0': its tokens were not"):
            dataclasses.replace(table, tokens=None).segments("text")
        long = {
            name: t._replace(end_bytes=t.end_bytes + 0)
            for name, t in table.tokens.items()
        }
        long["m1"].end_bytes[0] = 999
        with self.assertRaisesRegex(
            ValueError, "'m1': the tokens of .* 'code'"
        ):
            dataclasses.replace(table, tokens=long).segments("token")


class LongRunsTest(absltest.TestCase):
    """Texts hold rows of a million marks: each is looked at once."""

    def test_sentences(self):
        (sentences,) = segmentation._PATTERNS["sentence"]
        for run, rest, num in (
            ("." * 200_000, "x", 0),
            ("." * 200_000, " x", 1),
            ("?" + '"' * 200_000, " x", 1),
            ("\n" * 100_000, "x", 99_999),
            ("\n " * 100_000, "x", 99_999),
        ):
            with self.subTest(run[:2]):
                self.assertLen(sentences.findall(run + rest), num)

    def test_kinds_of_segments(self):
        rules = dict(whose_words._RULES)
        for kind, text, is_one in (
            ("number", "1" * 200_000 + "x", False),
            ("number", "1," * 100_000 + "e3%", True),
            ("identifier", "ab" * 100_000, False),
            ("identifier", "_" * 200_000 + "-", False),
            ("identifier", "ab" * 100_000 + "B", True),
        ):
            with self.subTest(kind):
                self.assertEqual(bool(rules[kind].fullmatch(text)), is_one)


class StudiesOfSegmentsTest(absltest.TestCase):
    """What takes a table takes segments, and resamples their texts."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.default_rng(0)
        texts = {
            f"t{i:02d}": "ab " * int(rng.integers(2, 30)) for i in range(24)
        }
        cls.table = table_of_tokens(texts, num_models=4)
        cls.cut = cls.table.segments("bytes:8")

    def test_resamples_are_of_texts(self):
        """A single model's interval is that of the texts, to the last digit."""
        masks = np.eye(4, dtype=bool)
        options = dict(num_resamples=50, seed=3)
        whole = bootstrap.resampled_losses(
            self.table.losses("bits_per_byte"),
            masks,
            self.table.texts.ids,
            **options,
        )
        losses, weights = self.cut.weighted_losses("bits_per_byte")
        found = bootstrap.resampled_losses(
            losses, masks, self.cut.clusters(), **options, weights=weights
        )
        np.testing.assert_allclose(found, whole, rtol=tolerances.TOKEN_SUMS)
        band = frontier.bootstrap_band(
            losses,
            self.cut.costs(),
            masks,
            clusters=self.cut.clusters(),
            weights=weights,
            **options,
        )
        np.testing.assert_allclose(
            band.mean, whole.mean(axis=0), rtol=tolerances.TOKEN_SUMS
        )

    def test_frontier(self):
        losses, weights = self.cut.weighted_losses()
        found = frontier.pruned(losses, self.cut.costs(), weights)
        plain = frontier.pruned(self.cut.losses(), self.cut.costs())
        np.testing.assert_array_equal(found.masks, plain.masks)
        np.testing.assert_allclose(
            found.losses, plain.losses, rtol=tolerances.TOKEN_SUMS
        )
        texts = oracle.exact_means(self.table.losses().min(axis=0))
        self.assertLess(found.losses[-1], texts)

    def test_laws(self):
        """Intervals with weights and clusters; the halves cut no text."""
        losses, weights = self.cut.weighted_losses()
        line = frontier.pruned(losses, self.cut.costs(), weights)
        options = dict(
            clusters=self.cut.clusters(), weights=weights, num_starts=4
        )
        fixed = law.text_bootstrap(
            losses, line.costs, line.masks, num_resamples=6, **options
        )
        self.assertLen(fixed.all_models, 6)
        expected = bootstrap.resampled_losses(
            losses,
            np.ones((1, 4), bool),
            self.cut.clusters(),
            6,
            0,
            weights,
        )[:, 0]
        np.testing.assert_array_equal(fixed.all_models, expected)


if __name__ == "__main__":
    absltest.main()
