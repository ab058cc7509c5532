"""The examples in the docstrings of every module of the package."""

import doctest
import importlib
import pathlib

from absl.testing import absltest, parameterized

import mmc_jax

ROOT = pathlib.Path(mmc_jax.__path__[0])


def module_names(root):
    """Returns all modules, by their files: no list to be left out of."""
    return [
        ".".join((root.name, *path.relative_to(root).with_suffix("").parts))
        .removesuffix(".__init__")
        for path in sorted(root.rglob("*.py"))
    ]  # fmt: skip


class DoctestsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (name.replace(".", "_"), name) for name in module_names(ROOT)
    )
    def test_examples(self, name):
        results = doctest.testmod(importlib.import_module(name))
        self.assertEqual(results.failed, 0, "see the output above")

    def test_all_modules_are_here(self):
        names = module_names(ROOT)
        for name in ("mmc_jax", "mmc_jax.oracle", "mmc_jax.oracle.xla"):
            self.assertIn(name, names)


if __name__ == "__main__":
    absltest.main()
