"""The recipe of the similarity study, and `train_pool` on tiny models."""

import functools
import itertools
import json
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl import flags
from absl.testing import absltest, flagsaver

from experiments.recipes import shipped, similarity, trained
from mmc_jax import corpus, models, scores
from tests import tolerances
from tests.experiments.programs import imported

train_pool = imported("train_pool")

_DOMAINS = ("prose", "docstring", "python", "c")
_TOKENIZER = similarity.Tokenizer(split_words=True, seq_len=16)


class SimilarityRecipeTest(absltest.TestCase):
    def test_pairs_differ_in_their_factors_and_in_nothing_else(self):
        runs = list(similarity.runs(num_steps=7, seed=3))
        levels = similarity.levels(runs)
        self.assertLen(runs, 8 * similarity.NUM_SEEDS)
        for i, j in itertools.combinations(range(len(runs)), 2):
            a, b = runs[i], runs[j]
            differ = {f: of[i] != of[j] for f, of in levels.items()}
            with self.subTest(f"{a.name}, {b.name}"):
                self.assertIn(True, differ.values())
                self.assertEqual(
                    a.config.to_dict() != b.config.to_dict(),
                    differ["architecture"],
                )
                self.assertEqual(
                    a.tokenizer != b.tokenizer, differ["tokenizer"]
                )
                self.assertEqual(
                    a.recipe.mixture != b.recipe.mixture, differ["mixture"]
                )
                self.assertEqual(a.recipe.seed != b.recipe.seed, differ["seed"])
                # Tokens of a sequence make up for their length.
                same = b.recipe._replace(
                    mixture=a.recipe.mixture, seed=a.recipe.seed
                )
                if differ["tokenizer"]:
                    self.assertNotEqual(a.recipe.seq_len, b.recipe.seq_len)
                    same = same._replace(
                        seq_len=a.recipe.seq_len,
                        tokens_per_step=a.recipe.tokens_per_step,
                    )
                self.assertEqual(a.recipe, same)

    def test_every_model_is_in_as_many_pairs_of_a_kind(self):
        runs = list(similarity.runs(num_steps=7, seed=0))
        levels = similarity.levels(runs)
        rows = list(zip(*levels.values(), strict=True))
        kinds = [
            sorted(
                tuple(x != y for x, y in zip(row, other, strict=True))
                for other in rows
            )
            for row in rows
        ]
        for kind in kinds:
            self.assertEqual(kind, kinds[0])

    def test_models_are_of_about_one_size(self):
        sizes = []
        for run in similarity.runs(num_steps=1, seed=0):
            run.config.vocab_size = 1024
            model = models.shapes.abstract(run.config)
            parameters = models.shapes.parameters(model)
            sizes.append(sum(p.size for p in parameters.values()))
        self.assertLess(max(sizes) / min(sizes) - 1, tolerances.EQUAL_SIZES)

    def test_sequences_hold_as_much_text(self):
        texts = corpus.embedded("train").sample(300)
        tokenizers = similarity.trained_tokenizers(texts)

        @functools.cache
        def bytes_per_token(tokenizer, domain):
            chosen = [
                text
                for text, name in zip(texts.texts, texts.domains, strict=True)
                if name == domain
            ]
            num_tokens = sum(
                len(tokenizers[tokenizer].encode(text).ids) + 1
                for text in chosen
            )
            return len("".join(chosen).encode()) / num_tokens

        for run in list(similarity.runs(1, 0))[:8]:
            num_bytes = sum(
                share
                * run.recipe.seq_len
                * bytes_per_token(run.tokenizer, domain)
                for domain, share in run.recipe.mixture.items()
            )
            with self.subTest(run.name):
                np.testing.assert_allclose(
                    num_bytes,
                    similarity.BYTES_PER_SEQUENCE,
                    rtol=tolerances.EQUAL_TEXT,
                )


def _texts() -> corpus.Corpus:
    """A few lines of each domain."""
    folder = pathlib.Path(tempfile.mkdtemp())
    for domain in _DOMAINS:
        (folder / domain).mkdir()
        for i in range(4):
            (folder / domain / f"{i}.txt").write_text(
                f"{domain} {i}: x = y + {i}\n" * 9
            )
    return corpus.read(folder)


class TrainPoolTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        # Optax' Adam raises a float to the power of an integer count.
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        texts = _texts()
        self.enter_context(
            mock.patch.object(corpus, "embedded", lambda split: texts)
        )
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        self.folder = pathlib.Path(tempfile.mkdtemp())

    def _run(self, num_steps=2, **values):
        with flagsaver.flagsaver(
            out=str(self.folder / "pool"),
            work_dir=str(self.folder / "work"),
            num_steps=num_steps,
            num_texts_per_domain=3,
            **values,
        ):
            train_pool.main()

    def test_similarity(self):
        factors = {
            "mixture": similarity.FACTORS["mixture"],
            "tokenizer": {"words": _TOKENIZER},
            "architecture": {"llama": functools.partial(shipped.llama, 8, 1)},
        }
        self.enter_context(
            mock.patch.multiple(
                similarity,
                FACTORS=factors,
                NUM_SEEDS=3,
                _VOCAB_SIZE=280,
            )
        )
        self._run(study="similarity")
        result = json.loads((self.folder / "pool/result.json").read_text())
        with self.subTest("what the pairs differ in"):
            self.assertEqual(
                [group["factors"] for group in result["groups"]],
                [["seed"], ["mixture"], ["mixture", "seed"]],
            )
        with self.subTest("the gains are those of the scores"):
            table = scores.open(self.folder / "work/scores/similarity")
            self.assertLen(table.texts, 12)
            names = [
                f"{m}-words-llama-{s}"
                for s in range(3)
                for m in ("text", "code")
            ]
            losses = table.select(models=names).losses("bits_per_byte")
            gains = [
                min(a.mean(), b.mean()) - np.minimum(a, b).mean()
                for a, b in zip(losses[::2], losses[1::2], strict=True)
            ]
            np.testing.assert_allclose(
                result["groups"][1]["bonus"]["value"],
                np.mean(gains),
                rtol=0,
                atol=tolerances.PAIR_MEAN,
            )
        with self.subTest("the models"):
            first = result["models"][0]
            self.assertEqual(
                {
                    key: first[key]
                    for key in ("name", "levels", "mixture", "num_steps")
                },
                {
                    "name": "text-words-llama-0",
                    "levels": {
                        "mixture": "text",
                        "tokenizer": "words",
                        "architecture": "llama",
                        "seed": "0",
                    },
                    "mixture": factors["mixture"]["text"],
                    "num_steps": 2,
                },
            )
        with self.subTest("the figure"):
            self.assertTrue((self.folder / "pool/similarity.png").exists())
        with self.subTest("a second run trains nothing"):
            with mock.patch.object(trained, "train") as train:
                self._run(study="similarity")
            train.assert_not_called()

    def test_the_shipped_pool(self):
        family = shipped.Family(
            None,
            shipped.mixture(0.4, 0.3, 0.2, 0.1),
            {"30k": shipped.llama(8, 1)},
        )
        self.enter_context(
            mock.patch.multiple(
                shipped,
                FAMILIES={"tiny": family},
                SIZES=("30k",),
                SEQ_LEN=16,
            )
        )
        self._run(study="stdlib")
        card = (self.folder / "pool/README.md").read_text()
        self.assertRegex(card, r"(?m)^\| tiny \| 257 \| prose 40%")
        self.assertRegex(card, r"(?m)^\| tiny-30k \| 2,\d{3} \|")
        with (
            self.subTest("another recipe is no reason to take what is there"),
            self.assertRaisesRegex(
                ValueError, "another recipe .num_steps is 2 there and 3 now.;"
            ),
        ):
            self._run(study="stdlib", num_steps=3)


if __name__ == "__main__":
    absltest.main()
