"""Sets of routing: correctness, cost of a call, prompts."""

import hashlib
import json
import pathlib
import pickle
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl.testing import absltest, parameterized

from mmc_jax import importers, scores, studies
from tests import tolerances

_MODELS = ("WizardLM/WizardLM-13B-V1.2", "claude-v2", "gpt-4-1106-preview")
_HEADER = (
    "sample_id,prompt,eval_name,"
    + ",".join(_MODELS)
    + ","
    + ",".join(f"{m}|model_response" for m in _MODELS)
    + ","
    + ",".join(f"{m}|total_cost" for m in _MODELS)
    + ",oracle_model_to_route_to\n"
)
_ROUTER_BENCH = (
    _HEADER
    + """\
mmlu-law.val.1,"['Which? Answer:']",mmlu-law,0.0,1.0,1,"['C)']",['B'],['B'],\
7.5e-05,0.000592,0.00074,claude-v2
mtbench.2,"['Say ""hi"".\\n', 'Again?']",mtbench,0.1,0.9,1,['hi'],['hi'],['a\
'],1e-05,2e-05,3e-05,gpt-4-1106-preview
"""
)


class _Case(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path


class RouterBenchTest(_Case):
    def test_scores_costs_and_prompts(self):
        path = self._write("rb.csv", _ROUTER_BENCH)
        self.assertEqual(importers.detected(path), "router_bench")
        table = importers.read(path, importers.Options(keep_texts=True)).table
        self.assertEqual([m.name for m in table.models], list(_MODELS))
        np.testing.assert_allclose(
            table.nll_nats, [[1, 0.9], [0, 0.1], [0, 0]], atol=1e-15
        )
        self.assertEqual(table.unit, "error")
        np.testing.assert_array_equal(
            table.query_costs,
            [[7.5e-05, 1e-05], [0.000592, 2e-05], [0.00074, 3e-05]],
        )
        self.assertAlmostEqual(table.costs("mean_query_cost")[1], 0.000306)
        self.assertEqual(table.texts.ids, ("mmlu-law.val.1", "mtbench.2"))
        self.assertEqual(table.texts.domains, ("mmlu-law", "mtbench"))
        prompts = ("Which? Answer:", 'Say "hi".\n\nAgain?')
        self.assertEqual(table.texts.texts, prompts)
        self.assertEqual(
            table.texts.sha256[0],
            hashlib.sha256(prompts[0].encode()).hexdigest(),
        )
        with self.subTest("to disk and back"):
            scores.write(table, self.folder / "out")
            again = scores.open(self.folder / "out", with_texts=True)
            order = sorted(range(3), key=lambda m: _MODELS[m])
            np.testing.assert_array_equal(
                again.query_costs, table.query_costs[order]
            )
            self.assertEqual(again.texts.texts, prompts)
            self.assertEqual(again.unit, "error")
            self.assertIsNone(scores.open(self.folder / "out").texts.texts)

    def test_a_model_without_costs_is_named(self):
        lines = _ROUTER_BENCH.splitlines(keepends=True)
        text = lines[0].rstrip("\n") + ",mine\n" + "".join(lines[1:])
        path = self._write("rb.csv", text)
        with (
            self.assertLogs("absl", "WARNING") as said,
            self.assertRaisesRegex(ValueError, "cells, and the header has"),
        ):
            importers.read(path)
        self.assertIn("ignored, for no column '<name>|total_cost'", str(said))

    def test_routing_costs_what_calls_cost(self):
        table = importers.read(self._write("rb.csv", _ROUTER_BENCH)).table
        found = studies.study(
            table, normalisation="raw", cost="mean_query_cost", routed=True
        )
        # All texts at their cheapest model, then each at its best: the first
        # text is right with claude-v2, at 0.000592.
        np.testing.assert_allclose(
            found.routed.costs[[0, -1]],
            [(7.5e-05 + 1e-05) / 2, (0.000592 + 3e-05) / 2],
            rtol=tolerances.MEAN_OF_LOSSES,
        )

    def test_parquet_without_prompts(self):
        path = self.folder / "rb.parquet"
        pyarrow.parquet.write_table(
            pa.table(
                {
                    "sample_id": ["a", "b"],
                    "prompt": ["p", "q"],
                    "eval_name": ["s", "t"],
                    "m/x": [1.0, 0.25],
                    "m/x|model_response": [["r"], ["r"]],
                    "m/x|total_cost": [0.5, None],
                }
            ),
            path,
        )
        with self.assertLogs("absl", "WARNING") as logs:
            table = importers.read(path).table
        self.assertIn("row 2, column 'm/x|total_cost': no cost", str(logs))
        np.testing.assert_array_equal(table.nll_nats, [[0, 0.75]])
        self.assertIsNone(table.query_costs)
        self.assertIsNone(table.texts.texts)
        with self.subTest("a cost below zero"):
            path = self._write(
                "rb.csv",
                "sample_id,prompt,eval_name,m,m|total_cost\n1,p,s,1,-0.5\n",
            )
            with self.assertRaisesRegex(ValueError, "row 1, .*-0.5 is below"):
                importers.read(path)
        with self.subTest("no cost where there is no score"):
            path = self._write(
                "rb.csv",
                "sample_id,prompt,eval_name,m,m|total_cost\n"
                "1,p,s,1,0.5\n2,q,s,,\n",
            )
            options = importers.Options(missing="drop_texts")
            table = importers.read(path, options).table
            np.testing.assert_array_equal(table.query_costs, [[0.5]])

    def test_refusals(self):
        pickle = self._write("routerbench_0shot.pkl", "no matter")
        with self.assertRaisesRegex(ValueError, "runs code.*to_parquet"):
            importers.read(pickle)
        path = self._write("rb.csv", _ROUTER_BENCH.replace("0.1,0.9", "10,90"))
        with self.assertRaisesRegex(
            ValueError, "rb.csv, row 2, column 'Wiz.*: 10 is no score"
        ):
            importers.read(path)
        path = self._write("rb.csv", _ROUTER_BENCH.replace("0.0,1.0", "0.0,"))
        with self.assertRaisesRegex(
            ValueError, "rb.csv, row 1, column 'claude-v2': no score"
        ):
            importers.read(path)
        with self.assertRaisesRegex(ValueError, "no columns '<model>|total"):
            importers.read(
                self._write("x.csv", "a,b\n1,2\n"), format="router_bench"
            )


class EmbedLlmTest(_Case):
    _TEXT = (
        "prompt_id,model_id,category_id,label,model_name,category,prompt\n"
        '7,0,1,1,org__a-7b,mmlu,"Which, then?"\n'
        '7,1,1,0,org__b-13b,mmlu,"Which, then?"\n'
        "3,1,2,1,org__b-13b,gsm8k,How many?\n"
        "3,0,2,0,org__a-7b,gsm8k,How many?\n"
    )

    def test_labels(self):
        path = self._write("train.csv", self._TEXT)
        self.assertEqual(importers.detected(path), "embed_llm")
        table = importers.read(path, importers.Options(keep_texts=True)).table
        self.assertEqual(
            [m.name for m in table.models], ["org__a-7b", "org__b-13b"]
        )
        self.assertEqual(table.texts.ids, ("7", "3"))
        self.assertEqual(table.texts.domains, ("mmlu", "gsm8k"))
        self.assertEqual(table.texts.texts, ("Which, then?", "How many?"))
        np.testing.assert_array_equal(table.nll_nats, [[0, 1], [1, 0]])
        self.assertEqual(table.unit, "error")
        self.assertIsNone(importers.read(path).table.texts.texts)

    def test_another_prompt_under_one_id(self):
        text = self._TEXT.replace("gsm8k,How many?", "gsm8k,How few?", 1)
        path = self._write("train.csv", text)
        with self.assertRaisesRegex(ValueError, "row 4, .*another prompt than"):
            importers.read(path, importers.Options(keep_texts=True))

    def test_refusals(self):
        for old, new, message in (
            ("3,1,2,1", "7,1,2,1", "row 3: the model 'org__b-13b' has a score"),
            ("7,0,1,1", "7,0,1,x", "row 1, column 'label': 'x' is not a numb"),
            ("7,0,1,1", "7,0,1,2", "row 1, column 'label': 2 is no score"),
            ("3,0,2,0", "5,0,2,0", "no score .2 of 6 are missing"),
        ):
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                importers.read(
                    self._write("train.csv", self._TEXT.replace(old, new))
                )


class LlmRouterBenchTest(_Case):
    def test_a_cost_below_zero(self):
        self._run("a", "20250101_120000", [1], costs=[-0.5])
        with self.assertRaisesRegex(ValueError, "record 0, cost: -0.5 is bel"):
            importers.read(self.folder)

    def _run(self, model, time, scores, *, costs=None, demo=False, **changes):
        costs = (
            [0.01 * (i + 1) for i in range(len(scores))]
            if (costs is None)
            else costs
        )
        records = [
            {
                "index": i + 1,
                "origin_query": f"What is {i}?",
                "prompt": f"Question: What is {i}?\nAnswer:",
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "cost": cost,
                "score": score,
                "prediction": "4",
                "ground_truth": "4",
                "raw_output": "4",
                "extra_fields": {},
                **changes,
            }
            for i, (score, cost) in enumerate(zip(scores, costs, strict=True))
        ]
        return self._write(
            f"results/bench/aime/test/{model}/aime-test-{model}-{time}.json",
            json.dumps(
                {
                    "performance": 0.5,
                    "counts": len(records),
                    "model_name": model,
                    "dataset_name": "aime",
                    "split": "test",
                    "demo": demo,
                    "records": records,
                }
            ),
        )

    def test_the_latest_runs(self):
        self._run("b-8b", "20250102_000000", [1.0, 0.0])
        self._run("a-7b", "20250101_000000", [0.0, 0.0])
        self._run("a-7b", "20250103_000000", [1.0, 0.5])
        self._run("a-7b", "20250104_000000", [0.0], demo=True)
        for path in (self.folder, self.folder / "results/bench"):
            self.assertEqual(importers.detected(path), "llm_router_bench")
            with self.assertLogs("absl", "WARNING") as logs:
                table = importers.read(path).table
            self.assertIn("a demonstration; ignored", str(logs))
            self.assertIn("left out: aime-test-a-7b-20250101_0", str(logs))
            self.assertEqual([m.name for m in table.models], ["a-7b", "b-8b"])
            self.assertEqual(table.texts.ids, ("aime/test/1", "aime/test/2"))
            self.assertEqual(table.texts.domains, ("aime", "aime"))
            np.testing.assert_array_equal(table.nll_nats, [[0, 0.5], [0, 1]])
            np.testing.assert_array_equal(
                table.query_costs, [[0.01, 0.02], [0.01, 0.02]]
            )
        old = importers.read(
            self.folder,
            importers.Options(
                run="20250101", only_models=["a-7b"], keep_texts=True
            ),
        ).table
        np.testing.assert_array_equal(old.nll_nats, [[1, 1]])
        self.assertEqual(old.texts.texts, ("What is 0?", "What is 1?"))
        with self.assertRaisesRegex(ValueError, "no results"):
            # A piece of a model's name is no time.
            importers.read(self.folder, importers.Options(run="7b"))

    def test_refusals(self):
        self._run("b-8b", "20250102_000000", [1.0, 0.0])
        for name, changes, message in (
            ("prompt", {"origin_query": "Other?"}, "record 0: another prompt"),
            ("index", {"index": 1}, "record 1: a second record of the index 1"),
            ("text", {"score": "right"}, "record 0, score: 'right' is not a n"),
            ("score", {"score": None}, "model 'a-7b', text .*: no score"),
        ):
            file = self._run("a-7b", "20250101_000000", [1.0, 1.0], **changes)
            with (
                self.subTest(name),
                self.assertRaisesRegex(ValueError, message),
            ):
                importers.read(self.folder)
        file.write_text(file.read_text()[:-40])
        with (
            self.subTest("cut off"),
            self.assertRaisesRegex(
                ValueError, f"{file.name}: not JSON .*line 1, column"
            ),
        ):
            importers.read(self.folder)


class RouterEvalTest(_Case):
    def _pickle(self, **changes):
        def group(names, scores):
            scores = np.array(scores, float)
            return {
                "model": names,
                "data": {
                    "train_score": scores[:2],
                    "val_score": scores[2:3],
                    "test_score": scores[3:],
                },
            }

        content = {
            "split_index": {"train_indices": np.array([0, 3])},
            "prompt": {
                "train_prompt": np.array(["p", "q"]),
                "val_prompt": ["r"],
                "test_prompt": np.array(["s"], object),
            },
            "embedding": {"train_embed": np.zeros((2, 4), np.float32)},
            "easy": {
                3: {
                    "all_strong": group(
                        ["a/x", "b/y"], [[1, 0], [1, 1], [0, 0], [1, 0]]
                    )
                }
            },
            "hard": {
                10: {
                    "all_weak": group(
                        ["b/y", "c/z"], [[0, 1], [1, 0], [0, 0], [0, 0.5]]
                    )
                }
            },
        }
        path = self.folder / "arc_router_dataset.pkl"
        path.write_bytes(pickle.dumps({**content, **changes}))
        return path

    def test_another_unit_than_the_format_has(self):
        path = self._pickle()
        options = importers.Options(value="nll_bits")
        with self.assertRaisesRegex(ValueError, "=nll_bits, but .*of score"):
            importers.read(path, options)
        options = importers.Options(value="score")
        self.assertEqual(importers.read(path, options).table.unit, "error")

    def test_no_advice_where_the_unit_is_fixed(self):
        path = self._pickle()
        content = pickle.loads(path.read_bytes())
        content["easy"][3]["all_strong"]["data"]["train_score"][0, 0] = 7
        path.write_bytes(pickle.dumps(content))
        with self.assertRaisesRegex(ValueError, "7 is no score .*0 and 1.$"):
            importers.read(path)

    def test_content_of_another_form(self):
        path = self._pickle(easy={3: [1]})
        with self.assertRaisesRegex(ValueError, "pkl: something in it is not"):
            importers.read(path)

    def test_all_groups(self):
        path = self._pickle()
        self.assertEqual(importers.detected(path), "router_eval")
        table = importers.read(path, importers.Options(keep_texts=True)).table
        self.assertEqual([m.name for m in table.models], ["a/x", "b/y", "c/z"])
        self.assertEqual(
            table.texts.ids,
            ("arc/train/0", "arc/train/1", "arc/val/0", "arc/test/0"),
        )
        self.assertEqual(table.texts.texts, ("p", "q", "r", "s"))
        np.testing.assert_array_equal(
            table.nll_nats,
            [[0, 0, 1, 0], [1, 0, 1, 1], [0, 1, 1, 0.5]],
        )
        self.assertIsNone(table.query_costs)

    def test_refusals(self):
        other = {"model": ["a/x"], "data": {"train_score": [[0.0], [0.0]]}}
        for name, changes, message in (
            ("calls", {"x": pathlib.PurePosixPath("a")}, "the pickle calls"),
            ("none", {"easy": {}, "hard": {}}, "no candidates"),
            (
                "prompts",
                {"prompt": {"train_prompt": ["p"]}},
                "'train_prompt'.: 1 prompts for 2 texts",
            ),
            ("sizes", {"hard": {10: {"g": other}}}, "'hard'.*other numbers"),
            (
                "shape",
                {"hard": {10: {"g": {**other, "model": ["a", "b"]}}}},
                "shape is .2, 1., for 2 models",
            ),
        ):
            with (
                self.subTest(name),
                self.assertRaisesRegex(ValueError, message),
            ):
                importers.read(self._pickle(**changes))


if __name__ == "__main__":
    absltest.main()
