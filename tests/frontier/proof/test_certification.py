"""The certified frontier against enumeration, and what it says when stopped."""

import itertools
import pathlib
import subprocess
import sys
import tempfile
import types
import zipfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import certificate_checker, frontier, synthetic
from mmc_jax.frontier.proof import certification, integers
from mmc_jax.statistics import inputs
from tests import tolerances
from tests.experiments import programs
from tests.frontier import brute_force

NUM_TEXTS = 7


def enumerated(losses, costs):
    """Returns costs and whole loss sums of the exact frontier, by NumPy.

    In whole numbers, those of the search.
    """
    pool = integers.integer_pool(inputs.checked_inputs(losses, costs, None))
    least = np.full((1, pool.values.shape[1]), 2**33, np.int64)
    # Whole numbers of any size.
    prices = integers.integer_costs(pool, np.eye(len(costs), dtype=bool))
    cost = np.zeros(1, object)
    for row, price in zip(pool.values, prices, strict=True):
        least = np.concatenate([least, np.minimum(least, row)])
        cost = np.concatenate([cost, cost + price])
    sums, cost = least.sum(axis=1)[1:], cost[1:]
    place = np.unique(cost, return_inverse=True)[1]
    order = np.lexsort((sums, place))
    cost, sums = cost[order], sums[order]
    best = np.minimum.accumulate(np.concatenate([[2**62], sums]))
    stays = sums < best[:-1]
    return cost[stays], sums[stays]


def costs_of(certificate):
    """Returns the whole costs of a certificate's points: [F]."""
    if certificate.low_bits is None:
        return certificate.costs.astype(object)
    high = certificate.costs.astype(object) << int(certificate.low_bits)
    return high + certificate.costs_low.astype(object)


def drawn(num_models, seed):
    """Returns losses and costs of many kinds, by the seed."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    losses, costs = brute_force.pool(
        num_models, NUM_TEXTS, seed, whole_numbers=kind < 2
    )
    if kind == 1:
        costs[:] = 3  # All the same.
    elif kind == 2:
        costs = np.floor(1e11 * costs / costs.max()) + 1  # As of real models.
    elif kind == 3:
        # The ends of the whole numbers, and duplicates.
        losses = rng.choice([0.0, 2.0**32 - 4], losses.shape)
        losses[-1] = losses[0]
    return losses, costs


class CertifiedTest(parameterized.TestCase):
    @parameterized.product(
        num_models=[1, 4, 10, 16], seeds=[range(0, 15), range(15, 30)]
    )
    def test_equals_enumeration(self, num_models, seeds):
        # 120 pools.
        for seed in seeds:
            with self.subTest(seed=seed):
                losses, costs = drawn(num_models, seed)
                found = frontier.certified(losses, costs)
                self.assertTrue(found.proven.all())
                expected = enumerated(losses, costs)
                claimed = found.certificate
                np.testing.assert_array_equal(costs_of(claimed), expected[0])
                np.testing.assert_array_equal(claimed.loss_sums, expected[1])
                np.testing.assert_array_equal(claimed.bounds, expected[1])

    @parameterized.parameters(0, 1)
    def test_equals_exhaustive_search(self, seed):
        losses, costs = brute_force.pool(12, NUM_TEXTS, seed, seed == 0)
        weights = [0.0, 3.0, 1.0, 2.0, 1.0, 4.0, 0.5]
        expected = frontier.exhaustive(losses, costs, weights)
        found = frontier.certified(losses, costs, weights)
        # As all searches name them.
        np.testing.assert_array_equal(found.costs, expected.costs)
        self.assertEqual(found.masks.shape, expected.masks.shape)
        np.testing.assert_allclose(
            found.losses,
            expected.losses,
            rtol=tolerances.KERNEL_FLOAT64,
        )
        self.assertTrue((found.bounds <= found.frontier.losses).all())
        self.assertTrue((found.gaps == 0).all())

    def test_a_poor_start_is_made_good(self):
        losses, costs = brute_force.pool(14, NUM_TEXTS, seed=3)
        expected = frontier.certified(losses, costs)
        none = np.zeros((0, 14), bool)
        found = frontier.certified(losses, costs, start=none)
        np.testing.assert_array_equal(
            found.certificate.loss_sums, expected.certificate.loss_sums
        )
        self.assertTrue(found.proven.all())

    def test_without_time_the_roots_bound_all_budgets(self):
        pool = synthetic.pool(30, 200, noise=0.1)
        exact = frontier.certified(pool.losses, pool.costs)
        found = frontier.certified(pool.losses, pool.costs, time_limit=0)
        self.assertFalse(found.proven.all())
        for cost, bound in zip(found.frontier.costs, found.bounds, strict=True):
            # A bound holds up to the next point, and so at the point itself.
            place = np.searchsorted(exact.frontier.costs, cost, "right") - 1
            self.assertLessEqual(bound, exact.frontier.losses[place])
        self.assertLess(found.gaps.mean(), 0.02)
        self.assertGreater(found.gaps.max(), 0)

    def test_what_comes_before_the_trees_counts_as_time(self):
        pool = synthetic.pool(30, 200, noise=0.1)
        roots = frontier.certified(pool.losses, pool.costs, time_limit=0)
        # A clock on which all that comes before the trees takes 100 seconds.
        clock = types.SimpleNamespace(
            monotonic=itertools.count(0, 100).__next__
        )
        with mock.patch.object(certification, "time", clock):
            found = frontier.certified(pool.losses, pool.costs, time_limit=99)
        self.assertEqual(found.num_nodes, roots.num_nodes)

    def test_a_gap_limit_is_kept(self):
        pool = synthetic.pool(30, 200, noise=0.1)
        exact = frontier.certified(pool.losses, pool.costs)
        found = frontier.certified(pool.losses, pool.costs, gap_limit=0.01)
        self.assertLessEqual(found.gaps.max(), 0.01)
        self.assertLess(found.num_nodes, exact.num_nodes)

    def test_the_same_on_several_devices_and_again(self):
        pool = synthetic.pool(25, 100, noise=0.1)
        first, second, third = (
            frontier.certified(
                pool.losses, pool.costs, devices=devices
            ).certificate
            for devices in (None, None, jax.devices()[:2])
        )
        for other in (second, third):
            for name, array in first._asdict().items():
                np.testing.assert_array_equal(array, getattr(other, name), name)

    def test_goes_on_after_a_kill(self):
        pool = synthetic.pool(25, 100, noise=0.1)
        expected = frontier.certified(pool.losses, pool.costs)
        folder = pathlib.Path(tempfile.mkdtemp())

        def kill(progress):
            if progress.num_proven >= 5:
                raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            frontier.certified(
                pool.losses, pool.costs, work_dir=folder, on_progress=kill
            )
        kept = {
            path: path.stat().st_mtime_ns for path in folder.glob("window-*")
        }
        num_points = sum(len(np.load(path)["budgets"]) for path in kept)
        self.assertGreaterEqual(num_points, 5)
        found = frontier.certified(pool.losses, pool.costs, work_dir=folder)
        for path, written in kept.items():
            self.assertEqual(path.stat().st_mtime_ns, written)
        for name, array in expected.certificate._asdict().items():
            np.testing.assert_array_equal(
                array, getattr(found.certificate, name), name
            )
        with self.assertRaisesRegex(ValueError, "other losses, costs or gap"):
            frontier.certified(
                pool.losses + 1e-3 * pool.losses[::-1],
                pool.costs,
                work_dir=folder,
            )

    def test_windows_of_another_start_are_not_taken(self):
        pool = synthetic.pool(12, 50, noise=0.1)
        folder = pathlib.Path(tempfile.mkdtemp())
        none = np.zeros((0, 12), bool)
        # The heuristic's, none, and one that ends all windows elsewhere.
        for start in (None, none, np.ones((1, 12), bool)):
            found = frontier.certified(
                pool.losses, pool.costs, start=start, work_dir=folder
            )
            expected = frontier.exhaustive(pool.losses, pool.costs)
            np.testing.assert_array_equal(found.frontier.masks, expected.masks)
            self.assertTrue(found.proven.all())

    def test_two_processes_share_the_windows(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        port = str(np.random.default_rng().integers(20_000, 60_000))
        said = [pathlib.Path(tempfile.mkdtemp()) for _ in range(2)]
        processes = [
            programs.start(
                "tests.frontier.two_hosts", str(i), port, str(folder), said=to
            )
            for i, to in enumerate(said)
        ]
        for process, to in zip(processes, said, strict=True):
            self.addCleanup(process.kill)
            process.join(timeout=300)
            self.assertEqual(process.exitcode, 0, programs.words(to))

    @parameterized.parameters(
        ({"time_limit": -1.0}, "time_limit is -1.0"),
        ({"gap_limit": 1.0}, "gap_limit is 1.0"),
        ({"start": np.zeros((2, 5), bool)}, r"start: .*\[S, 3\] is needed"),
    )
    def test_refuses(self, arguments, message):
        losses, costs = brute_force.pool(3, NUM_TEXTS, seed=0)
        with self.assertRaisesRegex(ValueError, message):
            frontier.certified(losses, costs, **arguments)

    def test_real_costs_are_whole_in_their_own_unit(self):
        losses, _ = brute_force.pool(5, NUM_TEXTS, seed=0)
        for costs, scale in (
            ([0.02, 0.5, 1.25, 3.0, 0.1], 100.0),
            ([1e9, 7e10, 3e8, 1.0, 2.0], 1.0),
        ):
            found = frontier.certified(losses, costs)
            self.assertGreaterEqual(found.certificate.cost_scale, scale)
            expected = frontier.exhaustive(losses, costs)
            np.testing.assert_array_equal(found.frontier.costs, expected.costs)
        irrational = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0])
        found = frontier.certified(losses, irrational)
        expected = frontier.exhaustive(losses, irrational)
        np.testing.assert_array_equal(found.frontier.costs, expected.costs)


class CheckerTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pool = synthetic.pool(25, 60, noise=0.1)
        cls.found = frontier.certified(cls.pool.losses, cls.pool.costs)
        cls.folder = pathlib.Path(tempfile.mkdtemp())

    def written(self, **changes):
        path = self.folder / "certificate.npz"
        frontier.write_certificate(
            self.found.certificate._replace(**changes), path
        )
        return path

    def check(self, path):
        return certificate_checker.check(
            path, self.pool.losses, self.pool.costs
        )

    def test_what_it_says(self):
        verdict = self.check(self.written())
        self.assertTrue(verdict.proven.all())
        np.testing.assert_array_equal(
            verdict.costs, self.found.certificate.costs
        )
        np.testing.assert_allclose(
            verdict.losses[-1],
            self.pool.losses.min(axis=0).mean(),
            rtol=tolerances.WHOLE_LOSSES,
        )
        np.testing.assert_allclose(
            verdict.bounds, verdict.losses, rtol=tolerances.WHOLE_LOSSES
        )
        self.assertTrue((verdict.bounds <= verdict.losses).all())

    @parameterized.parameters(
        {"time_limit": 0}, {"time_limit": 0.05}, {"gap_limit": 0.003}
    )
    def test_a_search_that_was_stopped(self, **limits):
        pool = synthetic.pool(40, 80, noise=0.1)
        found = frontier.certified(pool.losses, pool.costs, **limits)
        path = self.folder / "stopped.npz"
        frontier.write_certificate(found.certificate, path)
        verdict = certificate_checker.check(path, pool.losses, pool.costs)
        self.assertFalse(verdict.proven.all())
        np.testing.assert_array_equal(
            verdict.proven,
            found.certificate.bounds == found.certificate.loss_sums,
        )

    def test_weights(self):
        weights = np.arange(60) % 4 + 0.25
        found = frontier.certified(self.pool.losses, self.pool.costs, weights)
        path = self.folder / "weighted.npz"
        frontier.write_certificate(found.certificate, path)
        verdict = certificate_checker.check(
            path, self.pool.losses, self.pool.costs, weights
        )
        self.assertTrue(verdict.proven.all())
        with self.assertRaises(certificate_checker.CertificateError):
            self.check(path)

    def assert_rejected(self, message, **changes):
        with self.assertRaisesRegex(
            certificate_checker.CertificateError, message
        ):
            self.check(self.written(**changes))

    def test_rejects_a_branch_cut_to_a_leaf(self):
        trees = self.found.certificate.trees
        starts = self.found.certificate.tree_starts
        sizes = np.diff(starts)
        window = int(sizes.argmax())
        begin, end = starts[window : window + 2]
        # The whole tree below the root is gone.
        cut = np.concatenate([trees[:begin], [-1], trees[end:]])
        moved = starts.copy()
        moved[window + 1 :] -= end - begin - 1
        self.assert_rejected(
            f"window {window}, node 0 .*: a leaf does not reach",
            trees=cut.astype(np.int16),
            tree_starts=moved,
        )

    def test_rejects_a_missing_branch(self):
        trees = self.found.certificate.trees
        starts = self.found.certificate.tree_starts
        window = int(np.diff(starts).argmax())
        end = starts[window + 1]
        moved = starts.copy()
        moved[window + 1 :] -= 1
        self.assert_rejected(
            f"window {window}: branches of its tree are missing",
            trees=np.delete(trees, end - 1),
            tree_starts=moved,
        )

    def test_rejects_a_branch_too_many(self):
        trees = self.found.certificate.trees
        starts = self.found.certificate.tree_starts.copy()
        starts[-1] += 1
        self.assert_rejected(
            "it belongs to no branch",
            trees=np.append(trees, np.int16(-1)),
            tree_starts=starts,
        )

    def test_rejects_changed_leaves(self):
        # With thresholds of 0 nothing is bounded but what is decided.
        self.assert_rejected(
            "a leaf does not reach",
            thresholds=np.zeros_like(self.found.certificate.thresholds),
        )

    def test_rejects_a_wrong_loss(self):
        sums = self.found.certificate.loss_sums.copy()
        sums[3] -= 1
        self.assert_rejected(
            "point 3: the loss sum of its models is", loss_sums=sums
        )

    def test_rejects_a_wrong_cost(self):
        costs = self.found.certificate.costs.copy()
        costs[3] += 1
        self.assert_rejected("point 3: its models cost", costs=costs)

    def test_rejects_another_subset(self):
        masks = self.found.certificate.masks.copy()
        masks[3] = masks[4]
        self.assert_rejected("point 3: ", masks=masks)

    def test_rejects_a_point_left_out(self):
        certificate = self.found.certificate
        names = ("costs", "loss_sums", "masks", "bounds", "windows")
        self.assert_rejected(
            "does not prove its bound",
            **{name: np.delete(getattr(certificate, name), 9, 0)
               for name in names},
        )  # fmt: skip

    def test_rejects_a_bound_too_high(self):
        certificate = self.found.certificate
        sums = certificate.segment_sums + 1
        self.assert_rejected("a leaf does not reach", segment_sums=sums)
        bounds = certificate.bounds.copy()
        bounds[3] += 1
        self.assert_rejected("its bound is above its loss", bounds=bounds)

    def test_rejects_a_window_of_other_budgets(self):
        windows = np.roll(self.found.certificate.windows, 40)
        self.assert_rejected("does not prove its bound", windows=windows)

    def test_rejects_other_losses_and_costs(self):
        path = self.written()
        for losses, costs in (
            (self.pool.losses * (1 + 1e-6), self.pool.costs),
            (self.pool.losses, self.pool.costs + 1),
            (self.pool.losses[:, :-1], self.pool.costs),
            (self.pool.losses[:-1], self.pool.costs[:-1]),
        ):
            with self.assertRaises(certificate_checker.CertificateError):
                certificate_checker.check(path, losses, costs)

    def test_rejects_what_is_no_certificate(self):
        path = self.folder / "other.npz"
        np.savez(path, a=np.zeros(3))
        with self.assertRaisesRegex(
            certificate_checker.CertificateError, "no certificate"
        ):
            self.check(path)
        damaged = self.written().read_bytes()
        path.write_bytes(damaged[: len(damaged) // 2])
        with self.assertRaisesRegex(
            certificate_checker.CertificateError, "cannot be read"
        ):
            self.check(path)
        # NumPy gives the bytes of a member that is no .npy file.
        with (
            zipfile.ZipFile(self.written()) as good,
            zipfile.ZipFile(path, "w") as other,
        ):
            for name in good.namelist():
                is_other = name == "masks.npy"
                other.writestr(name, b"-" if is_other else good.read(name))
        with self.assertRaisesRegex(
            certificate_checker.CertificateError, "masks has dtype None"
        ):
            self.check(path)

    def test_stands_alone(self):
        path = self.written()
        np.savez(
            self.folder / "pool.npz",
            losses=self.pool.losses,
            costs=self.pool.costs,
        )
        program = (
            "import sys, numpy as np\n"
            "from mmc_jax import certificate_checker\n"
            "pool = np.load(sys.argv[2])\n"
            "verdict = certificate_checker.check(\n"
            "    sys.argv[1], pool['losses'], pool['costs'])\n"
            "assert verdict.proven.all()\n"
            "assert 'jax' not in sys.modules, 'JAX was imported'\n"
            "assert 'mmc_jax.frontier' not in sys.modules\n"
        )
        subprocess.run(
            [sys.executable, "-c", program, path, self.folder / "pool.npz"],
            check=True,
        )


if __name__ == "__main__":
    absltest.main()
