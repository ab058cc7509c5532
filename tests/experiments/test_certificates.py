"""From a CSV file to a proof, and its verification."""

import json

import numpy as np
from absl.testing import absltest

from mmc_jax import frontier, synthetic
from tests import left_out
from tests.experiments.programs import csv_files, run_here


class CertificatesTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def setUp(self):
        super().setUp()
        self.pool = synthetic.pool(10, 30, noise=0.1)
        self.folder = csv_files(self.pool.losses, self.pool.costs)
        self.csv = self.folder / "scores.csv"
        self.flags = (
            f"--csv={self.csv}",
            f"--models={self.folder}/models.csv",
            "--text_id=id",
            "--normalisation=raw",
        )
        self.certificate = self.folder / "out/certificate.npz"

    def _traced(self, *arguments):
        done = run_here(
            "experiments.trace_frontier",
            *self.flags,
            "--method=certified",
            f"--out={self.folder}/out",
            *arguments,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((self.folder / "out/result.json").read_text())
        return done.stdout, result

    def _checked(self):
        return run_here(
            "experiments.check_certificate",
            *self.flags,
            f"--certificate={self.certificate}",
        )

    def test_all_is_proven(self):
        said, result = self._traced()
        expected = frontier.exhaustive(self.pool.losses, self.pool.costs)
        num_points = len(expected.costs)
        self.assertEqual(result["certified"]["num_proven"], num_points)
        np.testing.assert_array_equal(
            [point["cost"] for point in result["frontier"]], expected.costs
        )
        self.assertTrue(all(point["proven"] for point in result["frontier"]))
        self.assertIn(f"proven: all {num_points} points", said)
        self.assertRegex(
            said,
            r"no subset of these 10 models with less than [\d.e+]+ total "
            r"parameters has an oracle loss below \d\.\d{6} on these texts",
        )
        self.assertTrue((self.folder / "out/proof.png").exists())
        self.assertFalse((self.folder / "out/certificate.parts").exists())
        with self.subTest("the checker agrees"):
            done = self._checked()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"{num_points} of {num_points} points", done.stdout)
        with self.subTest("and sees one of another run"):
            content = self.certificate.read_bytes()
            self.certificate.write_bytes(content + b"x")
            done = self._checked()
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, "error: .*npz is not the file that")
            self.certificate.write_bytes(content)
        with self.subTest("and sees another score"):
            text = self.csv.read_text()
            last = text.rfind(",") + 1
            self.csv.write_text(text[:last] + "0.5")
            done = self._checked()
            self.assertEqual(done.returncode, 1)
            self.assertIn("error: ", done.stderr)

    @left_out.figures()
    def test_out_of_time_and_on(self):
        said, result = self._traced("--time_limit=0")
        self.assertLess(
            result["certified"]["num_proven"],
            result["certified"]["num_points"],
        )
        self.assertIn("a better subset lies at most", said)
        self.assertEqual(self._checked().returncode, 0)
        self.assertTrue((self.folder / "out/certificate.parts").exists())
        said, _ = self._traced()
        self.assertIn("proven: all", said)

    @left_out.figures()
    def test_what_is_proven_is_kept_until_the_result_is_written(self):
        (self.folder / "out/result.json.partial").mkdir(parents=True)
        done = run_here(
            "experiments.trace_frontier",
            *self.flags,
            "--method=certified",
            f"--out={self.folder}/out",
        )
        self.assertEqual(done.returncode, 1)
        self.assertTrue((self.folder / "out/certificate.parts").exists())
        (self.folder / "out/result.json.partial").rmdir()
        self._traced()
        self.assertFalse((self.folder / "out/certificate.parts").exists())

    def test_all_sizes_or_another_method(self):
        done = run_here(
            "experiments.trace_frontier",
            *self.flags,
            "--method=certified",
            "--max_size=3",
            f"--out={self.folder}/out",
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("leave max_size out", done.stderr)


if __name__ == "__main__":
    absltest.main()
