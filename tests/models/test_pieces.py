"""Tensors that files hold together or apart: the same model from each."""

import pathlib
import tempfile
import types

import jax
import numpy as np
import safetensors.torch
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax import models
from mmc_jax.models import pieces, weight_files
from tests.models import test_parity


class FilesTest(parameterized.TestCase):
    # Their files by transformers have other tensors than the model in memory.
    @parameterized.parameters(
        "kimi_linear", "olmo_hybrid", "qwen3_5_moe_text", "qwen3_next"
    )
    def test_names_in_memory(self, model_type):
        """As files of published Qwen3.5-MoE have them, and our own files."""
        reference = test_parity.make_reference(
            test_parity.make_config(model_type), perturbed=True
        )
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        reference.save_pretrained(folder)
        expected = models.load(folder)
        ours = folder / "ours"
        models.save(expected, ours)
        self.assert_same(models.load(ours), expected)
        if model_type != "qwen3_5_moe_text":
            return
        tensors = {
            name: tensor.contiguous()
            for name, tensor in reference.state_dict().items()
        }
        self.assertTrue(any(n.endswith("experts.down_proj") for n in tensors))
        safetensors.torch.save_file(tensors, folder / weight_files.WEIGHTS)
        self.assert_same(models.load(folder), expected)

    def assert_same(self, model, expected):
        jax.tree.map(
            np.testing.assert_array_equal,
            nnx.state(model),
            nnx.state(expected),
        )


class Tensor(np.ndarray):
    """An array that has what safetensors gives of a tensor."""

    def get_shape(self):
        return list(self.shape)

    def get_dtype(self):
        return "F32"


def _tensor(*shape: int) -> Tensor:
    values = np.random.default_rng(len(shape)).normal(size=shape)
    return values.astype(np.float32).view(Tensor)


class ArrangedTest(parameterized.TestCase):
    @parameterized.parameters((slice(0, 9),), (slice(2, 7),), (slice(5, 6),))
    def test_joined(self, rows):
        family = types.SimpleNamespace(JOINED={"w": ("q", "k", "v")})
        sizes = {"a.q": 2, "a.k": 3, "a.v": 4}
        tensors = {name: _tensor(size, 1, 2) for name, size in sizes.items()}
        found = pieces.arranged({**tensors, "b.q": _tensor(2, 1, 2)}, family)
        self.assertEqual(set(found), {"a.w", "b.q"})
        joined = np.concatenate([np.asarray(x) for x in tensors.values()])
        self.assertEqual(found["a.w"].get_shape(), list(joined.shape))
        index = (rows, slice(0, 1), slice(1, 2))
        np.testing.assert_array_equal(found["a.w"][index], joined[index])

    def test_experts(self):
        family = types.SimpleNamespace(
            FUSED={"experts.both": ("gate", "up"), "experts.down": ("down",)}
        )
        both, down = _tensor(3, 8, 5), _tensor(3, 6, 2)
        found = pieces.arranged(
            {"a.experts.both": both, "a.experts.down": down}, family
        )
        self.assertLen(found, 9)
        index = (slice(1, 4), slice(2, 5))
        np.testing.assert_array_equal(
            found["a.experts.2.up.weight"][index], both[2, 5:8, 2:5]
        )
        np.testing.assert_array_equal(
            found["a.experts.0.gate.weight"][index], both[0, 1:4, 2:5]
        )
        self.assertEqual(found["a.experts.1.down.weight"].get_shape(), [6, 2])

    def test_shapes_that_are_not_fused_experts(self):
        family = types.SimpleNamespace(FUSED={"experts.both": ("gate", "up")})
        for shape in ((3, 7, 5), (4, 5)):
            tensors = {"a.experts.both": _tensor(*shape)}
            self.assertEqual(set(pieces.arranged(tensors, family)), {*tensors})


if __name__ == "__main__":
    absltest.main()
