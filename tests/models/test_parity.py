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
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import models
from mmc_jax.models.families import WRAPPERS
from tests import optimisation, tolerances
from tests.models.cases import CASES, MIXERS, STRUCTURES

_ALL_CASES = [
    dict(testcase_name=f"{model_type}_{i}", model_type=model_type, case=i)
    for model_type, configs in CASES.items()
    for i in range(len(configs))
]
_FAMILIES = [
    dict(testcase_name=model_type, model_type=model_type)
    for model_type in CASES
]
# The context of the cases' configs, in full, and a longer one.
_BATCH, _LENGTH, _LONG = 3, 270, 1024
_CONTEXTS = {"max_position_embeddings", "max_seq_len", "n_positions"}


def _window_name(model_type: str) -> str | None:
    """Returns what a family's config calls the window; None without one."""
    config = CASES[model_type][0]
    names = ("sliding_window", "window_size")
    return next((name for name in names if name in config), None)


_forward_quick = jax.jit(lambda model, tokens: model(tokens))
_forward_full = jax.jit(
    lambda model, tokens: model(tokens), compiler_options=optimisation.FULL
)
_largest_errors: dict[str, float] = {}


def forward(
    model: models.layers.LanguageModel, tokens: np.ndarray, case: int = 0
) -> jax.Array:
    """Returns the logits, compiled in full for one family a structure.

    Programs of other cases and of other lengths are compiled quickly.
    """
    full = model.config.model_type in STRUCTURES and case == 0
    return (_forward_full if full else _forward_quick)(model, tokens)


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
    # Falcon's eager attention in transformers 5.23 adds its linear biases
    # twice, in the mask and in the scores; its default, sdpa, adds them once.
    biased = getattr(config, "alibi", False)
    auto = transformers.AutoModelForCausalLM
    if config.model_type in WRAPPERS:
        auto = transformers.AutoModelForImageTextToText
    model = auto.from_config(
        config, attn_implementation="sdpa" if biased else "eager"
    ).eval()
    # AFMoE's routers start at zero, where all experts are equally good.
    for name, parameter in model.named_parameters():
        if name.endswith("router.gate.weight"):
            torch.nn.init.normal_(parameter, std=config.initializer_range)
    # Gemma 4 does not scale its scores: the norms' weights learn to. At one,
    # an angle's last digits count ten times, in PyTorch as well.
    for module in model.modules():
        if getattr(module, "scaling", None) == 1.0 and hasattr(
            module, "q_norm"
        ):
            module.q_norm.weight.data *= module.head_dim**-0.5
    if perturbed:
        with torch.no_grad():
            for tensor in (*model.parameters(), *saved_buffers(model)):
                tensor += 0.1 * torch.randn(tensor.shape)
    return model


def saved_buffers(model: transformers.PreTrainedModel) -> list[torch.Tensor]:
    """Returns the tensors of a checkpoint that PyTorch does not train."""
    buffers = dict(model.named_buffers())
    return [buffers[name] for name in model.state_dict() if name in buffers]


def reference_logits(
    model: transformers.PreTrainedModel,
    tokens: np.ndarray,
    lengths: Sequence[int] | None = None,
) -> np.ndarray:
    """Returns PyTorch's logits; tokens behind a text's length are padding."""
    if hasattr(model.config, "num_experts_per_tok"):
        # PyTorch's grouped product refuses odd sizes in bfloat16.
        model.set_experts_implementation("eager")
    mask = None
    if lengths is not None:
        is_text = np.arange(tokens.shape[1]) < np.array(lengths)[:, None]
        mask = torch.tensor(is_text.astype(np.int64))
    with torch.no_grad():
        logits = model(torch.tensor(tokens), attention_mask=mask).logits
    return logits.float().numpy()


def error(logits: jax.Array, expected: jax.Array) -> float:
    """Returns the largest difference as a fraction of max|logit|."""
    if logits.shape != expected.shape:
        raise AssertionError(f"shapes {logits.shape}, {expected.shape}")
    difference = np.max(np.abs(np.asarray(logits) - np.asarray(expected)))
    return float(difference / np.max(np.abs(np.asarray(expected))))


def random_tokens(model_type: str, *shape: int) -> np.ndarray:
    vocab_size = CASES[model_type][0]["vocab_size"]
    return np.random.default_rng(1).integers(0, vocab_size, shape)


def unusual_texts(
    model_type: str, num_tokens: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Returns texts such as no language has, and the length of each.

    The whole vocabulary in any order; one token again and again; and one token
    before the longest run of padding.
    """
    vocab_size = CASES[model_type][0]["vocab_size"]
    rng = np.random.default_rng(1)
    tokens = np.zeros((_BATCH, num_tokens), int)
    tokens[0] = rng.permutation(num_tokens) % vocab_size
    tokens[1] = vocab_size - 1
    tokens[2, 0] = rng.integers(vocab_size)
    return tokens, (num_tokens, num_tokens, 1)


class _Pair(NamedTuple):
    """PyTorch's model, ours from its files, and what the files count.

    Perturbed weights are as many: they are not counted.
    """

    reference: transformers.PreTrainedModel
    port: models.layers.LanguageModel
    num_params: int | None


@functools.cache
def _pair(model_type: str, case: int, perturbed: bool) -> _Pair:
    """Returns both models, for all tests that do not change them.

    The files come first: RWKV changes its weights when it first runs.
    """
    reference = make_reference(
        make_config(model_type, case), perturbed=perturbed
    )
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        num_params = None if perturbed else models.num_params(folder)
        return _Pair(reference, models.load(folder), num_params)


def _port(
    model_type: str, case: int, perturbed: bool
) -> models.layers.LanguageModel:
    """Returns our model."""
    return _pair(model_type, case, perturbed).port


def _reference(
    model_type: str, case: int, perturbed: bool
) -> transformers.PreTrainedModel:
    """Returns PyTorch's model."""
    return _pair(model_type, case, perturbed).reference


@functools.cache
def _logits_on_random_tokens(model_type: str, perturbed: bool) -> np.ndarray:
    """Returns our logits, for all changes of PyTorch's model."""
    tokens = random_tokens(model_type, _BATCH, _LENGTH)
    return np.asarray(forward(_port(model_type, 0, perturbed), tokens))


class ParityTest(parameterized.TestCase):
    def test_every_family_has_a_case(self):
        self.assertEqual(set(CASES), set(models.FAMILIES) - set(WRAPPERS))

    @parameterized.named_parameters(*_ALL_CASES)
    def test_logits(self, model_type, case):
        """On all tokens, on one repeated, and before a run of padding."""
        tokens, lengths = unusual_texts(model_type, _LENGTH)
        for perturbed in (False, True):
            reference = _reference(model_type, case, perturbed)
            expected = reference_logits(reference, tokens, lengths)
            port = _port(model_type, case, perturbed)
            logits = forward(port, tokens, case)
            self.assertEqual(logits.dtype, jnp.float32)
            logits = np.asarray(logits)
            self.assert_parity(
                model_type, logits, expected, lengths, perturbed=perturbed
            )

    # One of each structure: what errors of positions or states add up to.
    @parameterized.named_parameters(
        (name, name)
        for name in (*STRUCTURES, "llama", "bloom", "mixtral", "qwen3_next")
    )
    def test_long_text(self, model_type):
        named = _CONTEXTS & set(CASES[model_type][0])
        config = make_config(model_type, **dict.fromkeys(named, _LONG))
        reference = make_reference(config, perturbed=True)
        with tempfile.TemporaryDirectory() as folder:
            reference.save_pretrained(folder)
            port = models.load(folder)
        tokens, lengths = unusual_texts(model_type, _LONG)
        expected = reference_logits(reference, tokens[:1])
        logits = np.asarray(_forward_quick(port, tokens[:1]))
        self.assert_parity(model_type, logits, expected, lengths[:1])

    def assert_parity(self, model_type, logits, expected, lengths, **case):
        """Compares each text by itself, without its padding."""
        for text, length in enumerate(lengths):
            largest = error(logits[text, :length], expected[text, :length])
            _largest_errors[model_type] = max(
                largest, _largest_errors.get(model_type, 0.0)
            )
            with self.subTest(text=text, **case):
                self.assertLess(largest, tolerances.PARITY_LOGITS)

    @parameterized.named_parameters(*_ALL_CASES)
    def test_num_params(self, model_type, case):
        pair = _pair(model_type, case, False)
        num_saved = sum(x.numel() for x in saved_buffers(pair.reference))
        self.assertEqual(
            pair.num_params, pair.reference.num_parameters() + num_saved
        )

    # Of all families, one token before padding is in test_logits.
    @parameterized.named_parameters((name, name) for name in MIXERS)
    def test_one_text_of_one_token(self, model_type):
        tokens = random_tokens(model_type, 1, 1)
        reference = _reference(model_type, 0, True)
        logits = _forward_quick(_port(model_type, 0, True), tokens)
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
        first, second = (
            np.asarray(forward(model, tokens))[:1, :77] for tokens in padded
        )
        np.testing.assert_array_equal(first, second)
        if model_type in STRUCTURES:
            self.assertLess(
                error(first, _forward_quick(model, text)),
                tolerances.PARITY_LOGITS,
            )

    # One of each kind: scanned layers, a recurrence, experts.
    @parameterized.parameters("gpt2", "gemma3_text", "mamba", "mixtral")
    def test_jit_equals_eager(self, model_type):
        tokens = random_tokens(model_type, _BATCH, _LENGTH)
        logits = _logits_on_random_tokens(model_type, True)
        self.assertLess(
            error(_port(model_type, 0, True)(tokens[:1, :77]), logits[:1, :77]),
            tolerances.PARITY_LOGITS,
        )

    @parameterized.named_parameters(*_FAMILIES)
    def test_tokens_outside_the_vocabulary(self, model_type):
        model = _port(model_type, 0, True)
        vocab_size = CASES[model_type][0]["vocab_size"]
        for token in (-1, vocab_size):
            with self.assertRaisesRegex(
                ValueError, f"token {token} is outside"
            ):
                model(np.array([[0, token]]))

    @parameterized.parameters("gpt2", "gpt_neo", "opt")
    def test_positions_beyond_a_learned_table(self, model_type):
        model = _port(model_type, 0, True)
        most = model.config.max_position_embeddings
        with self.assertRaisesRegex(ValueError, f"{most + 1} positions"):
            model(random_tokens(model_type, 1, most + 1))

    @parameterized.named_parameters(
        *(f for f in _FAMILIES if _window_name(f["model_type"]))
    )
    def test_text_at_the_window(self, model_type):
        """Below, at and above it; later tokens change nothing, seen above."""
        window = CASES[model_type][0][_window_name(model_type)]
        reference = _reference(model_type, 0, True)
        tokens = random_tokens(model_type, _BATCH, _LENGTH)
        logits = _logits_on_random_tokens(model_type, True)
        for length in (window - 1, window, window + 1):
            expected = reference_logits(reference, tokens[:1, :length])
            with self.subTest(length=length):
                self.assertLess(
                    error(logits[:1, :length], expected),
                    tolerances.PARITY_LOGITS,
                )


# Configs' names of the activation.
_ACTIVATIONS = (
    "activation",
    "activation_function",
    "hidden_act",
    "hidden_activation",
    "mamba_hidden_act",
    "mlp_hidden_act",
)

# Families whose norms have a literal epsilon; the default weights show it.
_LITERAL_EPSILON = ("olmo",)
# Families whose config names an activation that transformers never reads.
_FIXED_ACTIVATION = ("gpt_oss",)


def _change_epsilon(model):
    # Of the modules, since some families' configs do not have it.
    for module in model.modules():
        for name in ("eps", "variance_epsilon"):
            if hasattr(module, name):
                setattr(module, name, 10 * getattr(module, name))


def _activation_names(config) -> list[str]:
    return [name for name in _ACTIVATIONS if hasattr(config, name)]


def _change_rotary_base(config):
    config.rope_parameters["rope_theta"] *= 2


def _change_rotary_base_of_full_layers(config):
    config.rope_parameters["full_attention"]["rope_theta"] *= 2


def _change_rotary_base_of_sliding_layers(config):
    config.rope_parameters["sliding_attention"]["rope_theta"] *= 2


def _change_rotary_fraction(config):
    if hasattr(config, "rotary_dim"):
        config.rotary_dim //= 2
    else:
        config.rope_parameters["partial_rotary_factor"] /= 2


def _change_window(config):
    name = _window_name(config.model_type)
    setattr(config, name, getattr(config, name) + 1)


def _change_activation(config):
    others = {"gelu": "gelu_new", "gelu_new": "gelu", "relu2": "relu"}
    for name in _activation_names(config):
        setattr(config, name, others.get(getattr(config, name), "gelu"))


# Single numbers that a family may scale or cap something by.
_SCALARS = (
    "attention_in_multiplier",
    "attention_multiplier",
    "attention_out_multiplier",
    "attn_logit_softcapping",
    "embedding_multiplier",
    "final_logit_softcapping",
    "gate_soft_cap",
    "key_multiplier",
    "lm_head_multiplier",
    "logit_scale",
    "logits_scaling",
    "output_logit_soft_cap",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "ssm_in_multiplier",
    "ssm_out_multiplier",
    "swiglu_alpha",
    "swiglu_limit",
)


def _double(name):
    def mutate(config):
        setattr(config, name, 2 * getattr(config, name))

    mutate.__name__ = f"_double_{name}"
    return mutate


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
        if hasattr(module, "kv_a_proj_with_mqa"):
            query = module.q_proj or module.q_b_proj
            yield query.weight, module.kv_a_proj_with_mqa.weight
        elif hasattr(module, "q_proj"):
            if hasattr(module, "k_proj"):  # Gemma 4 shares some keys.
                yield module.q_proj.weight, module.k_proj.weight
        elif hasattr(module, "qkv_proj"):
            num_key = module.num_key_value_heads * module.head_dim
            weight = module.qkv_proj.weight
            query, key, _ = weight.split(
                [len(weight) - 2 * num_key, num_key, num_key]
            )
            yield query, key
        elif hasattr(module, "ogate_preact"):
            yield module.q.weight, module.k.weight
        elif hasattr(module, "c_attn"):
            query, key, _ = module.c_attn.weight.T.chunk(3)
            yield query, key
        elif hasattr(module, "Wqkv"):
            query, key, _ = module.Wqkv.weight.chunk(3)
            yield query, key
        elif getattr(module, "multi_query", False):  # Falcon 7B.
            weight, size = module.query_key_value.weight, module.head_dim
            yield weight[: -2 * size], weight[-2 * size : -size]
        elif hasattr(module, "query_key_value"):
            weight = module.query_key_value.weight
            num_heads = model.config.num_attention_heads
            query, key, _ = weight.view(num_heads, -1, weight.shape[1]).chunk(
                3, dim=1
            )
            yield query, key
        elif hasattr(module, "time_decay"):  # RWKV's gate instead of queries.
            yield module.receptance.weight, module.key.weight
        elif hasattr(module, "in_proj_qkvz"):  # By key heads.
            heads = module.in_proj_qkvz.weight.unflatten(
                0, (module.num_k_heads, -1)
            )
            size = module.head_k_dim
            yield heads[:, :size], heads[:, size : 2 * size]
        elif hasattr(module, "in_proj_qkv"):
            query, key, _ = module.in_proj_qkv.weight.split(
                [module.key_dim, module.key_dim, module.value_dim]
            )
            yield query, key
        elif hasattr(module, "ssm_state_size") and hasattr(
            module, "n_groups"
        ):  # Mamba-2's output, input weights.
            num = module.n_groups * module.ssm_state_size
            start = 2 * module.intermediate_size
            _, b, c = module.in_proj.weight[: start + 2 * num].split(
                [start, num, num]
            )
            yield c, b
        elif hasattr(module, "x_proj"):  # Mamba's output and input weights.
            sizes = [module.time_step_rank, *2 * [module.ssm_state_size]]
            _, b, c = module.x_proj.weight.split(sizes)
            yield c, b


def _swap_layers(model):
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            # Another of the same kind, where the kinds of layers differ.
            names = [[*dict(layer.named_parameters())] for layer in module]
            other = names.index(names[0], 1) if names[0] in names[1:] else 1
            module[0], module[other] = module[other], module[0]


def _clear_router_bias(model):
    for bias in saved_buffers(model):
        bias.zero_()


# Configs' names of the number of experts.
_NUM_EXPERTS = {"n_routed_experts", "num_local_experts"}


def _has_router_bias(config: transformers.PreTrainedConfig) -> bool:
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    return bool(saved_buffers(model))


def _mutations():
    """Yields each family with each change that its config knows."""
    for model_type, (config, *_) in CASES.items():
        changes = []
        weights = [_swap_query_and_key, _swap_layers]
        if _NUM_EXPERTS & set(config) and _has_router_bias(
            make_config(model_type)
        ):
            weights.append(_clear_router_bias)
        if model_type not in _LITERAL_EPSILON:
            weights.append(_change_epsilon)
        # Where it is none of the config's, it is fixed in the family.
        named = _activation_names(make_config(model_type))
        if named and model_type not in _FIXED_ACTIVATION:
            changes.append(_change_activation)
        rotary = config.get("rope_parameters", {})
        changes += [_change_rotary_base] if "rope_theta" in rotary else []
        if "full_attention" in rotary:
            changes += [
                _change_rotary_base_of_full_layers,
                _change_rotary_base_of_sliding_layers,
            ]
        if "partial_rotary_factor" in rotary or "rotary_dim" in config:
            changes.append(_change_rotary_fraction)
        changes += [_change_window] if _window_name(model_type) else []
        changes += [_double(name) for name in _SCALARS if name in config]
        for mutate in changes + weights:
            yield dict(
                testcase_name=f"{model_type}{mutate.__name__}",
                model_type=model_type,
                mutate=mutate,
                of_config=mutate in changes,
            )


class ActivationTest(parameterized.TestCase):
    @parameterized.named_parameters(*_FAMILIES)
    def test_every_activation_of_a_config_is_changed(self, model_type):
        config, changed = make_config(model_type), make_config(model_type)
        _change_activation(changed)
        for name, value in config.to_dict().items():
            if (
                isinstance(value, str)
                and value in transformers.activations.ACT2FN
            ):
                self.assertNotEqual(getattr(changed, name), value, name)


class MutationTest(parameterized.TestCase):
    """The parity test sees each mistake that a port could make.

    The reference is changed and the port is not: the two then differ as much
    as if the port had the mistake, and nothing is compiled again.
    """

    @parameterized.named_parameters(*_mutations())
    def test_is_seen(self, model_type, mutate, of_config):
        # Small activations show an epsilon, large ones show all the rest.
        perturbed = mutate is not _change_epsilon
        # One text of those of the parity test, which compares each by itself.
        tokens = random_tokens(model_type, _BATCH, _LENGTH)[:1]
        config = make_config(model_type)
        if of_config:
            mutate(config)
        reference = make_reference(config, perturbed=perturbed)
        if not of_config:
            with torch.no_grad():
                mutate(reference)
        self.assertGreater(
            error(
                _logits_on_random_tokens(model_type, perturbed)[:1],
                reference_logits(reference, tokens),
            ),
            tolerances.PARITY_LOGITS,
        )


if __name__ == "__main__":
    absltest.main()
