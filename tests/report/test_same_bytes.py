"""Results have the same bytes on another processor and with other kernels.

The numbers of laws have the same ten digits.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

from mmc_jax.oracle import backends
from tests.report import results_of_one_machine

_ROOT = pathlib.Path(__file__).parents[2]

# As on a processor without AVX-512: in XLA, in NumPy and in its BLAS.
_NARROWER_XLA = " --xla_cpu_max_isa=AVX2"
_NARROWER = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
}


class SameBytesTest(absltest.TestCase):
    def test_of_every_file(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        results_of_one_machine.write(folder / "here")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.report.results_of_one_machine",
                str(folder / "there"),
            ],
            env={
                **os.environ,
                **_NARROWER,
                "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + _NARROWER_XLA,
                backends.VARIABLE: "xla",
            },
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        here, there = (
            results_of_one_machine.contents(folder / name)
            for name in ("here", "there")
        )
        self.assertEqual(here.keys(), there.keys())
        for name, content in here.items():
            with self.subTest(name):
                other = there[name]
                at = next(
                    (
                        i
                        for i, pair in enumerate(
                            zip(content, other, strict=False)
                        )
                        if pair[0] != pair[1]
                    ),
                    min(len(content), len(other)),
                )
                around = slice(max(0, at - 120), at + 40)
                self.assertEqual(
                    content == other or (content[around], other[around]), True
                )


if __name__ == "__main__":
    absltest.main()
