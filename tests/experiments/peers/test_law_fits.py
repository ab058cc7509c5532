"""SciPy's fits of the law, and the race against them."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from experiments.benchmarks import law_speed
from experiments.peers import law_fits
from mmc_jax import law
from tests import tolerances


class LawFitsTest(absltest.TestCase):
    def test_scipy_ends_in_the_same_optima(self):
        costs, losses = law.planted_points(2, 12, 0.01)
        ours = law.fit_batch(costs, losses, num_starts=8)
        theirs = law_fits.peer_fits(costs, losses, 8, law.HUBER_DELTA)
        np.testing.assert_allclose(
            ours.objective,
            theirs.objective,
            rtol=tolerances.LAW_SCIPY,
        )
        np.testing.assert_allclose(
            np.stack(ours[:3], axis=1),
            theirs.parameters,
            rtol=tolerances.LAW_SCIPY,
        )

    def test_written(self):
        out = pathlib.Path(tempfile.mkdtemp())
        words = law_speed.write(
            out,
            num_sets=8,
            num_peer_sets=2,
            num_starts=8,
            num_points=12,
            noise=0.01,
            flags={},
        )
        result = json.loads((out / "result.json").read_text())
        self.assertEqual(result["num_fits"], 64)
        self.assertEqual(result["scipy_num_fits"], 16)
        self.assertIn("times faster", words)


if __name__ == "__main__":
    absltest.main()
