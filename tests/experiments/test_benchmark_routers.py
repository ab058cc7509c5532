"""The benchmark of routers on few texts: its numbers, no times."""

import json
import pathlib
import tempfile

import jax
from absl.testing import absltest

from experiments.benchmarks import router_speed
from mmc_jax import realizable


class BenchmarkTest(absltest.TestCase):
    def test_every_router_is_timed(self):
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        out = pathlib.Path(tempfile.mkdtemp())
        said = router_speed.write(
            out,
            routers=tuple(realizable.ROUTERS),
            num_models=3,
            num_texts=40,
            num_features=4,
            seed=0,
            flags={},
        )
        rows = json.loads((out / "result.json").read_text())["routers"]
        self.assertEqual(list(rows), list(realizable.ROUTERS))
        for name in rows:
            self.assertIn(name, said)


if __name__ == "__main__":
    absltest.main()
