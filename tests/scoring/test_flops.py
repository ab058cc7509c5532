"""Operations of a forward pass, counted from a config and from the program."""

import math
from unittest import mock

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from absl.testing import absltest, parameterized
from flax import nnx
from torch.utils import flop_counter

from mmc_jax import models
from mmc_jax.models import experts, layers
from mmc_jax.scoring import flops, likelihood
from tests import optimisation, tolerances
from tests.models import test_parity
from tests.models.cases import CASES

# Fewer positions than any block of attention, so that the program multiplies
# each query with each key.
_T = 8
# Layers of Gemma 4 differ in size, those of Llama 4 in kind: which branch a
# layer takes is not in the program.
_BRANCHES = (("gemma4_text", 0), ("gemma4_text", -1), ("llama4_text", 0))
# Their scans are made of other operations than matrix products, or of more.
_RECURRENT = (
    *("falcon_h1", "falcon_mamba", "kimi_linear", "mamba", "mamba2"),
    *("lfm2", "lfm2_moe"),
    *("olmo_hybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"),
    *("recurrent_gemma", "xlstm", "zamba2"),
)
# Models of several kinds of layers, with the attribute that lists them, and the
# kind that is Mamba-2. A trace knows one kind of layer at a time.
_HYBRIDS = {
    "granitemoehybrid": ("layer_types", "linear_attention"),
    "nemotron_h": ("layers_block_type", "linear_attention"),
}


def traced_flops(config: transformers.PreTrainedConfig, T: int) -> int:
    """Returns the operations of all matrix products of the traced program."""
    tokens = jax.ShapeDtypeStruct((1, T), jnp.int32)
    with mock.patch.object(experts, "mixture", _mixture_by_token):
        traced = jax.make_jaxpr(likelihood.token_nll)(
            models.abstract(config), tokens, tokens
        )
    return _products(traced.jaxpr)


def _mixture_by_token(x, experts, chosen, weights):
    """A mixture that does nothing but what each token needs."""

    def expert(token, number):
        return jax.tree.map(lambda leaf: leaf[number], experts)(token)

    each = jax.vmap(jax.vmap(expert, in_axes=(None, 0)))
    tokens, numbers = (
        x.reshape(-1, x.shape[-1]),
        chosen.reshape(-1, chosen.shape[-1]),
    )
    y = each(tokens, numbers).reshape(*chosen.shape, -1)
    return (weights[..., None].astype(y.dtype) * y).sum(axis=-2)


def _products(jaxpr: jax.extend.core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        params = equation.params
        if equation.primitive.name == "dot_general":
            (axes, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            length = math.prod(shape[axis] for axis in axes)
            total += 2 * length * equation.outvars[0].aval.size
        inner = [_products(j) for j in jax.extend.core.jaxprs_in_params(params)]
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            total += params.get("length", 1) * sum(inner)
    return total


def _elementwise(function, *shapes: tuple[int, ...]) -> int:
    """Returns the operations of a function, sums over axes included."""
    traced = jax.make_jaxpr(function)(
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    )
    moves = ("broadcast_in_dim", "reshape")
    return sum(
        max(v.aval.size for v in (*equation.invars, *equation.outvars))
        for equation in traced.jaxpr.eqns
        if equation.primitive.name not in moves
    )


class FlopsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (f"{model_type}_{case}", model_type, case)
        for model_type in CASES
        for case in (0, -1)
        if model_type not in (*_RECURRENT, *_HYBRIDS)
        and (model_type, case) not in _BRANCHES
    )
    def test_products_of_the_program(self, model_type, case):
        """They are those counted, the pairs under the mask apart."""
        config = test_parity.make_config(model_type, case).get_text_config()
        mixing = flops.mixing_flops(config, _T)
        hidden_too = mixing * _T**2 // flops.num_pairs(_T)
        self.assertEqual(
            traced_flops(config, _T),
            _T * flops.matmul_flops_per_token(config) + hidden_too,
        )
        self.assertEqual(
            flops.forward_flops(config, _T),
            _T * flops.matmul_flops_per_token(config) + mixing,
        )

    @parameterized.product(model_type=tuple(_HYBRIDS), case=(0, -1))
    def test_hybrids(self, model_type, case):
        """They are the sum over their layers, each alone in a model."""
        name, state_space = _HYBRIDS[model_type]
        config = test_parity.make_config(model_type, case)
        kinds = getattr(config, name)

        def alone(kind):
            return test_parity.make_config(
                model_type, case, **{name: [kind], "num_hidden_layers": 1}
            )

        head = config.hidden_size * config.vocab_size
        of_layers = [
            flops.matmul_flops_per_token(alone(kind)) - 2 * head
            for kind in kinds
        ]
        self.assertEqual(
            flops.matmul_flops_per_token(config), sum(of_layers) + 2 * head
        )
        self.assertEqual(
            flops.mixing_flops(config, _T),
            sum(flops.mixing_flops(alone(kind), _T) for kind in kinds),
        )
        for kind in set(kinds) - {state_space}:
            one = alone(kind)
            mixing = flops.mixing_flops(one, _T)
            self.assertEqual(
                traced_flops(one, _T),
                _T * flops.matmul_flops_per_token(one)
                + mixing * _T**2 // flops.num_pairs(_T),
            )

    def test_layers_of_different_sizes(self):
        """PyTorch counts as much, with the pairs under the mask."""
        config = test_parity.make_config("gemma4_text")
        reference = test_parity.make_reference(config, perturbed=False)
        tokens = test_parity.random_tokens("gemma4_text", 1, _T)
        with flop_counter.FlopCounterMode(display=False) as counter:
            test_parity.reference_logits(reference, tokens)
        mixing = flops.mixing_flops(config, _T)
        self.assertEqual(
            counter.get_total_flops(),
            _T * flops.matmul_flops_per_token(config)
            + mixing * _T**2 // flops.num_pairs(_T),
        )

    @parameterized.parameters("gpt2", "llama", "gemma2")
    @pytest.mark.full_optimisation
    def test_compiled_program(self, model_type):
        """XLA counts the same, and the operations a feature besides.

        One layer: of a loop it counts one round.
        """
        config = test_parity.make_config(
            model_type,
            **dict(
                hidden_size=192,
                num_hidden_layers=1,
                num_attention_heads=6,
                vocab_size=500,
            ),
            **dict(layer_types=["full_attention"])
            if model_type == "gemma2"
            else {},
        )
        tokens = jax.ShapeDtypeStruct((1, 16), jnp.int32)
        compiled = (
            jax.jit(likelihood.token_nll)
            .lower(models.abstract(config), tokens, tokens)
            .compile(optimisation.MEASURED)
        )
        ratio = compiled.cost_analysis()["flops"] / flops.forward_flops(
            config, 16
        )
        self.assertGreater(ratio, 1)
        self.assertLess(ratio, tolerances.COMPILED_FLOPS)

    @parameterized.parameters(
        *("mistral", "mixtral", "phi3", "starcoder2"),
        *("cohere2", "gemma2", "gemma3_text", "olmo3", "qwen2", "gpt_neo"),
        *("exaone4", "gpt_oss"),
    )
    def test_windows(self, model_type):
        """Pairs are those under the masks of the port's layers."""
        changes = dict(sliding_window=31) if model_type == "mixtral" else {}
        config = test_parity.make_config(model_type, **changes)
        num_layers, T = config.num_hidden_layers, 77
        (windows,) = {
            getattr(module, name)
            for _, module in nnx.iter_modules(models.abstract(config))
            for name in ("window", "windows")
            if hasattr(module, name)
        }
        if isinstance(windows, int):
            windows = [windows] * num_layers
        self.assertLen(windows, num_layers)
        pairs = sum(int(layers.causal_mask(T, w).sum()) for w in windows)
        self.assertLess(pairs, num_layers * T * (T + 1) // 2)
        heads = flops.mixing_flops(config, 1) // num_layers
        self.assertEqual(flops.mixing_flops(config, T), heads * pairs)

    def test_pairs(self):
        for T in (1, 2, 7):
            for window in (1, 2, 6, 7, 8, None):
                mask = layers.causal_mask(T, window)
                self.assertEqual(flops.num_pairs(T, window), mask.sum())

    def test_by_hand(self):
        """GPT-2 small, as its paper's sizes have it."""
        config = transformers.GPT2Config()
        num_multiplied = 12 * (4 * 768**2 + 2 * 768 * 3072) + 768 * 50257
        self.assertEqual(
            flops.matmul_flops_per_token(config), 2 * num_multiplied
        )
        self.assertEqual(
            flops.mixing_flops(config, 1024), 12 * 4 * 768 * 1024 * 1025 // 2
        )
        self.assertEqual(flops.num_active_params(config), 124_439_808)
        tables = 768 * (50257 + 1024)
        self.assertEqual(
            flops.num_non_embedding_params(config), 124_439_808 - tables
        )

    def test_heads_are_no_body(self):
        """An untied head and its bias count as little as a tied one."""
        counts = [
            flops.num_non_embedding_params(
                test_parity.make_config("phi", tie_word_embeddings=tied)
            )
            for tied in (False, True)
        ]
        self.assertEqual(counts[0], counts[1])
        untied = test_parity.make_config("rwkv", 0)
        tables = 2 * untied.vocab_size * untied.hidden_size
        self.assertEqual(
            flops.num_non_embedding_params(untied),
            flops.num_params(untied) - tables,
        )

    def test_recurrent_gemma_by_hand(self):
        config = test_parity.make_config("recurrent_gemma")
        width, inner, heads = config.hidden_size, config.lru_width, 10
        recurrent = 3 * width * inner + 2 * inner * inner // 6 + 3 * inner
        attention = 2 * width * 6 * heads + 2 * width * 2 * heads
        mlp = 3 * width * config.intermediate_size // 2
        total = 4 * recurrent + attention + 5 * mlp + width * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)
        pairs = int(layers.causal_mask(77, config.attention_window_size).sum())
        self.assertEqual(flops.mixing_flops(config, 77), 4 * 6 * heads * pairs)

    @parameterized.parameters("lfm2", "lfm2_moe")
    def test_lfm2_by_hand(self, model_type):
        config = test_parity.make_config(model_type)
        D, N, H, K = config.hidden_size, 6, 8, 2
        convolution = 4 * D * D + config.conv_L_cache * D
        attention = 2 * D * D + 2 * D * K * H
        total = 3 * convolution + attention + D * config.vocab_size
        if model_type == "lfm2":
            total += 4 * 3 * D * 44
        else:
            total += 3 * D * config.intermediate_size
            experts = config.num_experts_per_tok * config.moe_intermediate_size
            total += 3 * (3 * D * experts + D * config.num_experts)
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)
        pairs = flops.num_pairs(77)
        self.assertEqual(flops.mixing_flops(config, 77), 4 * N * H * pairs)

    @parameterized.parameters("mamba", "falcon_mamba")
    def test_mamba_by_hand(self, model_type):
        config = test_parity.make_config(model_type)
        D, E, S = (
            config.hidden_size,
            config.intermediate_size,
            config.state_size,
        )
        rank = int(config.time_step_rank)
        mixer = 3 * D * E + config.conv_kernel * E + E * (2 * rank + 2 * S)
        total = config.num_hidden_layers * mixer + D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)

        def step(h, u, step, a, b, c):
            h = jnp.exp(step[:, None] * a) * h + (step * u)[:, None] * b
            return (h * c).sum(axis=1)

        # What is one operation a feature is left out: step u.
        once = _elementwise(step, (E, S), (E,), (E,), (E, S), (S,), (S,)) - E
        self.assertEqual(
            flops.mixing_flops(config, 77), 77 * once * config.num_hidden_layers
        )

    def test_mamba2_by_hand(self):
        config = test_parity.make_config("mamba2")
        M, P, S = config.num_heads, config.head_dim, config.state_size
        D, E, G = config.hidden_size, M * P, config.n_groups
        mixer = D * (2 * E + 2 * G * S + M) + E * D
        mixer += config.conv_kernel * (E + 2 * G * S)
        total = config.num_hidden_layers * mixer + D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)

        def step(h, decay, u, b, c):
            h = decay[:, None, None] * h + u[..., None] * b[:, None]
            return (h * c[:, None]).sum(axis=-1)

        once = _elementwise(step, (M, P, S), (M,), (M, P), (M, S), (M, S))
        self.assertEqual(
            flops.mixing_flops(config, 77), 77 * once * config.num_hidden_layers
        )

    def test_delta_rule_by_hand(self):
        config = test_parity.make_config("qwen3_next")
        N, H = config.num_attention_heads, config.head_dim
        M = config.linear_num_value_heads
        K, V = config.linear_key_head_dim, config.linear_value_head_dim

        def step(state, decay, q, k, v):
            state = decay[:, None, None] * state
            v = v - (k[..., None] * state).sum(axis=1)
            state = state + k[..., None] * v[:, None]
            return (q[..., None] * state).sum(axis=1)

        once = _elementwise(step, (M, K, V), (M,), (M, K), (M, K), (M, V))
        # What is one operation a feature is left out.
        linear = 77 * 2 * (once - M * V)
        self.assertEqual(
            flops.mixing_flops(config, 77),
            linear + 4 * N * H * flops.num_pairs(77),
        )

    def test_gemma4_experts_by_hand(self):
        """Layers without a window have longer heads, and no values."""
        config = test_parity.make_config("gemma4_text", 1)
        D, N = config.hidden_size, config.num_attention_heads
        sliding = 2 * D * N * 10 + 2 * D * 2 * 10
        full = 2 * D * N * 16 + D * 16
        experts = 2 * 3 * D * config.moe_intermediate_size + D * 5
        mlp = 3 * D * config.intermediate_size
        total = 3 * sliding + 2 * full + 5 * (mlp + experts)
        total += D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)
        pairs = flops.num_pairs(77, 31) * 3 * 10 + flops.num_pairs(77) * 2 * 16
        self.assertEqual(flops.mixing_flops(config, 77), 4 * N * pairs)

    def test_llama4_by_hand(self):
        """MLP and experts in turn; texts of 77 are chunks of 64 and 13."""
        config = test_parity.make_config("llama4_text")
        D, N, H = config.hidden_size, config.num_attention_heads, 10
        attention = 2 * D * N * H + 2 * D * 2 * H
        dense = 3 * D * config.intermediate_size_mlp
        expert = 3 * D * config.intermediate_size
        total = 4 * attention + 2 * dense + 2 * (2 * expert + D * 5)
        total += D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)
        pairs = 2 * flops.num_pairs(77)
        pairs += 2 * (flops.num_pairs(64) + flops.num_pairs(13))
        self.assertEqual(flops.mixing_flops(config, 77), 4 * N * H * pairs)

    def test_xlstm_by_hand(self):
        config = test_parity.make_config("xlstm")
        D, N, K, V, F = config.hidden_size, 3, 24, 84, 130
        layer = 2 * D * K + 2 * D * V + 2 * D * N + V * D + 3 * D * F
        total = 3 * layer + D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)

        def step(memory, kept, q, k, v):
            memory = kept[:, None, None] * memory + k[..., None] * v[:, None]
            return (q[..., None] * memory).sum(axis=1)

        K, V = K // N, V // N
        once = _elementwise(step, (N, K, V), (N,), (N, K), (N, K), (N, V))
        self.assertEqual(flops.mixing_flops(config, 77), 3 * 77 * once)

    @parameterized.parameters("falcon_h1", "zamba2")
    def test_hybrids_by_hand(self, model_type):
        config = test_parity.make_config(model_type)
        D, F, L = (
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
        )
        N, K = config.num_attention_heads, config.num_key_value_heads
        H, width, num_hybrid = config.head_dim, D, L
        if model_type == "zamba2":
            width, num_hybrid = 2 * D, len(config.hybrid_layer_ids)
            heads, groups = config.n_mamba_heads, config.mamba_ngroups
        else:
            heads, groups = config.mamba_n_heads, config.mamba_n_groups
        S, E = config.mamba_d_state, 60 if model_type == "falcon_h1" else 3 * D
        state_space = D * (2 * E + 2 * groups * S + heads) + E * D
        state_space += config.mamba_d_conv * (E + 2 * groups * S)
        block = width * (N + 2 * K) * H + N * H * D + 3 * D * F
        if model_type == "zamba2":
            rank = config.adapter_rank
            block += 3 * rank * 2 * width + rank * (D + 2 * F) + D * D
        total = L * state_space + num_hybrid * block + D * config.vocab_size
        self.assertEqual(flops.matmul_flops_per_token(config), 2 * total)
        self.assertEqual(
            flops.mixing_flops(config, 77),
            5 * 77 * L * E * S + 4 * num_hybrid * N * H * flops.num_pairs(77),
        )

    def test_kimi_linear_by_hand(self):
        config = test_parity.make_config("kimi_linear")
        N, H = config.linear_num_heads, config.linear_head_dim
        linear = 2 * 77 * 7 * N * H * H  # As a delta rule with a decay a head.
        keys = config.qk_nope_head_dim + config.qk_rope_head_dim
        pairs = config.num_attention_heads * flops.num_pairs(77)
        full = 2 * (keys + config.v_head_dim) * pairs
        self.assertEqual(flops.mixing_flops(config, 77), linear + full)

    @parameterized.parameters(
        *("deepseek_v2", "granitemoehybrid", "mixtral", "nemotron_h"),
        *("kimi_linear", "olmoe", "qwen2_moe", "qwen3_moe", "qwen3_next"),
        *("ernie4_5_moe", "gpt_oss", "hunyuan_v1_moe", "lfm2_moe"),
    )
    def test_active_parameters(self, model_type):
        """An expert more a token is its parameters more."""
        counts = np.array(
            [
                flops.num_active_params(
                    test_parity.make_config(model_type, num_experts_per_tok=k)
                )
                for k in (1, 2, 3)
            ]
        )
        sizes = {
            ".".join(path): variable.shape
            for path, variable in nnx.to_flat_state(
                nnx.state(models.abstract(test_parity.make_config(model_type)))
            )
        }
        expert = sum(
            math.prod(shape) // shape[1]
            for path, shape in sizes.items()
            if flops._OF_EXPERTS.search(path)
        )
        np.testing.assert_array_equal(np.diff(counts), [expert, expert])
        total = sum(math.prod(shape) for shape in sizes.values())
        (num_experts,) = {
            s[1] for path, s in sizes.items() if flops._OF_EXPERTS.search(path)
        }
        self.assertEqual(total - counts[0], (num_experts - 1) * expert)


if __name__ == "__main__":
    absltest.main()
