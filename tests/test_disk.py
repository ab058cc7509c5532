"""Full disks: the file is named, what to do is said, what was there stays."""

import errno
import os
import pathlib
import tempfile
import types
from unittest import mock

import jax.numpy as jnp
import safetensors.numpy
from absl.testing import absltest, parameterized

from mmc_jax import at_once, disk, models, pool, report
from mmc_jax.models import cache
from mmc_jax.realizable import fitted
from mmc_jax.scores import locks
from tests.faults import strangers


class DiskTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _fill(self, path):
        """Lets what is written for a file meet a full disk."""
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        path.with_name(f"{path.name}.00000000.tmp").symlink_to("/dev/full")
        name = types.SimpleNamespace(hex="0" * 32)
        self.enter_context(
            mock.patch.object(at_once.uuid, "uuid4", return_value=name)
        )

    def assert_says_so(self, path):
        return self.assertRaisesRegex(
            OSError,
            "the disk is full.* Free some and start again; what is finished is "
            f"kept: '{path}'",
        )

    @parameterized.parameters(
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("RESOURCE_EXHAUSTED: ... No space left on device [28]"),
    )
    def test_full(self, error):
        self.assertTrue(disk.is_full(error))
        failure = disk.failure("a/b", error, num_bytes=1500)
        self.assertIn(failure.errno, disk.FULL)
        self.assertEqual(failure.filename, "a/b")
        self.assertIn("1,500 bytes were needed", str(failure))

    def test_other_errors_keep_their_reason(self):
        failure = disk.failure("a/b", OSError(errno.EROFS, "Read-only"))
        self.assertFalse(disk.is_full(failure))
        self.assertEqual(str(failure), "[Errno 30] Read-only: 'a/b'")
        failure = disk.failure("a/b", ValueError("not\nso"))
        self.assertEqual(str(failure), "a/b: not written: not so")

    def test_what_was_there_stays(self):
        file = self.folder / "file"
        with at_once.replaced(file) as partial:
            partial.write_text("before")
        self._fill(file)
        with self.assert_says_so(file), at_once.replaced(file) as partial:
            partial.write_text("after")
        self.assertEqual(file.read_text(), "before")
        with (
            self.assertRaises(ZeroDivisionError),
            at_once.replaced(file) as partial,
        ):
            partial.write_text(str(1 / 0))
        self.assertEqual([p.name for p in file.parent.iterdir()], ["file"])

    def test_another_file_is_named_itself(self):
        with (
            self.assertRaisesRegex(FileNotFoundError, "nothing_here"),
            at_once.replaced(self.folder / "file"),
        ):
            (self.folder / "nothing_here").read_text()

    def test_page(self):
        page = self.folder / "page.html"
        self._fill(page)
        with self.assert_says_so(page):
            report.write_page(page, [report.Section({"x": 1})], flags={})

    def test_model(self):
        shipped = pool.read("stdlib20").select(["gpt2-30k"])
        model = models.load(shipped.models[0].checkpoint)
        models.save(model, self.folder, dtype=jnp.float16)
        before = (self.folder / "config.json").read_bytes()
        weights = self.folder / "model.safetensors"
        full = safetensors.SafetensorError(
            "I/O error: No space left on device (os error 28)"
        )
        with (
            mock.patch.object(safetensors.numpy, "save_file", side_effect=full),
            self.assert_says_so(weights),
        ):
            models.save(model, self.folder)
        self.assertEqual((self.folder / "config.json").read_bytes(), before)

    def test_router(self):
        make, *_ = strangers.FILES["facts of a router"]
        make(self.folder)
        router = fitted.load_router(self.folder / "router")
        self._fill(self.folder / "router" / "router.json")
        with self.assert_says_so(self.folder / "router" / "router.json"):
            fitted.save_router(router, self.folder / "router")
        again = fitted.load_router(self.folder / "router")
        self.assertEqual(again.facts, router.facts)
        fitted.save_router(again, self.folder / "router")

    def test_orbax(self):
        halves = [
            self.folder / "x.orbax-checkpoint-tmp" / "d",
            self.folder / "x" / "5.orbax-checkpoint-tmp-1" / "d",
        ]
        for half in halves:
            half.mkdir(parents=True)
        with (
            self.assert_says_so(self.folder / "x"),
            cache.saved_by_orbax(self.folder / "x"),
        ):
            raise ValueError("file 3: No space left on device")
        self.assertFalse(any(half.exists() for half in halves))
        with (
            self.assertRaisesRegex(ValueError, "^damaged$"),
            cache.saved_by_orbax(self.folder / "x"),
        ):
            raise ValueError("damaged")

    def test_a_lock_needs_no_room(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        (self.folder / "lock").symlink_to("/dev/full")
        with locks.locked(self.folder, "scoring"):
            pass
        self.assertFalse((self.folder / "lock").exists())


if __name__ == "__main__":
    absltest.main()
