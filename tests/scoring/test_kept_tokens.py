"""Scores of tokens that a run keeps: `Settings.keep_tokens`."""

import json
import os
import pathlib
import tempfile

import numpy as np
import pyarrow.parquet
from absl.testing import absltest

from mmc_jax import scores, scoring, training
from mmc_jax.scoring import tokenization
from tests import tolerances
from tests.models import test_parity
from tests.models.cases import CASES
from tests.scoring import checkpoints

_LONG = 9 * (
    "The na\u00efve \u6f22\u5b57 parser\n\treturns  (x_1, 42) + \U0001f642\n"
)
_TEXTS = (*tokenization.TRICKY_TEXTS, "a </s> b\r\n", _LONG)
_SETTINGS = scoring.Settings(
    max_context=checkpoints.CONTEXT, tokens_per_batch=512, num_data=1
)


def _facts_but_time(metadata):
    """Returns what a file says of itself, but for how long it took."""
    facts = json.loads((metadata or {}).get(b"provenance", b"{}"))
    facts.get("provenance", {}).pop("seconds", None)
    return facts


class KeptTokensTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(
            cls.enterClassContext(tempfile.TemporaryDirectory())
        )
        bpe = training.bpe_tokenizer(_TEXTS, 262, checkpoints.SEPARATOR)
        bare = dict(special_tokens={}, bos_token_id=None, eos_token_id=None)
        cls.pool = checkpoints.pool_of(
            **{
                name: checkpoints.make(cls.folder / name, name, **options)
                for name, options in {
                    "gpt2": {},
                    "llama": {"tokenizer": bpe},
                    "gpt_neox": bare,
                }.items()
            }
        )
        cls.corpus = checkpoints.corpus_of(_TEXTS)
        cls.kept, cls.plain = (
            scoring.score(
                cls.pool,
                cls.corpus,
                cls.folder / str(keeps),
                settings=_SETTINGS._replace(keep_tokens=keeps),
            )
            for keeps in (True, False)
        )

    def test_nothing_else_changes(self):
        np.testing.assert_array_equal(self.kept.nll_nats, self.plain.nll_nats)
        names = {
            keeps: {
                str(file.relative_to(self.folder / keeps))
                for file in (self.folder / keeps).rglob("*.*")
            }
            for keeps in ("True", "False")
        }
        tokens = {f"tokens/{model.name}.parquet" for model in self.pool.models}
        self.assertEqual(names["True"], names["False"] | tokens)
        self.assertIsNone(self.plain.tokens)
        for name in names["False"]:
            one, two = (
                pyarrow.parquet.read_table(self.folder / keeps / name)
                for keeps in ("True", "False")
            )
            self.assertTrue(one.equals(two), name)
            self.assertEqual(
                *(
                    _facts_but_time(table.schema.metadata)
                    for table in (one, two)
                )
            )

    def test_tokens_sum_to_texts(self):
        for m, model in enumerate(self.kept.models):
            with self.subTest(model.name):
                found = self.kept.tokens[model.name]
                np.testing.assert_allclose(
                    scores.tokens.sums_of_texts(found),
                    self.kept.nll_nats[m],
                    rtol=tolerances.TOKEN_SUMS,
                )
                np.testing.assert_array_equal(
                    np.diff(found.starts), self.kept.num_tokens[m]
                )
                unscored = np.isnan(found.nll_nats)
                first = found.starts[:-1]
                if model.name == "gpt_neox":
                    np.testing.assert_array_equal(
                        np.flatnonzero(unscored), first
                    )
                else:
                    self.assertFalse(unscored.any())

    def test_ends_are_those_of_the_texts(self):
        for model in self.kept.models:
            found = self.kept.tokens[model.name]
            np.testing.assert_array_equal(
                found.end_bytes[found.starts[1:] - 1], self.corpus.num_bytes
            )
            self.assertTrue(found.is_followed.all())
        _, ends = self.kept.tokens["gpt2"].of_text(len(_TEXTS) - 1)
        np.testing.assert_array_equal(
            ends, np.arange(1, 1 + len(_LONG.encode()))
        )

    def test_each_token_is_at_its_place(self):
        """Over several windows, as token by token."""
        shown = scoring.surprisal(
            self.folder / "llama", _LONG, settings=_SETTINGS
        )
        nll, _ = self.kept.tokens["llama"].of_text(len(_TEXTS) - 1)
        np.testing.assert_allclose(
            nll, shown.nll_nats, rtol=tolerances.TOKEN_NLL
        )

    def test_text_that_is_changed_is_followed(self):
        """Unless what becomes of a piece depends on what is around it."""
        from tokenizers import normalizers

        tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Strip()]
        )
        folder = checkpoints.make(
            self.folder / "lossy", "gpt2", tokenizer=tokenizer
        )
        texts = ("caf\u00e9", "cafe\u0301", " a b")
        table = scoring.score(
            checkpoints.pool_of(lossy=folder),
            checkpoints.corpus_of(texts),
            self.folder / "of lossy",
            settings=_SETTINGS._replace(keep_tokens=True),
        )
        found = table.tokens["lossy"]
        self.assertEqual(found.is_followed.tolist(), [True, True, False])
        self.assertEqual(table.round_trips.tolist(), [[True, False, False]])
        # The accent is composed, and its two bytes are tokens.
        self.assertEqual(found.of_text(1)[1].tolist(), [1, 2, 3, 6, 6])
        np.testing.assert_allclose(
            scores.tokens.sums_of_texts(found),
            table.nll_nats[0],
            rtol=tolerances.TOKEN_SUMS,
        )


class AllFamiliesTest(absltest.TestCase):
    """What is kept of tokens by every port. Minutes: only where asked for."""

    @absltest.skipUnless(
        os.environ.get("MMC_TEST_FAMILIES") == "all",
        "MMC_TEST_FAMILIES=all scores texts with every port",
    )
    def test_tokens_sum_to_texts(self):
        for model_type in CASES:
            with (
                self.subTest(model_type),
                tempfile.TemporaryDirectory() as scratch,
            ):
                folder = pathlib.Path(scratch, model_type)
                sizes = {"vocab_size", "vocab_size_per_layer_input"}
                config = test_parity.make_config(
                    model_type,
                    **dict.fromkeys(
                        sizes & CASES[model_type][0].keys(),
                        checkpoints.VOCAB_SIZE,
                    ),
                )
                reference = test_parity.make_reference(config, perturbed=False)
                reference.save_pretrained(folder)
                checkpoints.save_tokenizer(folder)
                table = scoring.score(
                    checkpoints.pool_of(**{model_type: folder}),
                    checkpoints.corpus_of(_TEXTS),
                    pathlib.Path(scratch, "table"),
                    settings=_SETTINGS._replace(keep_tokens=True),
                )
                kept = table.tokens[model_type]
                self.assertTrue(kept.is_followed.all())
                np.testing.assert_allclose(
                    scores.tokens.sums_of_texts(kept),
                    table.nll_nats[0],
                    rtol=tolerances.TOKEN_SUMS,
                )


if __name__ == "__main__":
    absltest.main()
