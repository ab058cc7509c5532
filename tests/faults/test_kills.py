"""Whatever writes files is killed at random times; a rerun ends the same."""

from absl.testing import absltest, parameterized

from tests.faults import kills
from tests.faults.jobs import JOBS


class KillsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (name.replace(" ", "_"), job) for name, job in JOBS.items()
    )
    def test_a_rerun_ends_as_if_nothing_had_been(self, job):
        found = kills.attack(job, num_kills=5)
        self.assertEqual(found.num_kills, 5)
        self.assertGreaterEqual(found.num_ends, 1)
        self.assertEmpty(found.lost)


if __name__ == "__main__":
    absltest.main()
