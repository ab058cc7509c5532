"""LoRA adapters: the logits are those of the merged PyTorch model."""

import json
import math
import pathlib
import tempfile

import jax
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from absl.testing import absltest, parameterized

from mmc_jax import models
from mmc_jax.models import adapters, configs, shapes, sharding
from mmc_jax.scoring import checkpoints
from tests import tolerances
from tests.models import test_parity

_RANK = 3
# Matrices that an adapter changes: of each family, square ones as well.
_CHANGED = {
    "gpt2": ("transformer.h.1.attn.c_attn", "transformer.h.0.attn.c_proj"),
    "llama": ("model.layers.0.self_attn.q_proj", "model.layers.2.mlp.up_proj"),
}


class AdaptersTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def saved(self, model_type: str) -> torch.nn.Module:
        config = test_parity.make_config(model_type)
        reference = test_parity.make_reference(config, perturbed=True)
        reference.save_pretrained(self.folder)
        return reference

    def write_config(self, **changes):
        config = dict(
            peft_type="LORA",
            task_type="CAUSAL_LM",
            base_model_name_or_path="some/base",
            r=_RANK,
            lora_alpha=6,
            bias="none",
            target_modules=["q_proj"],
            init_lora_weights=True,
            modules_to_save=None,
            rank_pattern={},
            use_dora=False,
        )
        path = self.folder / adapters.CONFIG
        path.write_text(json.dumps(config | changes))

    def write(self, reference, changed, scale, **changes):
        """Writes an adapter, and adds to a model what it adds."""
        rng = np.random.default_rng(0)
        is_transposed = reference.config.model_type == "gpt2"
        modules = dict(reference.named_modules())
        stored = {}
        for name in changed:
            weight = modules[name].weight
            num_out, num_in = (
                weight.shape[::-1] if is_transposed else weight.shape
            )
            A = 0.3 * rng.standard_normal((_RANK, num_in), np.float32)
            B = rng.standard_normal((num_out, _RANK), np.float32)
            stored[f"base_model.model.{name}.lora_A.weight"] = A
            stored[f"base_model.model.{name}.lora_B.weight"] = B
            change = scale * torch.tensor(B) @ torch.tensor(A)
            with torch.no_grad():
                weight += change.T if is_transposed else change
        safetensors.numpy.save_file(stored, self.folder / adapters.WEIGHTS)
        self.write_config(**changes)

    def assert_refused(self, message: str):
        for read in (models.num_params, models.load):
            with self.assertRaisesRegex(ValueError, message):
                read(self.folder)

    @parameterized.product(
        model_type=("gpt2", "llama"), stabilised=(False, True)
    )
    def test_logits(self, model_type, stabilised):
        reference = self.saved(model_type)
        size = models.num_params(self.folder)
        files = checkpoints.file_hashes(self.folder)
        scale = 6 / (math.sqrt(_RANK) if stabilised else _RANK)
        self.write(
            reference, _CHANGED[model_type], scale, use_rslora=stabilised
        )
        model = models.load(self.folder)
        tokens = test_parity.random_tokens(model_type, 2, 41)
        expected = test_parity.reference_logits(reference, tokens)
        logits = jax.jit(lambda model, tokens: model(tokens))(model, tokens)
        self.assertLess(
            test_parity.error(logits, expected), tolerances.PARITY_LOGITS
        )
        # The merged model has no parameter more; its files are others.
        self.assertEqual(models.num_params(self.folder), size)
        new = checkpoints.file_hashes(self.folder).keys() - files.keys()
        self.assertEqual(new, {adapters.CONFIG, adapters.WEIGHTS})

    def test_over_a_mesh(self):
        reference = self.saved("llama")
        self.write(reference, _CHANGED["llama"], 2.0)
        whole = shapes.parameters(models.load(self.folder))
        split = shapes.parameters(
            models.load(self.folder, mesh=sharding.mesh(2, 2))
        )
        for path, value in whole.items():
            np.testing.assert_allclose(split[path], value, rtol=1e-6, atol=1e-6)

    @parameterized.parameters(
        dict(peft_type="IA3"),
        dict(use_dora=True),
        dict(modules_to_save=["lm_head"]),
        dict(bias="all"),
        dict(rank_pattern={"q_proj": 8}),
        dict(init_lora_weights="pissa"),
        dict(r=0),
        dict(lora_alpha=math.nan),
        dict(lora_alpha=10**400),
        dict(something_new=[1]),
    )
    def test_more_than_plain_lora(self, **changes):
        self.write(self.saved("llama"), _CHANGED["llama"], 2.0, **changes)
        (name,) = changes
        self.assert_refused(f"{adapters.CONFIG}: .*{name}=.*merge")

    def test_several_reasons_are_one_message(self):
        self.saved("llama")
        self.write_config(bias="all", use_dora=True)
        self.assert_refused("bias='all', use_dora=True")

    def test_an_adapter_of_another_model(self):
        reference = self.saved("gpt2")
        self.write(reference, _CHANGED["gpt2"], 2.0)
        self.saved("llama")
        with self.assertRaisesRegex(
            ValueError, "c_proj.weight of .* not there"
        ):
            models.load(self.folder)
        self.write(self.saved("llama"), _CHANGED["llama"], 2.0)
        path = self.folder / adapters.WEIGHTS
        stored = safetensors.numpy.load_file(path)
        for change, message in (
            (lambda value: value[:, 1:], "which is .* in the base"),
            (lambda value: value[1:], "are not two of rank 3"),
            (lambda value: value * np.nan, "holds NaN"),
        ):
            name = next(name for name in stored if "lora_A" in name)
            safetensors.numpy.save_file(
                stored | {name: np.ascontiguousarray(change(stored[name]))},
                path,
            )
            with self.assertRaisesRegex(ValueError, message):
                models.load(self.folder)
        safetensors.numpy.save_file({"base_model.x": stored[name]}, path)
        with self.assertRaisesRegex(ValueError, "tensor base_model.x is none"):
            models.load(self.folder)

    def test_weights_that_are_none(self):
        self.saved("llama")
        self.write_config()
        module = "base_model.model.model.layers.0.self_attn.q_proj"
        A, B = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
        good = {
            A: np.ones((_RANK, 1), np.float32),
            B: np.ones((1, _RANK), np.float32),
        }
        for changes, message in (
            ({A: good[A].astype(np.int8)}, f"tensor {A} is int8; read are"),
            ({f"{module}.lora_A.default.weight": good[A]}, "a second time"),
        ):
            with self.subTest(message):
                safetensors.numpy.save_file(
                    good | changes, self.folder / adapters.WEIGHTS
                )
                with self.assertRaisesRegex(ValueError, message):
                    models.load(self.folder)
        safetensors.numpy.save_file({}, self.folder / adapters.WEIGHTS)
        with self.assertRaisesRegex(ValueError, "it changes nothing"):
            models.load(self.folder)
        half = {
            A: torch.ones(_RANK, 1).to(torch.float8_e4m3fn),
            B: torch.ones(1, _RANK).to(torch.float8_e4m3fn),
        }
        safetensors.torch.save_file(half, self.folder / adapters.WEIGHTS)
        with self.assertRaisesRegex(ValueError, "not readable as safetensors"):
            models.load(self.folder)

    def test_without_its_weights_or_its_base(self):
        reference = self.saved("llama")
        self.write(reference, _CHANGED["llama"], 2.0)
        (self.folder / "model.safetensors").unlink()
        with self.assertRaisesRegex(ValueError, "alone.*'some/base'"):
            configs.read(self.folder)
        # An adapter may come without a config of its base, too.
        (self.folder / configs.CONFIG).unlink()
        with self.assertRaisesRegex(ValueError, "alone.*'some/base'"):
            configs.read(self.folder)
        self.saved("llama")
        (self.folder / adapters.WEIGHTS).unlink()
        with self.assertRaisesRegex(FileNotFoundError, "only safetensors"):
            models.load(self.folder)


if __name__ == "__main__":
    absltest.main()
