"""The cache of converted parameters: when it is used, and when it is not."""

import functools
import inspect
import os
import pathlib
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax import models
from mmc_jax.models import (
    cache,
    configs,
    hashes,
    sharding,
    tensors,
    weight_files,
)
from mmc_jax.models.families import mamba2
from tests.models import test_parity


class CacheTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        self.cache_dir = self.root / "cache"
        self.folder = self.root / "checkpoint"
        config = test_parity.make_config("gpt2")
        self.model = models.build(config, rngs=nnx.Rngs(0))
        models.save(self.model, self.folder)
        # As if it had been lying there: its hashes are then remembered.
        hour_ago = time.time() - 3600
        for file in self.folder.iterdir():
            os.utime(file, (hour_ago, hour_ago))
        reader = self.enterContext(
            mock.patch.object(tensors, "Tensors", wraps=tensors.Tensors)
        )
        self.num_conversions = lambda: reader.call_count
        self.load = functools.partial(
            models.load, self.folder, cache_dir=self.cache_dir
        )

    def entries(self) -> list[pathlib.Path]:
        return sorted((self.cache_dir / "params").iterdir())

    def assert_same(self, first, second):
        jax.tree.map(
            np.testing.assert_array_equal, nnx.state(first), nnx.state(second)
        )


class SecondStartTest(CacheTest):
    @parameterized.parameters("float32", "bfloat16")
    def test_reads_no_safetensors(self, dtype):
        first = self.load(dtype=dtype)
        self.assertEqual(self.num_conversions(), 1)
        again = self.load(dtype=dtype)
        self.assertEqual(self.num_conversions(), 1)
        self.assert_same(first, again)
        self.assert_same(models.load(self.folder, dtype=dtype), again)
        self.assertEqual(jax.tree.structure(first), jax.tree.structure(again))
        for value in jax.tree.leaves(again):
            self.assertEqual(value.dtype, jnp.dtype(dtype))
            self.assertFalse(value.committed)

    def test_on_another_mesh(self):
        self.load(mesh=sharding.mesh(2, 4))
        mesh = sharding.mesh(1, 8)
        split = self.load(mesh=mesh)
        whole = self.load()
        self.assertEqual(self.num_conversions(), 1)
        expected = models.load(self.folder, mesh=mesh)
        jax.tree.map(
            lambda x, y: self.assertEqual(x.sharding, y.sharding),
            nnx.state(split),
            nnx.state(expected),
        )
        self.assert_same(split, expected)
        self.assert_same(whole, expected)

    def test_hashes_no_file_again(self):
        self.load()
        with mock.patch.object(
            hashes.hashlib, "file_digest", side_effect=AssertionError
        ):
            self.load()


class StaleTest(CacheTest):
    def test_another_checkpoint(self):
        self.load()
        file = self.folder / weight_files.WEIGHTS
        stored = safetensors.numpy.load_file(file)
        stored["transformer.ln_f.bias"] += 1
        safetensors.numpy.save_file(stored, file)
        again = self.load()
        self.assertEqual(self.num_conversions(), 2)
        np.testing.assert_array_equal(
            again.transformer.ln_f.bias[...], stored["transformer.ln_f.bias"]
        )

    def test_another_config(self):
        self.load()
        config = self.folder / configs.CONFIG
        text = config.read_text()
        config.write_text(text.replace('"n_head": 3', '"n_head": 2'))
        self.assertNotEqual(config.read_text(), text)
        self.load()
        self.assertEqual(self.num_conversions(), 2)

    def test_another_dtype(self):
        self.load()
        self.load(dtype=jnp.bfloat16)
        self.assertEqual(self.num_conversions(), 2)
        self.assertLen(self.entries(), 2)

    def test_another_version_of_the_code(self):
        self.load()
        source = inspect.getsource
        with mock.patch.object(
            inspect, "getsource", lambda module: source(module) + "# New."
        ):
            self.load()
        self.assertEqual(self.num_conversions(), 2)

    def test_version_is_of_all_that_is_imported(self):
        with mock.patch.object(
            inspect, "getsource", wraps=inspect.getsource
        ) as getsource:
            cache.code_version(mamba2)
        read = {call.args[0].__name__ for call in getsource.call_args_list}
        self.assertEqual(
            read,
            {
                f"mmc_jax.models.{name}"
                for name in (
                    "convolutions",
                    "families.mamba",
                    "families.mamba2",
                    "layers",
                    "scans",
                    "sharding",
                    "state_spaces",
                )
            },
        )


class DamagedTest(CacheTest):
    def largest_file(self) -> pathlib.Path:
        (entry,) = self.entries()
        files = filter(pathlib.Path.is_file, entry.rglob("*"))
        return max(files, key=lambda file: file.stat().st_size)

    def assert_made_anew(self):
        with self.assertLogs("absl", "WARNING") as logs:
            again = self.load()
        self.assertIn("this cache is damaged", "".join(logs.output))
        self.assert_same(self.model, again)
        self.assertEqual(self.num_conversions(), 2)
        self.assert_same(self.model, self.load())
        self.assertEqual(self.num_conversions(), 2)

    def test_a_flipped_bit(self):
        self.load()
        file = self.largest_file()
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        self.assert_made_anew()

    def test_half_a_file(self):
        self.load()
        file = self.largest_file()
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        self.assert_made_anew()

    def test_a_file_is_missing(self):
        self.load()
        self.largest_file().unlink()
        self.assert_made_anew()

    def test_half_written(self):
        with (
            mock.patch.object(
                ocp.Checkpointer, "save", side_effect=OSError("disk is full")
            ),
            self.assertLogs("absl", "WARNING") as logs,
        ):
            self.assert_same(self.model, self.load())
        self.assertIn("disk is full", "".join(logs.output))
        self.assertEmpty(self.entries())
        # A folder that cannot be made is no more than that.
        (self.root / "file").touch()
        with self.assertLogs("absl", "WARNING") as logs:
            again = models.load(
                self.folder, cache_dir=self.root / "file" / "cache"
            )
        self.assert_same(self.model, again)
        self.assertIn("the cache is not written", "".join(logs.output))
        # What Orbax leaves behind when it is killed.
        self.load()
        (entry,) = self.entries()
        entry.rename(entry.with_name(f"{entry.name}.orbax-checkpoint-tmp"))
        self.assert_same(self.model, self.load())
        self.assertEqual(self.num_conversions(), 4)
        self.assertEqual(self.entries(), [entry])


class FileHashesTest(CacheTest):
    def setUp(self):
        super().setUp()
        self.file = self.root / "file"
        self.file.write_bytes(b"abc")
        # Source: FIPS 180-2, appendix B.1.
        self.of_abc = (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        self.digest = self.enterContext(
            mock.patch.object(
                hashes.hashlib, "file_digest", wraps=hashes.hashlib.file_digest
            )
        )

    def hashes(self):
        return hashes.file_hashes([self.file], cache_dir=self.cache_dir)

    def age(self, seconds: float):
        then = time.time() - seconds
        os.utime(self.file, (then, then))

    def test_without_a_cache(self):
        for _ in range(2):
            self.assertEqual(
                hashes.file_hashes([self.file]), {"file": self.of_abc}
            )
        self.assertEqual(self.digest.call_count, 2)

    def test_are_remembered(self):
        self.age(3600)
        for _ in range(2):
            self.assertEqual(self.hashes(), {"file": self.of_abc})
        self.assertEqual(self.digest.call_count, 1)

    def test_of_a_file_that_changes(self):
        self.age(3600)
        self.hashes()
        self.file.write_bytes(b"abd")
        self.age(3600)  # The times of its content are those of before.
        self.assertNotEqual(self.hashes(), {"file": self.of_abc})

    def test_of_a_new_file_are_not_remembered(self):
        self.hashes()
        self.hashes()
        self.assertEqual(self.digest.call_count, 2)

    def test_a_memory_that_is_none(self):
        self.age(3600)
        self.hashes()
        (memory,) = (self.cache_dir / "hashes").iterdir()
        for text in ("", "{", "7", "[1]"):
            memory.write_text(text)
            self.assertEqual(self.hashes(), {"file": self.of_abc})

    def test_a_flipped_bit_of_a_memory(self):
        self.age(3600)
        self.hashes()
        (memory,) = (self.cache_dir / "hashes").iterdir()
        content = memory.read_bytes()
        for position in range(len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            memory.write_bytes(flipped)
            self.assertEqual(self.hashes(), {"file": self.of_abc})


if __name__ == "__main__":
    absltest.main()
