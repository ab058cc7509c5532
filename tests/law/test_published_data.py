"""Laws of other people's measurements, where these lie beside the checkout."""

import csv
import gzip
import pathlib
import re

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, law

_DATA = pathlib.Path(__file__).parents[3] / "shared" / "data"


def _rows(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


@absltest.skipIf(not _DATA.is_dir(), f"no measurements in {_DATA}")
class PublishedDataTest(absltest.TestCase):
    def test_surprisal14(self):
        models = _rows(_DATA / "surprisal14" / "models.csv")
        words = _rows(_DATA / "surprisal14" / "words.csv.gz")
        costs = np.array([float(row["num_params"]) for row in models])
        losses = np.array(
            [[float(row[m["model"]]) for row in words] for m in models]
        )
        _, text = np.unique(
            [row["text_id"] for row in words], return_inverse=True
        )
        sums = np.stack([np.bincount(text, weights=row) for row in losses])
        for name, table in (("words", losses), ("texts", sums)):
            line = frontier.pruned(table, costs)
            with self.subTest(name):
                fit = law.fit(line.costs, line.losses)
                self.assertTrue(fit.converged)
                # Losses are means, of words or of texts of 3.7 words.
                all_models = table.min(axis=0).mean()
                self.assertBetween(fit.L_inf, 0.5 * all_models, all_models)
                self.assertBetween(fit.alpha, 0.1, 0.6)
            with self.subTest(f"{name}, of drawn texts"):
                found = law.text_bootstrap(
                    table,
                    line.costs,
                    line.masks,
                    clusters=text.astype(str) if name == "words" else None,
                    num_resamples=128,
                )
                _, low, high, _ = found.interval("L_inf")
                self.assertBetween(fit.L_inf, low, high)
                self.assertLess(high - low, 0.2 * fit.L_inf)
            with self.subTest(f"{name}, what is identified"):
                single = frontier.single_models(table, costs)
                profile = law.profile(single.costs, single.losses)
                says = law.statement(profile, single.losses.min())
                self.assertIn(
                    "between" if profile.identified else "do not identify",
                    says,
                )

    def test_bpb90_gains_nothing(self):
        rows = _rows(_DATA / "bpb90" / "bits_per_byte.csv")
        size = re.compile(r"(?<![\d.])(\d+(?:[._]\d+)?)([bBmM])(?![a-zA-Z])")
        costs = {}
        for name in rows[0]:
            found = size.search(name.split("/")[-1])
            if found:
                unit = 1e9 if found[2] in "bB" else 1e6
                costs[name] = unit * float(found[1].replace("_", "."))
        losses = np.array(
            [[float(row[name]) for row in rows] for name in costs]
        )
        costs = np.array(list(costs.values()))
        single = frontier.single_models(losses, costs)
        pool = frontier.pruned(losses, costs)
        np.testing.assert_array_equal(pool.masks, single.masks)
        self.assertEqual(losses.min(axis=0).mean(), losses.mean(axis=1).min())
        fits = [law.fit(line.costs, line.losses) for line in (single, pool)]
        self.assertEqual(law.floor_gap_percent(*fits), 0.0)


if __name__ == "__main__":
    absltest.main()
