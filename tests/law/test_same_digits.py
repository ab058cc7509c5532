"""Laws on a processor of narrower instructions, and with another BLAS."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest

from tests.law import laws_of_one_machine

ROOT = pathlib.Path(__file__).parents[2]

# As on a processor without AVX-512: in XLA, in NumPy and in its BLAS.
NARROWER = {
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_cpu_max_isa=AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
}


class SameDigitsTest(absltest.TestCase):
    def test_on_other_processors(self):
        done = subprocess.run(
            [sys.executable, "-m", "tests.law.laws_of_one_machine"],
            env={**os.environ, **NARROWER},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        here = [f"{number:.10g}" for number in laws_of_one_machine.numbers()]
        there = [f"{float.fromhex(line):.10g}" for line in done.stdout.split()]
        self.assertEqual(here, there)


if __name__ == "__main__":
    absltest.main()
