"""Logs of lm-evaluation-harness: each trap is a test.

`Logs` writes them as the tool does, in the old layout and in the new one.
"""

import hashlib
import json
import pathlib
import re
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import importers
from mmc_jax.importers import lm_eval
from mmc_jax.importers.frame import Options

_DATE = "2025-05-31T14-30-51.983293"
_EARLIER = "2024-01-02T03-04-05"
_TEXTS = ("Zürich, two .", "b", "a longer one")
_BYTES = [14, 1, 12]


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _doc_hash(doc):
    return _hash(json.dumps(doc, indent=2, ensure_ascii=False))


def _rolling(i, nll, text=None, **more):
    """Returns a sample of a rolling likelihood, before any layout."""
    text = _TEXTS[i] if text is None else text
    pair = [-nll, len(text.split())]
    return {
        "doc_id": i,
        "doc": {"page": _TEXTS[i]},
        "target": text,
        "arguments": [[text]],
        "resps": [[-nll]],
        "filtered_resps": [-nll],
        "word_perplexity": pair,
        "bits_per_byte": [-nll, len(text.encode())],
        **more,
    }


def _choice(i, lls, right, choices=("yes", "no", "maybe"), **more):
    """Returns a sample of a multiple choice, before any layout."""
    lls = list(lls)
    acc = float(np.argmax(lls) == right)
    responses = [[ll, False] for ll in lls]
    return {
        "doc_id": i,
        "doc": {"question": f"q{i}", "choices": list(choices), "right": right},
        "target": right,
        "arguments": [[f"Q: q{i}", f" {choice}"] for choice in choices],
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "acc": acc,
        "acc_norm": 1 - acc,
        **more,
    }


def _generated(i, filter_, score):
    return {
        "doc_id": i,
        "doc": {"question": f"q{i}"},
        "target": "4",
        "arguments": [[f"q{i}", {"until": ["\n"]}]],
        "resps": [["it is 4"]],
        "filtered_resps": ["4"],
        "filter": filter_,
        "exact_match": score,
    }


class Logs:
    """A folder of logs."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def new(self, model, task, samples, date=_DATE, folder=None, **results):
        """Writes a run as versions from 0.4.3 on do."""
        folder = self.folder / (folder or model.replace("/", "__"))
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self._new_form(s)) + "\n" for s in samples]
        (folder / f"samples_{task}_{date}.jsonl").write_text("".join(lines))
        file = folder / f"results_{date}.json"
        there = json.loads(file.read_text()) if file.exists() else {}
        config = {"model": "hf", "model_args": f"pretrained={model}"}
        size = results.pop("size", 160e6)
        config |= {
            "model_num_parameters": size,
            "limit": results.pop("limit", None),
        }
        config |= results.pop("config", {})
        there |= {"results": {}, "config": config, "model_name": model}
        for field, value in results.items():
            there.setdefault(field, {})[task] = value
        file.write_text(json.dumps(there, indent=2))
        return file

    @staticmethod
    def _new_form(sample):
        def strings(x):
            return [strings(y) for y in x] if isinstance(x, list) else str(x)

        doc, first = sample["doc"], sample["arguments"][0][0]
        form = {
            "doc_hash": _doc_hash(doc),
            "prompt_hash": _hash(first),
            "target_hash": _hash(str(sample["target"])),
            **sample,
        }
        form["target"] = str(form["target"])
        form["resps"] = strings(form["resps"])
        form["filtered_resps"] = strings(form["filtered_resps"])
        form["arguments"] = {
            f"gen_args_{i}": {f"arg_{j}": a for j, a in enumerate(request)}
            for i, request in enumerate(form["arguments"])
        }
        return form

    def old(self, arguments, task, samples, results="results.json", **more):
        """Writes a run as versions from 0.4.0 to 0.4.2 do."""
        stem = re.sub("/|=", "__", arguments)
        file = self.folder / f"{stem}_{task}.jsonl"
        file.write_text(json.dumps(samples, indent=2))
        if results:
            config = {"model": "hf", "model_args": arguments, **more}
            content = {
                "results": {task: {}},
                "configs": {task: {}},
                "config": config,
            }
            (self.folder / results).write_text(json.dumps(content))
        return file


class LmEvalTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        self.logs = Logs(self.folder)

    def _read(self, value=None, **options):
        return lm_eval.read(self.folder, Options(value=value, **options))

    def _table(self, value=None, **options):
        options = Options(value=value, **options)
        return importers.read(self.folder, options).table

    def test_rolling_in_another_order(self):
        samples = [_rolling(i, 2.5 * i + 1) for i in range(3)]
        self.logs.new("org/a", "wiki", samples, size=160_000_000)
        self.logs.new("org/b", "wiki", samples[::-1], size=-1)
        table = self._table()
        self.assertEqual(table.unit, "nll_nats")
        np.testing.assert_array_equal(table.nll_nats, [[1, 3.5, 6]] * 2)
        self.assertEqual(table.texts.num_bytes.tolist(), _BYTES)
        self.assertEqual(table.texts.num_chars.tolist(), [13, 1, 12])
        self.assertEqual(set(table.texts.domains), {"wiki"})
        self.assertEqual(table.texts.sha256[1], _hash("b"))
        # -1 stands for no count at all.
        self.assertEqual([m.name for m in table.models], ["org/a", "org/b"])
        self.assertEqual(
            [m.costs for m in table.models], [{"num_params": 160e6}, {}]
        )

    def test_damaged_samples_beside_others_are_named(self):
        for name in "ab":
            self.logs.new(f"org/{name}", "wiki", [_rolling(0, 1.0)])
        damaged = next(self.folder.glob("org__b/samples*"))
        damaged.write_text('{"doc_i')
        with self.assertLogs("absl", "WARNING") as said:
            self.assertLen(self._read().models, 1)
        self.assertRegex(str(said), "left out, .*-harness do: org__b")

    def test_a_size_that_is_none(self):
        for size in (True, float("inf"), "7B"):
            self.logs.new("org/a", "wiki", [_rolling(0, 1.0)], size=size)
            self.assertEqual(self._table().models[0].costs, {})

    def test_old_and_new_layout_join(self):
        samples = [_rolling(i, i + 1.0) for i in range(3)]
        self.logs.new("org/a", "wiki", samples)
        self.logs.old("pretrained=org/b,dtype=float", "wiki", samples)
        found = self._read("rolling")
        self.assertEqual([m.name for m in found.models], ["org/a", "org/b"])
        np.testing.assert_array_equal(found.values, [[1, 2, 3]] * 2)

    def test_old_file_without_results(self):
        samples = [_choice(i, (-1, -2, -3), 0) for i in range(2)]
        self.logs.old("pretrained=org/b_2", "arc_easy", samples, results=None)
        with self.assertRaisesRegex(ValueError, "say it by --tasks"):
            self._read("accuracy")
        found = self._read("accuracy", tasks=["arc_easy"])
        self.assertEqual(found.models[0].name, "org/b_2")
        np.testing.assert_array_equal(found.values, [[1, 1]])

    def test_a_model_that_nothing_names(self):
        self.logs.old("", "arc", [_choice(0, (-1, -2, -3), 0)])
        with self.assertRaisesRegex(
            ValueError, "_arc.jsonl: no model is named"
        ):
            self._read("accuracy")

    def test_a_folder_names_the_model(self):
        samples = [_rolling(0, 1.0)]
        self.logs.new("org/a_b", "wiki", samples).unlink()
        self.assertEqual(self._read("rolling").models[0].name, "org/a_b")
        self.logs.new("c", "wiki", samples, folder="results").unlink()
        with self.assertRaisesRegex(ValueError, "its model is not known"):
            self._read("rolling")

    def test_results_under_another_name(self):
        file = self.logs.new("org/a", "wiki", [_rolling(0, 1.0)])
        file.rename(file.with_name(f"mine_{_DATE}.json"))
        samples = next(self.folder.rglob("samples*"))
        # Lines of JSON in a file that is called .json.
        samples.rename(samples.with_suffix(".json"))
        found = self._read("rolling")
        self.assertEqual(found.models[0].costs, {"num_params": 160e6})

    def test_line_for_each_filter(self):
        samples = [
            _generated(i, name, float(i == 1 and name == "flexible-extract"))
            for name in ("strict-match", "flexible-extract")
            for i in range(2)
        ]
        self.logs.new("org/a", "gsm8k", samples)
        with self.assertRaisesRegex(
            ValueError, "line 4: .*--value=exact_match,strict-match"
        ):
            self._read("exact_match")
        found = self._read("exact_match,flexible-extract")
        np.testing.assert_array_equal(found.values, [[0, 1]])
        self.assertEqual(found.unit, "score")
        with self.assertRaisesRegex(ValueError, "of the filter 'other'"):
            self._read("exact_match,other")

    def test_filters_without_names(self):
        samples = [_generated(0, "x", 0.0), _generated(0, "x", 1.0)]
        for sample in samples:
            del sample["filter"]
        self.logs.old("pretrained=a", "gsm8k", samples)
        with self.assertRaisesRegex(ValueError, "item 2: a second value"):
            self._read("exact_match")

    def test_models_with_other_filters(self):
        for model, filters in (("a", ("strict",)), ("b", ("flexible", "any"))):
            samples = [_generated(0, name, 1) for name in filters]
            self.logs.new(model, "gsm8k", samples)
        with self.assertRaisesRegex(
            ValueError, "of the filter any, flexible, and that .* of strict;"
        ):
            self._read("exact_match", higher_is_better=True)

    def test_filters_do_not_double_likelihoods(self):
        samples = [_rolling(0, 1.5, filter=name) for name in ("none", "other")]
        self.logs.new("org/a", "wiki", samples)
        np.testing.assert_array_equal(self._read("rolling").values, [[1.5]])

    def test_other_prompts(self):
        self.logs.new("org/a", "arc", [_choice(0, (-1, -2, -3), 0)])
        other = _choice(0, (-2, -1, -3), 0)
        other["arguments"] = [
            ["Example. " + c, k] for c, k in other["arguments"]
        ]
        self.logs.new("org/b", "arc", [other])
        with self.assertRaisesRegex(
            ValueError, "'org/b' saw another prompt.*--allow_other_prompts"
        ):
            self._read("accuracy")
        found = self._read("accuracy", allow_other_prompts=True)
        np.testing.assert_array_equal(found.values, [[1], [0]])

    @parameterized.parameters("bits_per_byte", "word_perplexity")
    def test_pairs_are_no_metrics(self, name):
        self.logs.new("org/a", "wiki", [_rolling(0, 1.5)])
        with self.assertRaisesRegex(ValueError, "--value=rolling reads it"):
            self._read(name)

    def test_perplexity_of_lambada_is_a_log_likelihood(self):
        sample = {
            **_choice(0, (-3.25,), 0, choices=("word",)),
            "target": " word",
            "perplexity": -3.25,
        }
        self.logs.new(
            "org/a", "lambada", [sample], higher_is_better={"perplexity": False}
        )
        with self.assertRaisesRegex(ValueError, "in spite of its name"):
            self._read("perplexity")
        found = self._read("target")
        np.testing.assert_array_equal(found.values, [[3.25]])
        self.assertEqual(found.num_bytes.tolist(), [5])

    def test_bytes_are_those_of_the_text_that_was_scored(self):
        # As wikitext: a rewritten text is scored, the original counted.
        sample = _rolling(0, 2.0, text="Zürich, two.")
        sample["bits_per_byte"] = [-2.0, 14]
        self.logs.new("org/a", "wikitext", [sample])
        self.assertEqual(self._read("rolling").num_bytes.tolist(), [13])

    def test_text_after_an_empty_context(self):
        # As 0.5 writes a rolling likelihood.
        sample = _rolling(0, 2.0)
        sample["arguments"] = [["", _TEXTS[0]]]
        self.logs.new("org/a", "wiki", [sample])
        self.logs.new("org/b", "wiki", [_rolling(0, 3.0)])
        found = self._read()
        np.testing.assert_array_equal(found.values, [[2], [3]])
        self.assertEqual(found.num_bytes.tolist(), [14])

    def test_limited_run(self):
        samples = [_rolling(i, 1.0) for i in range(3)]
        counts = {"n-samples": {"original": 10, "effective": 3}, "limit": 3}
        self.logs.new("org/a", "wiki", samples, **counts)
        with self.assertLogs("absl", "WARNING") as logged:
            self._read()
        said = "org/a: a limited run, 3 of 10 documents of wiki"
        self.assertIn(said, logged.output[0])
        self.logs.new("org/b", "wiki", samples[:2], limit=2)
        with self.assertRaisesRegex(ValueError, "'org/b'.*no score"):
            self._table()
        self.assertEqual(
            self._table(missing="drop_texts").nll_nats.shape, (2, 2)
        )

    def test_several_runs(self):
        for date, score in ((_EARLIER, 1.0), (_DATE, 2.0)):
            self.logs.new(
                "org/a",
                "wiki",
                [_rolling(0, score)],
                date,
                **{"n-shot": int(score)},
            )
        with self.assertLogs("absl", "WARNING") as logged:
            found = self._read()
        self.assertIn("2024-01-02T03-04-05 (1-shot) (--run", logged.output[0])
        np.testing.assert_array_equal(found.values, [[2]])
        found = self._read(run="2024-01-02")
        np.testing.assert_array_equal(found.values, [[1]])
        with self.assertRaisesRegex(ValueError, "no run '2023'.*there are"):
            self._read(run="2023")

    def test_several_runs_without_dates(self):
        for name, nll in (("one", 1.0), ("two", 2.0)):
            (self.folder / name).mkdir()
            Logs(self.folder / name).old(
                "pretrained=a", "wiki", [_rolling(0, nll)]
            )
        with self.assertRaisesRegex(ValueError, "choose by --run=<folder>"):
            self._read()
        np.testing.assert_array_equal(self._read(run="two").values, [[2]])

    def test_revisions_are_models(self):
        for date, step, nll in ((_EARLIER, 1000, 2.0), (_DATE, 2000, 1.0)):
            arguments = f"pretrained=org/a,revision=step{step}"
            self.logs.new(
                "org/a",
                "wiki",
                [_rolling(0, nll)],
                date,
                config={"model_args": arguments},
            )
        found = self._read()
        self.assertEqual(
            [m.name for m in found.models],
            ["org/a@step1000", "org/a@step2000"],
        )

    def test_two_models_under_one_name(self):
        for task, size in (("one", 1e6), ("two", 2e6)):
            date = _DATE if task == "one" else _EARLIER
            self.logs.new("org/a", task, [_rolling(0, 1.0)], date, size=size)
        with self.assertRaisesRegex(ValueError, "two models under one name"):
            self._read()

    def test_local_paths(self):
        self.logs.new("/home/x/models/a-160m", "wiki", [_rolling(0, 1.0)])
        self.assertEqual(self._read().models[0].name, "a-160m")
        self.logs.new("/home/y/models/a-160m", "wiki", [_rolling(0, 1.0)])
        self.assertIn(
            "/home/y/models/a-160m", [m.name for m in self._read().models]
        )

    def test_documents_of_the_same_content(self):
        samples = [_rolling(0, 1.0), _rolling(1, 2.0), _rolling(0, 3.0)]
        samples[2]["doc_id"] = 2
        self.logs.new("org/a", "wiki", samples)
        self.logs.new("org/b", "wiki", samples[::-1])
        found = self._read()
        self.assertEqual(found.text_ids[2], found.text_ids[0] + "#2")
        np.testing.assert_array_equal(found.values, [[1, 2, 3]] * 2)

    @parameterized.named_parameters(
        ("number", {"target": 1}, 2.0),
        ("digits", {"target": "1"}, 2.0),
        ("text", {"target": "no"}, 2.0),
        ("text with a blank", {"target": " no"}, 2.0),
    )
    def test_target(self, changes, nll):
        self.logs.new("org/a", "arc", [_choice(0, (-1, -2, -3), 1) | changes])
        found = self._read("target")
        np.testing.assert_array_equal(found.values, [[nll]])
        self.assertEqual(found.num_bytes.tolist(), [3])

    def test_target_that_is_a_number_and_a_choice(self):
        # "1" is the first choice's text and the second one's number.
        numbers = ("1", "2", "4")
        right = _choice(0, (-1, -2, -3), 0, numbers) | {"target": "1"}
        self.logs.new("org/a", "sums", [right])
        np.testing.assert_array_equal(self._read("target").values, [[1]])
        wrong = _choice(0, (-2, -3, -1), 0, numbers) | {"target": "1"}
        self.logs.new("org/a", "sums", [wrong])
        with self.assertRaisesRegex(ValueError, "does not say which of 3"):
            self._read("target")

    @parameterized.named_parameters(
        ("template", "{{right}}", 3.0),
        ("number in the document", "right", 3.0),
        ("text in the document", "label", 2.0),
    )
    def test_the_task_says_what_digits_are(self, source, nll):
        sample = _choice(0, (-2, -3, -1), 0, ("1", "2", "4")) | {"target": "1"}
        sample["doc"] = {"right": 1, "label": "1"}
        self.logs.new(
            "org/a", "sums", [sample], configs={"doc_to_target": source}
        )
        np.testing.assert_array_equal(self._read("target").values, [[nll]])

    def test_choices_in_the_prompts(self):
        # As winogrande: one continuation, and a prompt for each choice.
        for best, right in ((0, 0), (1, 0)):
            lls = (-1.0, -2.0) if best == 0 else (-2.0, -1.0)
            sample = _choice(0, lls, right, choices=("a", "b"))
            sample["arguments"] = [["It was a", " end"], ["It was b", " end"]]
            sample["target"] = "end"
            self.logs.new("org/a", "winogrande", [sample])
            found = self._read("target")
            np.testing.assert_array_equal(found.values, [[-lls[right]]])

    @parameterized.named_parameters(
        ("several", {"target": [0, 1]}, "several right"),
        ("none", {"target": "perhaps", "acc": 0.0}, "does not say which"),
        ("contradiction", {"target": 0, "acc": 0.0}, "contradicts the target"),
        (
            "first request alone",
            {"arguments": ["Q", " no"], "target": "maybe", "acc": 0.0},
            "wrote the first alone",
        ),
    )
    def test_targets_that_cannot_be_told(self, changes, message):
        sample = _choice(0, (-1, -2, -3), 1) | changes
        self.logs.old("pretrained=a", "arc", [sample])
        with self.assertRaisesRegex(ValueError, message):
            self._read("target")

    def test_metrics(self):
        sample = _choice(0, (-1, -2, -3), 0, bleu=41.5, f1=[1, 1], word="x")
        self.logs.new(
            "org/a",
            "arc",
            [sample],
            higher_is_better={"bleu": True, "f1": True},
        )
        self.assertEqual(self._read("acc_norm").values.tolist(), [[0]])
        with self.assertRaisesRegex(ValueError, "say so too: --higher"):
            self._read("bleu")
        with self.assertRaisesRegex(ValueError, "leave --lower_is_better out"):
            self._read("bleu", higher_is_better=False)
        table = self._table("bleu", higher_is_better=True)
        self.assertEqual(table.nll_nats.tolist(), [[-41.5]])
        with self.assertRaisesRegex(ValueError, "f1: .1, 1. has several"):
            self._read("f1")
        with self.assertRaisesRegex(ValueError, "do not say whether higher"):
            self._read("word")
        with self.assertRaisesRegex(ValueError, "'x' is not a number"):
            self._read("word", higher_is_better=True)
        with self.assertRaisesRegex(ValueError, "no 'recall'.*acc, acc_norm"):
            self._read("recall", higher_is_better=True)

    def test_what_to_read_must_be_said(self):
        self.logs.new("org/a", "arc", [_choice(0, (-1, -2, -3), 0)])
        for value in (None, "nll_nats"):
            with self.assertRaisesRegex(
                ValueError, "--value=rolling or target"
            ):
                self._read(value)

    @parameterized.named_parameters(
        ("above zero", {"resps": [[0.5]]}, "0.5 is above 0"),
        ("infinite", {"resps": [["-inf"]]}, "-inf is not finite"),
        ("words", {"resps": [["a b"]]}, "'a b' is not a number"),
        ("null", {"resps": [[None]]}, "null stands here"),
        ("no responses", {"resps": []}, "a list is expected"),
        ("no arguments", {"arguments": []}, "a list of requests"),
        ("two", {"resps": [[-1.0], [-2.0]]}, "without rolling"),
    )
    def test_damaged_samples(self, changes, message):
        samples = [_rolling(0, 1.0), _rolling(1, 1.0) | changes]
        self.logs.old("pretrained=a", "wiki", samples)
        with self.assertRaisesRegex(ValueError, f"item 2.*{message}"):
            self._read("rolling")

    def test_damaged_files(self):
        self.logs.new("org/a", "wiki", [_rolling(i, 1.0) for i in range(3)])
        file = next(self.folder.rglob("samples*"))
        raw = file.read_bytes()
        file.write_bytes(raw[:-40])
        with self.assertRaisesRegex(ValueError, "line 3: the line is cut off"):
            self._read()
        file.write_bytes(raw.replace(b'"doc_id": 1', b'"doc_id": "x"'))
        with self.assertRaisesRegex(ValueError, "line 2, doc_id: 'x' is not"):
            self._read()
        file.write_bytes(raw.replace(b'"resps"', b'"responses"'))
        with self.assertRaisesRegex(ValueError, "line 1: no field 'resps'"):
            self._read()
        file.write_bytes(b"\n")
        with self.assertRaisesRegex(ValueError, "empty; the run did not end"):
            self._read()
        file.unlink()
        with self.assertRaisesRegex(ValueError, "run it with --log_samples"):
            self._read()

    def test_deep_documents(self):
        file = self.logs.old("pretrained=a", "wiki", [_rolling(0, 1.0)])
        deep = "[" * 20_000 + "]" * 20_000
        sample = json.dumps(_rolling(0, 1.0) | {"doc": "deep"})
        file.write_text(sample.replace('"deep"', deep))
        with self.assertRaisesRegex(ValueError, "nested too deeply"):
            self._read("rolling")

    def test_recognised(self):
        self.assertFalse(lm_eval.recognises(self.folder))
        self.logs.old("pretrained=a", "wiki", [_rolling(0, 1.0)])
        self.assertTrue(lm_eval.recognises(self.folder))
        self.assertEqual(importers.detected(self.folder), "lm_eval")
        (file,) = self.folder.glob("pre*")
        self.assertEqual(importers.detected(file), "lm_eval")
        self.assertEqual(lm_eval.read(file, Options()).models[0].name, "a")

    def test_prompts_are_kept(self):
        self.logs.new("org/a", "arc", [_choice(0, (-1, -2, -3), 0)])
        table = self._table("accuracy", keep_texts=True)
        self.assertEqual(table.texts.texts, ("Q: q0",))


if __name__ == "__main__":
    absltest.main()
