import os

import jax
import pytest
from absl.testing import absltest
from jax._src import compiler

from tests import optimisation


def _level() -> str:
    """Returns XLA's level of optimisation of a program compiled now."""
    options = compiler.get_compile_options(1, 1)
    return dict(options.env_option_overrides)["xla_backend_optimization_level"]


class OptimisationTest(absltest.TestCase):
    @pytest.mark.full_optimisation
    def test_as_for_users(self):
        self.assertEqual(_level(), 3)
        self.assertNotIn("optimization_level", os.environ.get("XLA_FLAGS", ""))

    @absltest.skipIf(
        os.environ.get("MMC_TEST_OPTIMISATION") == "full", "all is full"
    )
    def test_quick_by_default(self):
        self.assertEqual(_level(), 0)
        self.assertIn("optimization_level=0", os.environ["XLA_FLAGS"])

    def test_choices_of_a_program_go_before(self):
        program = jax.jit(lambda x: x + 1, compiler_options=optimisation.FULL)
        self.assertEqual(program(1), 2)


if __name__ == "__main__":
    absltest.main()
