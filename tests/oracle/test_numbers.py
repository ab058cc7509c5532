"""Every backend against exact rational sums, on tables that strain floats.

What the contract in kernels.py promises: a sum is off by at most a share of its
terms' magnitudes, whatever their range and signs; infinite exactly where a term
is infinite or the sum is beyond the type; NaN exactly where a term is NaN.
"""

import contextlib
import functools
import os
from fractions import Fraction

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.oracle import cpu, gpu, tpu, xla
from tests import tolerances

NUM_MODELS, NUM_TEXTS = 5, 301
TOLERANCES = {
    "float32": tolerances.KERNEL_FLOAT32,
    "float64": tolerances.KERNEL_FLOAT64,
}

# The decimal exponents of normal numbers whose sums do not overflow.
EXPONENTS = {"float32": (-37, 35), "float64": (-307, 305)}


def backends():
    """Yields each level of the CPU and each other backend, with its context."""
    if cpu.why_not() is None:
        for level in cpu.levels():
            yield (
                f"cpu {level}",
                cpu,
                absltest.mock.patch.dict(
                    os.environ, MMC_ORACLE_CPU_LEVEL=level
                ),
            )
    yield "xla", xla, contextlib.nullcontext()
    yield "gpu", gpu, contextlib.nullcontext()
    yield "tpu", tpu, contextlib.nullcontext()


def kernel(module, name):
    function = getattr(module, name)
    if module in (gpu, tpu):
        return functools.partial(function, interpret=True)
    return function


def tables(dtype):
    """Returns losses [M, X] of each kind, by name."""
    rng = np.random.default_rng(0)
    shape = NUM_MODELS, NUM_TEXTS
    low, high = EXPONENTS[dtype]
    signs = rng.choice([-1.0, 1.0], shape)
    ranges = 10.0 ** rng.uniform(low, high, shape)
    one_cell = rng.lognormal(size=shape)
    one_cell[:, 7] = 10.0**high
    cancelling = rng.lognormal(size=shape)
    cancelling[:, 1::2] = -cancelling[:, :-1:2]
    ties = rng.integers(-2, 3, shape).astype(float)
    found = {
        "ranges": ranges,
        "ranges of both signs": signs * ranges,
        "one cell above all": one_cell,
        "sums near 0": cancelling,
        "ties and zeros of both signs": np.where(ties == 0, signs * 0.0, ties),
        "the largest that do not overflow": np.full(
            shape, float(np.finfo(dtype).max) / (2 * NUM_TEXTS)
        ),
        "the least normal": signs * float(np.finfo(dtype).tiny),
    }
    return {name: table.astype(dtype) for name, table in found.items()}


def exact_sums(rows):
    """Returns the sum and the sum of magnitudes of each row, as fractions."""
    rows = [[Fraction(float(v)) for v in row] for row in rows]
    return [(sum(row), sum(map(abs, row))) for row in rows]


class NumbersTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(1)
        self.masks = rng.random((6, NUM_MODELS)) < 0.5
        self.masks[:, 0] |= ~self.masks.any(axis=1)

    def on_each(self, dtype, check):
        """Calls check(module) for each backend that takes the dtype."""
        for name, module, context in backends():
            if module.supports(dtype):
                with (
                    self.subTest(backend=name),
                    context,
                    jax.enable_x64(dtype != "float32"),
                ):
                    check(module)

    def assert_near(self, got, rows, dtype):
        tolerance = Fraction(TOLERANCES[dtype])
        for value, (total, size) in zip(
            np.ravel(got), exact_sums(rows), strict=True
        ):
            error = abs(Fraction(float(value)) - total)
            self.assertLessEqual(error, tolerance * size)

    @parameterized.product(
        dtype=list(TOLERANCES), table=list(tables("float32"))
    )
    def test_exact_sums(self, dtype, table):
        losses = tables(dtype)[table]
        values = losses[::-1]
        pairs = np.minimum(values[:, None], losses).reshape(-1, NUM_TEXTS)
        minima = [losses[mask].min(axis=0) for mask in self.masks]

        def check(module):
            self.assert_near(
                kernel(module, "min_sum")(values, losses, None), pairs, dtype
            )
            self.assert_near(
                kernel(module, "oracle_sums")(losses, self.masks, None),
                minima,
                dtype,
            )

        self.on_each(dtype, check)

    @parameterized.parameters(*TOLERANCES)
    def test_weights_of_many_sizes(self, dtype):
        rng = np.random.default_rng(2)
        high = EXPONENTS[dtype][1]
        losses = rng.lognormal(size=(NUM_MODELS, NUM_TEXTS)).astype(dtype)
        weights = 10.0 ** rng.uniform(-high + 2, high - 2, NUM_TEXTS)
        weights = weights.astype(dtype)
        weights[::5] = 0
        losses[:, ::10] = np.inf
        # The products are rounded; that is within the tolerance.
        products = np.where(weights == 0, 0, losses) * weights
        minima = [products[mask].min(axis=0) for mask in self.masks]

        def check(module):
            got = kernel(module, "oracle_sums")(losses, self.masks, weights)
            self.assert_near(got, minima, dtype)

        self.on_each(dtype, check)

    @parameterized.parameters(*TOLERANCES)
    def test_beyond_the_type(self, dtype):
        largest = np.finfo(dtype).max
        losses = np.full((NUM_MODELS, NUM_TEXTS), largest / 100, dtype)
        losses[1] = 1
        masks = np.eye(NUM_MODELS, dtype=bool)
        sums = np.full(NUM_MODELS, np.inf)
        sums[1] = NUM_TEXTS

        def check(module):
            got = kernel(module, "oracle_sums")(losses, masks, None)
            np.testing.assert_array_equal(got, sums)
            got = kernel(module, "min_sum")(losses, losses, None)
            np.testing.assert_array_equal(got, np.minimum(sums[:, None], sums))

        self.on_each(dtype, check)

    @parameterized.parameters(*TOLERANCES)
    def test_infinity_and_nan_anywhere(self, dtype):
        rng = np.random.default_rng(3)
        losses = rng.lognormal(size=(NUM_MODELS, NUM_TEXTS)).astype(dtype)
        losses[2, [0, 150, 300]] = np.inf
        losses[3, 299] = losses[4, 0] = np.nan
        values = losses[:3]
        with np.errstate(invalid="ignore"):
            pairs = np.minimum(values[:, None], losses).sum(axis=2)

        def check(module):
            got = np.asarray(kernel(module, "min_sum")(values, losses, None))
            np.testing.assert_array_equal(np.isnan(got), np.isnan(pairs))
            np.testing.assert_array_equal(np.isposinf(got), np.isposinf(pairs))
            masks = np.eye(NUM_MODELS, dtype=bool) | self.masks[:1]
            got = np.asarray(kernel(module, "oracle_sums")(losses, masks, None))
            for value, mask in zip(got, masks, strict=True):
                want = losses[mask].min(axis=0).sum()
                self.assertEqual(np.isnan(value), np.isnan(want))
                self.assertEqual(np.isposinf(value), np.isposinf(want))

        self.on_each(dtype, check)

    @parameterized.parameters(*TOLERANCES)
    def test_subnormal_numbers_may_count_0(self, dtype):
        tiny = np.finfo(dtype).tiny
        losses = np.full((2, NUM_TEXTS), tiny / 4, dtype)
        losses[1] = tiny

        def check(module):
            got = np.asarray(
                kernel(module, "min_sum")(losses, losses, None), np.float64
            )
            self.assertTrue((got >= 0).all())
            # Never more than the sum, and 0 at the least.
            self.assertLessEqual(got[0, 0], NUM_TEXTS * float(tiny / 4))
            np.testing.assert_allclose(
                got[1, 1], NUM_TEXTS * float(tiny), rtol=TOLERANCES[dtype]
            )

        self.on_each(dtype, check)


if __name__ == "__main__":
    absltest.main()
