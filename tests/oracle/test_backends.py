"""Every backend against a brute force, and which of them serves a call.

The kernels for GPUs and TPUs are interpreted by JAX here, and lowered for
their platforms, as far as that goes without one. Nobody runs an interpreted
kernel but these tests: it is compiled quickly.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from mmc_jax import oracle
from mmc_jax.oracle import backends, cpu, gpu, tpu, xla
from tests import tolerances
from tests.oracle import brute_force

BACKENDS = {"cpu": cpu, "gpu": gpu, "tpu": tpu, "xla": xla}
DTYPES = ("float32", "float64", "uint32")

# (S, M, X) and whether weighted: one of each; groups of models and blocks of
# texts just over; and for XLA, which gathers minima from tables of more than 32
# subsets, from larger ones of 512.
SHAPES = [(1, 1, 1, False), (33, 17, 130, True), (520, 7, 5, False)]


def kernel(backend, name):
    """Returns the kernel of the backend, interpreted if it is Pallas'."""
    function = getattr(BACKENDS[backend], name)
    if backend in ("gpu", "tpu"):
        return functools.partial(function, interpret=True)
    return function


def cases(*names):
    for backend in names:
        for dtype in DTYPES:
            if BACKENDS[backend].supports(dtype):
                yield f"{backend}_{dtype}", backend, dtype


def brute_force_test(*names):
    """Returns the tests of some backends."""

    class Test(parameterized.TestCase):
        def setUp(self):
            super().setUp()
            if "cpu" in self.id() and cpu.why_not() is not None:
                self.skipTest(cpu.why_not())

        def assert_sums(self, got, expected, dtype):
            got = np.asarray(got)
            if dtype.startswith("uint"):
                self.assertEqual(got.dtype, np.int64)
                np.testing.assert_array_equal(got, expected)
                return
            self.assertEqual(got.dtype, dtype)
            np.testing.assert_allclose(
                got,
                expected,
                rtol=tolerances.KERNEL_FLOAT32
                if dtype == "float32"
                else tolerances.KERNEL_FLOAT64,
            )

        @parameterized.named_parameters(cases(*names))
        def test_random(self, backend, dtype):
            # Tables of minima differ from dtype to dtype in nothing.
            shapes = (
                SHAPES if (backend, dtype) == ("xla", "float32") else SHAPES[:2]
            )
            for *shape, weighted in shapes:
                losses, values, masks, weights = brute_force.random_case(
                    *shape, dtype
                )
                values, masks[-1] = values[:5], False
                if not weighted or dtype == "uint32":
                    weights = given = None
                else:
                    given = weights.astype(dtype)
                with (
                    self.subTest(shape=shape, weighted=weighted),
                    jax.enable_x64(dtype != "float32"),
                ):
                    self.assert_sums(
                        kernel(backend, "oracle_sums")(losses, masks, given),
                        brute_force.oracle_sums(losses, masks, weights),
                        dtype,
                    )
                    self.assert_sums(
                        kernel(backend, "min_sum")(values, losses, given),
                        brute_force.min_sum(values, losses, weights),
                        dtype,
                    )

        @parameterized.named_parameters(cases(*names))
        def test_nothing(self, backend, dtype):
            with jax.enable_x64(dtype != "float32"):
                table = jnp.ones((2, 3), dtype)
                none = jnp.ones((2, 0), dtype)
                members = jnp.ones((2, 2), bool)
                self.assert_sums(
                    kernel(backend, "oracle_sums")(none, members, None),
                    np.zeros(2),
                    dtype,
                )
                self.assert_sums(
                    kernel(backend, "min_sum")(none, none, None),
                    np.zeros((2, 2)),
                    dtype,
                )
                self.assert_sums(
                    kernel(backend, "oracle_sums")(table, members[:0], None),
                    np.zeros(0),
                    dtype,
                )
                self.assert_sums(
                    kernel(backend, "min_sum")(table[:0], table, None),
                    np.zeros((0, 2)),
                    dtype,
                )

        @parameterized.named_parameters(*((b, b) for b in names))
        def test_infinity_and_nan_in_float32(self, backend):
            losses = np.ones((3, 200), np.float32)
            losses[0, 7], losses[1, 150], losses[2, 3] = np.inf, np.nan, 0.5
            masks = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]], bool)
            with self.subTest("oracle_sums"):
                sums = kernel(backend, "oracle_sums")(losses, masks, None)
                np.testing.assert_array_equal(
                    sums, [np.inf, 199.5, np.nan, np.inf]
                )
            with self.subTest("min_sum"):
                values = np.full((2, 200), np.inf, np.float32)
                values[1] = [0.0] * 199 + [np.nan]
                sums = kernel(backend, "min_sum")(values, losses, None)
                np.testing.assert_array_equal(
                    sums, [[np.inf, np.nan, 199.5], [np.nan] * 3]
                )
            with self.subTest("a text of weight 0"):
                weights = np.ones(200, np.float32)
                weights[7] = 0
                sums = kernel(backend, "oracle_sums")(losses, masks, weights)
                np.testing.assert_array_equal(
                    sums, [199.0, 198.5, np.nan, np.inf]
                )

        @parameterized.named_parameters(*((b, b) for b in names))
        def test_a_pair_does_not_depend_on_its_batch(self, backend):
            losses, values, masks, _ = brute_force.random_case(
                12, 19, 130, np.float32
            )
            sums = np.asarray(kernel(backend, "min_sum")(values, losses, None))
            alone = kernel(backend, "min_sum")(values[9:], losses[17:18], None)
            np.testing.assert_array_equal(alone, sums[9:, 17:18])
            sums = np.asarray(
                kernel(backend, "oracle_sums")(losses, masks, None)
            )
            alone = kernel(backend, "oracle_sums")(losses, masks[9:], None)
            np.testing.assert_array_equal(alone, sums[9:])

        @parameterized.named_parameters(*((b, b) for b in names))
        def test_many_texts_in_float32(self, backend):
            rng = np.random.default_rng(0)
            # Interpreted kernels are slow; C++ kernels have their own test.
            num_texts = 10**6 if backend == "xla" else 10_000
            losses = np.stack(
                [
                    np.full(num_texts, 0.1),
                    rng.lognormal(size=num_texts),
                    np.linspace(10, 0, num_texts),
                ]
            ).astype(np.float32)
            exact = losses.astype(np.float64).sum(axis=1)
            np.testing.assert_allclose(
                kernel(backend, "oracle_sums")(
                    losses, np.eye(3, dtype=bool), None
                ),
                exact,
                rtol=tolerances.KERNEL_FLOAT32,
            )
            empty = np.full((1, num_texts), np.inf, np.float32)
            np.testing.assert_allclose(
                kernel(backend, "min_sum")(empty, losses, None)[0],
                exact,
                rtol=tolerances.KERNEL_FLOAT32,
            )

        def test_sums_of_the_largest_integers(self):
            table = np.full((1, 1025), 2**32 - 1, np.uint32)
            for backend in names:
                module = BACKENDS[backend]
                if (
                    not module.supports("uint32")
                    or module.why_not() is not None
                ):
                    continue
                with self.subTest(backend), jax.enable_x64(True):
                    sums = kernel(backend, "min_sum")(table, table, None)
                    self.assertEqual(sums[0, 0], 1025 * (2**32 - 1))

    return Test


BruteForceTest = pytest.mark.full_optimisation(brute_force_test("cpu", "xla"))
InterpretedTest = brute_force_test("gpu", "tpu")


class NoneChosenTestCase(parameterized.TestCase):
    """Tests of the choice, in a run of all tests with some backend chosen."""

    def setUp(self):
        super().setUp()
        self.enter_context(
            absltest.mock.patch.dict(os.environ, MMC_ORACLE_BACKEND="")
        )


class PallasTest(NoneChosenTestCase):
    @parameterized.named_parameters(
        (
            f"{case}{'_weighted' * weighted}_{name}",
            name,
            backend,
            dtype,
            weighted,
        )
        for case, backend, dtype in cases("gpu", "tpu")
        for name in ("min_sum", "oracle_sums")
        for weighted in (False, True)
        if not (weighted and dtype == "uint32")
    )
    def test_lowers_for_its_platform(self, name, backend, dtype, weighted):
        module = BACKENDS[backend]
        platform, target = {
            "gpu": ("cuda", "xla.gpu.triton"),
            "tpu": ("tpu", "tpu_custom_call"),
        }[backend]
        with jax.enable_x64(dtype != "float32"):
            table = jax.ShapeDtypeStruct((71, 8192), dtype)
            masks = jax.ShapeDtypeStruct((100, 71), bool)
            weights = None
            if weighted:
                weights = jax.ShapeDtypeStruct((8192,), dtype)
            given = (table, table) if name == "min_sum" else (table, masks)
            text = (
                getattr(module, name)
                .trace(*given, weights)
                .lower(lowering_platforms=(platform,))
                .as_text()
            )
        self.assertEqual(text.count(target), 1)

    @parameterized.parameters(
        ("gpu", "cuda", "xla.gpu.triton"), ("tpu", "tpu", "tpu_custom_call")
    )
    def test_unions_are_min_sums_of_minima(self, backend, platform, target):
        module = BACKENDS[backend]
        losses, _, masks, weights = brute_force.random_case(
            9, 5, 130, np.float32
        )
        union_sums = jax.jit(oracle.union_sums)
        arguments = losses, masks, masks[:3], np.float32(weights)
        # The platforms that JAX has are known; this one is not here.
        with absltest.mock.patch.object(
            backends, "runnable", lambda dtype: {backend: module}
        ):
            jax.clear_caches()
            text = (
                union_sums.trace(*arguments)
                .lower(lowering_platforms=(platform,))
                .as_text()
            )
        jax.clear_caches()
        self.assertEqual(text.count(target), 1)
        interpreted = functools.partial(module.min_sum, interpret=True)
        with absltest.mock.patch.object(xla, "min_sum", interpreted):
            got = oracle.union_sums(*arguments, backend="xla")
        unions = (masks[:, None] | masks[:3]).reshape(-1, 5)
        np.testing.assert_allclose(
            np.ravel(got),
            brute_force.oracle_sums(losses, unions, weights),
            rtol=tolerances.KERNEL_FLOAT32,
        )

    def test_nan_on_a_gpu_whose_minimum_prefers_numbers(self):
        losses = np.ones((3, 40), np.float32)
        losses[1, 5] = np.nan
        masks = np.array([[1, 0, 1], [1, 1, 0]], bool)
        jax.clear_caches()  # What was traced has the other minimum.
        with absltest.mock.patch.object(gpu.jnp, "minimum", jnp.fmin):
            sums = gpu.min_sum(losses, losses, None, interpret=True)
            subsets = gpu.oracle_sums(losses, masks, None, interpret=True)
        jax.clear_caches()
        np.testing.assert_array_equal(
            np.isnan(sums), [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
        )
        np.testing.assert_array_equal(subsets, [40, np.nan])

    @parameterized.parameters((gpu, 300), (tpu, 20))
    def test_chunks_of_subsets(self, module, num_subsets):
        losses, values, masks, _ = brute_force.random_case(
            num_subsets, 5, 30, np.float32
        )
        jax.clear_caches()
        with absltest.mock.patch.object(module, "_MOST_SUMS", 1):
            sums = module.min_sum(values, losses, None, interpret=True)
            subsets = module.oracle_sums(losses, masks, None, interpret=True)
        jax.clear_caches()
        np.testing.assert_allclose(
            sums,
            xla.min_sum(values, losses, None),
            rtol=tolerances.KERNEL_FLOAT32,
        )
        np.testing.assert_allclose(
            subsets,
            xla.oracle_sums(losses, masks, None),
            rtol=tolerances.KERNEL_FLOAT32,
        )


class ChoiceTest(NoneChosenTestCase):
    def setUp(self):
        super().setUp()
        self.table = np.ones((2, 3), np.float32)

    def serving(self, **arguments):
        """Returns the name of the backend whose code a call is lowered to."""
        text = (
            jax.jit(functools.partial(oracle.min_sum, **arguments))
            .lower(self.table, self.table)
            .as_text()
        )
        return "cpu" if "mmc_min_sum" in text else "xla"

    def test_chosen(self):
        home = "xla" if cpu.why_not() else "cpu"
        with self.subTest("by the platform"):
            self.assertEqual(self.serving(), home)
        with self.subTest("by the argument"):
            self.assertEqual(self.serving(backend="xla"), "xla")
        variable = {"MMC_ORACLE_BACKEND": "xla"}
        with absltest.mock.patch.dict(os.environ, variable):
            with self.subTest("by the environment"):
                self.assertEqual(self.serving(), "xla")
            if home == "cpu":
                with self.subTest("by the argument before the environment"):
                    self.assertEqual(self.serving(backend="cpu"), "cpu")
        with absltest.mock.patch.dict(os.environ, MMC_ORACLE_BACKEND=""):
            self.assertEqual(self.serving(), home)

    def test_lowered_for_a_platform_that_is_not_here(self):
        lowered = (
            jax.jit(oracle.min_sum)
            .trace(self.table, self.table)
            .lower(lowering_platforms=("tpu",))
        )
        self.assertNotIn("custom_call", lowered.as_text())

    def test_says_once_that_xla_serves(self):
        self.enter_context(
            absltest.mock.patch.object(cpu, "why_not", lambda: "not compiled")
        )
        jax.clear_caches()
        with self.assertLogs("absl", "WARNING") as logs:
            oracle.min_sum(self.table, self.table)
            oracle.min_sum(self.table, self.table)
        jax.clear_caches()
        self.assertLen(logs.output, 1)
        self.assertIn("XLA on cpu: not compiled", logs.output[0])

    def test_bad_choice(self):
        for message, backend in (
            ("backend .* is 'cuda'; one of cpu, gpu, tpu, xla", "cuda"),
            ("'gpu' cannot serve: JAX has no cuda device here", "gpu"),
            ("'tpu' cannot serve: JAX has no tpu device here", "tpu"),
        ):
            with (
                self.subTest(backend),
                self.assertRaisesRegex(ValueError, message),
            ):
                oracle.min_sum(self.table, self.table, backend=backend)
        with (
            absltest.mock.patch.dict(os.environ, MMC_ORACLE_BACKEND="fast"),
            self.assertRaisesRegex(ValueError, "MMC_ORACLE_BACKEND.* 'fast'"),
        ):
            oracle.min_sum(self.table, self.table)
        with (
            absltest.mock.patch.object(cpu, "why_not", lambda: "no compiler"),
            self.assertRaisesRegex(ValueError, "'cpu' .*: no compiler"),
        ):
            oracle.min_sum(self.table, self.table, backend="cpu")

    def test_runnable(self):
        with self.subTest("XLA always"):
            self.assertIn("xla", backends.runnable("float32"))
        with self.subTest("nothing without its device"):
            self.assertNoCommonElements(
                backends.runnable("float32"), ("gpu", "tpu")
            )


if __name__ == "__main__":
    absltest.main()
