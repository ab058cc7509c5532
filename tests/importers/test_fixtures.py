"""Files that the real tools wrote, made by the scripts in make_fixtures."""

import functools
import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, importers, pool, scoring
from mmc_jax.importers import Options, lm_eval
from tests import tolerances
from tests.importers.make_fixtures import environments
from tests.importers.make_fixtures import lm_eval as make_lm_eval

_FOLDER = pathlib.Path(__file__).parent / "fixtures"
_LM_EVAL = sorted(path.name for path in (_FOLDER / "lm_eval").iterdir())
_BYTES = [len(text.encode()) for text in environments.TEXTS]


@functools.cache
def _own_nll():
    """Returns the nll of the texts by our engine, one row a model."""
    models = pool.read(_FOLDER / "stdlib20.yaml").select(environments.MODELS)
    file = pathlib.Path(tempfile.mkdtemp(), "texts.jsonl")
    rows = ({"id": str(i), "text": t} for i, t in enumerate(environments.TEXTS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = corpus.read(file)
    table = scoring.score(
        models,
        texts,
        tempfile.mkdtemp(),
        # Windows of one length: one program a model.
        settings=scoring.Settings(max_context=128),
    )
    return table.nll_nats


class LmEvalTest(parameterized.TestCase):
    def _read(self, version, value, *tasks, **options):
        options = Options(value=value, tasks=tasks, **options)
        return importers.read(_FOLDER / "lm_eval" / version, options).table

    def test_versions(self):
        self.assertEqual(set(_LM_EVAL), set(make_lm_eval.VERSIONS))

    @parameterized.parameters(_LM_EVAL)
    def test_rolling_is_that_of_our_engine(self, version):
        table = self._read(version, "rolling", "tiny_rolling")
        self.assertEqual(
            [model.name for model in table.models],
            [f"stdlib20/{name}" for name in environments.MODELS],
        )
        np.testing.assert_allclose(
            table.nll_nats, _own_nll(), rtol=tolerances.SCORE_TORCH
        )
        self.assertEqual(table.texts.num_bytes.tolist(), _BYTES)

    @parameterized.parameters(_LM_EVAL)
    def test_a_rewritten_text_is_counted_as_it_was_scored(self, version):
        table = self._read(version, "rolling", "tiny_rewritten")
        texts = [
            text.replace(" ,", ",").replace(" .", ".")
            for text in environments.TEXTS
        ]
        counts = [len(text.encode()) for text in texts]
        self.assertEqual(table.texts.num_bytes.tolist(), counts)
        self.assertTrue((table.nll_nats < _own_nll()).any())

    @parameterized.parameters(_LM_EVAL)
    def test_targets_and_accuracies(self, version):
        # The run without examples, of the model that has two.
        old = version == "0.4.0"
        options = {"run": "gpt2-30k-0" if old else "2025-01-01T00-00-00"}
        for task in ("tiny_choice", "tiny_last_word"):
            with self.subTest(task):
                nll = self._read(version, "target", task, **options).nll_nats
                self.assertEqual(nll.shape, (2, 3))
                self.assertTrue((nll > 0).all())
        # Of the questions the right choice is the same continuation.
        np.testing.assert_allclose(
            self._read(version, "target", "tiny_choice", **options).nll_nats,
            self._read(version, "target", "tiny_last_word", **options).nll_nats,
            rtol=tolerances.SCORE_TORCH,
        )
        errors = self._read(
            version, "accuracy", "tiny_choice", **options
        ).nll_nats
        self.assertContainsSubset(set(errors.ravel()), {0.0, 1.0})

    @parameterized.parameters(_LM_EVAL)
    def test_filters(self, version):
        for name in ("strict-match", "flexible-extract"):
            found = self._read(
                version, f"exact_match,{name}", "tiny_generation"
            )
            self.assertEqual(found.unit, "error")

    def test_versions_join(self):
        ids = {
            self._read(version, "rolling", "tiny_rolling").texts.ids
            for version in _LM_EVAL
        }
        self.assertLen(ids, 1)

    @parameterized.parameters([v for v in _LM_EVAL if v != "0.4.0"])
    def test_other_examples_in_front(self, version):
        # The latest run of one model has them, and of the other none.
        with self.assertRaisesRegex(ValueError, "saw another prompt"):
            self._read(version, "accuracy", "tiny_choice")
        self._read(version, "accuracy", "tiny_choice", allow_other_prompts=True)

    def test_sizes(self):
        for version in [v for v in _LM_EVAL if v != "0.4.0"]:
            found = lm_eval.read(
                _FOLDER / "lm_eval" / version,
                Options(value="rolling", tasks=("tiny_rolling",)),
            )
            for model in found.models:
                self.assertBetween(model.costs["num_params"], 2e4, 4e4)


class InspectTest(absltest.TestCase):
    """Archives that Zstandard packs, as the tool writes them."""

    def _read(self, value, task):
        options = Options(value=value, tasks=(task,))
        return importers.read(_FOLDER / "inspect", options).table

    def test_likelihoods_are_those_of_our_engine(self):
        table = self._read("rolling", "tiny_texts")
        self.assertEqual(
            [model.name for model in table.models],
            [f"pool/{name}" for name in environments.MODELS],
        )
        np.testing.assert_allclose(
            table.nll_nats, _own_nll(), rtol=tolerances.SCORE_TORCH
        )
        self.assertEqual(table.texts.num_bytes.tolist(), _BYTES)

    def test_answers(self):
        table = self._read("accuracy", "tiny_questions")
        self.assertEqual(table.nll_nats.shape, (2, 3))
        self.assertEqual(table.unit, "error")


class LightevalTest(absltest.TestCase):
    def test_targets_are_those_of_another_tool(self):
        details = importers.read(_FOLDER / "lighteval", Options(value="target"))
        others = importers.read(
            _FOLDER / "lm_eval/0.4.13",
            Options(value="target", tasks=("tiny_last_word",)),
        )
        self.assertEqual(
            [model.name for model in details.table.models],
            [model.name for model in others.table.models],
        )
        np.testing.assert_allclose(
            details.table.nll_nats,
            others.table.nll_nats,
            rtol=tolerances.SCORE_TORCH,
        )

    def test_accuracy(self):
        details = importers.read(
            _FOLDER / "lighteval", Options(value="accuracy")
        )
        self.assertContainsSubset(
            set(details.table.nll_nats.ravel()), {0.0, 1.0}
        )


if __name__ == "__main__":
    absltest.main()
