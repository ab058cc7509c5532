"""The kernels over 8 virtual devices, against one."""

import pathlib
import socket
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mmc_jax import oracle
from tests import tolerances
from tests.experiments import programs
from tests.oracle import brute_force

pytestmark = pytest.mark.full_optimisation

MESHES = {
    "subsets": ((8,), ("subsets",)),
    "texts": ((8,), ("texts",)),
    "both": ((2, 4), ("subsets", "texts")),
    "another": ((2, 2, 2), ("texts", "hosts", "subsets")),
}


class ShardedTest(parameterized.TestCase):
    @parameterized.named_parameters((n, *mesh) for n, mesh in MESHES.items())
    def test_equals_one_device(self, shape, names):
        mesh = jax.make_mesh(shape, names)
        # Neither subsets nor texts in whole shares; an empty subset.
        for dtype in ("float32", "uint32"):
            losses, values, masks, weights = brute_force.random_case(
                11, 5, 203, dtype
            )
            masks[3] = False
            for given in (None, weights) if dtype == "float32" else (None,):
                with (
                    self.subTest(dtype, weighted=given is not None),
                    jax.enable_x64(dtype != "float32"),
                ):
                    for function, table, other in (
                        (oracle.oracle_losses, losses, masks),
                        (oracle.oracle_sums, losses, masks),
                        (oracle.min_sum, values, losses),
                    ):
                        got = function(table, other, given, mesh=mesh)
                        np.testing.assert_allclose(
                            got,
                            function(table, other, given),
                            rtol=tolerances.KERNEL_FLOAT32
                            if dtype == "float32"
                            else 0,
                        )

    def test_subsets_lie_over_their_axis(self):
        mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("subsets", "texts"))
        losses, values, masks, _ = brute_force.random_case(
            16, 5, 64, np.float32
        )
        by_text = NamedSharding(mesh, P(None, "texts"))
        by_subset = NamedSharding(mesh, P("subsets", None))
        losses = jax.device_put(losses, by_text)
        masks = jax.device_put(masks, by_subset)
        with self.subTest("arrays that lie over the mesh already"):
            got = oracle.oracle_sums(losses, masks, mesh=mesh)
            self.assertTrue(
                got.sharding.is_equivalent_to(
                    NamedSharding(mesh, P("subsets")), 1
                )
            )
        with self.subTest("under jit"):
            got = jax.jit(lambda v, w: oracle.min_sum(v, w, mesh=mesh))(
                values, losses
            )
            self.assertTrue(got.sharding.is_equivalent_to(by_subset, 2))

    def test_nan_is_refused(self):
        mesh = jax.make_mesh((8,), ("texts",))
        losses = np.ones((2, 16), np.float32)
        losses[1, 13] = np.nan
        with self.assertRaisesRegex(ValueError, r"values\[1, 13\]"):
            oracle.min_sum(losses, np.ones_like(losses), mesh=mesh)

    def test_mesh_without_the_axes(self):
        losses = np.ones((2, 16), np.float32)
        with self.assertRaisesRegex(ValueError, "'subsets' or 'texts' is need"):
            oracle.min_sum(losses, losses, mesh=jax.make_mesh((8,), ("data",)))

    def test_two_hosts(self):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        said = [pathlib.Path(tempfile.mkdtemp()) for _ in "01"]
        hosts = [
            programs.start("tests.oracle.two_hosts", index, port, said=to)
            for index, to in zip("01", said, strict=True)
        ]
        for host in hosts:
            self.addCleanup(host.kill)
        for host, to in zip(hosts, said, strict=True):
            host.join(timeout=300)
            self.assertEqual(host.exitcode, 0, programs.words(to))


if __name__ == "__main__":
    absltest.main()
