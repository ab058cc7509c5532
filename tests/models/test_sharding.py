"""Models over 8 devices: the same scores, and each device with its share."""

import functools
import re
from unittest import mock

import jax
import numpy as np
import pytest
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mmc_jax import models
from mmc_jax.models import layers, sharding
from mmc_jax.scoring import likelihood
from tests import optimisation, tolerances
from tests.models import test_parity
from tests.models.cases import CASES, MIXERS, STRUCTURES

# What is made 8 times as large, so that every rule finds an axis to split.
_SIZES = frozenset(
    """
    attention_hidden_size d_model ffn_dim ffn_hidden_size hidden_size
    intermediate_size intermediate_size_mlp kv_lora_rank linear_num_heads
    linear_num_key_heads linear_num_value_heads lru_width mamba_d_ssm
    mamba_n_groups mamba_n_heads mamba_ngroups mamba_num_heads
    moe_intermediate_size moe_shared_expert_intermediate_size n_embd n_groups
    n_head n_heads n_inner n_mamba_heads num_attention_heads num_heads
    num_key_value_heads num_kv_heads q_lora_rank shared_expert_intermediate_size
    shared_intermediate_size vocab_size word_embed_proj_dim
    """.split()
)
# What 8 does not divide even so.
_MORE_CHANGES = {
    "deepseek_v2": dict(qk_rope_head_dim=16),
    "deepseek_v3": dict(qk_rope_head_dim=16),
    "falcon": dict(hidden_size=384),
    "gemma4_text": dict(
        vocab_size_per_layer_input=8 * 139, hidden_size_per_layer_input=112
    ),
}
_BOTH = ("model", "data")
_BATCH, _LENGTH = 8, 20
_token_nll = jax.jit(likelihood.token_nll)


def _large_config(model_type: str):
    changes = {
        name: 8 * value
        for name, value in CASES[model_type][0].items()
        if name in _SIZES and value is not None
    }
    changes |= _MORE_CHANGES.get(model_type, {})
    return test_parity.make_config(model_type, **changes)


def _with_values(
    model: layers.LanguageModel, seed: int = 0
) -> layers.LanguageModel:
    """Returns an abstract model with values that its mesh does not change."""
    rng = np.random.default_rng(seed)

    def value(param: jax.ShapeDtypeStruct) -> jax.Array:
        drawn = 0.1 * rng.standard_normal(param.shape, np.float32)
        return jax.device_put(drawn, param.sharding)

    nnx.update(model, jax.tree.map(value, nnx.state(model)))
    return model


def _tokens(config, mesh=None) -> tuple[jax.Array, jax.Array]:
    tokens = np.random.default_rng(1).integers(
        0, config.vocab_size, (_BATCH, _LENGTH + 1), np.int32
    )
    place = None if mesh is None else NamedSharding(mesh, P("data"))
    return jax.device_put((tokens[:, :-1], tokens[:, 1:]), place)


@functools.cache
def _on_one_device(model_type: str) -> np.ndarray:
    config = _large_config(model_type)
    model = _with_values(models.abstract(config))
    nll = _token_nll(model, *_tokens(config))
    return np.asarray(nll, np.float64).sum(axis=1)


def _gathered(program: str) -> set[tuple[int, ...]]:
    """Returns the shapes that a program's all-gathers make, without ones."""
    shapes = re.findall(r"= \w+\[([\d,]*)\]\S* all-gather", program)
    return {
        tuple(int(n) for n in shape.split(",") if n not in ("", "1"))
        for shape in shapes
    }


def _compiled(model_type, mesh, over_data=False):
    """Returns the program and the model, which is abstract."""
    config = _large_config(model_type)
    model = models.abstract(config, mesh=mesh, over_data=over_data)
    tokens = _tokens(config, mesh)
    return _token_nll.lower(model, *tokens).compile(), model


class SameScoresTest(parameterized.TestCase):
    def assert_same_scores(self, model_type, mesh, over_data=False):
        """Returns the program and the model, once the scores are compared."""
        program, model = _compiled(model_type, mesh, over_data)
        model = _with_values(model)
        nll = program(model, *_tokens(_large_config(model_type), mesh))
        self.assertEqual(nll.shape, (_BATCH, _LENGTH))
        np.testing.assert_allclose(
            np.asarray(nll, np.float64).sum(axis=1),
            _on_one_device(model_type),
            rtol=tolerances.SCORE_SHAPES,
        )
        return program, model

    def assert_shares(self, model, num_parts):
        """Each device has its share; the model may be abstract."""
        memory = models.memory(model)
        self.assertEmpty(memory.undivided)
        whole = sum(
            value.size * value.dtype.itemsize
            for value in jax.tree.leaves(nnx.state(model))
        )
        # Norms and learned positions stay whole.
        share = memory.bytes_per_device / whole
        self.assertBetween(share, 1 / num_parts, 1 / num_parts + 0.06)

    def assert_split(self, program, model, num_parts):
        """Each device has its share, and no weights are put together."""
        self.assert_shares(model, num_parts)
        values = jax.tree.leaves(nnx.state(model))
        split = {
            tuple(n for n in value.shape[-2:] if n > 1)
            for value in values
            if any(value.sharding.spec) and value.ndim > 1
        }
        gathered = {shape[-2:] for shape in _gathered(program.as_text())}
        self.assertEmpty(gathered & split)

    @parameterized.named_parameters((name, name) for name in CASES)
    def test_as_on_one_device(self, model_type):
        """On 2 x 4, which splits the texts and every parameter's axis.

        All families' programs are compiled, and those of each kind are run.
        """
        made = self.assert_same_scores if model_type in MIXERS else _compiled
        program, model = made(model_type, sharding.mesh(2, 4))
        self.assert_split(program, model, 4)

    @parameterized.named_parameters((name, name) for name in CASES)
    def test_shares_on_a_line_of_devices(self, model_type):
        for shape in ((8, 1), (1, 8)):
            with self.subTest(mesh=shape):
                model = models.abstract(
                    _large_config(model_type), mesh=sharding.mesh(*shape)
                )
                self.assert_shares(model, shape[1])

    # What these meshes compute depends on the kinds of layers alone. On 8 x 1
    # no parameter is split, whatever the kind.
    @parameterized.parameters(
        ("gpt2", (8, 1)), *((name, (1, 8)) for name in STRUCTURES)
    )
    def test_as_on_a_line_of_devices(self, model_type, shape):
        program, model = self.assert_same_scores(
            model_type, sharding.mesh(*shape)
        )
        self.assert_split(program, model, shape[1])

    @parameterized.parameters("llama", "mixtral", "mamba", "recurrent_gemma")
    def test_over_data_too(self, model_type):
        program, model = self.assert_same_scores(
            model_type, sharding.mesh(2, 4), over_data=True
        )
        self.assert_split(program, model, 8)

    def test_weights_put_together_are_seen(self):
        mesh = sharding.mesh(1, 8)
        whole = NamedSharding(mesh, P(None, None))
        program = jax.jit(lambda x: x, out_shardings=whole).lower(
            jax.ShapeDtypeStruct(
                (16, 24), np.float32, sharding=NamedSharding(mesh, P("model"))
            )
        )
        self.assertIn((16, 24), _gathered(program.compile().as_text()))

    def test_sizes_that_nothing_divides(self):
        """All of it is whole, and right all the same."""
        config = test_parity.make_config("gptj")
        mesh = sharding.mesh(1, 8)
        split = _with_values(models.abstract(config, mesh=mesh))
        whole = _with_values(models.abstract(config))
        self.assertIn("transformer.wte.embedding", models.memory(split)[1])
        first = _token_nll(split, *_tokens(config, mesh))
        second = _token_nll(whole, *_tokens(config))
        np.testing.assert_allclose(first, second, rtol=tolerances.SCORE_SHAPES)


class RulesTest(parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in CASES)
    def test_each_parameter_has_one(self, model_type):
        for case in range(len(CASES[model_type])):
            config = test_parity.make_config(model_type, case)
            models.abstract(
                config, mesh=AbstractMesh((1, 1), ("data", "model"))
            )

    def test_none_or_two(self):
        mesh = AbstractMesh((2, 4), ("data", "model"))
        rules = (("a$", P("model")), (r"^x\.", P()))
        for path, number in (("x.b", 1), ("y.b", 0), ("x.a", 2)):
            with self.subTest(path):
                if number == 1:
                    sharding.shardings({path: (8,)}, rules, mesh)
                    continue
                with self.assertRaisesRegex(
                    ValueError, f"parameter {path} matches {number}"
                ):
                    sharding.shardings({path: (8,)}, rules, mesh)

    @parameterized.parameters(
        # path, shape, over data, spec on 2 x 4 devices
        ("m.q_proj.kernel", (3, 16, 24), False, (None, None, "model")),
        ("m.q_proj.kernel", (3, 16, 24), True, (None, None, _BOTH)),
        ("m.q_proj.kernel", (3, 16, 20), True, (None, None, "model")),
        ("m.q_proj.kernel", (4, 16, 22), False, (None, None, None)),
        ("m.q_proj.bias", (4, 24), False, (None, "model")),
        ("m.q_proj.bias", (4, 24), True, (None, _BOTH)),
        ("m.o_proj.kernel", (4, 5, 24, 16), False, (None, None, "model", None)),
        ("m.o_proj.bias", (4, 16), True, (None, None)),
        ("m.embed_tokens.embedding", (32, 16), True, (_BOTH, None)),
        ("lm_head.kernel", (16, 32), False, (None, "model")),
        ("m.q_norm.scale", (4, 16), True, (None, None)),
    )
    def test_specs(self, path, shape, over_data, spec):
        mesh = AbstractMesh((2, 4), ("data", "model"))
        places = sharding.shardings(
            {path: shape}, sharding.RULES, mesh, over_data=over_data
        )
        self.assertEqual(tuple(places[path].spec), spec)


@pytest.mark.full_optimisation
class MemoryTest(parameterized.TestCase):
    @parameterized.parameters((1, 8, False), (2, 4, True))
    def test_70b_compiles_for_a_mesh(self, num_data, num_model, over_data):
        """As LLaMA 3 70B, without any of its 282 GB."""
        config = transformers.LlamaConfig(
            vocab_size=128256,
            hidden_size=8192,
            intermediate_size=28672,
            num_hidden_layers=80,
            num_attention_heads=64,
            num_key_value_heads=8,
            tie_word_embeddings=False,
        )
        mesh = sharding.mesh(num_data, num_model)
        model = models.abstract(config, mesh=mesh, over_data=over_data)
        tokens = jax.ShapeDtypeStruct(
            (8, 1024), np.int32, sharding=NamedSharding(mesh, P("data"))
        )
        compiled = jax.jit(likelihood.token_nll).lower(model, tokens, tokens)
        compiled = compiled.compile(optimisation.MEASURED)
        used = compiled.memory_analysis()
        memory = models.memory(model)
        self.assertEmpty(memory.undivided)
        self.assertBetween(memory.bytes_per_device, 282.2e9 / 8, 282.3e9 / 8)
        tokens_per_device = 2 * 8 * 1024 // num_data
        self.assertEqual(
            used.argument_size_in_bytes,
            memory.bytes_per_device + 4 * tokens_per_device,
        )
        # A layer and its activations, but never the weights of all layers.
        self.assertLess(used.temp_size_in_bytes, 2e9)

    def test_by_hand(self):
        mesh = AbstractMesh((2, 4), ("data", "model"))

        def param(shape, *spec):
            return jax.ShapeDtypeStruct(
                shape, np.float32, sharding=NamedSharding(mesh, P(*spec))
            )

        params = {
            "q_proj.kernel": param((6, 8), None, "model"),
            "o_proj.kernel": param((8, 6), _BOTH, None),
            "v_proj.kernel": param((6, 6), None, None),
            "norm.scale": param((6,), None),
        }
        self.assertEqual(
            sharding.bytes_per_device(params), 4 * (12 + 6 + 36 + 6)
        )
        self.assertEqual(
            sharding.undivided(params, sharding.RULES), {"v_proj.kernel": 144}
        )

    def test_over_data_where_it_does_not_fit(self):
        config = _large_config("llama")
        mesh = sharding.mesh(2, 4)
        by_model = models.abstract(config, mesh=mesh, over_data=False)
        by_both = models.abstract(config, mesh=mesh, over_data=True)
        num_bytes = models.memory(by_model).bytes_per_device
        self.assertLess(
            models.memory(by_both).bytes_per_device, 0.6 * num_bytes
        )
        for limit, expected in (
            (num_bytes, by_model),
            (num_bytes - 1, by_both),
        ):
            with mock.patch.object(
                sharding, "fits", lambda needed, _, limit=limit: needed <= limit
            ):
                chosen = models.abstract(config, mesh=mesh)
            self.assertEqual(nnx.state(chosen), nnx.state(expected))

    def test_fits(self):
        devices = [
            mock.Mock(memory_stats=lambda limit=limit: {"bytes_limit": limit})
            for limit in (200.0, 100.0)
        ]
        mesh = mock.Mock(local_devices=devices)
        self.assertTrue(sharding.fits(75, mesh))
        self.assertFalse(sharding.fits(76, mesh))

    def test_of_a_device_that_does_not_tell(self):
        self.assertTrue(sharding.fits(10**15, sharding.mesh()))


class MeshTest(parameterized.TestCase):
    @parameterized.parameters(
        ((), (8, 1)), ((None, 4), (2, 4)), ((1, 8), (1, 8)), ((2, 2), (2, 2))
    )
    def test_shape(self, sizes, shape):
        mesh = sharding.mesh(*sizes)
        self.assertEqual(mesh.axis_names, ("data", "model"))
        self.assertEqual(mesh.devices.shape, shape)

    @parameterized.parameters(
        ((None, 3), "None x 3 on 8 devices"),
        ((0, 8), "0 x 8"),
        ((8, 0), "8 x 0"),
        ((None, 0), "None x 0"),
        ((4, 4), "needs 16 devices, and there are 8"),
    )
    def test_refuses(self, sizes, message):
        with self.assertRaisesRegex(ValueError, message):
            sharding.mesh(*sizes)


if __name__ == "__main__":
    absltest.main()
