import os
import pathlib
import platform
import tempfile
from unittest import mock

import jax
from absl.testing import absltest
from jax.experimental.compilation_cache import (
    compilation_cache as jax_cache,
)

from mmc_jax.scoring import compilation_cache


class EnableTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        environment = mock.patch.dict(
            os.environ, {"XDG_CACHE_HOME": str(self.folder)}
        )
        self.enterContext(environment)
        # What was compiled before has made JAX settle on having no cache.
        jax_cache.reset_cache()
        self.addCleanup(jax_cache.reset_cache)
        for name, value in (
            ("jax_enable_compilation_cache", True),
            ("jax_compilation_cache_dir", None),
            ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ):
            before = getattr(jax.config, name)
            self.addCleanup(jax.config.update, name, before)
            jax.config.update(name, value)

    def test_programs_are_kept(self):
        compilation_cache.enable()
        folder = self.folder / "mmc_jax" / "xla" / platform.node()
        self.assertEqual(jax.config.jax_compilation_cache_dir, str(folder))
        jax.jit(lambda x: x * 3 + 41)(1.0).block_until_ready()
        self.assertNotEmpty(list(folder.iterdir()))
        self.assertEqual(folder.stat().st_mode & 0o077, 0)

    def test_jax_setting_goes_before(self):
        jax.config.update("jax_compilation_cache_dir", "/elsewhere")
        compilation_cache.enable()
        self.assertEqual(jax.config.jax_compilation_cache_dir, "/elsewhere")

    def test_can_be_disabled(self):
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.enable()
        self.assertIsNone(jax.config.jax_compilation_cache_dir)
        self.assertEmpty(list(self.folder.iterdir()))

    def test_no_place_for_it(self):
        (self.folder / "mmc_jax").write_text("a file")
        compilation_cache.enable()
        self.assertIsNone(jax.config.jax_compilation_cache_dir)

    def test_others_may_write_to_it(self):
        folder = self.folder / "mmc_jax" / "xla" / platform.node()
        folder.mkdir(parents=True)
        folder.chmod(0o770)
        with self.assertLogs("absl", "WARNING") as logs:
            compilation_cache.enable()
        self.assertIn(f"others may write to {folder}", logs.output[0])
        self.assertIsNone(jax.config.jax_compilation_cache_dir)
        folder.chmod(0o750)
        compilation_cache.enable()
        self.assertEqual(jax.config.jax_compilation_cache_dir, str(folder))


if __name__ == "__main__":
    absltest.main()
