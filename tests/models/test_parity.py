"""Every port against transformers' PyTorch: same files, same logits.

The environment variable MMC_PARITY_JSON names a file that gets the largest
error of each family, as a fraction of max|logit|.
"""

import copy
import functools
import json
import os
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import models
from tests import tolerances

# model_type -> a tiny config in which all sizes differ, then what each further
# case changes in it. The first config is also the one of the other tests here
# and in test_loading.
CASES: dict[str, tuple[dict, ...]] = {
    "gpt2": (
        dict(
            vocab_size=101,
            n_embd=24,
            n_head=3,
            n_layer=2,
            n_inner=52,
            n_positions=270,
            layer_norm_epsilon=2e-5,
        ),
        dict(scale_attn_by_inverse_layer_idx=True, n_inner=None),
        dict(scale_attn_weights=False, reorder_and_upcast_attn=True),
        dict(activation_function="gelu", tie_word_embeddings=False),
    ),
    "gpt_neox": (
        dict(
            vocab_size=103,
            hidden_size=36,
            num_attention_heads=3,
            num_hidden_layers=2,
            intermediate_size=44,
            max_position_embeddings=270,
            layer_norm_eps=2e-5,
            rope_parameters=dict(
                rope_type="default", rope_theta=900.0, partial_rotary_factor=0.5
            ),
        ),
        dict(use_parallel_residual=False),
        dict(tie_word_embeddings=True, attention_bias=False),
        dict(
            hidden_act="gelu_fast",
            rope_parameters=dict(
                rope_type="linear",
                factor=3.0,
                rope_theta=900.0,
                partial_rotary_factor=0.25,
            ),
        ),
    ),
    "granite": (
        dict(
            vocab_size=149,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
            attention_multiplier=0.17,
            embedding_multiplier=3.0,
            residual_multiplier=0.6,
            logits_scaling=5.0,
        ),
        dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        dict(num_key_value_heads=None),
    ),
    "llama": (
        dict(
            vocab_size=107,
            hidden_size=42,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=10,
            num_hidden_layers=3,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
        ),
        dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        dict(num_key_value_heads=6, head_dim=None, hidden_size=48),
        dict(
            hidden_act="gelu_pytorch_tanh",
            rope_parameters=dict(
                rope_type="linear", factor=4.0, rope_theta=900.0
            ),
        ),
        dict(
            rope_parameters=dict(
                rope_type="llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
                rope_theta=900.0,
            )
        ),
        # The text ends within the native context, where this is the default.
        dict(
            rope_parameters=dict(
                rope_type="dynamic", factor=2.0, rope_theta=900.0
            )
        ),
        dict(
            rope_parameters=dict(
                rope_type="yarn",
                factor=4.0,
                beta_fast=8.0,
                beta_slow=0.5,
                original_max_position_embeddings=64,
                rope_theta=900.0,
            )
        ),
    ),
    "mamba": (
        dict(
            vocab_size=109,
            hidden_size=20,
            expand=3,
            state_size=5,
            conv_kernel=4,
            time_step_rank=7,
            num_hidden_layers=2,
            layer_norm_epsilon=2e-5,
        ),
        dict(use_bias=True, use_conv_bias=False, tie_word_embeddings=False),
        dict(residual_in_fp32=False, time_step_rank="auto", hidden_act="gelu"),
    ),
    "mistral": (
        dict(
            vocab_size=113,
            hidden_size=44,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=10,
            num_hidden_layers=3,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
            sliding_window=31,
        ),
        dict(sliding_window=None, tie_word_embeddings=True),
    ),
    "nemotron": (
        dict(
            vocab_size=151,
            hidden_size=44,
            intermediate_size=52,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=10,
            num_hidden_layers=2,
            max_position_embeddings=270,
            norm_eps=2e-5,
            rope_parameters=dict(
                rope_type="default", rope_theta=900.0, partial_rotary_factor=0.8
            ),
        ),
        dict(
            hidden_size=48,
            head_dim=None,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
        ),
    ),
    # The norm has no epsilon in the config, so no mutation of it; the default
    # weights show it all the same.
    "olmo": (
        dict(
            vocab_size=157,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=270,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
        ),
        dict(clip_qkv=0.3, tie_word_embeddings=True),
        dict(num_key_value_heads=None, attention_bias=True),
    ),
    "phi": (
        dict(
            vocab_size=131,
            hidden_size=60,
            intermediate_size=52,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=270,
            layer_norm_eps=2e-5,
            rope_parameters=dict(
                rope_type="default", rope_theta=900.0, partial_rotary_factor=0.4
            ),
        ),
        dict(num_key_value_heads=None, hidden_act="gelu"),
        dict(qk_layernorm=True, tie_word_embeddings=True),
    ),
    "phi3": (
        dict(
            vocab_size=137,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=3,
            max_position_embeddings=270,
            original_max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(
                rope_type="default", rope_theta=900.0, partial_rotary_factor=0.8
            ),
            sliding_window=31,
            pad_token_id=None,
        ),
        dict(
            tie_word_embeddings=True,
            sliding_window=None,
            max_position_embeddings=1060,
            original_max_position_embeddings=265,
            rope_parameters=dict(
                rope_type="longrope",
                short_factor=[1.0, 1.1, 1.3, 1.7, 2.5],
                long_factor=[1.0, 2.0, 4.0, 8.0, 16.0],
                rope_theta=900.0,
            ),
        ),
        dict(
            num_key_value_heads=None,
            max_position_embeddings=1060,
            original_max_position_embeddings=265,
            rope_parameters=dict(
                rope_type="longrope",
                short_factor=[1.0, 1.1, 1.3, 1.7],
                long_factor=[1.0, 2.0, 4.0, 8.0],
                rope_theta=900.0,
                partial_rotary_factor=0.8,
            ),
        ),
    ),
    "qwen2": (
        dict(
            vocab_size=139,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=3,
            max_window_layers=2,
            use_sliding_window=True,
            sliding_window=31,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
        ),
        dict(use_sliding_window=False, tie_word_embeddings=True),
        dict(
            num_key_value_heads=None,
            layer_types=["sliding_attention", "full_attention"] * 2,
            num_hidden_layers=4,
        ),
    ),
    "qwen3": (
        dict(
            vocab_size=127,
            hidden_size=44,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=10,
            num_hidden_layers=3,
            max_window_layers=3,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
        ),
        dict(tie_word_embeddings=True, attention_bias=True),
    ),
    "smollm3": (
        dict(
            vocab_size=163,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=5,
            max_position_embeddings=270,
            rms_norm_eps=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
            tie_word_embeddings=False,
            pad_token_id=None,
        ),
        dict(
            num_hidden_layers=2,
            no_rope_layers=[0, 1],
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_parameters=dict(
                rope_type="yarn",
                factor=4.0,
                original_max_position_embeddings=64,
                rope_theta=900.0,
            ),
        ),
    ),
    "stablelm": (
        dict(
            vocab_size=167,
            hidden_size=60,
            intermediate_size=28,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=270,
            layer_norm_eps=2e-5,
            rope_parameters=dict(
                rope_type="default", rope_theta=900.0, partial_rotary_factor=0.4
            ),
            qk_layernorm=True,
        ),
        dict(qk_layernorm=False, use_qkv_bias=True, num_key_value_heads=6),
        dict(use_parallel_residual=True, tie_word_embeddings=True),
    ),
    "starcoder2": (
        dict(
            vocab_size=173,
            hidden_size=60,
            intermediate_size=52,
            num_attention_heads=6,
            num_key_value_heads=2,
            num_hidden_layers=2,
            max_position_embeddings=270,
            norm_epsilon=2e-5,
            rope_parameters=dict(rope_type="default", rope_theta=900.0),
            sliding_window=31,
        ),
        dict(sliding_window=None, use_bias=False, tie_word_embeddings=False),
    ),
}

_ALL_CASES = [
    dict(testcase_name=f"{model_type}_{i}", model_type=model_type, case=i)
    for model_type, configs in CASES.items()
    for i in range(len(configs))
]
_FAMILIES = [
    dict(testcase_name=model_type, model_type=model_type)
    for model_type in CASES
]
_BATCH, _LENGTH = 2, 261

_forward = jax.jit(lambda model, tokens: model(tokens))
_largest_errors: dict[str, float] = {}


def tearDownModule():
    if path := os.environ.get("MMC_PARITY_JSON"):
        text = json.dumps(_largest_errors, indent=1, sort_keys=True)
        pathlib.Path(path).write_text(text + "\n")


def make_config(
    model_type: str, case: int = 0, **changes
) -> transformers.PreTrainedConfig:
    """Returns a config of the table; it shares no dictionary with others."""
    settings = CASES[model_type][0] | CASES[model_type][case] | changes
    return transformers.AutoConfig.for_model(
        model_type, **copy.deepcopy(settings), use_cache=False
    )


def make_reference(
    config: transformers.PreTrainedConfig, *, perturbed: bool
) -> transformers.PreTrainedModel:
    """Returns PyTorch's model, its weights the same on every call."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    ).eval()
    if perturbed:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return model


def reference_logits(
    model: transformers.PreTrainedModel, tokens: np.ndarray
) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.float().numpy()


def error(logits: jax.Array, expected: jax.Array) -> float:
    """Returns the largest difference as a fraction of max|logit|."""
    if logits.shape != expected.shape:
        raise AssertionError(f"shapes {logits.shape}, {expected.shape}")
    difference = np.max(np.abs(np.asarray(logits) - np.asarray(expected)))
    return float(difference / np.max(np.abs(np.asarray(expected))))


def random_tokens(model_type: str, *shape: int) -> np.ndarray:
    vocab_size = CASES[model_type][0]["vocab_size"]
    return np.random.default_rng(1).integers(0, vocab_size, shape)


@functools.cache
def _port(
    model_type: str, case: int, perturbed: bool
) -> models.layers.LanguageModel:
    """Returns our model from the files that transformers writes."""
    reference = make_reference(
        make_config(model_type, case), perturbed=perturbed
    )
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return models.load(folder)


class ParityTest(parameterized.TestCase):
    def test_every_family_has_a_case(self):
        self.assertEqual(set(CASES), set(models.FAMILIES))

    @parameterized.named_parameters(*_ALL_CASES)
    def test_logits(self, model_type, case):
        config = make_config(model_type, case)
        tokens = random_tokens(model_type, _BATCH, _LENGTH)
        for perturbed in (False, True):
            reference = make_reference(config, perturbed=perturbed)
            expected = reference_logits(reference, tokens)
            logits = _forward(_port(model_type, case, perturbed), tokens)
            self.assertEqual(logits.dtype, jnp.float32)
            largest = error(logits, expected)
            _largest_errors[model_type] = max(
                largest, _largest_errors.get(model_type, 0.0)
            )
            with self.subTest(perturbed=perturbed):
                self.assertLess(largest, tolerances.PARITY_LOGITS)

    @parameterized.named_parameters(*_ALL_CASES)
    def test_num_params(self, model_type, case):
        config = make_config(model_type, case)
        reference = make_reference(config, perturbed=False)
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            self.assertEqual(
                models.num_params(folder), reference.num_parameters()
            )

    @parameterized.named_parameters(*_FAMILIES)
    def test_one_text_of_one_token(self, model_type):
        tokens = random_tokens(model_type, 1, 1)
        reference = make_reference(make_config(model_type), perturbed=True)
        logits = _forward(_port(model_type, 0, True), tokens)
        self.assertLess(
            error(logits, reference_logits(reference, tokens)),
            tolerances.PARITY_LOGITS,
        )

    @parameterized.named_parameters(*_FAMILIES)
    def test_padding_and_neighbours_change_nothing(self, model_type):
        model = _port(model_type, 0, True)
        vocab_size = CASES[model_type][0]["vocab_size"]
        text = random_tokens(model_type, 1, 77)
        rng = np.random.default_rng(2)
        padded = [
            rng.integers(0, vocab_size, (_BATCH, _LENGTH)) for _ in range(2)
        ]
        for tokens in padded:
            tokens[:1, :77] = text
        first, second = (_forward(model, tokens)[:1, :77] for tokens in padded)
        np.testing.assert_array_equal(first, second)
        self.assertLess(
            error(first, _forward(model, text)), tolerances.PARITY_LOGITS
        )

    @parameterized.named_parameters(*_FAMILIES)
    def test_jit_equals_eager(self, model_type):
        model = _port(model_type, 0, True)
        text = random_tokens(model_type, 1, 77)
        self.assertLess(
            error(model(text), _forward(model, text)),
            tolerances.PARITY_LOGITS,
        )

    @parameterized.named_parameters(
        *(f for f in _FAMILIES if "sliding_window" in CASES[f["model_type"]][0])
    )
    def test_text_at_the_window(self, model_type):
        window = CASES[model_type][0]["sliding_window"]
        reference = make_reference(make_config(model_type), perturbed=True)
        for length in (window - 1, window, window + 1):
            tokens = random_tokens(model_type, 1, length)
            logits = _forward(_port(model_type, 0, True), tokens)
            with self.subTest(length=length):
                self.assertLess(
                    error(logits, reference_logits(reference, tokens)),
                    tolerances.PARITY_LOGITS,
                )


_EPSILONS = ("eps", "epsilon")


def _change_epsilon(config):
    for name, value in config.to_dict().items():
        if name.endswith(_EPSILONS):
            setattr(config, name, 10 * value)


def _change_rotary_base(config):
    config.rope_parameters["rope_theta"] *= 2


def _change_rotary_fraction(config):
    config.rope_parameters["partial_rotary_factor"] /= 2


def _change_window(config):
    config.sliding_window += 1


def _change_activation(config):
    others = {
        "gelu": "gelu_new",
        "gelu_new": "gelu",
        "gelu_pytorch_tanh": "gelu",
        "relu2": "relu",
        "silu": "gelu",
    }
    for name in ("activation_function", "hidden_act"):
        if hasattr(config, name):
            setattr(config, name, others[getattr(config, name)])


def _swap_query_and_key(model):
    pairs = list(_queries_and_keys(model))
    assert pairs, "say in _queries_and_keys where this family has them"
    for query, key in pairs:
        rows = min(len(query), len(key))
        first, second = query[:rows].clone(), key[:rows].clone()
        query[:rows], key[:rows] = second, first


def _queries_and_keys(model):
    """Yields the rows of each layer's weights that make queries and keys."""
    for module in model.modules():
        if hasattr(module, "q_proj"):
            yield module.q_proj.weight, module.k_proj.weight
        elif hasattr(module, "qkv_proj"):
            num_key = module.num_key_value_heads * module.head_dim
            weight = module.qkv_proj.weight
            query, key, _ = weight.split(
                [len(weight) - 2 * num_key, num_key, num_key]
            )
            yield query, key
        elif hasattr(module, "c_attn"):
            query, key, _ = module.c_attn.weight.T.chunk(3)
            yield query, key
        elif hasattr(module, "query_key_value"):
            weight = module.query_key_value.weight
            num_heads = model.config.num_attention_heads
            query, key, _ = weight.view(num_heads, -1, weight.shape[1]).chunk(
                3, dim=1
            )
            yield query, key
        elif hasattr(module, "x_proj"):  # Mamba's output and input weights.
            sizes = [module.time_step_rank, *2 * [module.ssm_state_size]]
            _, b, c = module.x_proj.weight.split(sizes)
            yield c, b


def _swap_layers(model):
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            module[0], module[1] = module[1], module[0]


def _mutations():
    """Yields each family with each change that its config knows."""
    for model_type, (config, *_) in CASES.items():
        changes = [_change_activation]
        if any(name.endswith(_EPSILONS) for name in config):
            changes.append(_change_epsilon)
        weights = [_swap_query_and_key, _swap_layers]
        rotary = config.get("rope_parameters", {})
        changes += [_change_rotary_base] if rotary else []
        if "partial_rotary_factor" in rotary:
            changes.append(_change_rotary_fraction)
        changes += [_change_window] if "sliding_window" in config else []
        for mutate in changes + weights:
            yield dict(
                testcase_name=f"{model_type}{mutate.__name__}",
                model_type=model_type,
                mutate=mutate,
                of_config=mutate in changes,
            )


class MutationTest(parameterized.TestCase):
    """The parity test sees each mistake that a port could make.

    The reference is changed and the port is not: the two then differ as much
    as if the port had the mistake, and nothing is compiled again.
    """

    @parameterized.named_parameters(*_mutations())
    def test_is_seen(self, model_type, mutate, of_config):
        # Small activations show an epsilon, large ones show all the rest.
        perturbed = mutate is not _change_epsilon
        tokens = random_tokens(model_type, _BATCH, _LENGTH)
        config = make_config(model_type)
        if of_config:
            mutate(config)
        reference = make_reference(config, perturbed=perturbed)
        if not of_config:
            with torch.no_grad():
                mutate(reference)
        logits = _forward(_port(model_type, 0, perturbed), tokens)
        self.assertGreater(
            error(logits, reference_logits(reference, tokens)),
            tolerances.PARITY_LOGITS,
        )


if __name__ == "__main__":
    absltest.main()
