"""The benchmark of the certified search, on tiny pools."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from mmc_jax import certificate_checker, frontier, synthetic
from tests.experiments.programs import run


class BenchmarkTest(absltest.TestCase):
    def test_cases_and_one_budget(self):
        out = pathlib.Path(tempfile.mkdtemp())
        done = run(
            "experiments.benchmark_certified",
            "--num_models=12",
            "--num_texts=30",
            "--noise=0.1",
            "--root_texts=40",
            "--root_noise=0.2",
            "--peer_texts=30",
            f"--out={out}",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        searched, root = json.loads((out / "result.json").read_text())["cases"]
        drawn = synthetic.pool(12, 30, 0.1)
        exact = frontier.exhaustive(drawn.losses, drawn.costs)
        with self.subTest("the searched pool is proven"):
            self.assertEqual(searched["num_points"], len(exact.costs))
            self.assertEqual(searched["num_proven"], len(exact.costs))
            self.assertEqual(searched["largest_gap"], 0)
            self.assertEqual(
                searched["checker"]["num_proven"],
                searched["checker"]["num_points"],
            )
        with self.subTest("the files are certificates"):
            path = out / "30-0.1-600.certificate.npz"
            certificate_checker.check(path, drawn.losses, drawn.costs)
            self.assertEqual(searched["certificate_bytes"], path.stat().st_size)
        with self.subTest("HiGHS agrees, and so does our tree"):
            one = searched["one_budget"]
            self.assertIn(one["budget"], exact.costs)
            for name in ("highs_from_nothing", "highs_loss_given"):
                self.assertTrue(one[name]["is_optimal"])
                self.assertTrue(one[name]["is_equal"])
            self.assertTrue(one["tree_loss_given"]["is_optimal"])
            self.assertIn("HiGHS from nothing", done.stdout)
        with self.subTest("of the other pool there is the root"):
            self.assertEqual(root["time_limit_s"], 0)
            self.assertLess(root["num_proven"], root["num_points"])
            self.assertGreater(root["largest_gap"], 0)
            self.assertNotIn("one_budget", root)
            self.assertTrue((out / "gaps.png").exists())


if __name__ == "__main__":
    absltest.main()
