"""What is left out of a pool, and what would take too long."""

import types

from absl.testing import absltest

from mmc_jax.law import sensitivity


class NamesToLeaveOutTest(absltest.TestCase):
    def test_up_to_a_number_of_models(self):
        models = [types.SimpleNamespace(name=f"m{i}") for i in range(3)]
        table = types.SimpleNamespace(models=models)
        with absltest.mock.patch.object(sensitivity, "_MOST_LEFT_OUT", 3):
            names = sensitivity._names_to_leave_out(table)
        self.assertEqual(names, ["m0", "m1", "m2"])
        with (
            absltest.mock.patch.object(sensitivity, "_MOST_LEFT_OUT", 2),
            self.assertRaisesRegex(ValueError, "3 models .* up to 2 are left"),
        ):
            sensitivity._names_to_leave_out(table)


if __name__ == "__main__":
    absltest.main()
