"""What long work says while it runs."""

import io
import threading
import time
from unittest import mock

from absl.testing import absltest

from mmc_jax import stages


class _Lines(io.StringIO):
    """Standard error that tells when so many lines were written."""

    def __init__(self, num_lines: int, is_terminal: bool = False):
        super().__init__()
        self.enough = threading.Event()
        self._num_lines, self._is_terminal = num_lines, is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def flush(self) -> None:
        self._num_lines -= 1
        if not self._num_lines:
            self.enough.set()


class StagesTest(absltest.TestCase):
    def test_the_innermost_stage_says_how_far_it_is(self):
        lines = _Lines(1)
        with (
            mock.patch("sys.stderr", lines),
            mock.patch.object(stages, "_SECONDS", 0.01),
            stages.stage("outside"),
            stages.stage("inside"),
        ):
            stages.say("1 of 2")
            lines.enough.clear()
            lines._num_lines = 2
            self.assertTrue(lines.enough.wait(20))
            said = lines.getvalue()
        self.assertEqual(said.splitlines()[-1], "inside: 1 of 2 (0 s)")

    def test_the_outer_stage_goes_on_where_the_inner_ends(self):
        lines = _Lines(3)
        with (
            mock.patch("sys.stderr", lines),
            mock.patch.object(stages, "_SECONDS", 0.01),
            stages.stage("outside"),
        ):
            with self.assertRaises(ValueError), stages.stage("inside"):
                raise ValueError
            self.assertTrue(lines.enough.wait(20))
        self.assertEndsWith(lines.getvalue(), "outside (0 s)\n")

    def test_a_terminal_shows_one_line_and_clears_it(self):
        lines = _Lines(2, is_terminal=True)
        with (
            mock.patch("sys.stderr", lines),
            mock.patch.object(stages, "_SECONDS", 0.01),
            stages.stage("working"),
        ):
            self.assertTrue(lines.enough.wait(20))
        self.assertNotIn("\n", lines.getvalue())
        self.assertStartsWith(lines.getvalue(), "\r\x1b[Kworking (0 s)")
        self.assertEndsWith(lines.getvalue(), "\r\x1b[K")

    def test_short_work_and_no_work_say_nothing(self):
        lines = _Lines(1)
        with mock.patch("sys.stderr", lines):
            stages.say("nobody listens")
            with stages.stage("short"):
                stages.say("half")
        self.assertEqual(lines.getvalue(), "")

    def test_short_stages_that_follow_each_other_are_one_work(self):
        lines, now = _Lines(1), time.monotonic()
        with (
            mock.patch("sys.stderr", lines),
            mock.patch.object(stages, "_silent_since", now - 6),
            mock.patch.object(stages, "_last_end", now),
            stages.stage("second"),
        ):
            self.assertTrue(lines.enough.wait(4))
        self.assertEqual(lines.getvalue(), "second (0 s)\n")

    def test_as_a_decorator(self):
        @stages.stage("adding")
        def total(a: int, b: int) -> int:
            """Returns the sum."""
            return a + b

        self.assertEqual(total(1, 2), 3)
        self.assertEqual(total(3, 4), 7)
        self.assertEqual(total.__name__, "total")


if __name__ == "__main__":
    absltest.main()
