"""The C++ kernels against NumPy, at every level that this machine has."""

import concurrent.futures
import importlib.machinery
import importlib.util
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmc_jax.oracle import cpu
from tests import tolerances

pytestmark = pytest.mark.full_optimisation

FLOATS = ["float32", "float64"]
INTEGERS = ["uint32"]

# Whole numbers take no weights.
CASES = [(dtype, False) for dtype in FLOATS + INTEGERS] + [
    (dtype, True) for dtype in FLOATS
]

# (S, M, X): nothing and one of each; rows around the tiles of 4 x 6 and panels
# of 8; texts around registers, blocks and chunks.
SHAPES = [
    (0, 1, 1),
    (1, 1, 0),
    (1, 1, 1),
    (2, 7, 63),
    (5, 3, 129),
    (9, 13, 641),
    (3, 6, 2561),
    (4, 2, 10_241),
]


def at_level(level):
    return absltest.mock.patch.dict(os.environ, MMC_ORACLE_CPU_LEVEL=level)


def with_threads(num_threads):
    return absltest.mock.patch.dict(
        os.environ, MMC_ORACLE_CPU_THREADS=str(num_threads)
    )


def random_case(num_subsets, num_models, num_texts, dtype, weighted, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (num_models, num_texts), (num_subsets, num_texts)
    if dtype in FLOATS:
        losses, values = (rng.lognormal(size=s).astype(dtype) for s in shapes)
    else:
        largest = np.iinfo(dtype).max
        losses, values = (
            rng.integers(0, largest, s, dtype, endpoint=True) for s in shapes
        )
    masks = rng.random((num_subsets, num_models)) < 0.5
    weights = None
    if weighted:
        weights = rng.integers(0, 4, num_texts)
        weights = weights.astype(dtype)
    return losses, values, masks, weights


def exact_sums(minima, weights):
    """Returns the sum of each row of minima [..., X], infinity times 0 is 0."""
    minima = np.asarray(minima)
    if weights is None:
        weights = np.ones(minima.shape[-1], np.int64)
    if np.issubdtype(minima.dtype, np.integer):
        return minima.astype(np.int64) @ weights.astype(np.int64)
    terms = np.where(weights == 0, 0, minima.astype(np.float64)) * weights
    rows = terms.reshape(math.prod(terms.shape[:-1]), terms.shape[-1])
    return np.array([math.fsum(row) for row in rows]).reshape(terms.shape[:-1])


def brute_min_sum(values, losses, weights):
    return exact_sums(np.minimum(values[:, None], losses), weights)


def brute_oracle_sums(losses, masks, weights):
    largest = (
        np.inf
        if np.issubdtype(losses.dtype, np.floating)
        else np.iinfo(losses.dtype).max
    )
    rows = np.where(masks[:, :, None], losses, losses.dtype.type(largest))
    return exact_sums(rows.min(axis=1), weights)


class KernelsTestCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        if reason := cpu.why_not():
            self.skipTest(reason)


class BruteForceTest(KernelsTestCase):
    @parameterized.parameters(*CASES)
    def test_both_kernels(self, dtype, weighted):
        for shape in SHAPES:
            losses, values, masks, weights = random_case(
                *shape, dtype, weighted
            )
            want_min = brute_min_sum(values, losses, weights)
            want_oracle = brute_oracle_sums(losses, masks, weights)
            for level in cpu.levels():
                with (
                    self.subTest(shape=shape, level=level),
                    at_level(level),
                    jax.enable_x64(True),
                ):
                    got_min = cpu.min_sum(values, losses, weights)
                    got_oracle = cpu.oracle_sums(losses, masks, weights)
                    self.check(got_min, want_min, dtype)
                    self.check(got_oracle, want_oracle, dtype)

    def check(self, got, want, dtype):
        if dtype in INTEGERS:
            self.assertEqual(got.dtype, np.int64)
            np.testing.assert_array_equal(got, want)
        else:
            self.assertEqual(got.dtype, dtype)
            tolerance = getattr(tolerances, f"KERNEL_{dtype.upper()}")
            np.testing.assert_allclose(got, want, rtol=tolerance)

    def test_million_texts_in_float32(self):
        rng = np.random.default_rng(0)
        losses = np.stack(
            [
                np.full(10**6, 0.1),
                rng.lognormal(size=10**6),
                np.linspace(0, 10, 10**6),
                # The first text of each lane outweighs all others.
                np.where(np.arange(10**6) % 640 < 16, 2.0**20, 0.1),
            ]
        ).astype(np.float32)
        want = [math.fsum(row.tolist()) for row in losses]
        empty = np.full((1, 10**6), np.inf, np.float32)
        for level in cpu.levels():
            with self.subTest(level=level), at_level(level):
                for got in (
                    cpu.min_sum(empty, losses, None)[0],
                    cpu.oracle_sums(losses, np.eye(4, dtype=bool), None),
                ):
                    np.testing.assert_allclose(
                        got, want, rtol=tolerances.KERNEL_FLOAT32
                    )


class UnionsTest(KernelsTestCase):
    # (S, R, M, X): nothing, one of each; rows beyond those that are computed at
    # once, and others beyond a task's.
    @parameterized.parameters(*CASES)
    def test_sums_of_minima(self, dtype, weighted):
        for num_subsets, num_others, num_models, num_texts in (
            (0, 1, 1, 1),
            (1, 1, 1, 0),
            (1, 1, 1, 1),
            (70, 9, 5, 1_000),
            (130, 150, 19, 300),
            (5, 7, 13, 12_345),
        ):
            losses, _, masks, weights = random_case(
                num_subsets, num_models, num_texts, dtype, weighted
            )
            others = random_case(
                num_others, num_models, 0, dtype, False, seed=1
            )[2]
            masks[:1], others[:1] = False, False
            if dtype in FLOATS:
                losses[:1, 7:8] = np.inf
                masks[1:, -1] = others[1:, -1] = True
                absent = np.inf
            else:
                absent = np.iinfo(dtype).max
            values, other_values = (
                np.where(
                    part[:, :, None], losses, losses.dtype.type(absent)
                ).min(axis=1)
                for part in (masks, others)
            )
            for level in cpu.levels():
                with (
                    self.subTest(shape=losses.shape, level=level),
                    at_level(level),
                    jax.enable_x64(True),
                ):
                    # To the last bit, floats too.
                    np.testing.assert_array_equal(
                        cpu.union_sums(losses, masks, others, weights),
                        cpu.min_sum(values, other_values, weights),
                    )

    @parameterized.parameters(*FLOATS)
    def test_nan(self, dtype):
        for level, x in ((v, x) for v in cpu.levels() for x in (0, 20, 700)):
            losses, _, _, _ = random_case(1, 8, 701, dtype, False)
            losses[3, x] = np.nan
            losses[4, 50] = -1
            with (
                self.subTest(level=level, x=x),
                at_level(level),
                jax.enable_x64(True),
            ):
                one, pairs = np.eye(8, dtype=bool), np.eye(5, 8, dtype=bool)
                pairs[:, 7] = True
                sums = np.isnan(cpu.union_sums(losses, one, pairs, None))
                want = np.zeros((8, 5), bool)
                want[3] = want[:, 3] = True
                np.testing.assert_array_equal(sums, want)

    def test_threads_and_batches(self):
        losses, _, masks, _ = random_case(700, 13, 30_000, "float32", False)
        others = masks[:300]
        with with_threads(1):
            sums = np.asarray(cpu.union_sums(losses, masks, others, None))
        for num_threads in (2, 5):
            with with_threads(num_threads):
                got = cpu.union_sums(losses, masks, others, None)
                np.testing.assert_array_equal(got, sums)
        got = cpu.union_sums(losses, masks[65:66], others[200:201], None)
        np.testing.assert_array_equal(got, sums[65:66, 200:201])


class IntegersTest(KernelsTestCase):
    def test_largest_numbers(self):
        largest, num_texts = 2**32 - 1, 70_001
        table = np.full((5, num_texts), largest, np.uint32)
        masks = np.array([[False] * 5, [True] * 5])
        want = largest * num_texts
        for level in cpu.levels():
            with (
                self.subTest(level=level),
                at_level(level),
                jax.enable_x64(True),
            ):
                sums = cpu.min_sum(table, table, None)
                np.testing.assert_array_equal(sums, np.full((5, 5), want))
                sums = cpu.oracle_sums(table, masks, None)
                np.testing.assert_array_equal(sums, [want, want])

    def test_refused(self):
        table = np.ones((2, 3), np.uint32)
        with self.assertRaisesRegex(ValueError, "uint32.*int64.*enable_x64"):
            cpu.min_sum(table, table, None)
        with (
            jax.enable_x64(True),
            self.assertRaisesRegex(Exception, "whole losses take no weights"),
        ):
            cpu.min_sum(table, table, np.ones(3)).block_until_ready()


class SpecialNumbersTest(KernelsTestCase):
    @parameterized.parameters(*FLOATS)
    def test_nan_makes_the_sums_that_it_belongs_to_nan(self, dtype):
        for level, x in ((v, x) for v in cpu.levels() for x in (0, 20, 700)):
            losses, values, _, _ = random_case(9, 8, 701, dtype, False)
            masks = np.eye(8, dtype=bool)
            masks[7] = True
            losses[3, x] = values[6, x] = np.nan
            with (
                self.subTest(level=level, x=x),
                at_level(level),
                jax.enable_x64(True),
            ):
                sums = np.isnan(cpu.min_sum(values, losses, None))
                want = np.zeros((9, 8), bool)
                want[6] = want[:, 3] = True
                np.testing.assert_array_equal(sums, want)
                sums = np.isnan(cpu.oracle_sums(losses, masks, None))
                np.testing.assert_array_equal(sums, masks[:, 3])

    @parameterized.parameters(*FLOATS)
    def test_infinity_and_weights(self, dtype):
        losses, values, _, weights = random_case(3, 4, 50, dtype, True)
        weights[[2, 40]] = 0
        losses[1, 2] = losses[:, 40] = values[:, 40] = np.inf
        masks = np.array([[False] * 4, [False, True, False, False]])
        for level in cpu.levels():
            with (
                self.subTest(level=level),
                at_level(level),
                jax.enable_x64(True),
            ):
                tolerance = getattr(tolerances, f"KERNEL_{dtype.upper()}")
                np.testing.assert_allclose(
                    cpu.min_sum(values, losses, weights),
                    brute_min_sum(values, losses, weights),
                    rtol=tolerance,
                )
                got = cpu.oracle_sums(losses, masks, weights)
                self.assertEqual(got[0], np.inf)
                self.assertTrue(np.isfinite(got[1]))
                with_infinity = values.copy()
                with_infinity[1, 5] = losses[2, 5] = np.inf
                weights[5] = 2
                sums = cpu.min_sum(with_infinity, losses, weights)
                self.assertEqual(sums[1, 2], np.inf)
                self.assertEqual(np.isinf(sums).sum(), 1)
                losses[2, 5] = 1
                for bad in (-1.0, np.nan):
                    sums = cpu.min_sum(
                        values, losses, np.where(weights == 0, bad, weights)
                    )
                    self.assertTrue(np.isnan(sums).all())

    def test_negative_losses(self):
        # Whether a block has some decides by which instruction minima are
        # taken: none; all of one table; a few in one, in both, in one block of
        # several.
        losses, values, _, _ = random_case(9, 8, 1_500, "float32", False)
        values[2, 3], losses[1, 3] = 0, np.inf
        few, late = np.ones((2, 1_500), np.float32)
        few[::7] = -1
        late[-3:] = -1
        for name, (sign, other) in {
            "none": (1, 1),
            "values": (-1, 1),
            "losses": (1, -1),
            "both": (-1, -1),
            "a few values": (few, 1),
            "a few of both": (few, -few),
            "the last of both": (late, late),
        }.items():
            for level in cpu.levels():
                with self.subTest(name, level=level), at_level(level):
                    got = cpu.min_sum(values * sign, losses * other, None)
                    minima = np.minimum(
                        (values * sign)[:, None], losses * other
                    ).astype(np.float64)
                    error = np.abs(got - minima.sum(axis=-1))
                    scale = np.abs(minima).sum(axis=-1)
                    bad = ~(error <= tolerances.KERNEL_FLOAT32 * scale)
                    # Minus infinity belongs to one model alone.
                    bad &= np.isfinite(scale)
                    self.assertFalse(bad.any())
                    np.testing.assert_array_equal(
                        np.isneginf(got), np.isneginf(minima).any(axis=-1)
                    )


class InvarianceTest(KernelsTestCase):
    @parameterized.parameters(*FLOATS)
    def test_sums_to_the_last_bit(self, dtype):
        # 50,000 texts are several chunks at every level.
        losses, values, masks, weights = random_case(
            300, 13, 50_000, dtype, True
        )
        with jax.enable_x64(True):
            with with_threads(1):
                sums = np.asarray(cpu.min_sum(values, losses, weights))
                oracle = np.asarray(cpu.oracle_sums(losses, masks, weights))
            for num_threads in (2, 5):
                with (
                    self.subTest(num_threads=num_threads),
                    with_threads(num_threads),
                ):
                    got = cpu.min_sum(values, losses, weights)
                    np.testing.assert_array_equal(got, sums)
                    got = cpu.oracle_sums(losses, masks, weights)
                    np.testing.assert_array_equal(got, oracle)
            for s in (slice(0, 1), slice(7, 18), slice(299, 300)):
                for m in (slice(0, 1), slice(5, 12)):
                    with self.subTest(subsets=s, models=m):
                        got = cpu.min_sum(values[s], losses[m], weights)
                        np.testing.assert_array_equal(got, sums[s, m])
                with self.subTest(subsets=s):
                    got = cpu.oracle_sums(losses, masks[s], weights)
                    np.testing.assert_array_equal(got, oracle[s])

    def test_oracle_sums_of_many_and_of_few_subsets(self):
        for num_models, density in ((40, 0.5), (71, 0.7), (71, 0.3)):
            rng = np.random.default_rng(1)
            losses, _, _, weights = random_case(
                1, num_models, 3_000, "float32", True
            )
            losses = np.round(losses, 1)  # ties
            losses[2, 7] = np.inf
            masks = rng.random((3_000, num_models)) < density
            masks[:9] = False
            masks[np.arange(1, 9), np.arange(1, 9) % num_models] = True
            for level in cpu.levels():
                with (
                    self.subTest(num_models=num_models, level=level),
                    at_level(level),
                ):
                    many = np.asarray(cpu.oracle_sums(losses, masks, weights))
                    for s in (0, 100, 1_500, 2_900):
                        few = slice(s, s + 100)
                        np.testing.assert_array_equal(
                            many[few],
                            cpu.oracle_sums(losses, masks[few], weights),
                        )
                    np.testing.assert_allclose(
                        many[:20],
                        brute_oracle_sums(losses, masks[:20], weights),
                        rtol=tolerances.KERNEL_FLOAT32,
                    )
                    with_nan = losses.copy()
                    with_nan[3, 2_000] = np.nan
                    np.testing.assert_array_equal(
                        cpu.oracle_sums(with_nan, masks, None)[masks[:, 3]],
                        np.nan,
                    )
                    np.testing.assert_array_equal(
                        cpu.oracle_sums(with_nan, masks, weights)[~masks[:, 3]],
                        many[~masks[:, 3]],
                    )

    def test_calls_at_the_same_time(self):
        losses, values, _, _ = random_case(200, 13, 5_000, "float32", False)
        want = np.asarray(cpu.min_sum(values, losses, None))
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            calls = [
                executor.submit(cpu.min_sum, values, losses, None)
                for _ in range(32)
            ]
            for call in calls:
                np.testing.assert_array_equal(call.result(), want)


class TransformsTest(KernelsTestCase):
    def setUp(self):
        super().setUp()
        self.losses, self.values, self.masks, _ = random_case(
            16, 5, 640, "float32", False
        )
        self.sums = np.asarray(cpu.min_sum(self.values, self.losses, None))
        self.oracle = np.asarray(cpu.oracle_sums(self.losses, self.masks, None))

    def test_jit(self):
        got = jax.jit(lambda v, m: cpu.min_sum(v, m, None))(
            self.values, self.losses
        )
        np.testing.assert_array_equal(got, self.sums)

    def test_vmap(self):
        batch = self.values.reshape(4, 4, 640)
        got = jax.vmap(lambda v: cpu.min_sum(v, self.losses, None))(batch)
        np.testing.assert_array_equal(got.reshape(16, 5), self.sums)
        got = jax.vmap(lambda m: cpu.oracle_sums(self.losses, m, None))(
            self.masks.reshape(4, 4, 5)
        )
        np.testing.assert_array_equal(got.reshape(16), self.oracle)

    def test_shard_map_over_subsets(self):
        mesh = jax.make_mesh(
            (8,), ("subsets",), axis_types=(jax.sharding.AxisType.Auto,)
        )
        got = jax.jit(
            jax.shard_map(
                lambda v, m: cpu.min_sum(v, m, None),
                mesh=mesh,
                in_specs=(P("subsets"), P()),
                out_specs=P("subsets"),
            )
        )(
            jax.device_put(self.values, NamedSharding(mesh, P("subsets"))),
            self.losses,
        )
        np.testing.assert_array_equal(got, self.sums)


class SettingsTest(KernelsTestCase):
    def test_levels(self):
        self.assertEqual(cpu.levels()[-1], "baseline")
        for level in cpu.levels():
            with self.subTest(level=level):
                rate = cpu.min_adds_per_second(level, 1, seconds=0.01)
                self.assertGreater(rate, 1e7)

    def test_errors(self):
        ones = jnp.ones((1, 1))
        with (
            at_level("avx1024"),
            self.assertRaisesRegex(ValueError, "'avx1024'.*baseline"),
        ):
            cpu.min_sum(ones, ones, None)
        with (
            with_threads("all"),
            self.assertRaisesRegex(ValueError, "THREADS is 'all'"),
        ):
            cpu.min_sum(ones, ones, None)
        for text in ("1025", "-1", "1e3", " ", "9" * 40):
            with (
                with_threads(text),
                self.assertRaisesRegex(ValueError, f"THREADS is '{text}'"),
            ):
                cpu.min_sum(ones, ones, None)
        with with_threads(""):
            self.assertEqual(cpu.min_sum(ones, ones, None), 1)
        with self.assertRaisesRegex(ValueError, "'avx1024'"):
            cpu.min_adds_per_second("avx1024")
        for num_threads in (0, -3, 10**10):
            with self.assertRaisesRegex(ValueError, f"is {num_threads}; 1 to"):
                cpu.min_adds_per_second(num_threads=num_threads)

    def test_supports(self):
        for dtype in FLOATS + INTEGERS:
            self.assertTrue(cpu.supports(dtype))
        self.assertFalse(cpu.supports(jnp.bfloat16))


class WithoutLibraryTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    def why_not(self):
        with (
            absltest.mock.patch.object(
                cpu, "__file__", f"{self.folder}/cpu.py"
            ),
            absltest.mock.patch.object(
                cpu, "_library", cpu._library.__wrapped__
            ),
        ):
            return cpu.why_not()

    def test_never_compiled(self):
        self.assertRegex(self.why_not(), "not compiled")

    def test_broken(self):
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        path = pathlib.Path(self.folder) / f"_native{suffix}"
        path.write_text("no library")
        self.assertRegex(self.why_not(), "do not load.*install")

    def test_of_other_sources(self):
        if reason := cpu.why_not():
            self.skipTest(reason)
        path = pathlib.Path(cpu._library()._name)
        (pathlib.Path(self.folder) / path.name).symlink_to(path)
        with absltest.mock.patch.object(cpu, "_INTERFACE", 1):
            self.assertRegex(self.why_not(), "other sources.*install")

    def test_setup_with_a_compiler_that_fails(self):
        if not importlib.util.find_spec("setuptools"):
            self.skipTest("no setuptools beside the package")
        done = subprocess.run(
            [
                sys.executable,
                "setup.py",
                "build_ext",
                f"--build-lib={self.folder}",
                f"--build-temp={self.folder}",
            ],
            cwd=pathlib.Path(__file__).parents[2],
            env=os.environ | {"CC": "false", "CXX": "false"},
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "not compiled.*XLA")
        self.assertEmpty(list(pathlib.Path(self.folder).rglob("_native*")))


if __name__ == "__main__":
    absltest.main()
