import concurrent.futures
import errno
import fcntl
import os
import pathlib
import tempfile
import threading
import time
from unittest import mock

from absl.testing import absltest

from mmc_jax import at_once


class ReplacedTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.path = pathlib.Path(folder, "file")

    def test_many_writers_at_once(self):
        meet = threading.Barrier(4)

        def write(letter):
            with at_once.replaced(self.path) as new, new.open("w") as file:
                meet.wait(60)
                file.write(letter * 100)
                meet.wait(60)

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(write, "abcd"))
        content = self.path.read_text()
        self.assertEqual(content, content[0] * 100)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_what_fails_leaves_what_was_there(self):
        self.path.write_text("before")
        for error in (OSError, KeyboardInterrupt):
            with self.assertRaises(error), at_once.replaced(self.path) as new:
                new.write_text("half")
                raise error
        self.assertEqual(self.path.read_text(), "before")
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])


class AloneTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.folder = pathlib.Path(folder, "made")

    def test_writers_and_readers_take_turns(self):
        at_work = threading.Lock()

        def work(reads):
            with at_once.alone(self.folder, reads=reads):
                if not reads:
                    self.assertTrue(at_work.acquire(blocking=False))
                    time.sleep(0.002)  # Else nobody could come meanwhile.
                    at_work.release()
                else:
                    self.assertFalse(at_work.locked())

        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(work, [False, True] * 20))

    def test_readers_do_not_wait_for_each_other(self):
        folder = self.folder.parent
        descriptor = os.open(folder, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        with at_once.alone(folder, reads=True):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            with self.assertRaises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_blocks_of_one_thread_in_one_another(self):
        entered = threading.Event()

        def enter():
            with at_once.alone(self.folder):
                entered.set()

        with (
            self.assertLogs("absl", "WARNING") as logs,
            concurrent.futures.ThreadPoolExecutor(1) as thread,
            at_once.alone(self.folder),
        ):
            with (
                at_once.alone(self.folder),
                at_once.alone(self.folder, reads=True),
            ):
                pass
            # Only the end of the outermost one lets others in.
            thread.submit(enter)
            self.assertFalse(entered.wait(0.05))
        self.assertTrue(entered.is_set())
        self.assertIn("waiting for another run", logs.output[0])

    def test_where_there_is_no_folder_or_no_lock(self):
        with at_once.alone(self.folder, reads=True):
            self.assertFalse(self.folder.exists())
        error = OSError(errno.ENOLCK, "no locks")
        with (
            mock.patch.object(at_once.fcntl, "flock", side_effect=error),
            at_once.alone(self.folder),
        ):
            self.assertTrue(self.folder.is_dir())


if __name__ == "__main__":
    absltest.main()
