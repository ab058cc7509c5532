"""All routers: noise, answers, and what each is made of."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import realizable
from mmc_jax.realizable.fitted import Texts, fit_router, predicted_losses
from mmc_jax.realizable.router_studies import compared_routers
from mmc_jax.realizable.routers import ROUTERS, ridge, scaling, selection
from mmc_jax.realizable.routers.seen import Seen
from tests import tolerances
from tests.realizable import losses as tables

_LEARNED = [n for n, module in ROUTERS.items() if "features" in module.NEEDS]
_NUM_SEEDS = 20


class _TestCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        # As outside of tests: Optax mixes dtypes.
        self.enter_context(jax.numpy_dtype_promotion("standard"))


class LeakTest(_TestCase):
    @parameterized.parameters(_LEARNED)
    def test_noise_closes_no_gap(self, name):
        """In no seed does the closed gap leave its interval around zero."""
        for seed in range(_NUM_SEEDS):
            rng = np.random.default_rng(seed + 100)
            found = tables.contest(
                rng.normal(size=(240, 6)), tables.random_losses(240, seed)
            )
            router = fit_router(
                name,
                found.losses[:, ~found.test],
                found.models,
                found.texts.select(~found.test),
            )
            predicted = predicted_losses(router, found.texts.select(found.test))
            gap = found.evaluation(name, predicted).closed_gap
            with self.subTest(seed=seed):
                self.assertLessEqual(gap.low, 0)
                self.assertGreaterEqual(gap.high, 0)

    @parameterized.parameters(_LEARNED)
    def test_answers_close_it(self, name):
        found = tables.contest(*tables.answers(400, seed=1))
        entry = compared_routers(found, [name])[0][name]
        self.assertGreater(entry.evaluation.closed_gap.value, 0.99)
        self.assertEqual(entry.evaluation.agreement.low, 1)
        # The same router on noise of the same shape.
        self.assertEqual(entry.on_noise.closed_gap.value, 0)

    def test_answers_of_a_domain(self):
        features, losses = tables.answers(400, seed=1)
        domains = [f"domain {best}" for best in features.argmax(axis=1)]
        found = tables.contest(0 * features, losses, domains=domains)
        entry = compared_routers(found, ["best_per_domain"])[0]
        gap = entry["best_per_domain"].evaluation.closed_gap
        self.assertEqual(gap.value, 1)

    def test_answers_of_a_prefix(self):
        features, losses = tables.answers(400, seed=1)
        prefix = np.random.default_rng(0).normal(size=(1, 400)) + 0.3 * losses
        found = tables.contest(0 * features, losses, prefix_losses=prefix)
        entry = compared_routers(found, ["prefix"])[0]["prefix"]
        self.assertGreater(entry.evaluation.closed_gap.value, 0.99)


class RoutersTest(_TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.features = rng.normal(size=(60, 5)).astype(np.float32)
        self.losses = tables.random_losses(60, 1)

    @parameterized.parameters(*ROUTERS)
    def test_shapes_and_repeats(self, name):
        seen = Seen(60, self.features, np.arange(60) % 3, self.losses)
        module = ROUTERS[name]
        fitted = [module.fit(seen, self.losses, seed=3) for _ in range(2)]
        new = seen.select(np.arange(7))
        first, second = (module.predict(each, new) for each in fitted)
        self.assertEqual(first.shape, (4, 7))
        np.testing.assert_array_equal(first, second)
        self.assertTrue(np.isfinite(first).all())
        for array in fitted[0].values():
            self.assertIsInstance(array, np.ndarray)

    @parameterized.parameters(*ROUTERS)
    def test_no_text_but_its_own_counts(self, name):
        """A text goes where it goes, whatever other texts are asked about."""
        if name == "random":
            return
        seen = Seen(60, self.features, np.arange(60) % 3, self.losses)
        fitted = ROUTERS[name].fit(seen, self.losses, seed=0)
        together = ROUTERS[name].predict(fitted, seen)
        alone = ROUTERS[name].predict(fitted, seen.select(np.array([5])))
        np.testing.assert_allclose(
            alone[:, 0], together[:, 5], rtol=tolerances.FLOAT32_KERNEL
        )

    @parameterized.product(
        name=[name for name in ROUTERS if name not in ("random", "mlp")],
        change=[(2.0**-300, 0.0), (2.0**300, 0.0), (1.0, 2.0**28)],
    )
    def test_units_and_offsets_decide_nothing(self, name, change):
        scale, offset = change
        domains = (self.features[:, 0] > 0).astype(np.int64)
        right = self.losses + self.features[:, :4].T
        chosen = []
        for losses in (right, scale * right + offset):
            seen = Seen(60, self.features, domains, right)
            fitted = ROUTERS[name].fit(seen, losses, seed=0)
            predicted = ROUTERS[name].predict(fitted, seen)
            chosen.append(predicted.argmin(axis=0).tolist())
        self.assertEqual(*chosen)

    def test_neighbours_against_brute_force(self):
        fitted = ROUTERS["nearest_neighbours"].fit(
            Seen(60, self.features), self.losses, seed=0, num_neighbours=3
        )
        new = np.random.default_rng(5).normal(size=(4, 5)).astype(np.float32)
        scaled = (self.features - self.features.mean(0)) / self.features.std(0)
        asked = (new - self.features.mean(0)) / self.features.std(0)
        cosines = (asked @ scaled.T) / (
            np.linalg.norm(asked, axis=1)[:, None]
            * np.linalg.norm(scaled, axis=1)
        )
        nearest = np.argsort(-cosines, axis=1)[:, :3]
        np.testing.assert_allclose(
            ROUTERS["nearest_neighbours"].predict(fitted, Seen(4, new)),
            self.losses[:, nearest].mean(axis=2),
            rtol=tolerances.FLOAT32_KERNEL,
        )

    @parameterized.parameters(5, 90)
    def test_left_out_against_refits(self, num_features):
        """With fewer and with more features than texts."""
        rng = np.random.default_rng(2)
        features = rng.normal(size=(12, num_features))
        features -= features.mean(axis=0)
        losses = rng.normal(size=(3, 12))
        table = ridge.Table(features, losses)
        left_out = table.left_out(0.1)
        for x in range(12):
            rest = np.arange(12) != x
            # The penalty stays that of 12 texts; an intercept is not shrunk.
            design = np.column_stack([np.ones(11), features[rest]])
            shrink = np.diag([0.0] + [1.2] * num_features)
            solved = np.linalg.solve(
                design.T @ design + shrink, design.T @ losses[:, rest].T
            )
            np.testing.assert_allclose(
                left_out[:, x],
                np.concatenate([[1], features[x]]) @ solved,
                rtol=tolerances.RIDGE,
            )

    def test_factorisation_of_full_rank_is_ridge(self):
        weights = np.random.default_rng(3).normal(size=(5, 2))
        losses = (self.features @ weights).T
        seen = Seen(60, self.features)
        by_rank, by_ridge = (
            ROUTERS[name].predict(ROUTERS[name].fit(seen, losses, seed=0), seen)
            for name in ("factorisation", "ridge")
        )
        agree = by_rank.argmin(axis=0) == by_ridge.argmin(axis=0)
        self.assertGreater(agree.mean(), 0.95)

    def test_a_constant_feature_is_nothing(self):
        features = np.column_stack([self.features, np.full(60, 7.0)])
        scaled = scaling.scaled(features, scaling.scales(features))
        np.testing.assert_array_equal(scaled[:, -1], 0)
        np.testing.assert_allclose(scaled[:, :-1].std(axis=0), 1, rtol=1e-5)


class SelectionTest(absltest.TestCase):
    def test_a_small_gain_is_not_trusted(self):
        losses = np.stack([np.zeros(100), np.ones(100)])
        losses[:, :2] = losses[::-1, :2]
        single = np.repeat([[0.0], [1.0]], 100, axis=1)
        right_on = lambda n: np.where(np.arange(100) < n, losses, single)  # noqa: E731
        self.assertEqual(
            selection.chosen_setting([single, right_on(2)], losses), 0
        )
        losses[:, :9] = losses[::-1, :9]
        losses[:, :2] = losses[::-1, :2]
        self.assertEqual(selection.chosen_setting([single, losses], losses), 1)

    def test_each_text_is_held_out_once(self):
        times = np.zeros(10, int)

        def predicted(held_out):
            times[held_out] += 1
            return np.broadcast_to(
                np.flatnonzero(held_out), (2, 3, held_out.sum())
            )

        found = selection.cross_validated(predicted, 10, seed=0)
        np.testing.assert_array_equal(times, 1)
        np.testing.assert_array_equal(found[1, 2], np.arange(10))


class RefusalTest(parameterized.TestCase):
    def _fit(self, name, num_texts=8, texts=None, **options):
        features = realizable.Features(
            tuple(map(str, range(num_texts))), np.ones((num_texts, 2))
        )
        losses = tables.random_losses(num_texts, 0, num_models=2)
        texts = texts or Texts(features.ids, features=features)
        return fit_router(name, losses, ["a", "b"], texts, **options)

    def test_fewer_texts_than_neighbours(self):
        with self.assertRaisesRegex(ValueError, "9 neighbours among 8 texts"):
            self._fit("nearest_neighbours", num_neighbours=9)

    def test_too_few_texts(self):
        for name in ("clusters", "mlp"):
            with self.assertRaisesRegex(ValueError, "3 texts to learn from"):
                self._fit(name, num_texts=3)

    def test_no_such_router(self):
        with self.assertRaisesRegex(
            ValueError, "no router 'x'; there are best"
        ):
            self._fit("x")

    def test_no_such_option(self):
        with self.assertRaisesRegex(ValueError, "ridge has no option num_neig"):
            self._fit("ridge", num_neighbours=2)

    def test_what_a_router_needs(self):
        for name, words in (
            ("ridge", "features"),
            ("best_per_domain", "domains"),
            ("prefix", "prefix losses"),
        ):
            texts = Texts(tuple("01234567"))
            with self.assertRaisesRegex(
                ValueError, f"needs the texts' {words}"
            ):
                self._fit(name, texts=texts)

    def test_features_of_other_texts(self):
        other = realizable.Features(tuple("abcdefgh"), np.ones((8, 2)))
        texts = Texts(tuple("01234567"), features=other)
        with self.assertRaisesRegex(
            ValueError, "8 of 8 texts have no features"
        ):
            self._fit("ridge", texts=texts)

    def test_another_number_of_features(self):
        router = self._fit("ridge")
        other = realizable.Features(("z",), np.ones((1, 3)))
        with self.assertRaisesRegex(
            ValueError, "3 features of a text; the rou"
        ):
            predicted_losses(router, Texts(("z",), features=other))


if __name__ == "__main__":
    absltest.main()
