"""The referee's checklist: what is filled, and what stays open."""

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, report, scores

_GROUPS = ("hypothesis", "training setup", "data collection", "fitting")


def _table(**of_models):
    models = tuple(
        scores.ScoredModel(
            name,
            family=name,
            costs={"num_params": 10.0 ** (m + 6)},
            **of_models,
        )
        for m, name in enumerate("ab")
    )
    texts = corpus.Corpus(
        ids=("x", "y"),
        domains=("web", "code"),
        num_bytes=np.array([3, 4]),
        num_chars=np.array([3, 4]),
        sha256=("", ""),
        texts=None,
    )
    return scores.ScoreTable(models, texts, np.array([[1.0, 2.0], [2.0, 1.0]]))


def _items(table, **flags):
    found = report.referee_items(
        table, cost="num_params", normalisation="nats_per_char", flags=flags
    )
    return found, {item.item: item for item in found}


class ChecklistTest(absltest.TestCase):
    def test_imported_scores_leave_training_open(self):
        items, by_item = _items(_table(), num_resamples=7, huber_delta=0.5)
        self.assertEqual(
            tuple(dict.fromkeys(item.group for item in items)), _GROUPS
        )
        self.assertLen(by_item, len(items))
        tokens = by_item["On how many tokens was each trained?"]
        self.assertIsNone(tokens.answer)
        self.assertIn("num_training_tokens", tokens.source)
        checked = by_item["How is the law checked?"].answer
        self.assertIn("7 resampled texts", checked)
        bootstrap = by_item["Is there a bootstrap, and of what?"].answer
        self.assertIn("7 resamples of the texts", bootstrap)
        compute = by_item["How much compute did the training take?"]
        self.assertIsNone(compute.answer)
        objective = by_item["Which objective is minimised?"].answer
        self.assertIn("delta 0.5", objective)
        sizes = by_item["Of which sizes are they?"].answer
        self.assertIn("1e+06 to 1e+07", sizes)
        metric = by_item["Which metric, on which texts?"].answer
        self.assertIn("2 texts of 2 domains (code, web)", metric)
        counted = by_item["How are parameters counted?"].answer
        self.assertIn("files of facts", counted)
        self.assertTrue(all(item.source for item in items))

    def test_what_the_engine_knows_is_filled(self):
        table = _table(
            provenance={
                "key": {},
                "checkpoint": "org/<b>",
                "model_type": "llama",
            }
        )
        _, by_item = _items(table)
        checkpoints = by_item["Can the checkpoints be had?"].answer
        self.assertIn("org/<b>", checkpoints)
        settings = by_item["Which other settings, such as width and depth?"]
        self.assertIn("llama", settings.answer)
        counted = by_item["How are parameters counted?"].answer
        self.assertIn("config", counted)

    def test_a_fact_of_some_models_leaves_it_open(self):
        table = _table()
        table.models[0].costs["num_training_tokens"] = 3e11
        _, by_item = _items(table)
        tokens = by_item["On how many tokens was each trained?"]
        self.assertIsNone(tokens.answer)
        self.assertIn("1 of 2", tokens.source)
        table.models[1].costs["num_training_tokens"] = 4e11
        _, by_item = _items(table)
        tokens = by_item["On how many tokens was each trained?"]
        self.assertIn("3e+11 to 4e+11", tokens.answer)
        compute = by_item["How much compute did the training take?"].answer
        self.assertIn("1.8e+18 to 2.4e+19 FLOPs", compute)

    def test_section(self):
        items, _ = _items(_table())
        section = report.checklist_section(items)
        self.assertLen(section.numbers["checklist"]["items"], len(items))
        num_open = sum(item.answer is None for item in items)
        self.assertLen(section.sentences, 2 + num_open)


if __name__ == "__main__":
    absltest.main()
