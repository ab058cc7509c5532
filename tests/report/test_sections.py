"""Sections, and the one writer of result folders."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest
from matplotlib.figure import Figure

from mmc_jax import report
from mmc_jax.report import drawing, result, sections
from mmc_jax.report.sections import Section


def odd_figure():
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1e-3, 1e6], [1, 3], label="$a\\b_{2}$ and <script>")
    axes.set(xscale="log", yscale="log", title="price ($/M in, $/M out)")
    axes.legend()
    return figure


def written(out, *parts):
    words = sections.write_sections(out, parts, flags={"a": 1})
    return json.loads((out / "result.json").read_text()), words


class SectionsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.out = pathlib.Path(tempfile.mkdtemp()) / "new" / "folder"

    def test_all_kinds_of_content(self):
        numbers, words = written(
            self.out,
            Section({"x": np.float64("nan")}, {"cost": np.arange(2)}),
            Section(
                point_columns={"loss": [2.0, np.inf]},
                arrays={"losses": np.arange(3.0)},
                figures={"odd": odd_figure},
                sentences=["one", "two"],
            ),
        )
        self.assertIsNone(numbers["x"])
        self.assertEqual(
            numbers["frontier"],
            [{"cost": 0, "loss": 2.0}, {"cost": 1, "loss": None}],
        )
        self.assertStartsWith(words, f"one\ntwo\n\nnumbers: {self.out}/")
        np.testing.assert_array_equal(
            result.read_arrays(self.out)["losses"], np.arange(3.0)
        )
        self.assertSameElements(
            os.listdir(self.out),
            ["result.json", "arrays.npz", "odd.svg", "odd.png"],
        )

    def test_nothing_is_said_twice(self):
        for field in ("numbers", "arrays", "figures", "point_columns"):
            twice = Section(**{field: {"x": [1]}})
            with self.assertRaisesRegex(ValueError, rf"{field}\['x'\]"):
                sections.merged([twice, twice])
        with self.assertRaisesRegex(ValueError, "differ in length"):
            sections.merged([Section(point_columns={"a": [1], "b": [1, 2]})])

    def test_no_two_results_are_mixed(self):
        arrays = Section(arrays={"a": np.arange(3)}, figures={"f": odd_figure})
        written(self.out, arrays)
        (self.out / "kept.txt").write_text("of a user")
        with self.subTest("arrays of another run"):
            other = pathlib.Path(tempfile.mkdtemp())
            written(other, Section(arrays={"a": np.arange(4)}))
            mine = (self.out / "arrays.npz").read_bytes()
            (self.out / "arrays.npz").write_bytes(
                (other / "arrays.npz").read_bytes()
            )
            with self.assertRaisesRegex(ValueError, "of another run"):
                result.read_arrays(self.out)
        with self.subTest("an older result names no hashes"):
            numbers = json.loads((self.out / "result.json").read_text())
            del numbers["sha256"]
            (self.out / "result.json").write_text(json.dumps(numbers))
            self.assertLen(result.read_arrays(self.out)["a"], 4)
            (self.out / "arrays.npz").write_bytes(mine[:-9])
            with self.assertRaisesRegex(ValueError, "arrays.npz: damaged"):
                result.read_arrays(self.out)
        with self.subTest("files of an earlier result go"):
            written(self.out, arrays)
            written(self.out, Section({"x": 1}))
            self.assertSameElements(
                os.listdir(self.out), ["result.json", "kept.txt"]
            )
        with self.subTest("killed between the files"):
            written(self.out, arrays)
            (self.out / "result.json").unlink()
            with self.assertRaisesRegex(ValueError, "incomplete"):
                result.read_arrays(self.out)

    def test_further_files_are_named_and_checked(self):
        further = Section(files={"f.npz": lambda path: path.write_bytes(b"a")})
        written(self.out, further)
        file = self.out / "f.npz"
        report.check_file(file)
        with self.subTest("of another run"):
            file.write_bytes(b"b")
            with self.assertRaisesRegex(ValueError, "f.npz is not the file"):
                report.check_file(file)
        with self.subTest("named by nothing"):
            other = pathlib.Path(tempfile.mkdtemp(), "f.npz")
            with self.assertRaises(FileNotFoundError):
                report.check_file(other)
            other.write_bytes(b"b")
            report.check_file(other)
        with self.subTest("goes with its result"):
            written(self.out, Section({"x": 1}))
            self.assertFalse(file.exists())

    def test_a_file_that_cannot_be_written(self):
        written(self.out, Section({"x": 1}))
        (self.out / "arrays.npz.partial").mkdir()
        with self.assertRaisesRegex(OSError, "arrays.npz'"):
            written(self.out, Section(arrays={"a": np.arange(3)}))
        self.assertEqual(
            json.loads((self.out / "result.json").read_text())["x"], 1
        )


class DrawingTest(absltest.TestCase):
    def test_the_same_bytes(self):
        files = drawing.saved(odd_figure)
        self.assertEqual(drawing.saved(odd_figure), files)
        self.assertNotIn(b"<dc:date>", files["svg"])
        # Text is drawn as shapes; the comment beside them holds its letters.
        self.assertIn(b"price ($/M in, $/M out)", files["svg"])
        self.assertNotIn(b"mathdefault", files["svg"])

    def test_is_laid_out(self):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot(ylabel="two\nlines\nand a third")
        before = axes.get_position().x0
        drawing.saved(figure)
        self.assertGreater(axes.get_position().x0, before)

    def test_settings_of_others_do_not_matter(self):
        folder = tempfile.mkdtemp()
        pathlib.Path(folder, "matplotlibrc").write_text("font.size: 40\n")
        script = (
            "import hashlib\n"
            "from mmc_jax.report import sandwich\n"  # Draws, as others do.
            "from mmc_jax.report import drawing\n"
            "from tests.report.test_sections import odd_figure\n"
            "files = drawing.saved(odd_figure)\n"
            "print(hashlib.sha256(files['png']).hexdigest())\n"
        )
        root = pathlib.Path(__file__).parents[2]
        printed = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(root),
                "JAX_PLATFORMS": "cpu",
                "MPLBACKEND": "module://not_installed.backend",
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        here = drawing.saved(odd_figure)["png"]
        self.assertEqual(printed.strip(), hashlib.sha256(here).hexdigest())


if __name__ == "__main__":
    absltest.main()
