"""Figures of more models than have rows: none grows with the pool."""

import functools

import numpy as np
from absl.testing import absltest

from mmc_jax import diversity, frontier
from mmc_jax.frontier.generalisation.checks import Checks, generalisation
from mmc_jax.report import diversity_figures, figures, study_figures
from mmc_jax.report.generalisation import generalisation_section
from mmc_jax.report.page import document, pool_chapters
from tests.report import contents


class ManyModelsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(absltest.mock.patch.object(figures, "MOST_ROWS", 3))
        self.losses = np.random.default_rng(0).random((5, 20))
        self.names = [f"model-{m}" for m in range(5)]
        self.families = list("aabbb")

    def _rows(self, figure):
        return [label.get_text() for label in figure.axes[0].get_yticklabels()]

    def test_membership_shows_the_models_of_the_most_subsets(self):
        masks = np.array([[0, 1, 0, 0, 1], [0, 1, 0, 1, 1], [1, 1, 0, 1, 1]])
        line = frontier.Frontier(np.arange(3.0), -np.arange(3.0), masks > 0)
        drawn = study_figures.membership(
            line, self.names, self.families, np.arange(5.0), cost_label="cost"
        )
        self.assertEqual(self._rows(drawn), ["model-1", "model-3", "model-4"])
        self.assertIn("the 3 of 5 models", drawn.axes[0].get_title())

    def test_elimination_shows_the_last(self):
        dropped = diversity.elimination(self.losses)
        drawn = diversity_figures.elimination(dropped, self.names, "loss")
        last = [self.names[m] for m in dropped.order[-3:]]
        self.assertEqual(self._rows(drawn), last)
        self.assertIn("last 3 of 5 models", drawn.axes[0].get_title())

    def test_contributions_show_the_first(self):
        drawn = diversity_figures.contributions(
            self.names,
            diversity.win_shares(self.losses),
            diversity.shapley(self.losses),
            diversity.marginal_contributions(self.losses),
            "nats",
        )
        self.assertEqual(self._rows(drawn), self.names[:3])
        self.assertLen(drawn.axes[2].patches, 3)

    def test_what_searches_on_halves_leave_out_is_said(self):
        rng = np.random.default_rng(0)
        losses, costs = rng.random((5, 8)), np.arange(1.0, 6.0)
        search = functools.partial(frontier.pruned, width=2)
        line = search(losses, costs)
        found = generalisation(
            losses,
            costs,
            ["prose"] * 8,
            line,
            search,
            Checks(num_splits=1),
        )
        section = generalisation_section(
            found, line, cost_label="cost", loss_label="loss"
        )
        self.assertEqual(section.numbers["most_subsets_of_a_size"], 2)
        self.assertIn("are cut to 2 subsets", " ".join(section.sentences))
        content = contents.content(num_models=5)
        self.assertNotIn("are cut to", document.page_of(content))
        content["study"]["most_subsets_of_a_size"] = 2
        self.assertIn("are cut to", document.page_of(content))

    def test_what_many_texts_leave_out_is_said(self):
        content = contents.content(num_models=5)
        self.assertNotIn("There are many texts", document.page_of(content))
        content["law"]["views"][0]["most_resampled_points"] = 128
        page = document.page_of(content)
        self.assertIn("There are many texts", page)
        self.assertIn("/law/views/0/most_resampled_points", page)

    def test_a_page_has_rows_of_some(self):
        content = contents.content(num_models=5)
        few = {"paired_models": content["study"]["models"][:3]}
        content["diversity"] |= few | {"pair_gains": np.eye(3).tolist()}
        with absltest.mock.patch.object(pool_chapters, "_MOST_ROWS", 3):
            page = document.page_of(content)
        self.assertIn("Loss of the 3 models of the least mean loss", page)
        self.assertIn("/diversity/paired_models", page)
        self.assertNotIn("Loss of every model", page)
        self.assertIn("Loss of every model", document.page_of(content))

    def test_a_matrix_has_smaller_cells_without_names(self):
        values = diversity.pair_gains(self.losses)
        drawn = diversity_figures.matrix(
            values, self.names, self.families, "gain"
        )
        self.assertEqual(drawn.axes[0].get_xlabel(), "5 models, by family")
        fewer = diversity_figures.matrix(
            values[:3, :3], self.names[:3], self.families[:3], "gain"
        )
        self.assertEqual(
            drawn.get_size_inches().tolist(), fewer.get_size_inches().tolist()
        )
        self.assertEqual(self._rows(fewer), self.names[:3])


if __name__ == "__main__":
    absltest.main()
