"""The kernels against a brute force in NumPy, their contract and errors."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from mmc_jax.oracle import (
    min_sum,
    oracle_losses,
    oracle_sums,
    union_sums,
    xla,
)
from tests import tolerances
from tests.oracle import brute_force
from tests.oracle.brute_force import random_case

pytestmark = pytest.mark.full_optimisation


class BruteForceTest(parameterized.TestCase):
    @parameterized.product(dtype=["float32", "float64"], weighted=[False, True])
    def test_floats(self, dtype, weighted):
        losses, values, masks, weights = random_case(5, 17, 129)
        losses, values = losses.astype(dtype), values.astype(dtype)
        weights = weights if weighted else None
        with jax.enable_x64(dtype == "float64"):
            means = np.asarray(oracle_losses(losses, masks, weights))
            sums = np.asarray(min_sum(values, losses, weights))
        self.assertEqual(means.dtype, dtype)
        self.assertEqual(sums.dtype, dtype)
        total = 129 if weights is None else weights.sum()
        rtol = (
            tolerances.KERNEL_FLOAT32
            if dtype == "float32"
            else tolerances.KERNEL_FLOAT64
        )
        np.testing.assert_allclose(
            means,
            brute_force.oracle_sums(losses, masks, weights) / total,
            rtol=rtol,
        )
        np.testing.assert_allclose(
            sums, brute_force.min_sum(values, losses, weights), rtol=rtol
        )

    def test_integers(self):
        losses, values, masks, _ = random_case(5, 17, 129, np.uint32)
        masks[2] = False
        expected = brute_force.oracle_sums(losses, masks)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(oracle_sums(losses, masks), expected)
            np.testing.assert_array_equal(
                min_sum(values, losses), brute_force.min_sum(values, losses)
            )
            means = oracle_losses(losses, masks)
            self.assertEqual(means.dtype, jnp.float64)
            expected = np.where(masks.any(axis=1), expected / 129, np.inf)
            np.testing.assert_array_equal(means, expected)

    @parameterized.product(
        dtype=["float32", "float64", "uint32"],
        backend=[None, "xla"],
        weighted=[False, True],
    )
    def test_unions(self, dtype, backend, weighted):
        if weighted and dtype == "uint32":
            self.skipTest("whole numbers take no weights")
        losses, _, masks, weights = random_case(40, 17, 129, dtype)
        others = np.eye(18, 17, dtype=bool)
        weights = weights if weighted else None
        unions = masks[:, None] | others
        with jax.enable_x64(dtype != "float32"):
            sums = np.asarray(
                union_sums(losses, masks, others, weights, backend=backend)
            )
        expected = brute_force.oracle_sums(
            losses, unions.reshape(-1, 17), weights
        ).reshape(40, 18)
        if dtype.startswith("uint"):
            np.testing.assert_array_equal(sums, expected)
        else:
            self.assertEqual(sums.dtype, dtype)
            rtol = getattr(tolerances, f"KERNEL_{dtype.upper()}")
            np.testing.assert_allclose(sums, expected, rtol=rtol)

    def test_more_subsets_than_a_tile(self):
        with absltest.mock.patch.object(xla, "_TILE", 4):
            losses, _, masks, _ = random_case(11, 5, 7)
            got = oracle_losses(np.float32(losses), masks, backend="xla")
        np.testing.assert_allclose(
            got,
            brute_force.oracle_sums(np.float32(losses), masks) / 7,
            rtol=tolerances.KERNEL_FLOAT32,
        )

    def test_no_texts_sum_to_0(self):
        sums = min_sum(np.ones((2, 0), np.float32), np.ones((3, 0), np.float32))
        np.testing.assert_array_equal(sums, np.zeros((2, 3)))


class InvariantsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        losses, _, _, self.weights = random_case(1, 5, 131)
        self.losses = np.float32(losses)
        self.masks = np.array(list(itertools.product([False, True], repeat=5)))
        self.means = np.asarray(oracle_losses(self.losses, self.masks))

    def test_invariants(self):
        for mask, mean in zip(self.masks, self.means, strict=True):
            with self.subTest("monotone in the subset", mask=mask):
                supersets = (self.masks >= mask).all(axis=1)
                self.assertTrue((self.means[supersets] <= mean).all())
        with self.subTest("the empty subset"):
            self.assertEqual(self.means[0], np.inf)
        with self.subTest("singletons equal the single models"):
            np.testing.assert_allclose(
                oracle_losses(self.losses, np.eye(5, dtype=bool)),
                self.losses.astype(np.float64).mean(axis=1),
                rtol=tolerances.KERNEL_FLOAT32,
            )
        with self.subTest("invariant to the order of models, exactly"):
            order = [3, 1, 4, 0, 2]
            np.testing.assert_array_equal(
                oracle_losses(self.losses[order], self.masks[:, order]),
                self.means,
            )
        with self.subTest("invariant to the order of texts"):
            np.testing.assert_allclose(
                oracle_losses(self.losses[:, ::-1], self.masks),
                self.means,
                rtol=tolerances.KERNEL_FLOAT32,
            )
        with self.subTest("weights of 1 are no weights, exactly"):
            np.testing.assert_array_equal(
                oracle_losses(self.losses, self.masks, np.ones(131)), self.means
            )
        with self.subTest("a weight of 2 is the text twice"):
            twice = np.repeat(self.losses, self.weights.astype(int), axis=1)
            np.testing.assert_allclose(
                oracle_losses(self.losses, self.masks, self.weights),
                oracle_losses(twice, self.masks),
                rtol=tolerances.KERNEL_FLOAT32,
            )

    def test_one_float_for_a_subset_on_every_way(self):
        # XLA's two kernels add in one order; others need not.
        by_xla = functools.partial(oracle_losses, backend="xla")
        for weights in (None, self.weights):
            total = np.float32(131 if weights is None else weights.sum())
            means = np.asarray(by_xla(self.losses, self.masks, weights))
            with self.subTest("alone or in a batch", weights=weights):
                for i in (1, 13):
                    alone = by_xla(self.losses, self.masks[i : i + 1], weights)
                    np.testing.assert_array_equal(alone[0], means[i])
            with self.subTest("extended by a model", weights=weights):
                values = np.asarray(xla.minima(self.losses, self.masks))
                sums = np.asarray(
                    min_sum(values, self.losses, weights, backend="xla")
                )
                unions = self.masks[:, None] | np.eye(5, dtype=bool)
                place = unions @ (2 ** np.arange(5)[::-1])
                np.testing.assert_array_equal(sums / total, means[place])


class TransformationsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        losses, values, self.masks, weights = random_case(4, 3, 9)
        self.losses, self.values = np.float32(losses), np.float32(values)
        self.weights = np.float32(weights)

    def test_jit(self):
        np.testing.assert_array_equal(
            jax.jit(oracle_losses)(self.losses, self.masks, self.weights),
            oracle_losses(self.losses, self.masks, self.weights),
        )
        np.testing.assert_array_equal(
            jax.jit(min_sum)(self.values, self.losses, self.weights),
            min_sum(self.values, self.losses, self.weights),
        )
        arguments = self.losses, self.masks, self.masks[:2], self.weights
        np.testing.assert_array_equal(
            jax.jit(union_sums)(*arguments), union_sums(*arguments)
        )

    def test_known_arrays_inside_jit_are_checked(self):
        bad = self.losses.copy()
        bad[2, 1] = np.nan
        with self.assertRaisesRegex(ValueError, r"losses\[2, 1\]"):
            jax.jit(lambda masks: oracle_losses(bad, masks))(self.masks)

    def test_vmap(self):
        with self.subTest("over everything"):
            stacked = [
                np.stack([a, a[::-1]])
                for a in (self.losses, self.masks, self.weights)
            ]
            stacked[1] = np.stack([self.masks, self.masks[:, ::-1]])
            got = jax.vmap(oracle_losses)(*stacked)
            for i in range(2):
                np.testing.assert_array_equal(
                    got[i], oracle_losses(*(a[i] for a in stacked))
                )
        with self.subTest("over weights, as a bootstrap does"):
            weights = np.stack([self.weights, np.ones_like(self.weights)])
            got = jax.vmap(min_sum, in_axes=(None, None, 0))(
                self.values, self.losses, weights
            )
            for i in range(2):
                np.testing.assert_array_equal(
                    got[i], min_sum(self.values, self.losses, weights[i])
                )

    def test_no_array_of_subsets_models_texts(self):
        shapes = num_subsets, num_models, num_texts = 512, 64, 4096
        losses, values, masks, weights = (
            jax.ShapeDtypeStruct(shape, dtype)
            for shape, dtype in (
                ((num_models, num_texts), jnp.float32),
                ((num_subsets, num_texts), jnp.float32),
                ((num_subsets, num_models), bool),
                ((num_texts,), jnp.float32),
            )
        )
        for name, function, arguments, allowed in (
            (
                "min_sum",
                min_sum,
                (values, losses),
                num_subsets + 2 * num_models,
            ),
            ("oracle_losses", oracle_losses, (losses, masks), 3 * num_models),
        ):
            with self.subTest(name):
                function = functools.partial(function, backend="xla")
                compiled = jax.jit(function).lower(*arguments, weights)
                memory = compiled.compile().memory_analysis()
                # Copies of the tables; a tenth of that for the loop.
                self.assertLess(
                    memory.temp_size_in_bytes, 1.1 * 4 * allowed * num_texts
                )
                self.assertLess(
                    memory.temp_size_in_bytes, 4 * math.prod(shapes) / 40
                )


class ContractTest(parameterized.TestCase):
    def test_infinite_losses(self):
        losses = np.float32([[np.inf, 1.0], [2.0, np.inf]])
        masks = [[True, False], [False, True], [True, True]]
        with self.subTest("a text that no model of the subset can have"):
            np.testing.assert_array_equal(
                oracle_losses(losses, masks), [np.inf, np.inf, 1.5]
            )
        with self.subTest("a text of weight 0 counts for nothing"):
            np.testing.assert_array_equal(
                oracle_losses(losses, masks, [0.0, 2.0]), [1.0, np.inf, 1.0]
            )
            np.testing.assert_array_equal(
                min_sum(losses, losses, [0.0, 2.0]), [[2.0, 2.0], [2.0, np.inf]]
            )

    def test_nan_under_jit_reaches_every_sum_it_belongs_to(self):
        means, sums = jax.jit(oracle_losses), jax.jit(min_sum)
        zeros = np.zeros((1, 130), np.float32)
        for model in (0, 7, 16, 19):
            losses = np.ones((20, 130), np.float32)
            losses[model, 129] = np.nan
            here = np.arange(20) == model
            with self.subTest("oracle_losses", model=model):
                np.testing.assert_array_equal(
                    np.isnan(means(losses, np.stack([here | True, ~here]))),
                    [True, False],
                )
            with self.subTest("min_sum, losses", model=model):
                np.testing.assert_array_equal(
                    np.isnan(sums(zeros, losses)[0]), here
                )
            with self.subTest("min_sum, values", model=model):
                np.testing.assert_array_equal(
                    np.isnan(sums(losses, zeros)[:, 0]), here
                )

    def test_negative_weight_under_jit_is_nan(self):
        means = jax.jit(oracle_losses)(
            np.ones((1, 2), np.float32),
            np.ones((1, 1), bool),
            np.array([-1.0, 2.0]),
        )
        self.assertTrue(np.isnan(means[0]))

    def test_bad_input(self):
        losses = np.ones((3, 4), np.float32)
        masks = np.ones((2, 3), bool)
        nan, low = losses.copy(), losses.copy()
        nan[1, 2], low[2, 0] = np.nan, -np.inf
        for message, function, arguments in (
            ("no models", oracle_losses, (losses[:0], masks[:, :0])),
            ("no models", min_sum, (losses, losses[:0])),
            ("no texts", oracle_losses, (losses[:, :0], masks)),
            (r"shape \(4,\)", oracle_losses, (losses[0], masks)),
            (r"shape \(2, 2\); \[S, 3\]", oracle_losses,
             (losses, masks[:, 1:])),
            (r"masks has shape \(3,\)", oracle_losses, (losses, masks[0])),
            ("masks has dtype int", oracle_losses, (losses, masks.astype(int))),
            ("masks has dtype int", union_sums,
             (losses, masks.astype(int), masks)),
            (r"others has shape \(2, 2\); \[S, 3\]", union_sums,
             (losses, masks, masks[:, 1:])),
            (r"losses\[1, 2\] .* is nan", union_sums, (nan, masks, masks)),
            ("losses has dtype int", oracle_losses,
             (losses.astype(int), masks)),
            (r"losses\[1, 2\] \(model 1, text 2\) is nan", oracle_losses,
             (nan, masks)),
            (r"losses\[2, 0\] \(model 2, text 0\) is -inf", oracle_losses,
             (low, masks)),
            (r"values\[1, 2\] \(subset 1, text 2\) is nan", min_sum,
             (nan, losses)),
            (r"losses\[1, 2\]", min_sum, (losses, nan)),
            ("4 texts .* 3", min_sum, (losses, losses[:, 1:])),
            ("values has dtype float16", min_sum,
             (losses.astype(np.float16), losses)),
            (r"weights has shape \(3,\); \(4,\)", oracle_losses,
             (losses, masks, np.ones(3))),
            (r"weights\[1\] is -1", oracle_losses,
             (losses, masks, [1, -1, 1, 1])),
            (r"weights\[0\] is nan", min_sum,
             (losses, losses, [np.nan, 1, 1, 1])),
            (r"weights\[3\] is inf", min_sum,
             (losses, losses, [1, 1, 1, np.inf])),
            ("all 0", oracle_losses, (losses, masks, np.zeros(4))),
        ):  # fmt: skip
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                function(*arguments)

    def test_bad_integers(self):
        losses = np.ones((3, 4), np.uint32)
        masks = np.ones((2, 3), bool)
        with self.assertRaisesRegex(ValueError, r"uint32.*enable_x64\(True\)"):
            oracle_sums(losses, masks)
        for message, function, arguments in (
            ("losses has dtype int16", oracle_sums,
             (losses.astype(np.int16), masks)),
            ("losses has dtype uint64", oracle_sums,
             (losses.astype(np.uint64), masks)),
            ("losses has dtype uint16", oracle_sums,
             (losses.astype(np.uint16), masks)),
            ("values has dtype float32, losses has uint32", min_sum,
             (losses.astype(np.float32), losses)),
            ("uint32 take no weights", oracle_sums,
             (losses, masks, [1, 1, 1, 1])),
            ("uint32 take no weights", min_sum, (losses, losses, np.ones(4))),
        ):  # fmt: skip
            with (
                self.subTest(message),
                jax.enable_x64(True),
                self.assertRaisesRegex(ValueError, message),
            ):
                function(*arguments)

    def test_two_dtypes_are_refused(self):
        with (
            jax.enable_x64(True),
            self.assertRaisesRegex(ValueError, "float64"),
        ):
            min_sum(np.ones((1, 2)), np.ones((1, 2), np.float32))


if __name__ == "__main__":
    absltest.main()
