"""Standard output and errors that are full, closed, or read by nobody."""

import contextlib
import io
import os
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from experiments import streams


def _full():
    """Returns a stream that takes any write with ENOSPC."""
    if not os.path.exists("/dev/full"):
        raise absltest.SkipTest("no /dev/full")
    return open("/dev/full", "w")


def _unread():
    """Returns a stream that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


class GuardedTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.done = []

    def _end(self, stdout, code=None, words="words"):
        """Returns the exit code of a program that prints, and goes on."""
        with (
            mock.patch.object(sys, "stdout", stdout),
            contextlib.closing(_full()) as stderr,
            mock.patch.object(sys, "stderr", stderr),
            contextlib.closing(stdout),
        ):
            try:
                with streams.guarded():
                    print(words)
                    print(words, flush=True)
                    print(words, file=sys.stderr, flush=True)
                    self.done.append("work")
                    sys.exit(code)
            except SystemExit as end:
                return end.code

    def test_full(self):
        self.assertRegex(
            self._end(_full()), "the disk is full.*: .standard output.$"
        )
        self.assertEqual(self.done, ["work"])

    def test_nobody_reads(self):
        self.assertEqual(self._end(_unread()), 141)
        self.assertEqual(self.done, ["work"])

    @parameterized.parameters(_full, _unread)
    def test_words_of_the_program_go_before(self, stream):
        self.assertEqual(self._end(stream(), "error: x"), "error: x")

    def test_all_is_well(self):
        self.assertIsNone(self._end(io.StringIO()))

    @parameterized.parameters(
        ("_LINES_AND_COLOURS", "a\x1b[31mb\n", "\x1b[2J\r\x07"),
        ("_LINES_AND_BARS", "a\x1b[K\r\x1b[Ab", "\x1b[2J\x1b]0;title\x07"),
    )
    def test_escapes_stay_harmless(self, allowed, harmless, harmful):
        written = io.StringIO()
        stream = streams._Stream(written, getattr(streams, allowed))
        print(harmless, harmful, file=stream, flush=True)
        found = written.getvalue()
        self.assertStartsWith(found, harmless)
        self.assertNotRegex(found[len(harmless) :], "[\x1b\r\x07]")

    def test_letters_that_the_encoding_lacks(self):
        written = io.BytesIO()
        stream = streams._Stream(
            io.TextIOWrapper(written, "ascii"), streams._LINES
        )
        print("\u2026", file=stream, flush=True)
        self.assertEqual(written.getvalue(), b"\\u2026\n")

    def test_long_words_are_cut(self):
        self.assertEqual(streams.shortened("so it is"), "so it is")
        cut = streams.shortened("a" + "x" * 10**7 + "b")
        self.assertLess(len(cut), 3000)
        self.assertRegex(cut, r"^ax+ \[\.\.\.\] x+b$")

    def test_a_stream_that_is_not_there(self):
        """No file of ours gets the number of a standard stream."""
        kept = os.dup(2)
        self.addCleanup(os.close, kept)
        self.addCleanup(os.dup2, kept, 2)
        os.close(2)
        with mock.patch.object(sys, "stderr", None):
            streams._open_all()
            with open(os.devnull) as opened:
                self.assertGreater(opened.fileno(), 2)
            sys.stderr.close()


if __name__ == "__main__":
    absltest.main()
