"""Facts of models and dates of texts: what is read, and what is refused."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, dates, importers, scores


def _file(name, content):
    path = pathlib.Path(tempfile.mkdtemp(), name)
    path.write_text(content)
    return path


def _table(**provenance):
    count = np.array([1, 1])
    texts = corpus.Corpus(("x", "y"), ("", ""), count, count, ("", ""), None)
    models = tuple(
        scores.ScoredModel(
            name, "f", "instruct", {"num_params": 7.0}, dict(provenance)
        )
        for name in ("org/a", "b")
    )
    return scores.ScoreTable(models, texts, np.ones((2, 2)))


class DateSpanTest(parameterized.TestCase):
    @parameterized.parameters(
        ("2023", "2023-01-01", "2023-12-31"),
        ("2024-2", "2024-02-01", "2024-02-29"),
        ("2023-04-03", "2023-04-03", "2023-04-03"),
        (" 2023-04-03T10:00:00Z ", "2023-04-03", "2023-04-03"),
        ("2023-04-03 10:00", "2023-04-03", "2023-04-03"),
    )
    def test_what_may_be_meant(self, text, first, last):
        found = dates.date_span(text)
        self.assertEqual([day.isoformat() for day in found], [first, last])

    @parameterized.parameters(
        "", "soon", "03/04/2023", "2023-13", "2023-02-30", "20230403", "23",
        "0000", "2023-04-03-05", "٢٠٢٣", "2023.0", "-2023", "2023-04-",
    )  # fmt: skip
    def test_no_date(self, text):
        with self.assertRaisesRegex(ValueError, "is no date"):
            dates.date_span(text)


class ModelFactsTest(absltest.TestCase):
    def test_dates_and_tokens(self):
        path = _file(
            "m.csv",
            "model,num_training_tokens,release_date\na,3e11,2023-04-03\nb,,\n",
        )
        first, second = importers.read_models(path)
        self.assertEqual(first.costs, {"num_training_tokens": 3e11})
        self.assertEqual(first.provenance, {"release_date": "2023-04-03"})
        self.assertEqual((second.costs, second.provenance), ({}, {}))

    def test_bad_facts_are_named(self):
        for content, message in (
            ("model,release_date\na,soon\n", "row 1, .*release_date.*'soon'"),
            ("model,num_training_tokens\na,-1\n", "row 1, .*-1 is negative"),
        ):
            with (
                self.subTest(content),
                self.assertRaisesRegex(ValueError, f"m.csv, {message}"),
            ):
                importers.read_models(_file("m.csv", content))

    def test_a_table_of_our_engine_takes_them(self):
        facts = importers.read_models(
            _file(
                "m.csv",
                "model,family,num_params,num_training_tokens,release_date\n"
                "a,other,5,3e11,2023\nnobody,f,1,1,2020\n",
            )
        )
        with self.assertLogs("absl", level="WARNING") as logs:
            found = importers.with_facts(_table(key={}), facts)
        self.assertIn("nobody", logs.output[0])
        first, second = found.models
        self.assertEqual((first.name, first.family), ("org/a", "f"))
        self.assertEqual(first.kind, "instruct")
        # What was counted has the last word.
        self.assertEqual(
            first.costs, {"num_params": 7.0, "num_training_tokens": 3e11}
        )
        self.assertEqual(first.provenance["release_date"], "2023")
        self.assertEqual(second, _table(key={}).models[1])
        imported = importers.with_facts(_table(), facts[:1])
        self.assertEqual(imported.models[0].costs["num_params"], 5.0)

    def test_facts_of_others(self):
        nobody = importers.read_models(_file("m.csv", "model\nnobody\n"))
        with self.assertRaisesRegex(ValueError, "org/a, b, but of nobody"):
            importers.with_facts(_table(), nobody)
        both = importers.read_models(_file("m.csv", "model\na\norg/a\n"))
        with self.assertRaisesRegex(ValueError, "both mean the model 'org/a'"):
            importers.with_facts(_table(), both)


class TextDatesTest(parameterized.TestCase):
    def test_a_corpus_in_json_lines(self):
        rows = [
            {"id": 7, "text": "one", "date": "2020-05-01"},
            {"id": "x", "text": "two", "date": None},
            {"id": "y", "text": "three"},
        ]
        path = _file("c.jsonl", "\n".join(map(json.dumps, rows)))
        self.assertEqual(importers.read_text_dates(path), {"7": "2020-05-01"})
        self.assertLen(importers.read_text_dates(path, ["8", "7"]), 1)
        with self.assertRaisesRegex(ValueError, "such as '7'.* as 'x'"):
            importers.read_text_dates(path, ["x"])

    def test_a_corpus_without_ids(self):
        path = _file("c.jsonl", '{"text": "one", "date": "2020"}\n')
        (expected,) = corpus.read(path).ids
        self.assertEqual(importers.read_text_dates(path), {expected: "2020"})

    def test_a_table_of_facts(self):
        path = _file("t.csv", "text_id,date\n007,2020\n007,2020\nx,2021-03\n")
        self.assertEqual(
            importers.read_text_dates(path), {"007": "2020", "x": "2021-03"}
        )

    @parameterized.parameters(
        ("text_id,day\nx,2020\n", "no column 'date'"),
        ("name,date\nx,2020\n", "no column 'text_id' or 'id'"),
        ("id,date\nx,2020\ny,May\n", "row 2, column 'date': 'May' is no date"),
        ("id,date\nx,2020\nx,2021\n", "row 2, .*'x' is there already"),
        ("id,date\nx,\n", "all cells are empty"),
    )
    def test_what_is_refused(self, content, message):
        with self.assertRaisesRegex(ValueError, f"t.csv.*{message}"):
            importers.read_text_dates(_file("t.csv", content))


if __name__ == "__main__":
    absltest.main()
