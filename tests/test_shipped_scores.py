"""The score table that ships: what the first figure of the quickstart shows."""

import os
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, law, scores
from tests import tolerances

_MAX_BYTES = 1_500_000


class ShippedScoresTest(absltest.TestCase):
    def test_what_ships(self):
        self.assertEqual(scores.shipped(), ("surprisal14",))
        table = scores.open("surprisal14")
        self.assertEqual(table.nll_nats.shape, (14, 22_602))
        self.assertEqual(table.unit, "nll_nats")
        with self.subTest("three families"):
            families = {model.family for model in table.models}
            self.assertEqual(families, {"mamba", "pythia", "rwkv"})
        with self.subTest("up to 2.98 billion parameters"):
            costs = table.costs("num_params")
            self.assertEqual(costs.min(), 129_135_360)
            self.assertEqual(costs.max(), 2_984_627_200)
        with self.subTest("no words"):
            self.assertIsNone(table.texts.texts)
        with self.subTest("the notice of its licence lies beside it"):
            notice = self.folder() / "LICENSE"
            self.assertIn("James A. Michaelov", notice.read_text())
        with self.subTest("small"):
            files = [f for f in self.folder().rglob("*") if f.is_file()]
            self.assertLess(sum(f.stat().st_size for f in files), _MAX_BYTES)

    def test_shows_the_law(self):
        """A pool has a lower floor than a single model, as the pages say."""
        table = scores.open("surprisal14")
        losses, costs = table.losses("raw"), table.costs("num_params")
        single = frontier.single_models(losses, costs)
        pool = frontier.exhaustive(losses, costs)
        self.assertEqual((len(single.costs), len(pool.costs)), (5, 79))
        floors = [law.fit(f.costs, f.losses).L_inf for f in (single, pool)]
        np.testing.assert_allclose(
            floors, (2.9712, 2.2693), rtol=tolerances.STATED_FLOOR
        )

    def test_a_folder_of_that_name_comes_first(self):
        here = pathlib.Path.cwd()
        os.chdir(tempfile.mkdtemp())
        self.addCleanup(os.chdir, here)
        self.assertTrue(scores.is_table("surprisal14"))
        pathlib.Path("surprisal14").mkdir()
        self.assertFalse(scores.is_table("surprisal14"))
        with self.assertRaisesRegex(FileNotFoundError, "no score table"):
            scores.open("surprisal14")

    def test_paths_are_no_names(self):
        for path in ("./surprisal14", pathlib.Path("surprisal14"), "nothing"):
            with self.subTest(path):
                self.assertFalse(scores.is_table(path))

    def folder(self) -> pathlib.Path:
        root = pathlib.Path(scores.__file__).parents[1]
        return root / "score_tables" / "surprisal14"


if __name__ == "__main__":
    absltest.main()
