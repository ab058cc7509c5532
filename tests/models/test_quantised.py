"""Quantised tensors against transformers' own conversions, on small files."""

import json
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from transformers.integrations import finegrained_fp8, mxfp4

from mmc_jax import models
from mmc_jax.models import quantised, sharding, weight_files
from tests.models import test_parity

_FP8 = dict(quant_method="fp8", fmt="e4m3", weight_block_size=[8, 16])


def _torch(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array.astype(np.float32))


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        self.file = self.folder / weight_files.WEIGHTS

    def write(self, **tensors: torch.Tensor) -> dict:
        """Returns the tensors of a file, dequantised."""
        safetensors.torch.save_file(tensors, self.file)
        return quantised.dequantised(self.slices(), self.folder)

    def slices(self) -> dict:
        file = self.enterContext(safetensors.safe_open(self.file, "np"))
        return quantised.slices(self.file, file)

    def configure(self, **settings):
        (self.folder / "config.json").write_text(json.dumps(settings))


class Mxfp4Test(FolderTest):
    def test_as_transformers(self):
        rng = np.random.default_rng(0)
        blocks = torch.tensor(rng.integers(0, 256, (2, 9, 3, 16), np.uint8))
        # The largest is NaN; the one before overflows with a 6, but for 0.
        scales = torch.tensor(rng.integers(0, 254, (2, 9, 3), np.uint8))
        blocks[0, 0, 0] = 0
        scales[0, 0, 0] = 254
        found = self.write(w_blocks=blocks, w_scales=scales, b=blocks[:1] * 1)
        self.assertEqual(set(found), {"w", "b"})
        tensor = found["w"]
        expected = mxfp4.convert_moe_packed_tensors(blocks, scales)
        self.assertEqual(tensor.get_shape(), list(expected.shape))
        expected = expected.float().numpy()
        for region in ((2, 96, 9), (1, 5, 4), (1, 0, 9)):
            start = [n - m for n, m in zip((2, 90, 8), region, strict=True)]
            index = tuple(
                slice(max(a, 0), max(a, 0) + n)
                for a, n in zip(start, region, strict=True)
            )
            value = tensor[index]
            self.assertEqual(value.dtype, jnp.bfloat16)
            np.testing.assert_array_equal(
                value.astype(np.float32), expected[index]
            )

    def test_not_a_number(self):
        found = self.write(
            w_blocks=torch.full((1, 1, 1, 16), 17, dtype=torch.uint8),
            w_scales=torch.full((1, 1, 1), 255, dtype=torch.uint8),
        )
        value = found["w"][slice(0, 1), slice(0, 1), slice(0, 1)]
        self.assertTrue(np.isnan(value.astype(np.float32)).all())

    def test_what_is_not_mxfp4(self):
        byte = torch.zeros((1, 2, 3, 16), dtype=torch.uint8)
        for blocks, scales in (
            (byte, byte[..., 0].float()),
            (byte, byte[..., 0, 0]),
            (byte[..., :8], byte[..., 0]),
        ):
            with self.subTest(shape=blocks.shape, scales=scales.shape):
                found = self.write(
                    w_blocks=blocks.contiguous(), w_scales=scales.contiguous()
                )
                self.assertEqual(set(found), {"w_blocks", "w_scales"})

    def test_checkpoint(self):
        """The parameters that transformers has, on one device and on eight."""
        config = test_parity.make_config(
            "gpt_oss", hidden_size=64, intermediate_size=32, vocab_size=144
        )
        reference = test_parity.make_reference(config, perturbed=True)
        reference.save_pretrained(self.folder)
        stored = safetensors.torch.load_file(self.file)
        rng = np.random.default_rng(0)
        for name in [
            n for n in stored if n.endswith(("_up_proj", "down_proj"))
        ]:
            E, inner, rows = stored.pop(name).shape
            shape = (E, rows, inner // 32)
            for end, low, high, more in (
                ("blocks", 0, 256, (16,)),
                ("scales", 120, 130, ()),
            ):
                stored[f"{name}_{end}"] = torch.tensor(
                    rng.integers(low, high, (*shape, *more), np.uint8)
                )
        safetensors.torch.save_file(stored, self.file)
        content = json.loads((self.folder / "config.json").read_text())
        content["quantization_config"] = dict(
            quant_method="mxfp4", modules_to_not_convert=["lm_head"]
        )
        self.configure(**content)
        model = models.load(self.folder)
        expected = transformers.GptOssForCausalLM.from_pretrained(
            self.folder,
            quantization_config=transformers.Mxfp4Config(dequantize=True),
            dtype=torch.float32,
        )
        models.save(model, self.folder / "plain")
        plain = safetensors.torch.load_file(
            self.folder / "plain" / weight_files.WEIGHTS
        )
        for name, tensor in expected.state_dict().items():
            np.testing.assert_array_equal(plain[name], tensor)
        split = models.load(self.folder, mesh=sharding.mesh(1, 8))
        for again in (split, models.load(self.folder / "plain")):
            jax.tree.map(
                np.testing.assert_array_equal,
                nnx.state(again),
                nnx.state(model),
            )


class Fp8Test(FolderTest):
    @parameterized.parameters(
        ((6, 12), (2, 3), torch.float32),
        ((6, 12), (1, 1), torch.bfloat16),
        ((6, 12), (), torch.bfloat16),
        ((3, 64), (3, 2), torch.uint8),
        ((2, 6, 12), (2, 3, 1), torch.float32),
        ((2, 6, 12), (2, 1, 1), torch.float32),
    )
    def test_as_transformers(self, shape, grid, dtype):
        rng = np.random.default_rng(0)
        weight = torch.tensor(rng.normal(size=shape)).to(torch.float8_e4m3fn)
        factors = torch.tensor(120 + 9 * rng.random(grid)).to(dtype)
        found = self.write(
            **{
                "a.weight": weight,
                "a.weight_scale_inv": factors,
                "a.activation_scale": torch.ones(()),
            }
        )
        self.assertEqual(set(found), {"a.weight"})
        convert = finegrained_fp8.Fp8Dequantize(None)
        expected = convert._dequantize_one(weight, factors, torch.float32)
        for start, stop in ((0, None), (1, None), (0, -1), (2, 3)):
            index = tuple(
                slice(*slice(start if n > 2 else 0, stop).indices(n)[:2])
                for n in shape
            )
            np.testing.assert_array_equal(
                found["a.weight"][index], expected[index]
            )

    def test_blocks_that_do_not_fill_a_matrix(self):
        """576 rows of DeepSeek-V3 have five factors, the last for 64 alone."""
        self.configure(text_config=dict(quantization_config=_FP8))
        rng = np.random.default_rng(0)
        weight = torch.tensor(rng.normal(size=(20, 40)))
        weight = weight.to(torch.float8_e5m2)
        factors = rng.random((3, 3), np.float32)
        found = self.write(w=weight, w_scale_inv=torch.tensor(factors))
        every = np.repeat(np.repeat(factors, 8, axis=0), 16, axis=1)
        expected = weight.float().numpy() * every[:20, :40]
        for rows, columns in ((0, 20), (0, 40)), ((3, 17), (15, 33)):
            index = slice(*rows), slice(*columns)
            np.testing.assert_array_equal(found["w"][index], expected[index])

    def test_factors_that_do_not_fit(self):
        weight = torch.zeros((6, 12)).to(torch.float8_e4m3fn)
        for grid in ((5, 3), (6,), (2, 2, 3)):
            with self.assertRaisesRegex(ValueError, "a.w has shape .*not fit"):
                self.write(**{"a.w": weight, "a.w_scale_inv": torch.ones(grid)})

    def test_tensor_that_is_empty(self):
        found = self.write(w=torch.zeros((0, 4)).to(torch.float8_e4m3fn))
        self.assertEqual(found["w"][slice(0, 0), slice(0, 4)].shape, (0, 4))

    @parameterized.parameters("deepseek_v3", "qwen3_moe")
    def test_checkpoint(self, model_type):
        """As a checkpoint of the dequantised numbers; two files."""
        config = test_parity.make_config(model_type)
        reference = test_parity.make_reference(config, perturbed=True)
        reference.save_pretrained(self.folder)
        plain = safetensors.torch.load_file(self.file)
        rng = np.random.default_rng(0)
        stored = {}
        for name, tensor in plain.items():
            if not name.endswith("proj.weight"):
                stored[name] = tensor
                continue
            rows, columns = tensor.shape
            factors = rng.random((-(-rows // 8), -(-columns // 16)), np.float32)
            every = np.repeat(np.repeat(factors, 8, axis=0), 16, axis=1)
            weight = tensor.to(torch.float8_e4m3fn)
            stored[name] = weight
            stored[f"{name}_scale_inv"] = torch.tensor(factors)
            plain[name] = weight.float() * torch.tensor(every[:rows, :columns])
        self.assertGreater(len(stored), len(plain))
        safetensors.torch.save_file(plain, self.file)
        expected = models.load(self.folder)
        safetensors.torch.save_file(stored, self.file)
        content = json.loads((self.folder / "config.json").read_text())
        self.configure(**content, quantization_config=_FP8)
        model = models.load(self.folder)
        jax.tree.map(
            np.testing.assert_array_equal, nnx.state(model), nnx.state(expected)
        )
        name = next(name for name in stored if name.endswith("_scale_inv"))
        del stored[name]
        safetensors.torch.save_file(stored, self.file)
        with self.assertRaisesRegex(ValueError, "is F8_E4M3: .*factors"):
            models.load(self.folder)


class ConfigTest(FolderTest):
    @parameterized.parameters(
        dict(quant_method="gptq", bits=4),
        dict(quant_method="fp8", expert_dtype="fp4"),
        dict(quant_method="fp8", load_in_8bit=True),
        dict(),
    )
    def test_refused(self, **settings):
        config = test_parity.make_config("llama").to_dict()
        self.configure(**config, quantization_config=settings)
        with self.assertRaisesRegex(ValueError, "quantization_config="):
            models.num_params(self.folder)


if __name__ == "__main__":
    absltest.main()
