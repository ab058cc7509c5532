"""Mixture losses against 40 decimal digits, their contract and errors."""

import functools
import os
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax.oracle import (
    backends,
    cpu,
    exact_losses,
    exact_mixture_losses,
    mixture_losses,
    mixture_nll,
    portable,
)
from tests import tolerances
from tests.oracle import decimal_mixtures

_RTOL = {
    "float32": tolerances.MIXTURE_FLOAT32,
    "float64": tolerances.MIXTURE_FLOAT64,
}


def _case(scale, dtype="float64", seed=0):
    """Returns nll [7, 12], masks [6, 7], weights (some are 0) and lengths."""
    rng = np.random.default_rng(seed)
    nll = (scale * rng.lognormal(size=(7, 12))).astype(dtype)
    nll[:, 0] = nll[0, 0]  # All models are equal there.
    masks = rng.random((6, 7)) < 0.5
    masks[0], masks[1] = True, np.arange(7) == 3
    masks[2:, 2] |= ~masks[2:].any(axis=1)
    weights = rng.integers(0, 3, 12).astype(dtype)
    weights[1] = 1
    lengths = rng.integers(1, 9, 12).astype(dtype)
    return nll, masks, weights, lengths


def _expected(nll, masks, logs, weights, lengths):
    return [
        decimal_mixtures.mixture_loss(nll, mask, logs, weights, lengths)
        for mask in masks
    ]


class MixtureLossesTest(parameterized.TestCase):
    @parameterized.product(
        dtype=["float32", "float64"],
        scale=[1e-12, 1e-3, 0.05, 1.0, 30.0, 1e3, 1e5, 1e9],
    )
    def test_any_scale(self, dtype, scale):
        nll, masks, weights, lengths = _case(scale, dtype)
        with jax.enable_x64(dtype == "float64"):
            found = mixture_losses(nll, masks, weights=weights, lengths=lengths)
        self.assertEqual(found.dtype, dtype)
        expected = _expected(nll, masks, None, weights, lengths)
        np.testing.assert_allclose(found, expected, rtol=_RTOL[dtype])

    @parameterized.product(dtype=["float32", "float64"], scale=[1e-3, 1.0, 1e4])
    def test_prior_weights(self, dtype, scale):
        nll, masks, weights, lengths = _case(scale, dtype, seed=1)
        # A weight that is no float, and one of 0.
        logs = np.array([0, -1, -900, -2, -np.inf, -40, -3.5], dtype)
        masks[:, 3] = True
        with jax.enable_x64(dtype == "float64"):
            found = mixture_losses(nll, masks, logs, weights, lengths=lengths)
        expected = _expected(nll, masks, logs, weights, lengths)
        np.testing.assert_allclose(found, expected, rtol=_RTOL[dtype])

    @parameterized.parameters("float32", "float64")
    def test_subsets_of_small_prior_weights(self, dtype):
        # A small loss beside logarithms that are large and fall out of it.
        nll = np.array([[9.0, 8.0], [0.03, 0.05], [0.02, 7.0]], dtype)
        logs = np.array([0, -500, -505], dtype)
        masks = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 1]], bool)
        with jax.enable_x64(dtype == "float64"):
            found = mixture_losses(nll, masks, logs)
        expected = _expected(nll, masks, logs, np.ones(2), np.ones(2))
        np.testing.assert_allclose(found, expected, rtol=_RTOL[dtype])

    @parameterized.parameters("float32", "float64")
    def test_models_far_from_the_best(self, dtype):
        # Each model is hundreds of nats behind the one before, so that none is
        # a float beside the best; masks of all kinds lack the first of them.
        steps = np.array([0, 3, 70, 75, 800, 801, 2_000, 90_000.0])
        nll = np.stack([steps, steps[::-1], 20 + 7 * steps], 1).astype(dtype)
        masks = np.array(
            [[bool(i >> m & 1) for m in range(8)] for i in range(1, 256)]
        )
        with jax.enable_x64(dtype == "float64"):
            # Under `jit` float32 stays what it is.
            found = jax.jit(mixture_losses)(nll, masks)
        ones = np.ones(3)
        np.testing.assert_allclose(
            found,
            _expected(nll, masks, None, ones, ones),
            rtol=_RTOL[dtype],
        )

    @parameterized.parameters(2.0, 0.3)  # Several windows, and one.
    def test_a_million_texts_in_float32(self, spread):
        rng = np.random.default_rng(0)
        nll = rng.lognormal(1, spread, (3, 1_000_000)).astype(np.float32)
        masks = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0]], bool)
        found = mixture_losses(nll, masks)
        logs = -nll.astype(np.float64)
        expected = [
            np.log(mask.sum()) - np.logaddexp.reduce(logs[mask]).mean()
            for mask in masks
        ]
        np.testing.assert_allclose(
            found, expected, rtol=tolerances.MIXTURE_FLOAT32
        )

    def test_infinite_nll_and_no_models(self):
        nll = np.array([[1.0, np.inf], [2.0, 3.0], [np.inf, np.inf]])
        masks = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
        with jax.enable_x64(True):
            found = mixture_losses(nll, masks)
            weighted = mixture_losses(nll, masks, weights=[1.0, 0.0])
            weighted = np.asarray(weighted)
            priors = [-np.inf, 0.0, 0.0]
            unweighted = np.asarray(mixture_losses(nll, masks, priors))
        expected = exact_mixture_losses(nll, masks)
        np.testing.assert_allclose(
            found, expected, rtol=tolerances.MIXTURE_FLOAT64
        )
        self.assertEqual(list(expected[1:]), [np.inf] * 3)
        self.assertAlmostEqual(weighted[1], 1)
        self.assertTrue(np.isfinite(unweighted[0]))
        self.assertEqual(list(unweighted[1:]), [np.inf] * 3)

    def test_under_jit_and_vmap(self):
        nll, masks, weights, lengths = _case(3.0, "float32")
        compute = functools.partial(mixture_losses, lengths=lengths)
        expected = compute(nll, masks, weights=weights)
        jitted = jax.jit(lambda *args: compute(args[0], args[1]))
        np.testing.assert_allclose(
            jitted(nll, masks),
            compute(nll, masks),
            rtol=tolerances.MIXTURE_FLOAT32,
        )
        mapped = jax.vmap(lambda row: compute(nll, masks, weights=row))
        np.testing.assert_allclose(
            mapped(jnp.stack([weights, weights]))[1],
            expected,
            rtol=tolerances.MIXTURE_FLOAT32,
        )
        nll[3, 5] = np.nan
        found = np.asarray(jitted(nll, masks))
        np.testing.assert_array_equal(np.isnan(found), masks[:, 3])

    def test_bad_input(self):
        nll, masks = np.ones((2, 3)), np.ones((1, 2), bool)
        for message, arguments in {
            r"nll_nats\[1, 2\].*nan": ([[1, 1, 1], [1, 1, np.nan]], masks),
            r"masks has shape": (nll, masks[:, :1]),
            r"log_weights has shape": (nll, masks, [0.0]),
            r"log_weights\[1\] is inf": (nll, masks, [0.0, np.inf]),
            r"no model has a weight": (nll, masks, [-np.inf, -np.inf]),
            r"weights are all 0": (nll, masks, None, np.zeros(3)),
            r"no texts": (nll[:, :0], masks),
        }.items():
            with (
                self.subTest(message),
                self.assertRaisesRegex(ValueError, message),
            ):
                arrays = [np.asarray(arguments[0], np.float32), *arguments[1:]]
                mixture_losses(*arrays)
        with self.assertRaisesRegex(ValueError, r"lengths\[0\] is 0"):
            mixture_losses(nll, masks, lengths=[0.0, 1, 1])
        with (
            jax.enable_x64(True),
            self.assertRaisesRegex(ValueError, "adds probabilities"),
        ):
            mixture_losses(nll.astype(np.uint32), masks)
        with self.assertRaisesRegex(ValueError, r"masks\[0\].*weight 0"):
            mixture_nll(nll, np.eye(2, dtype=bool), [-np.inf, 0.0])


class WithoutKernelsTest(MixtureLossesTest):
    """All of it once more, as where no C++ kernels are."""

    def setUp(self):
        super().setUp()
        self.enter_context(
            mock.patch.dict(os.environ, {backends.VARIABLE: "xla"})
        )


@absltest.skipIf(cpu.why_not() is not None, "no C++ kernels here")
class LevelsTest(parameterized.TestCase):
    @parameterized.product(
        level=["none"] if cpu.why_not() else cpu.levels(),
        dtype=["float32", "float64"],
        scale=[1e-3, 3.0, 1e4],
    )
    def test_any_size(self, level, dtype, scale):
        """Blocks and chunks of texts that are full and that are not."""
        rng = np.random.default_rng(2)
        logs = np.array([0, -1, -2, -70, -0.5], dtype)
        for num_subsets, num_texts in ((2, 1), (300, 33), (9, 4099)):
            masks = rng.random((num_subsets, 5)) < 0.5
            masks[:, 0] |= ~masks.any(axis=1)
            nll = (scale * rng.lognormal(size=(5, num_texts))).astype(dtype)
            shares = rng.random(num_texts).astype(dtype)
            with (
                jax.enable_x64(dtype == "float64"),
                mock.patch.dict(os.environ, MMC_ORACLE_CPU_LEVEL=level),
            ):
                found = cpu.mixture_sums(nll, masks, logs, shares)
            log_p = logs[:, None].astype(np.float64) - nll
            expected = [
                shares.astype(np.float64)
                @ (
                    np.logaddexp.reduce(logs[mask].astype(np.float64))
                    - np.logaddexp.reduce(log_p[mask])
                )
                for mask in masks
            ]
            np.testing.assert_allclose(found, expected, rtol=_RTOL[dtype])


class WrittenMixturesTest(parameterized.TestCase):
    @parameterized.parameters(1e-9, 1e-2, 1.0, 300.0, 1e5)
    def test_digits(self, scale):
        nll, masks, _, _ = _case(scale)
        for logs in (None, np.array([0, -1, -900, -2, -np.inf, -40, -3.5])):
            found = mixture_nll(nll, masks, logs)
            for mask, row in zip(masks, found, strict=True):
                expected = decimal_mixtures.mixture_nll(nll, mask, logs)
                np.testing.assert_allclose(
                    row,
                    np.array(expected, float),
                    rtol=tolerances.MIXTURE_ROUNDINGS,
                    atol=tolerances.MIXTURE_NATS,
                )

    @parameterized.parameters(20.0, 700.0)
    def test_a_subset_has_the_same_bits_among_others(self, spread):
        """Whatever exponentials it shares, and of however many models."""
        rng = np.random.default_rng(1)
        nll = 1000 + spread * rng.normal(size=(70, 9))
        masks = rng.random((4, 70)) < np.linspace(0.05, 1, 4)[:, None]
        masks[0, :2] = True
        logs = rng.normal(0, 9, 70).round(1)
        for weights in (None, logs):
            rows = mixture_nll(nll, masks, weights)
            for row, mask in zip(rows, masks, strict=True):
                own = None if weights is None else weights[mask]
                (alone,) = mixture_nll(nll[mask], mask[mask][None], own)
                np.testing.assert_array_equal(row, alone)
                np.testing.assert_allclose(
                    row,
                    np.array(
                        decimal_mixtures.mixture_nll(nll, mask, weights), float
                    ),
                    rtol=tolerances.MIXTURE_ROUNDINGS,
                    atol=tolerances.MIXTURE_NATS,
                )

    def test_one_model_is_that_model(self):
        nll, _, weights, lengths = _case(50.0)
        masks = np.eye(7, dtype=bool)
        np.testing.assert_array_equal(mixture_nll(nll, masks), nll)
        np.testing.assert_array_equal(
            exact_mixture_losses(nll, masks, None, weights, lengths=lengths),
            exact_losses(nll / lengths, masks, weights),
        )

    def test_a_copy_of_a_model_costs_what_the_formula_says(self):
        nll, _, _, _ = _case(2.0)
        copied = np.concatenate([nll, nll[2:3]])
        (found,) = mixture_nll(copied, np.ones((1, 8), bool))
        (before,) = mixture_nll(nll, np.ones((1, 7), bool))
        # p' = (7 p + p_2) / 8
        expected = -np.log((7 * np.exp(-before) + np.exp(-nll[2])) / 8)
        np.testing.assert_allclose(
            found, expected, rtol=tolerances.MIXTURE_FLOAT64
        )
        # As prior weights say it: the copy's weight is the model's.
        logs = np.zeros((1, 7))
        logs[0, 2] = np.log(2)
        (weighted,) = mixture_nll(nll, np.ones((1, 7), bool), logs)
        np.testing.assert_allclose(
            weighted, expected, rtol=tolerances.MIXTURE_FLOAT64
        )

    def test_sandwich_of_many_tables(self):
        rng = np.random.default_rng(0)
        for _ in range(300):
            num_models = int(rng.integers(1, 7))
            scale = 10.0 ** rng.integers(-6, 7)
            nll = scale * rng.lognormal(0, rng.uniform(0, 2), (num_models, 5))
            if rng.random() < 0.3:  # Ties, and equal models.
                nll = np.ceil(nll)
                nll[-1] = nll[0]
            logs = rng.normal(0, 3, num_models)
            logs[rng.random(num_models) < 0.2] = -np.inf
            logs[0] = 0.0
            members = np.ones((1, num_models), bool)
            oracle = nll.min(axis=0)
            rounding = tolerances.MIXTURE_FLOAT64 * (1 + oracle)
            (uniform,) = mixture_nll(nll, members)
            self.assertTrue((uniform >= oracle).all())
            bound = oracle + np.log(num_models)
            self.assertTrue((uniform <= bound + rounding).all())
            (weighted,) = mixture_nll(nll, members, logs)
            self.assertTrue((weighted >= oracle).all())
            priors = logs - np.log(np.exp(logs).sum())
            bound = (nll - priors[:, None]).min(axis=0)
            self.assertTrue((weighted <= bound + rounding).all())


class PortableTest(absltest.TestCase):
    def test_against_the_c_library(self):
        rng = np.random.default_rng(0)
        small = 10.0 ** rng.uniform(-300, 0, 5000)
        for function, expected, values in (
            (portable.exp, np.exp, np.append(-689 * small, 700 * small)),
            (portable.log, np.log, np.append(small, 1e300 * small)),
        ):
            np.testing.assert_allclose(
                function(values), expected(values), rtol=tolerances.PORTABLE
            )

    def test_edges(self):
        np.testing.assert_array_equal(
            portable.exp([0, -np.inf, -691]), [1, 0, 0]
        )
        np.testing.assert_array_equal(portable.log([1, 0]), [0, -np.inf])

    def test_the_same_bits_as_ever(self):
        values = np.linspace(-3, 0, 7)[:4]
        found = [x.hex() for x in portable.exp(values)]
        self.assertEqual(found, _EXP)
        found = [x.hex() for x in portable.log(1 + values / 4)]
        self.assertEqual(found, _LOG)


_EXP = [
    "0x1.97db0ccceb0afp-5",
    "0x1.50385c094f425p-4",
    "0x1.152aaa3bf81ccp-3",
    "0x1.c8f87724b5c1dp-3",
]
_LOG = [
    "-0x1.62e42fefa39efp+0",
    "-0x1.f62f40794a7b8p-1",
    "-0x1.62e42fefa39efp-1",
    "-0x1.e148a1a2726cep-2",
]


if __name__ == "__main__":
    absltest.main()
