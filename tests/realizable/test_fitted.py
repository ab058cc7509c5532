"""Routers on disk, and where they send new texts."""

import json
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import realizable
from mmc_jax.realizable.routers import ROUTERS
from tests.realizable import losses as tables


def _texts(num_texts, seed=0):
    rng = np.random.default_rng(seed)
    ids = tuple(f"t{x}" for x in range(num_texts))
    return realizable.Texts(
        ids,
        [f"domain {x % 3}" for x in range(num_texts)],
        realizable.Features(
            ids, rng.normal(size=(num_texts, 4)).astype(np.float32)
        ),
        rng.normal(size=(3, num_texts)),
    )


class OnDiskTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        self.folder = pathlib.Path(tempfile.mkdtemp(), "router")

    @parameterized.parameters(*ROUTERS)
    def test_comes_back(self, name):
        losses = tables.random_losses(40, 0, num_models=3)
        router = realizable.fit_router(
            name, losses, "abc", _texts(40), facts={"cost": "price"}
        )
        realizable.save_router(router, self.folder)
        again = realizable.load_router(self.folder)
        self.assertEqual(again.models, ("a", "b", "c"))
        self.assertEqual(again.facts, {"cost": "price"})
        np.testing.assert_array_equal(
            *(
                realizable.predicted_losses(each, _texts(5, seed=1))
                for each in (router, again)
            )
        )

    def test_another_takes_its_place(self):
        for models in ("ab", "abc"):
            losses = np.arange(4.0 * len(models)).reshape(len(models), 4)
            router = realizable.fit_router(
                "best_single", losses, models, _texts(4)
            )
            realizable.save_router(router, self.folder)
        self.assertLen(realizable.load_router(self.folder).models, 3)

    def test_damaged_or_missing(self):
        with self.assertRaisesRegex(
            FileNotFoundError, "train_router writes on"
        ):
            realizable.load_router(self.folder)
        router = realizable.fit_router(
            "best_single", np.ones((1, 4)), "a", _texts(4)
        )
        realizable.save_router(router, self.folder)
        file = self.folder / "router.json"
        content = json.loads(file.read_text())
        for change in (
            {"format": 0},
            {"router": "x"},
            {"arrays": {}},
            {"arrays": {"means": [[10**9, 10**9], "float64"]}},
            {"arrays": {"means": [[1], "object"]}},
            {"arrays": {"means": [[2], "float64"]}},
            {"arrays": {"means": [[1], "int32"]}},
            {"models": "a"},
            {"models": ["a", "a"]},
            {"domains": [1]},
            {"facts": []},
            {"facts": {"cost": "x"}},
            {"models": ["z"]},
        ):
            file.write_text(json.dumps({**content, **change}))
            with self.assertRaisesRegex(ValueError, "not a router that can be"):
                realizable.load_router(self.folder)

    def test_a_lack_of_rights_is_no_damage(self):
        realizable.save_router(
            realizable.fit_router(
                "best_single", np.ones((1, 4)), "a", _texts(4)
            ),
            self.folder,
        )
        error = PermissionError(13, "Permission denied")
        with (
            mock.patch.object(pathlib.Path, "read_text", side_effect=error),
            self.assertRaisesRegex(PermissionError, "^((?!train it).)*$"),
        ):
            realizable.load_router(self.folder)

    def test_arrays_of_another_run(self):
        """As two trainings at once leave them where there are no locks."""
        for loss, folder in ((1.0, self.folder), (2.0, self.folder / "b")):
            router = realizable.fit_router(
                "best_single", np.full((1, 4), loss), "a", _texts(4)
            )
            realizable.save_router(router, folder)
        shutil.rmtree(self.folder / "arrays")
        (self.folder / "b" / "arrays").rename(self.folder / "arrays")
        with self.assertRaisesRegex(ValueError, "files are of two routers"):
            realizable.load_router(self.folder)


class ArraysTest(absltest.TestCase):
    def test_arrays_of_another_router(self):
        router = realizable.fit_router(
            "best_single", np.ones((2, 4)), "ab", _texts(4)
        )
        for arrays in ({}, {"means": np.ones(5)}):
            with self.assertRaisesRegex(ValueError, "train it again"):
                realizable.predicted_losses(
                    router._replace(arrays=arrays), _texts(2)
                )

    def test_no_prediction_is_nan(self):
        router = realizable.fit_router(
            "best_single", np.ones((2, 4)), "ab", _texts(4)
        )
        router = router._replace(arrays={"means": np.array([1.0, np.nan])})
        with self.assertRaisesRegex(ValueError, "loss nan of model 'b' on te"):
            realizable.chosen_models(router, _texts(2))


class ChosenModelsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.router = realizable.fit_router(
            "best_single", [[3.0] * 4, [2.0] * 4, [1.0] * 4], "abc", _texts(4)
        )

    def _chosen(self, **options):
        return realizable.chosen_models(self.router, _texts(2), **options)

    def test_least_loss_and_price(self):
        costs = {"a": 1.0, "b": 2.0, "c": 100.0}
        self.assertEqual(self._chosen(), ["c", "c"])
        self.assertEqual(self._chosen(only_models=["b", "a"]), ["b", "b"])
        self.assertEqual(self._chosen(costs=costs, price=0.5), ["b", "b"])
        self.assertEqual(self._chosen(costs=costs, price=5), ["a", "a"])

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "does not know the model 'z'"):
            self._chosen(only_models=["z"])
        with self.assertRaisesRegex(ValueError, "no cost of the model 'a'"):
            self._chosen(price=1.0)
        with self.assertRaisesRegex(ValueError, "no model may be chosen"):
            self._chosen(only_models=[])


if __name__ == "__main__":
    absltest.main()
