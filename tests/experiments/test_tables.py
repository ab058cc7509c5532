"""How programs read scores: what is left out, and what is said of it."""

import pathlib
import tempfile

import numpy as np
from absl import flags
from absl.testing import absltest, flagsaver

from experiments import tables
from mmc_jax import scores
from tests.experiments.programs import csv_files

_LOSSES = np.array([[1.0, 4.0, 2.0], [3.0, 2.0, 5.0], [2.0, 2.0, 2.0]])


class TablesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        self.enter_context(flagsaver.flagsaver())

    def _read(self, *, need_costs=True, **values):
        for name, value in values.items():
            flags.FLAGS[name].value = value
        with self.assertLogs("absl", "WARNING") as logs:
            table = tables.read(need_costs=need_costs)
        return table, "\n".join(logs.output)

    def _csv(self, **values):
        folder = csv_files(_LOSSES, [1, 2, 3])
        models = folder / "models.csv"
        models.write_text(models.read_text().replace("m1,y,2", "m1,y,"))
        return self._read(
            csv=str(folder / "scores.csv"),
            models=str(models),
            text_id="id",
            **values,
        )

    def test_a_model_without_a_cost(self):
        table, said = self._csv(normalisation="raw")
        self.assertEqual([m.name for m in table.models], ["m0", "m2"])
        self.assertIn("left out, for they have no num_params: m1", said)
        table, said = self._csv(need_costs=False)
        self.assertLen(table.models, 3)

    def test_scores_without_lengths(self):
        table, said = self._csv()
        self.assertIn("--normalisation=raw", said)
        self.assertEqual(tables.NORMALISATION.value, "raw")
        np.testing.assert_array_equal(
            table.losses(tables.NORMALISATION.value), _LOSSES[[0, 2]]
        )

    def test_lengths_without_tokens(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        for column, expected in (
            ("num_chars", "nats_per_char"),
            ("num_bytes", "bits_per_byte"),
            ("note", "raw"),
        ):
            path = folder / "s.csv"
            path.write_text(f"text_id,{column},a,b\nx,4,1,2\ny,5,3,4\n")
            with flagsaver.flagsaver():
                table, _ = self._read(
                    scores=str(path),
                    only_models=["b", "a"],
                    value="nll_nats",
                    need_costs=False,
                )
                self.assertEqual(tables.NORMALISATION.value, expected)
            self.assertEqual([m.name for m in table.models], ["b", "a"])
        with (
            flagsaver.flagsaver(),
            self.assertRaisesRegex(ValueError, "neither a score table"),
        ):
            self._read(scores=str(folder))

    def test_unfinished_models(self):
        folder = csv_files(_LOSSES, [1, 2, 3])
        out = pathlib.Path(tempfile.mkdtemp(), "scores")
        table, _ = self._read(
            csv=str(folder / "scores.csv"),
            models=str(folder / "models.csv"),
            text_id="id",
        )
        scores.write(table, out)
        (out / "models/bad%2Fone.parts").mkdir()
        self.assertEqual(scores.unfinished(out), ["bad/one"])
        again, said = self._read(scores=str(out), csv=None, normalisation="raw")
        self.assertIn("bad/one", said)
        self.assertEqual(len(again.models), 3)


if __name__ == "__main__":
    absltest.main()
