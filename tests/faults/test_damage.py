"""Damaged files of every kind are refused by name, or harm nothing."""

from absl.testing import absltest, parameterized

from tests.faults import damage, strangers
from tests.faults.files import KINDS


class DamageTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (name.replace(" ", "_"), name, kind) for name, kind in KINDS.items()
    )
    def test_nothing_is_read_in_silence(self, name, kind):
        num_cuts, num_flips = (1, 2) if kind.is_slow else (4, 12)
        if name in strangers.FILES:  # Many, and alike.
            num_cuts, num_flips = 2, 4
        found = damage.attack(kind, num_cuts, num_flips)
        self.assertEqual(
            found.num_attempts, len(damage.ODD) + num_cuts + num_flips
        )
        self.assertEmpty(found.lost)
        if kind.has_checksum:
            self.assertEqual(found.num_others, 0)


if __name__ == "__main__":
    absltest.main()
