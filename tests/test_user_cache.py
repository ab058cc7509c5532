import importlib
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import zlib
from unittest import mock

import jax
from absl.testing import absltest
from jax._src import compilation_cache
from jax.experimental.compilation_cache import (
    compilation_cache as jax_cache,
)

from mmc_jax import user_cache


class ProgramsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.programs = self.folder / "mmc_jax" / "xla" / platform.node()
        self.programs /= user_cache._processor()
        environment = mock.patch.dict(
            os.environ,
            {"XDG_CACHE_HOME": str(self.folder), "MMC_CACHE_DIR": ""},
        )
        self.enterContext(environment)
        # What was compiled before has made JAX settle on having no cache.
        jax_cache.reset_cache()
        self.addCleanup(jax_cache.reset_cache)
        for name, value in (
            ("jax_enable_compilation_cache", True),
            ("jax_compilation_cache_dir", None),
            ("jax_persistent_cache_min_compile_time_secs", 1.0),
        ):
            before = getattr(jax.config, name)
            self.addCleanup(jax.config.update, name, before)
            jax.config.update(name, value)

    def test_programs_are_kept(self):
        user_cache.keep_programs()
        folder = self.programs
        self.assertEqual(jax.config.jax_compilation_cache_dir, str(folder))
        # JAX itself keeps those alone that take a second.
        shortest = jax.config.jax_persistent_cache_min_compile_time_secs
        self.assertBetween(shortest, 0.01, 0.5)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.jit(lambda x: x * 3 + 41)(1.0).block_until_ready()
        self.assertNotEmpty(list(folder.iterdir()))
        self.assertEqual(folder.stat().st_mode & 0o077, 0)

    def test_processors_of_one_name(self):
        """As containers have it: each its own programs."""
        found = set()
        for flags in ("sse avx", "sse avx avx512f"):
            facts = mock.mock_open(read_data=f"processor: 0\nflags: {flags}\n")
            with mock.patch("builtins.open", facts):
                found.add(user_cache._processor())
        with mock.patch("builtins.open", side_effect=FileNotFoundError):
            found.add(user_cache._processor())
        self.assertLen(found, 3)

    def test_jax_setting_goes_before(self):
        jax.config.update("jax_compilation_cache_dir", "/elsewhere")
        user_cache.keep_programs()
        self.assertEqual(jax.config.jax_compilation_cache_dir, "/elsewhere")

    def test_a_folder_of_ones_own(self):
        own = self.folder / "own"
        with mock.patch.dict(os.environ, {"MMC_CACHE_DIR": str(own)}):
            self.assertEqual(user_cache.folder("a", "b"), own / "a" / "b")
        self.assertTrue((own / "a" / "b").is_dir())

    def test_least_seconds_that_a_user_has_set_stay(self):
        shortest = "jax_persistent_cache_min_compile_time_secs"
        jax.config.update(shortest, 7.0)
        user_cache.keep_programs()
        self.assertEqual(getattr(jax.config, shortest), 7.0)

    def test_before_jax_is_imported(self):
        program = (
            "import sys; from mmc_jax import user_cache; "
            "user_cache.keep_programs(); assert 'jax' not in sys.modules; "
            "import jax; print(jax.config.jax_compilation_cache_dir)"
        )
        names = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
        plain = {k: v for k, v in os.environ.items() if k not in names}
        folder = str(self.programs)
        for settings, expected in (
            ({}, folder),
            ({"JAX_COMPILATION_CACHE_DIR": "/elsewhere"}, "/elsewhere"),
            ({"JAX_ENABLE_COMPILATION_CACHE": "0"}, "None"),
        ):
            found = subprocess.run(
                [sys.executable, "-c", program],
                env={**plain, **settings},
                check=True,
                capture_output=True,
                text=True,
            )
            self.assertEqual(found.stdout.strip(), expected)

    def test_flipped_bits_are_noticed(self):
        """Also where Zstandard is there, by which JAX writes no checksums."""
        packer = mock.Mock()
        with mock.patch.object(compilation_cache, "zstandard", packer):
            user_cache.keep_programs()
            packed = bytearray(compilation_cache.compress_executable(b"so it"))
            packed[5] ^= 1
            with self.assertRaises(zlib.error):
                compilation_cache.decompress_executable(bytes(packed))
        packer.assert_not_called()

    def test_a_module_is_changed_once_it_is_imported(self):
        name = "xml.sax.xmlreader"
        sys.modules.pop(name, None)
        changed = []
        sys.meta_path.insert(0, user_cache._AfterImport(name, changed.append))
        num_finders = len(sys.meta_path)
        module = importlib.import_module(name)
        importlib.import_module(name)
        self.assertEqual(changed, [module])
        self.assertLen(sys.meta_path, num_finders - 1)

    def test_can_be_disabled(self):
        jax.config.update("jax_enable_compilation_cache", False)
        user_cache.keep_programs()
        self.assertIsNone(jax.config.jax_compilation_cache_dir)
        self.assertEmpty(list(self.folder.iterdir()))

    def test_no_place_for_it(self):
        (self.folder / "mmc_jax").write_text("a file")
        user_cache.keep_programs()
        self.assertIsNone(jax.config.jax_compilation_cache_dir)

    def test_others_may_write_to_it(self):
        folder = self.programs
        folder.mkdir(parents=True)
        folder.chmod(0o770)
        with self.assertLogs("absl", "WARNING") as logs:
            user_cache.keep_programs()
        self.assertIn(f"others may write to {folder}", logs.output[0])
        self.assertIsNone(jax.config.jax_compilation_cache_dir)
        folder.chmod(0o750)
        # Whoever may write above could put another folder in its place.
        above = self.folder / "mmc_jax"
        above.chmod(0o775)
        with self.assertLogs("absl", "WARNING") as logs:
            user_cache.keep_programs()
        self.assertIn(f"run: chmod 700 {above}", logs.output[0])
        self.assertIsNone(jax.config.jax_compilation_cache_dir)
        above.chmod(0o1777)  # As /tmp: nobody may rename what is another's.
        user_cache.keep_programs()
        self.assertEqual(jax.config.jax_compilation_cache_dir, str(folder))

    def test_folders_are_the_user_s_alone(self):
        self.addCleanup(os.umask, os.umask(0))
        user_cache.folder("a", "b")
        for folder in ("", "a", "a/b"):
            mode = (self.folder / "mmc_jax" / folder).stat().st_mode
            self.assertEqual(mode & 0o077, 0)

    def test_another_user_s(self):
        with (
            mock.patch.object(os, "getuid", return_value=os.getuid() + 1),
            self.assertLogs("absl", "WARNING") as logs,
        ):
            self.assertIsNone(user_cache.folder("a"))
        self.assertIn("belongs to another user; name another", logs.output[0])

    def test_home(self):
        no_home = mock.patch.object(
            pathlib.Path, "home", side_effect=RuntimeError("no home")
        )
        with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": ""}), no_home:
            self.assertIsNone(user_cache.folder("a"))
        home = {"MMC_CACHE_DIR": "~/kept", "HOME": str(self.folder)}
        with mock.patch.dict(os.environ, home):
            self.assertEqual(user_cache.folder(), self.folder / "kept")


if __name__ == "__main__":
    absltest.main()
