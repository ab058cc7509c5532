"""Masks whose bytes are neither 0 nor 1, and sizes at the kernels' door."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import oracle
from mmc_jax.oracle import cpu

LOSSES = np.random.default_rng(0).lognormal(size=(7, 300)).astype(np.float32)


def masks_and_damaged(num_subsets, seed=0):
    """Returns masks, and the same with each 1 as some byte from 1 to 255."""
    rng = np.random.default_rng(seed)
    masks = rng.random((num_subsets, 7)) < 0.4
    bytes_ = np.where(masks, rng.integers(1, 256, masks.shape), 0)
    return masks, bytes_.astype(np.uint8).view(bool)


class MasksTest(parameterized.TestCase):
    @parameterized.product(backend=["cpu", "xla"], on_device=[False, True])
    def test_any_byte_but_0_is_a_member(self, backend, on_device):
        if backend == "cpu" and (reason := cpu.why_not()):
            self.skipTest(reason)
        # XLA looks masks of 40 subsets up in tables.
        masks, damaged = masks_and_damaged(40)
        given = jnp.asarray(damaged) if on_device else damaged
        for function in (
            oracle.oracle_losses,
            oracle.oracle_sums,
            lambda *a, **b: oracle.union_sums(*a, masks[:3], **b),
            lambda t, m, **b: oracle.union_sums(t, masks, m, **b),
        ):
            np.testing.assert_array_equal(
                function(LOSSES, given, backend=backend),
                function(LOSSES, masks, backend=backend),
            )

    def test_masks_that_jit_gets(self):
        if reason := cpu.why_not():
            self.skipTest(reason)
        masks, damaged = masks_and_damaged(130)
        for function in (
            lambda m: cpu.oracle_sums(LOSSES, m, None),
            lambda m: cpu.union_sums(LOSSES, m, m, None),
        ):
            call = jax.jit(function)
            np.testing.assert_array_equal(call(damaged), call(masks))


class DoorTest(absltest.TestCase):
    """What a foreign function refuses, whoever calls it."""

    def setUp(self):
        super().setUp()
        if reason := cpu.why_not():
            self.skipTest(reason)

    def refused(self, name, shape, *arrays, dtype=np.float32):
        call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(shape, dtype))
        with self.assertRaises(jax.errors.JaxRuntimeError) as raised:
            jax.jit(lambda *a: call(*a, level="", num_threads=np.int64(0)))(
                *arrays
            ).block_until_ready()
        return str(raised.exception)

    def test_shapes(self):
        table, none = jnp.ones((3, 5)), jnp.zeros(0)
        members, others = jnp.ones((4, 3), bool), jnp.ones((2, 3), bool)
        for words, name, shape, arrays in (
            ("values of wrong", "min_sum", (2, 3),
             (jnp.ones((2, 6)), table, none)),
            ("values of wrong", "min_sum", (2, 3), (jnp.ones(5), table, none)),
            ("values of wrong", "min_sum", (3, 3),
             (jnp.ones((3, 5), int), table, none)),
            ("sums of wrong shape", "min_sum", (3, 4), (table, table, none)),
            ("sums of wrong shape", "min_sum", (9,), (table, table, none)),
            ("losses are not a table", "min_sum", (3, 3),
             (table, jnp.ones(5), none)),
            ("weights of wrong", "min_sum", (3, 3),
             (table, table, jnp.ones(4))),
            ("weights of wrong", "min_sum", (3, 3),
             (table, table, jnp.ones((5, 1)))),
            ("weights of wrong", "min_sum", (3, 3),
             (table, table, jnp.ones(5, int))),
            ("masks are not booleans", "oracle_sums", (4,),
             (table, members[:, :2], none)),
            ("masks are not booleans", "oracle_sums", (3,),
             (table, members[0], none)),
            ("masks are not booleans", "oracle_sums", (4,),
             (table, members.astype(jnp.uint8), none)),
            ("sums of wrong shape", "oracle_sums", (3,),
             (table, members, none)),
            ("masks are not booleans", "union_sums", (4, 2),
             (table, members, others[:, 1:], none)),
            ("sums of wrong shape", "union_sums", (2, 4),
             (table, members, others, none)),
            ("no known dtype", "min_sum", (3, 3),
             (table.astype(jnp.bfloat16), table.astype(jnp.bfloat16), none)),
        ):  # fmt: skip
            with self.subTest(words, name=name, shape=shape):
                error = self.refused(f"mmc_{name}", shape, *arrays)
                self.assertIn(words, error)
        error = self.refused(
            "mmc_min_sum", (3, 3), table, table, none, dtype=np.int32
        )
        self.assertIn("no known dtype", error)

    def test_no_subsets_models_or_texts(self):
        for num_subsets, num_models, num_texts in np.ndindex(3, 3, 3):
            table = jnp.ones((num_models, num_texts))
            values = jnp.ones((num_subsets, num_texts))
            members = jnp.zeros((num_subsets, num_models), bool)
            with self.subTest(shape=(num_subsets, num_models, num_texts)):
                np.testing.assert_array_equal(
                    cpu.min_sum(values, table, None),
                    np.full((num_subsets, num_models), num_texts),
                )
                nothing = np.inf if num_texts else 0
                np.testing.assert_array_equal(
                    cpu.oracle_sums(table, members, None),
                    np.full(num_subsets, nothing),
                )
                np.testing.assert_array_equal(
                    cpu.union_sums(table, members, members, None),
                    np.full((num_subsets, num_subsets), nothing),
                )

    def test_rows_that_begin_at_any_byte(self):
        # NumPy arrays that lie as no register needs them.
        for offset in (4, 8, 20, 36):
            memory = np.zeros(4 * 7 * 300 + 64, np.uint8)
            table = memory[offset : offset + 4 * 7 * 300].view(np.float32)
            table = table.reshape(7, 300)
            table[...] = LOSSES
            np.testing.assert_array_equal(
                cpu.min_sum(table, table, None),
                cpu.min_sum(LOSSES, LOSSES, None),
            )


if __name__ == "__main__":
    absltest.main()
