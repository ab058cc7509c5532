"""Proofs at the edge of numbers, against exact rational arithmetic."""

import itertools
import pathlib
import tempfile
from fractions import Fraction

import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from mmc_jax import certificate_checker, frontier

# XLA compiles for every shape: so there are few.
NUM_TEXTS = 5
NUM_MODELS = (3, 7, 10)

# What a search may refuse, each with its true reason.
REFUSALS = (
    "so that sums could overflow: give them in a larger unit|"
    "where float64 has few digits: give them in a smaller unit|"
    "digits at the end of what float64 holds: give them in another unit|"
    "have more digits than can be added exactly: divide each by|"
    "their sum is beyond float64; give them in a larger unit|"
    "finite losses are needed"
)


class Subsets:
    """All subsets of a pool, in rational numbers.

    Attributes:
      costs: {mask as bytes: exact cost}.
      losses: {mask as bytes: exact oracle loss}.
    """

    def __init__(self, losses, costs, weights=None):
        num_models, num_texts = losses.shape
        if weights is None:
            weights = np.ones(num_texts)
        table = [
            [Fraction(float(v)) * Fraction(float(w)) for v, w in pairs]
            for pairs in (zip(row, weights, strict=True) for row in losses)
        ]
        total = sum(Fraction(float(w)) for w in weights)
        price = [Fraction(float(cost)) for cost in costs]
        self.costs, self.losses = {}, {}
        for bits in itertools.product([False, True], repeat=num_models):
            models = [j for j, bit in enumerate(bits) if bit]
            if not models:
                continue
            key = np.array(bits).tobytes()
            self.costs[key] = sum(price[j] for j in models)
            self.losses[key] = (
                sum(map(min, zip(*(table[j] for j in models), strict=True)))
                / total
            )


class AdversarialTest(parameterized.TestCase):
    def assert_true(self, subsets, masks, bounds, proven, resolution):
        """Asserts that every bound and every proven point is what it says."""
        costs = [subsets.costs[mask.tobytes()] for mask in masks]
        for k, mask in enumerate(masks):
            within = [
                loss
                for key, loss in subsets.losses.items()
                if k + 1 == len(costs) or subsets.costs[key] < costs[k + 1]
            ]
            least = min(within)
            self.assertLessEqual(Fraction(float(bounds[k])), least)
            if proven[k]:
                own = subsets.losses[mask.tobytes()]
                last_bit = Fraction(float(np.spacing(abs(float(own)))))
                self.assertLessEqual(
                    own, least + 2 * Fraction(resolution) + 2 * last_bit
                )

    def prove(self, losses, costs, weights=None, **options):
        """Returns what is found, once search and checker are right."""
        try:
            found = frontier.certified(losses, costs, weights, **options)
        except ValueError as error:
            self.assertRegex(str(error), REFUSALS)
            return None
        subsets = Subsets(losses, costs, weights)
        self.assert_true(
            subsets, found.masks, found.bounds, found.proven, found.resolution
        )
        path = pathlib.Path(tempfile.mkdtemp(), "c.npz")
        frontier.write_certificate(found.certificate, path)
        verdict = certificate_checker.check(path, losses, costs, weights)
        self.assertEqual(verdict.cost_resolution, 0)
        self.assert_true(
            subsets,
            found.masks,
            verdict.bounds,
            verdict.proven,
            verdict.resolution,
        )
        np.testing.assert_array_equal(verdict.costs, found.costs)
        np.testing.assert_array_equal(verdict.losses, found.losses)
        return found

    @hypothesis.settings(
        max_examples=60, deadline=None, derandomize=True, database=None
    )
    @hypothesis.given(data=st.data())
    def test_no_bound_is_violated(self, data):
        num_models = data.draw(st.sampled_from(NUM_MODELS))
        seed = data.draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)

        def powers(shape):
            """Returns numbers of scales that are far apart, or near."""
            kind = data.draw(
                st.sampled_from(["one", "few", "many", "outliers", "binary"])
            )
            far = data.draw(st.integers(0, 40))
            exponents = {
                "one": np.zeros(shape, int),
                "few": far * rng.integers(0, 2, shape),
                "many": rng.integers(-far, far + 1, shape),
                "outliers": far * (rng.random(shape) < 0.02),
                "binary": np.zeros(shape, int),
            }[kind]
            if kind == "binary":
                return 2.0 ** rng.integers(-far, far + 1, shape)
            return rng.lognormal(size=shape) * 10.0**exponents

        losses = powers((num_models, NUM_TEXTS))
        offset = data.draw(st.sampled_from([0.0, 0.0, 1e9, -1e15]))
        losses = losses * data.draw(st.sampled_from([1, 1, -1])) + offset
        costs = powers(num_models)
        if data.draw(st.booleans()):
            costs = np.rint(costs)
        unit = data.draw(st.sampled_from([1.0, 1.0, 1e-300, 1e280]))
        weights = data.draw(
            st.sampled_from([None, np.arange(5.0), rng.random(5)])
        )
        with np.errstate(over="ignore"):
            losses = losses * unit
        self.prove(losses, costs, weights)

    @parameterized.named_parameters(
        ("cost of 12 orders of magnitude", 6, False),
        ("cost of 24 orders of magnitude", 12, True),
    )
    def test_costs(self, orders, is_refused):
        rng = np.random.default_rng(0)
        losses = rng.lognormal(size=(10, NUM_TEXTS))
        costs = 10.0 ** rng.uniform(-orders, orders, 10)
        found = self.prove(losses, costs)
        self.assertEqual(found is None, is_refused)
        if found is not None:
            expected = frontier.exhaustive(losses, costs)
            np.testing.assert_array_equal(found.masks, expected.masks)
            self.assertTrue(found.proven.all())
            return
        with self.assertRaises(ValueError) as refused:
            frontier.certified(losses, costs)
        # The advice is good.
        unit = float(str(refused.exception).split("each by ")[1].split()[0])
        self.assertIsNotNone(self.prove(losses, np.rint(costs / unit)))

    def test_one_loss_far_above_the_others(self):
        rng = np.random.default_rng(0)
        losses = rng.lognormal(size=(10, NUM_TEXTS))
        losses[5, 2] = 1e12
        costs = np.arange(1.0, 11)
        found = self.prove(losses, costs)
        expected = frontier.exhaustive(losses, costs)
        np.testing.assert_array_equal(found.masks, expected.masks)
        self.assertTrue(found.proven.all())
        self.assertLess(found.resolution, 1e-3)

    def test_one_loss_far_above_those_of_few_models(self):
        """It is most of the way from the first point to the last."""
        rng = np.random.default_rng(0)
        for num_models in (2, 3):
            losses = rng.lognormal(size=(num_models, 40))
            losses[0, 2] = 1e12
            costs = np.arange(1.0, num_models + 1)
            with self.subTest(num_models=num_models):
                found = self.prove(losses, costs)
                expected = frontier.exhaustive(losses, costs)
                np.testing.assert_array_equal(found.masks, expected.masks)
                # The first point's own loss is cut.
                self.assertTrue(found.proven[1:].all())
                self.assertLess(found.resolution, 1e-2)

    def test_a_loss_that_overflows_in_units_of_the_others(self):
        losses = np.random.default_rng(0).lognormal(size=(7, NUM_TEXTS))
        losses[0, 2] = 1e300
        found = self.prove(losses, np.arange(1.0, 8))
        self.assertLess(found.resolution, 1)
        for search in (frontier.exhaustive, frontier.pruned):
            expected = search(losses, np.arange(1.0, 8)).losses
            np.testing.assert_array_equal(found.losses, expected)
        losses[:, 2] = 1e300
        found = self.prove(losses, np.arange(1.0, 8))
        self.assertLess(found.resolution, 1)

    def test_no_losses_at_all(self):
        found = self.prove(np.zeros((3, 2)), np.ones(3), np.array([0.1, 0.7]))
        self.assertEqual(found.losses.tolist(), [0.0])
        self.assertTrue(found.proven.all())

    def test_losses_far_from_zero(self):
        rng = np.random.default_rng(0)
        losses = rng.lognormal(size=(7, NUM_TEXTS)) + 1e9
        found = self.prove(losses, np.arange(1.0, 8))
        self.assertEqual(found.resolution, 0)
        self.assertTrue(found.proven.all())

    def test_a_model_that_costs_nothing(self):
        """It comes first in every knapsack, however little it gains."""
        rng = np.random.default_rng(0)
        for seed in range(5):
            losses = np.rint(rng.lognormal(size=(7, NUM_TEXTS)) * 1e9)
            losses[0] = losses.max(axis=0) - rng.integers(0, 2, NUM_TEXTS)
            costs = np.array([0.0, 1, 1, 2, 2, 3, 0])
            with self.subTest(seed=seed):
                self.assertTrue(self.prove(losses, costs).proven.all())

    @parameterized.named_parameters(
        ("losses of 1e308", np.full((3, 5), 1e308), np.arange(1.0, 4)),
        ("denormal losses", np.full((3, 5), 5e-323), np.arange(1.0, 4)),
        ("denormal costs", np.ones((3, 5)), np.arange(1, 4) * 5e-324),
        ("costs of 1e308", np.ones((3, 5)), np.full(3, 1e308)),
    )
    def test_refuses(self, losses, costs):
        with self.assertRaisesRegex(ValueError, REFUSALS):
            frontier.certified(losses, costs)

    def test_the_other_searches_take_them(self):
        """What the proof refuses, searches still answer."""
        rng = np.random.default_rng(0)
        costs = np.arange(1.0, 8)
        for unit in (1e308, 5e-324):
            losses = rng.integers(-9, 10, (7, NUM_TEXTS)) / 9 * unit
            losses = np.rint(losses) if unit < 1 else losses
            subsets = Subsets(losses, costs)
            for search in (frontier.exhaustive, frontier.pruned):
                with self.subTest(unit=unit, search=search.__name__):
                    found = search(losses, costs)
                    least = min(subsets.losses.values())
                    self.assertEqual(found.losses[-1], float(least))
                    self.assertTrue((np.diff(found.losses) < 0).all())

    def test_the_other_searches_of_losses_on_several_scales(self):
        """Such as 1e12 for a score that could not be had, in many cells."""
        rng = np.random.default_rng(0)
        plain = rng.lognormal(size=(7, NUM_TEXTS))
        some, few = rng.random((2, 7, NUM_TEXTS)) < 0.3
        costs = rng.permutation(np.arange(1.0, 8))
        for name, losses in (
            ("one far scale", np.where(some, 1e12, plain)),
            ("two", np.where(some, 1e12 * plain, np.where(few, 1e6, plain))),
            ("beyond float64", np.where(some, 1e300 * plain, plain)),
        ):
            subsets = Subsets(losses, costs)
            for search in (frontier.exhaustive, frontier.pruned):
                with self.subTest(name, search=search.__name__):
                    found = search(losses, costs)
                    self.assert_true(
                        subsets,
                        found.masks,
                        np.full(len(found.masks), losses.min()),
                        np.ones(len(found.masks), bool),
                        0,
                    )


class ForgedTest(parameterized.TestCase):
    """Certificates that claim what is not so."""

    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.losses = rng.lognormal(size=(4, 40))
        self.costs = np.array([300.0, 200.0, 500.0, 400.0])
        self.path = pathlib.Path(tempfile.mkdtemp(), "forged.npz")

    def claim(self, mask, **changes):
        """Writes a one-point certificate whose root proves all."""
        mask = np.array(mask)
        arrays = {
            "scale": np.float64(2.0**-29),
            "cost_scale": np.float64(1.0),
            "costs": np.array([0]),
            "loss_sums": np.array([0]),
            "masks": mask[None],
            "bounds": np.array([0]),
            "windows": np.zeros(1, np.int32),
            "segment_budgets": np.array([int(self.costs.sum())]),
            "segment_sums": np.array([0]),
            "segment_starts": np.array([0, 1]),
            "thresholds": np.zeros((1, 40), np.uint32),
            "trees": np.array([-1], np.int16),
            "tree_starts": np.array([0, 1]),
            **changes,
        }
        # The sum that the checker will find.
        units = np.floor(self.losses / arrays["scale"] + 0.5)
        values = units - np.floor((self.losses / arrays["scale"]).min(axis=0))
        loss_sum = int(np.minimum(values, 2**32 - 1)[mask].min(axis=0).sum())
        for name in ("loss_sums", "bounds", "segment_sums"):
            if name not in changes:
                arrays[name] = np.array([loss_sum])
        if "costs" not in changes:
            scaled = np.rint(self.costs * float(arrays["cost_scale"]))
            arrays["costs"] = np.array([int(scaled[mask].sum())])
        np.savez(self.path, **arrays)

    def assert_rejected(self, message):
        with self.assertRaisesRegex(
            certificate_checker.CertificateError, message
        ):
            certificate_checker.check(self.path, self.losses, self.costs)

    def test_costs_that_round_to_nothing(self):
        self.claim([True] * 4, cost_scale=np.float64(1e-30))
        self.assert_rejected("cost_scale is 1e-30, too coarse for costs up to")

    def test_costs_that_round_to_one_another(self):
        """Equal on the file's scale, though one is half of another."""
        self.claim([True] + [False] * 3, cost_scale=np.float64(1 / 400))
        self.assert_rejected("cost_scale is 0.0025, too coarse")

    def test_losses_that_round_to_nothing(self):
        self.claim([False, True, False, False], scale=np.float64(2.0**200))
        self.assert_rejected("scale is .*, too coarse for losses that differ")

    def test_losses_that_round_to_one_another(self):
        self.claim([False, True, False, False], scale=np.float64(2.0**-5))
        self.assert_rejected("scale is .*, too coarse for losses that differ")

    def test_units_for_one_large_loss_alone(self):
        plain = self.losses
        for model in range(4):
            self.losses = plain.copy()
            self.losses[model, 7] = 1e12
            for exponent in (4, 8):
                self.claim([True] * 4, scale=np.float64(2.0**exponent))
                self.assert_rejected("too coarse for all others")

    def test_shapes_of_other_numbers_of_axes(self):
        found = frontier.certified(self.losses, self.costs).certificate
        for name, array in found._asdict().items():
            if array is None:
                continue
            array = np.asarray(array)
            others = [array[None], array[..., None], np.stack([array] * 2, -1)]
            if array.ndim:
                others.append(array.ravel()[0])
            for other in others:
                frontier.write_certificate(
                    found._replace(**{name: other}), self.path
                )
                self.assert_rejected(f"{name} has the shape")

    def test_thresholds_that_overflow(self):
        self.claim(
            [False, True, False, False],
            thresholds=np.full((1, 40), 2**63 - 1, np.uint64),
        )
        self.assert_rejected("thresholds are beyond the largest loss")

    def test_sums_that_overflow(self):
        self.claim(
            [False, True, False, False],
            segment_sums=np.array([2**62 - 1]),
        )
        self.assert_rejected("segment_sums are beyond the largest sum")
        self.claim(
            [False, True, False, False],
            segment_sums=np.array([-(2**63)]),
        )
        self.assert_rejected("numbers beyond 2.62")

    def test_budgets_that_are_not_covered(self):
        self.claim(
            [False, True, False, False],
            segment_budgets=np.array([int(self.costs.sum()) - 1]),
        )
        self.assert_rejected(".")

    def test_budgets_below_zero(self):
        self.claim([False, True, False, False], segment_budgets=np.array([-1]))
        self.assert_rejected("window 0 does not prove its bound")

    def test_masks_of_other_bytes(self):
        masks = np.full((1, 4), 2, np.uint8).view(bool)
        self.claim([False, True, False, False], masks=masks)
        self.assert_rejected("bytes that are neither true nor false")

    def test_models_in_another_order(self):
        found = frontier.certified(self.losses, self.costs)
        frontier.write_certificate(found.certificate, self.path)
        certificate_checker.check(self.path, self.losses, self.costs)
        self.losses = self.losses[::-1]
        self.assert_rejected("point 0: the loss sum of its models is")

    def test_other_weights(self):
        weights = np.arange(1.0, 41)
        found = frontier.certified(self.losses, self.costs, weights)
        frontier.write_certificate(found.certificate, self.path)
        certificate_checker.check(self.path, self.losses, self.costs, weights)
        self.assert_rejected(".")

    @parameterized.named_parameters(
        ("losses", np.nan, 1.0, None, "losses are not all finite"),
        ("costs", 1.0, -1.0, None, "costs are not all finite"),
        ("weights", 1.0, 1.0, [-1.0, 1.0], "not negative and not all 0"),
    )
    def test_numbers_that_are_none(self, loss, cost, weights, message):
        self.claim([True] * 4)
        with self.assertRaisesRegex(ValueError, message):
            certificate_checker.check(
                self.path, np.full((1, 2), loss), [cost], weights
            )

    def test_an_old_certificate_whose_costs_are_rounded(self):
        """It is read, and what rounding may hide is stated."""
        costs = np.sqrt([2.0, 3.0, 5.0, 7.0])
        scale = 2.0 ** (40 - 4)
        whole = np.rint(costs * scale)
        found = frontier.certified(self.losses, whole)
        self.assertIsNone(found.certificate.low_bits)
        frontier.write_certificate(
            found.certificate._replace(cost_scale=np.float64(scale)), self.path
        )
        verdict = certificate_checker.check(self.path, self.losses, costs)
        self.assertTrue(verdict.proven.all())
        self.assertBetween(verdict.cost_resolution, 1 / scale, 5 / scale)


if __name__ == "__main__":
    absltest.main()
