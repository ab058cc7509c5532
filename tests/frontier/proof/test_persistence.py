"""What a certified search keeps: damaged, shared, and without room for it."""

import concurrent.futures
import errno
import hashlib
import pathlib
import shutil
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import frontier, synthetic
from mmc_jax.frontier.proof import persistence


class Killed(BaseException):
    pass


class PersistenceTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pool = synthetic.pool(9, 30, noise=0.1)
        cls.expected = frontier.certified(cls.pool.losses, cls.pool.costs)

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(), "work")

    def prove(self, **options):
        return frontier.certified(
            self.pool.losses, self.pool.costs, work_dir=self.folder, **options
        )

    def assert_as_expected(self, found):
        for name, array in self.expected.certificate._asdict().items():
            np.testing.assert_array_equal(
                array, getattr(found.certificate, name), name
            )

    @parameterized.parameters("window-00001.npz", "start.npz", "key.txt")
    def test_a_damaged_file_is_set_aside_and_computed_again(self, name):
        self.prove()
        path = self.folder / name
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        flips = rng.integers(len(whole), size=6)
        for data in (
            b"",
            whole[: len(whole) // 2],
            *(
                whole[:at] + bytes([whole[at] ^ 128]) + whole[at + 1 :]
                for at in flips
            ),
        ):
            path.write_bytes(data)
            with self.subTest(data=data[:20]):
                try:
                    with self.assertLogs("absl", level="WARNING") as logs:
                        found = self.prove()
                except AssertionError:
                    # A flip that harms nothing, as in a name's padding.
                    self.assert_as_expected(self.prove())
                    continue
                self.assert_as_expected(found)
                self.assertIn(f"{path} is damaged", logs.output[0])
                # What was there is not lost, and what is there is whole.
                aside = list(self.folder.glob(f"{name}.*.damaged"))
                self.assertLen(aside, 1)
                self.assertEqual(aside[0].read_bytes(), data)
                aside[0].unlink()
                self.assert_as_expected(self.prove())

    @parameterized.parameters(
        MemoryError(), OSError(errno.EMFILE, "Too many open files")
    )
    def test_a_good_file_that_cannot_be_read_now_stays(self, error):
        self.prove()
        before = sorted(self.folder.iterdir())
        with (
            mock.patch.object(
                persistence.WorkFolder, "_arrays", side_effect=error
            ),
            self.assertRaises(type(error)),
        ):
            self.prove()
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_masks_of_other_bytes_are_set_aside(self):
        """A kernel that took them would read beyond its memory."""
        self.prove()
        path = self.folder / "start.npz"
        with np.load(path) as file:
            arrays = dict(file)
        bad = np.full(arrays["masks"].shape, 255, np.uint8).view(bool)
        np.savez(path, **{**arrays, "masks": bad})
        with self.assertLogs("absl", level="WARNING") as logs:
            self.assert_as_expected(self.prove())
        self.assertIn("holds no booleans", logs.output[0])

    def test_a_window_of_another_search_is_not_taken(self):
        self.prove()
        other = pathlib.Path(tempfile.mkdtemp())
        frontier.certified(
            self.pool.losses + 0.1, self.pool.costs, work_dir=other
        )
        (other / "window-00001.npz").replace(self.folder / "window-00001.npz")
        with self.assertLogs("absl", level="WARNING") as logs:
            self.assert_as_expected(self.prove())
        self.assertIn("is of another search", logs.output[0])

    def test_a_folder_of_another_version_is_set_aside(self):
        self.prove()
        path = self.folder / "key.txt"
        version, key = path.read_text().split()[:2]
        self.assertEqual(version, persistence._VERSION)
        text = f"mmc_jax-certified-2 {key}\n"
        digest = hashlib.sha256(text.encode()).hexdigest()
        for content in (key, f"{text}{digest}\n"):
            with self.subTest(content=content):
                path.write_text(content)
                with self.assertLogs("absl", level="WARNING") as logs:
                    self.assert_as_expected(self.prove())
                self.assertIn("kept by another version", logs.output[0])
                self.assertLen(logs.output, 1)
                (aside,) = self.folder.parent.glob("work.*.other_version")
                self.assertTrue((aside / "window-00001.npz").exists())
                shutil.rmtree(aside)

    def test_a_search_of_other_numbers_is_kept(self):
        self.prove()
        with self.assertRaisesRegex(ValueError, "other losses, costs or gap"):
            self.prove(gap_limit=0.5)
        self.assert_as_expected(self.prove())

    def test_several_searches_share_a_folder(self):
        failures = []

        def search():
            try:
                self.assert_as_expected(self.prove())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEmpty(failures)
        self.assertEmpty(list(self.folder.glob("*.tmp")))

    def test_a_full_disk_is_named(self):
        full = OSError(errno.ENOSPC, "No space left on device")

        def no_room(path, data):
            # As far as it went.
            with path.open("wb") as file:
                file.write(data[:10])
            raise full

        with (
            absltest.mock.patch.object(pathlib.Path, "write_bytes", no_room),
            self.assertRaisesRegex(OSError, "disk is full: .* bytes") as failed,
        ):
            self.prove()
        self.assertEqual(failed.exception.errno, errno.ENOSPC)
        self.assertStartsWith(failed.exception.filename, str(self.folder))
        self.assertIn("start again", str(failed.exception))
        self.assertEmpty(list(self.folder.glob("*.tmp")))
        with self.subTest("any other reason"):
            full = OSError(errno.EFBIG, "File too large")
            with (
                absltest.mock.patch.object(
                    pathlib.Path, "write_bytes", no_room
                ),
                self.assertRaisesRegex(OSError, "too large: '.*npz'"),
            ):
                persistence.save(self.folder / "x.npz", b"")
        # With room it goes on.
        self.assert_as_expected(self.prove())

    def test_a_folder_that_goes_away_is_made_again(self):
        path = self.folder / "deep" / "file"
        persistence.save(path, b"data")
        self.assertEqual(path.read_bytes(), b"data")
        with self.subTest("also between making it and writing"):
            write, goes = pathlib.Path.write_bytes, [True]

            def write_later(path, data):
                if goes.pop():
                    shutil.rmtree(path.parent)
                    goes.append(False)
                return write(path, data)

            with absltest.mock.patch.object(
                pathlib.Path, "write_bytes", write_later
            ):
                persistence.save(path, b"more")
            self.assertEqual(path.read_bytes(), b"more")

    def test_of_two_searches_that_begin_at_once_one_has_the_folder(self):
        met = threading.Barrier(8)

        def claim(key):
            folder = persistence.WorkFolder(self.folder / "own", key * 64)
            met.wait(60)
            try:
                folder.claim()
            except ValueError:
                return None
            return key

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            found = set(threads.map(claim, "0123abcd")) - {None}
        self.assertLen(found, 1)
        kept = (self.folder / "own/key.txt").read_text().split()[1]
        self.assertEqual({kept}, {key * 64 for key in found})

    def test_damage_that_another_search_sets_aside(self):
        """Each of two finds the same damage; the second finds nothing."""
        folder = persistence.WorkFolder(self.folder / "own", "0" * 64)
        folder.claim()
        (folder.path / "key.txt").write_bytes(b"damaged")
        replace = pathlib.Path.replace

        def replace_twice(path, target):
            replace(path, target)
            return replace(path, target)

        with absltest.mock.patch.object(pathlib.Path, "replace", replace_twice):
            persistence._set_aside(folder.path / "key.txt", "")
        folder.claim()

    def test_a_kill_while_writing_leaves_nothing_behind(self):
        def kill(path, data):
            raise Killed

        with (
            absltest.mock.patch.object(pathlib.Path, "write_bytes", kill),
            self.assertRaises(Killed),
        ):
            self.prove()
        self.assert_as_expected(self.prove())


if __name__ == "__main__":
    absltest.main()
