"""HELM, OpenCompass, lighteval and Every Eval Ever: each trap is a test."""

import json
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import importers
from mmc_jax.importers.frame import Options


class _FolderTest(parameterized.TestCase):
    format = ""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _read(self, value=None, **options):
        self.assertEqual(importers.detected(self.folder), self.format)
        options = Options(value=value, **options)
        return importers.read(self.folder, options).table

    def _write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1))
        return path


class HelmTest(_FolderTest):
    format = "helm"

    def _run(self, model, instances, suite="v1", task="mmlu:subject=law"):
        name = f"{task},model={model.replace('/', '_')}"
        spec = {"name": name, "adapter_spec": {"model": model}}
        self._write(f"runs/{suite}/{name}/run_spec.json", spec)
        return self._write(
            f"runs/{suite}/{name}/per_instance_stats.json", instances
        )

    @staticmethod
    def _instance(name, trial=0, perturbation=None, **stats):
        return {
            "instance_id": name,
            "train_trial_index": trial,
            **({"perturbation": perturbation} if perturbation else {}),
            "stats": [
                {"name": {"name": key, "split": "test"}, "count": 1, "sum": v}
                for key, v in stats.items()
            ],
        }

    def test_likelihoods(self):
        for model, shift in (("org/a", 0.0), ("org/b", 1.0)):
            instances = [
                self._instance(f"id{i}", logprob=-shift - i, num_bytes=10 + i)
                for i in (1, 2)
            ]
            self._run(model, instances if shift else instances[::-1])
        table = self._read("logprob")
        self.assertEqual([m.name for m in table.models], ["org/a", "org/b"])
        self.assertEqual(set(table.texts.domains), {"mmlu:subject=law"})
        by_id = dict(
            zip(table.texts.ids, table.nll_nats.T.tolist(), strict=True)
        )
        self.assertEqual(by_id["mmlu:subject=law/id1"], [1, 2])
        self.assertEqual(sorted(table.texts.num_bytes), [11, 12])

    def test_one_trial_twice(self):
        instances = [self._instance("id1", 0, exact_match=v) for v in (0, 1)]
        self._run("a", instances)
        with self.assertRaisesRegex(ValueError, "item 2: trial 0 of .*'id1'"):
            self._read("exact_match")

    def test_other_examples_in_front(self):
        for model, more in (("a", {}), ("b", {"trial": 1})):
            self._run(model, [self._instance("id1", exact_match=1, **more)])
        with self.assertRaisesRegex(ValueError, "'b' saw another prompt"):
            self._read("exact_match")
        self._run("b", [self._instance("id1", exact_match=0)])
        path = self.folder / "runs/v1/mmlu:subject=law,model=b/run_spec.json"
        spec = json.loads(path.read_text())
        spec["adapter_spec"]["max_train_instances"] = 5
        path.write_text(json.dumps(spec))
        with self.assertRaisesRegex(ValueError, "'b' saw another prompt"):
            self._read("exact_match")
        table = self._read("exact_match", allow_other_prompts=True)
        self.assertEqual(table.nll_nats.tolist(), [[0], [1]])

    def test_bytes_below_zero(self):
        self._run("a", [self._instance("id1", logprob=-1.0, num_bytes=-2)])
        with self.assertRaisesRegex(ValueError, "num_bytes: -2 is below 0"):
            self._read("logprob")

    def test_trials_and_perturbations(self):
        noise = {"name": "typos"}
        instances = [
            self._instance("id1", 0, exact_match=1.0),
            self._instance("id1", 1, exact_match=0.0),
            self._instance("id1", 0, noise, exact_match=0.0),
        ]
        # The statistic itself may say that it is of a changed instance.
        changed = self._instance("id1", 2, exact_match=0.0)
        changed["stats"][0]["name"]["perturbation"] = noise
        self._run("a", [*instances, changed])
        self.assertEqual(self._read("exact_match").nll_nats.tolist(), [[0.5]])

    def test_faults(self):
        file = self._run("a", [self._instance("id1", logprob=1.0, toxic=2.0)])
        for value, message in (
            (None, "--value=logprob.*logprob, toxic"),
            ("logprob", "item 1, logprob: 1 is above 0"),
            ("toxic", "whether higher toxic is better"),
            ("exact_match", "no statistic 'exact_match'; there are"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                self._read(value)
        table = self._read("toxic", higher_is_better=False)
        self.assertEqual(table.nll_nats.tolist(), [[2.0]])
        file.write_text(file.read_text()[:-30])
        with self.assertRaisesRegex(ValueError, "not JSON"):
            self._read("logprob")
        (file.parent / "run_spec.json").unlink()
        with self.assertRaisesRegex(ValueError, "no run_spec.json beside it"):
            self._read("logprob")

    def test_suites(self):
        for suite, score in (("v1", 1.0), ("v2", 0.0)):
            instances = [self._instance("id1", exact_match=score)]
            self._run("a", instances, suite)
        with self.assertRaisesRegex(ValueError, "choose by --run=<folder>"):
            self._read("exact_match")
        table = self._read("exact_match", run="v2")
        self.assertEqual(table.nll_nats.tolist(), [[1.0]])


class OpenCompassTest(_FolderTest):
    format = "opencompass"
    _TEXT = "Zürich, ja"

    def _predictions(self, items, name="predictions/model-a/set.json"):
        content = {str(i): item for i, item in enumerate(items)}
        return self._write(f"20250102_030405/{name}", content)

    def _label(self, text, nll, tokens, examples=""):
        """Returns a label as the tool writes it: a mean over T tokens."""
        return {
            "testing input": text,
            "prompt": examples + text,
            "PPL": nll / tokens,
            "BPB": nll / len(text.encode()),
        }

    def test_bits_per_byte_are_nats_per_byte(self):
        self._predictions([{"label: 0": self._label(self._TEXT, 22.0, 8)}])
        table = self._read("rolling")
        np.testing.assert_allclose(table.nll_nats, [[22.0]], rtol=1e-15)
        self.assertEqual(table.texts.num_bytes.tolist(), [11])
        self.assertEqual(table.num_tokens.tolist(), [[8]])
        # The first token has no prediction.
        self.assertEqual(table.num_scored.tolist(), [[7]])
        self.assertEqual(table.models[0].name, "model-a")

    def test_damaged_predictions_beside_others_are_named(self):
        self._predictions([{"label: 0": self._label(self._TEXT, 22.0, 8)}])
        path = self.folder / "20250102_030405/predictions/model-b/set.json"
        path.parent.mkdir()
        path.write_text('{"0": {"lab')
        with self.assertLogs("absl", "WARNING") as said:
            self.assertLen(self._read("rolling").models, 1)
        self.assertRegex(str(said), "left out, .* OpenCompass .*model-b/set")

    def test_target(self):
        items = [
            {
                "label: A": self._label("Q? A", 6.0, 4, "Example. "),
                "label: B": self._label("Q? B", 4.0, 4, "Example. "),
                "prediction": "B",
                "gold": "A",
            }
        ]
        self._predictions(items)
        self.assertEqual(self._read("target").nll_nats.tolist(), [[6.0]])
        self.assertEqual(self._read("accuracy").nll_nats.tolist(), [[1.0]])
        with self.assertRaisesRegex(ValueError, "2 answers; choose"):
            self._read("rolling")

    @parameterized.named_parameters(
        (
            "no count of tokens",
            {"label: 0": {"testing input": "a", "prompt": "a", "PPL": 2.0}},
            "rolling",
            "T is not there",
        ),
        (
            "only a mean",
            {"origin_prompt": "a", "ppl": 2.0},
            "rolling",
            "T is not there",
        ),
        (
            "windows",
            {"loss": 3.0, "total_chr_num": 9},
            "rolling",
            "one window over joined texts",
        ),
        (
            "another text",
            {
                "label: 0": {
                    "testing input": "abc",
                    "prompt": "abc",
                    "PPL": 1.0,
                    "BPB": 0.5,
                }
            },
            "rolling",
            "1.5 tokens, no whole number",
        ),
        (
            "tokens below zero",
            {
                "label: 0": {
                    "testing input": "abc",
                    "prompt": "abc",
                    "PPL": -1.0,
                    "BPB": 2.0,
                }
            },
            "rolling",
            "-6 tokens, no whole number",
        ),
        (
            "no likelihood",
            {"origin_prompt": "a", "prediction": "b", "gold": "c"},
            "target",
            "choose --value=accuracy",
        ),
        ("unsaid", {"origin_prompt": "a"}, None, "say what to read"),
        ("no gold", {"origin_prompt": "a"}, "accuracy", "no prediction"),
    )
    def test_refused(self, item, value, message):
        self._predictions([item])
        with self.assertRaisesRegex(ValueError, message):
            self._read(value)

    def test_examples_in_front_of_a_text(self):
        label = self._label(self._TEXT, 22.0, 8, "Example. ")
        self._predictions([{"label: 0": label}])
        with self.assertRaisesRegex(ValueError, "examples stand before"):
            self._read("rolling")

    def test_likelihood_of_a_continuation(self):
        item = {
            "label: A": {"testing input": "a", "Loglikelihood": -2.5},
            "label: B": {"testing input": "b", "Loglikelihood": -3.5},
            "gold": "B",
        }
        self._predictions([item])
        self.assertEqual(self._read("target").nll_nats.tolist(), [[3.5]])

    def test_items_in_another_order(self):
        for model, order in (("a", (0, 1, 10)), ("b", (10, 1, 0))):
            items = {str(i): {"prediction": i, "gold": 10} for i in order}
            for name in ("set", "set_0", "tmp_set"):
                self._write(f"t/predictions/{model}/{name}.json", items)
        with self.assertLogs("absl", "WARNING") as logged:
            table = self._read("accuracy")
        self.assertIn("set.json: read; parts of the same set", str(logged))
        self.assertIn("tmp_set.json: of a run that did not end", str(logged))
        self.assertEqual(table.texts.ids, ("set/0", "set/1", "set/10"))
        self.assertEqual(table.nll_nats.tolist(), [[1, 1, 0]] * 2)

    def test_parts_that_are_missing(self):
        item = {"prediction": "x", "gold": "y"}
        for i in (0, 2):
            self._predictions([item], f"predictions/model-a/set_{i}.json")
        with self.assertRaisesRegex(ValueError, "set_2.json: no part set_1.js"):
            self._read("accuracy")
        self._predictions([item], "predictions/model-a/set_1.json")
        self._write(
            "20250102_030405/predictions/model-a/set_1.json", {"1": item}
        )
        with self.assertRaisesRegex(
            ValueError, "set_1.json: 1 items, up to nu"
        ):
            self._read("accuracy")

    def test_parts_of_a_set(self):
        for i in reversed(range(11)):
            item = {"prediction": "x", "gold": "x" if i == 10 else "y"}
            self._predictions([item], f"predictions/model-a/set_{i}.json")
        with self.assertLogs("absl", "WARNING") as logged:
            table = self._read("accuracy")
        self.assertIn("compared with the answers as they stand", str(logged))
        self.assertEqual(table.texts.ids[-2:], ("set/9", "set/10"))
        self.assertEqual(table.nll_nats.tolist(), [[1] * 10 + [0]])


class LightevalTest(_FolderTest):
    format = "lighteval"

    def _details(self, rows, model="org/a", task="lighteval|arc|0"):
        date = "2025-01-02T03-04-05.678"
        path = self.folder / f"details/{model}/{date}"
        path.mkdir(parents=True)
        table = pa.Table.from_pylist(rows)
        pyarrow.parquet.write_table(
            table, path / f"details_{task}_{date}.parquet"
        )

    @staticmethod
    def _row(i, logprobs, gold=0, choices=(" yes", " no"), **metric):
        return {
            "doc": {
                "query": f"q{i}",
                "choices": list(choices) if choices else None,
                "gold_index": [gold],
            },
            "metric": metric or {"acc": 0},
            "model_response": {"input": f"q{i}", "logprobs": logprobs},
        }

    def test_target_and_accuracy(self):
        self._details(
            [
                self._row(0, [-1.0, -2.0], gold=1, acc=0),
                self._row(1, [-3.0, -4.0], gold=0, acc=1),
            ]
        )
        table = self._read("target")
        self.assertEqual(table.nll_nats.tolist(), [[2, 3]])
        self.assertEqual(table.texts.num_bytes.tolist(), [3, 4])
        self.assertEqual(table.models[0].name, "org/a")
        self.assertEqual(self._read("accuracy").nll_nats.tolist(), [[1, 0]])
        with self.assertRaisesRegex(ValueError, "no metric 'em'; .* acc"):
            self._read("em")

    def test_an_accuracy_in_percent(self):
        self._details([self._row(0, [-1.0, -2.0], acc=90)])
        with self.assertRaisesRegex(ValueError, "acc beyond .0, 1.; say --h"):
            self._read("accuracy")
        table = self._read("accuracy", higher_is_better=True)
        self.assertEqual(table.nll_nats.tolist(), [[-90]])

    def test_other_examples_in_front(self):
        for model, examples in (("org/a", ["x"]), ("org/b", ["y"])):
            row = self._row(0, [-1.0, -2.0])
            row["doc"]["fewshot_samples"] = examples
            self._details([row], model)
        with self.assertRaisesRegex(ValueError, "saw another prompt"):
            self._read("target")

    def test_order_of_rows(self):
        for model, order in (("org/a", (0, 1)), ("org/b", (1, 0))):
            rows = [self._row(i, [-1.0 - i, -9.0]) for i in order]
            for i, row in zip(order, rows, strict=True):
                row["doc"]["id"] = str(i)
            self._details(rows, model)
        self.assertEqual(self._read("target").nll_nats.tolist(), [[1, 2]] * 2)

    def test_order_of_equal_questions(self):
        for model, order in (("org/a", (0, 1)), ("org/b", (1, 0))):
            rows = [self._row(0, [-1.0, -2.0], gold=i) for i in order]
            for i, row in zip(order, rows, strict=True):
                row["doc"]["id"] = str(i)
            self._details(rows, model)
        self.assertEqual(self._read("target").nll_nats.tolist(), [[1, 2]] * 2)

    def test_rolling_must_be_of_a_version_that_shifts(self):
        self._details(
            [
                self._row(i, [-1.5], choices=None, word_perplexity=2.0)
                for i in range(2)
            ]
        )
        with self.assertRaisesRegex(ValueError, "say --value=rolling,shifted"):
            self._read("rolling")
        table = self._read("rolling,shifted")
        self.assertEqual(table.nll_nats.tolist(), [[1.5, 1.5]])
        self.assertEqual(table.texts.num_bytes.tolist(), [2, 2])

    @parameterized.named_parameters(
        ("no choice", {"gold": 2}, "gold_index: 2 is no one of 2"),
        ("above zero", {"logprobs": [1.0, 2.0]}, "1 is above 0"),
        ("other number", {"logprobs": [-1.0]}, "1 numbers for 2 choices"),
        ("none", {"logprobs": []}, "logprobs: none"),
    )
    def test_faults(self, changes, message):
        self._details([self._row(0, **{"logprobs": [-1.0, -2.0], **changes})])
        with self.assertRaisesRegex(ValueError, message):
            self._read("target")

    def test_details_of_old_versions(self):
        self._details([{"full_prompt": "q", "metrics": "{}"}])
        with self.assertRaisesRegex(ValueError, "no column 'doc'.*from 0.10"):
            self._read("target")


class EveryEvalEverTest(_FolderTest):
    format = "every_eval_ever"

    def _instances(self, *rows, model="org/a"):
        lines = []
        for i, row in enumerate(rows):
            line = {
                "schema_version": "0.3.0",
                "evaluation_id": f"arc/{model}/1767000000",
                "model_id": model,
                "evaluation_name": "arc",
                "sample_id": str(i),
                "input": {"raw": f"q{i}", "reference": ["x"]},
                **row,
            }
            lines.append(json.dumps(line) + "\n")
        path = self.folder / f"{model.replace('/', '_')}_samples.jsonl"
        path.write_text("".join(lines))

    @staticmethod
    def _score(score, **metrics):
        return {
            "evaluation": {"score": score, "is_correct": score == 1},
            "metadata": {"lm_eval_metrics": json.dumps(metrics)},
        }

    def test_accuracy(self):
        rows = [self._score(1.0, acc=1), self._score(0.0, acc=0)]
        self._instances(*rows)
        self._instances(*rows[::-1], model="org/b")
        for value in (None, "accuracy"):
            table = self._read(value)
            self.assertEqual(table.nll_nats.tolist(), [[0, 1], [1, 0]])
            self.assertEqual(table.unit, "error")
        with self.assertRaisesRegex(ValueError, "hold accuracies alone"):
            self._read("rolling")

    def test_rolling_likelihoods_are_refused(self):
        self._instances(self._score(0.0, bits_per_byte=[-30.5, 12]))
        with self.assertRaisesRegex(ValueError, "line 1: .*bits_per_byte"):
            self._read()

    def test_a_damaged_file_beside_others_is_named(self):
        self._instances(self._score(1.0, acc=1))
        (self.folder / "b_samples.jsonl").write_text('{"schema_version": "0')
        with self.assertLogs("absl", "WARNING") as said:
            self.assertLen(self._read().models, 1)
        self.assertRegex(str(said), "left out, .* instances .*: b_samples")

    def test_other_faults(self):
        self._instances(self._score(-3.5, perplexity=-3.5))
        with self.assertRaisesRegex(ValueError, "-3.5 is no accuracy"):
            self._read()
        self._instances({"evaluation": None})
        with self.assertRaisesRegex(ValueError, "line 1: no evaluation"):
            self._read()
        row = self._score(1.0, acc=1)
        self._instances(row, {**row, "sample_id": "0"})
        with self.assertRaisesRegex(ValueError, "line 2: a second score"):
            self._read()


del _FolderTest

if __name__ == "__main__":
    absltest.main()
