"""What a forward pass costs, counted from a config alone.

Counted is what the formula of a model needs, a product and a sum being two
operations: not what a program spends beside it on padding, on keys that the
mask hides, on experts whose blocks are half empty or on parallel scans. Left
out is what takes but a few operations a feature: norms, activations, gates,
rotary angles, convolutions' taps beside their weights, and the recurrences of
RWKV and of the RG-LRU, whose state is one number a feature.

T positions, N query heads, H head features, E inner features, S state size, D
width, V vocabulary, L layers.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping

import transformers

from mmc_jax import models
from mmc_jax.models import shapes, tensors

# Parameters that each token is multiplied by: of linear layers (of GPT-2's kind
# as well), convolutions and the RG-LRU's gates.
_MULTIPLIED = re.compile(
    r"(kernel|\.c_(attn|proj|fc)\.weight|\.(conv\.conv|conv_?1d)\.weight"
    r"|_gate_weight|_linear\.weight|\.experts\.(gate_up|down)_proj)$"
)
# Zamba2's blocks, which several layers share, without the layers' adapters.
_SHARED = re.compile(r"model\.shared_(\d+)\.(?!.*_adapter_list)")
# Parameters of experts, [L, experts, ...].
_OF_EXPERTS = re.compile(r"\.experts\.|\.block_sparse_moe\.\w+_linear\.")

# exp(step a), two; inflow, one; h = decay h + inflow, two; y = h . c, two.
_MAMBA_OPERATIONS = 7
# Of a delta rule's state: decay, one; S^T k, two; k times a correction, added,
# two; S^T q, two.
_DELTA_RULE_OPERATIONS = 7
# As Mamba, but one decay for a whole head, which then hardly counts.
_MAMBA2_OPERATIONS = 5
# Of xLSTM's memory: decay, one; k v^T added, two; C^T q, two.
_MATRIX_MEMORY_OPERATIONS = 5


def forward_flops(config: transformers.PreTrainedConfig, T: int) -> int:
    """Returns the operations that the nll of T tokens takes, one text.

    FLOPs(T) = 2 T (parameters that multiply) + mixing(T), the head at every
    position and the experts that are active included.

    Args:
      config: Hugging Face's, of a ported family.
      T: Number of positions.

    Raises:
      ValueError: As for `mmc_jax.models.build`.
    """
    return T * matmul_flops_per_token(config) + mixing_flops(config, T)


def matmul_flops_per_token(config: transformers.PreTrainedConfig) -> int:
    """Returns 2 (parameters that multiply a token), the head's included.

    Of a mixture, the experts that a token gets; of an embedding nothing, unless
    it is the head as well.
    """
    num_multiplied = sum(
        _num_active(path, shape, config) * _num_uses(path, config)
        for path, shape in _shapes(config)
        if _MULTIPLIED.search(path) or _is_tied_head(path, shape, config)
    )
    return 2 * num_multiplied


def num_active_params(config: transformers.PreTrainedConfig) -> int:
    """Returns the parameters that take part in one token, tied ones once.

    All but the experts that the router does not choose.
    """
    return sum(_num_active(*leaf, config) for leaf in _shapes(config))


def costs_with(
    config: transformers.PreTrainedConfig, stated: Mapping[str, float]
) -> dict[str, float]:
    """Returns the costs of a model, those that are counted and those stated.

    What the pool states goes before what is counted, but for the size.

    Args:
      config: Hugging Face's, of a ported family.
      stated: Costs that the pool states, by name.
    """
    return {
        "num_active_params": num_active_params(config),
        "num_non_embedding_params": num_non_embedding_params(config),
        "flops_per_token": matmul_flops_per_token(config),
        **stated,
        "num_params": num_params(config),
    }


def num_params(config: transformers.PreTrainedConfig) -> int:
    """Returns the parameters of a model, tied ones once."""
    return sum(math.prod(shape) for _, shape in _shapes(config))


def num_non_embedding_params(config: transformers.PreTrainedConfig) -> int:
    """Returns the parameters beside embedding tables and the output head.

    Tables of tokens and of positions are left out, and the head with its bias,
    tied or not. Source: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1.
    """
    return sum(
        math.prod(shape)
        for path, shape in _shapes(config)
        if not path.endswith(".embedding")
        and f"{path.partition('.')[0]}.weight" not in tensors.HEADS
    )


def mixing_flops(config: transformers.PreTrainedConfig, T: int) -> int:
    """Returns the operations by which T positions see each other.

    Attention takes 4 N H for each pair of a query and a key that its mask lets
    through: T (T + 1) / 2 pairs where it is causal, less with a window. (Peers
    that count T^2 pairs come to twice as many.)
    """
    return _MIXING.get(config.model_type, _attention_flops)(config, T)


def num_pairs(T: int, window: int | None = None) -> int:
    """Returns the pairs of a query and a key that a causal mask lets through.

    sum over t = 1 ... T of min(t, window)

    >>> num_pairs(4), num_pairs(4, window=2)
    (10, 7)
    """
    full = T if window is None else min(window, T)
    return full * (full + 1) // 2 + (T - full) * full


def _attention_flops(config: transformers.PreTrainedConfig, T: int) -> int:
    width, N = config.hidden_size, config.num_attention_heads
    H = getattr(config, "head_dim", None) or width // N
    return 4 * N * H * _num_pairs(_windows(config), T)


def _windows(config: transformers.PreTrainedConfig) -> list[int | None]:
    """Returns the window of each layer that attends, None for a full one."""
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        return [window] * config.num_hidden_layers
    windows = {"full_attention": None, "sliding_attention": window}
    return [windows[kind] for kind in layer_types if kind in windows]


def _num_pairs(windows: Iterable[int | None], T: int) -> int:
    return sum(num_pairs(T, window) for window in windows)


def _gpt_neo_flops(config: transformers.GPTNeoConfig, T: int) -> int:
    windows = {"global": None, "local": config.window_size}
    layers = [windows[kind] for kind in config.attention_layers]
    return 4 * config.hidden_size * _num_pairs(layers, T)


def _recurrent_gemma_flops(
    config: transformers.RecurrentGemmaConfig, T: int
) -> int:
    kinds, L = config.block_types, config.num_hidden_layers
    num_attention = sum(kinds[i % len(kinds)] == "attention" for i in range(L))
    features = config.num_attention_heads * config.head_dim
    pairs = num_pairs(T, config.attention_window_size)
    return 4 * features * num_attention * pairs


def _deepseek_v2_flops(config: transformers.DeepseekV2Config, T: int) -> int:
    # Values are shorter than keys.
    H = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    pairs = num_pairs(T) * config.num_hidden_layers
    return 2 * config.num_attention_heads * H * pairs


def _gemma4_flops(config: transformers.Gemma4TextConfig, T: int) -> int:
    # Layers without a window have longer heads.
    windows = zip(config.per_layer_config, _windows(config), strict=True)
    return sum(
        4 * config.num_attention_heads * layer.head_dim * num_pairs(T, window)
        for layer, window in windows
    )


def _llama4_flops(config: transformers.Llama4TextConfig, T: int) -> int:
    chunk = min(T, config.attention_chunk_size or T)
    within = T // chunk * num_pairs(chunk) + num_pairs(T % chunk)
    pairs = {"full_attention": num_pairs(T), "chunked_attention": within}
    features = config.num_attention_heads * config.head_dim
    return 4 * features * sum(pairs[kind] for kind in config.layer_types)


def _mamba_flops(config: transformers.MambaConfig, T: int) -> int:
    states = config.intermediate_size * config.state_size
    return _MAMBA_OPERATIONS * T * states * config.num_hidden_layers


def _mamba2_flops(config: transformers.Mamba2Config, T: int) -> int:
    states = int(config.expand * config.hidden_size) * config.state_size
    return _MAMBA2_OPERATIONS * T * states * config.num_hidden_layers


def _delta_rule_flops(config: transformers.Qwen3NextConfig, T: int) -> int:
    states = (
        config.linear_num_value_heads
        * config.linear_key_head_dim
        * config.linear_value_head_dim
    )
    num_linear = list(config.layer_types).count("linear_attention")
    linear = _DELTA_RULE_OPERATIONS * T * states * num_linear
    return linear + _attention_flops(config, T)


def _kimi_linear_flops(config: transformers.KimiLinearConfig, T: int) -> int:
    kinds = list(config.layer_types)
    states = config.linear_num_heads * config.linear_head_dim**2
    linear = _DELTA_RULE_OPERATIONS * T * states
    # Values are shorter than keys.
    H = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    full = 2 * config.num_attention_heads * H * num_pairs(T)
    return linear * kinds.count("linear_attention") + full * kinds.count(
        "full_attention"
    )


def _nemotron_h_flops(config: transformers.NemotronHConfig, T: int) -> int:
    inner = config.mamba_num_heads * config.mamba_head_dim
    num_layers = config.layer_types.count("linear_attention")
    states = inner * config.ssm_state_size * num_layers
    return _MAMBA2_OPERATIONS * T * states + _attention_flops(config, T)


def _granitemoehybrid_flops(
    config: transformers.GraniteMoeHybridConfig, T: int
) -> int:
    inner = config.mamba_n_heads * config.mamba_d_head
    num_layers = config.layer_types.count("linear_attention")
    states = inner * config.mamba_d_state * num_layers
    return _MAMBA2_OPERATIONS * T * states + _attention_flops(config, T)


def _falcon_h1_flops(config: transformers.FalconH1Config, T: int) -> int:
    inner = config.mamba_n_heads * config.mamba_d_head
    states = inner * config.mamba_d_state * config.num_hidden_layers
    N, width = config.num_attention_heads, config.hidden_size
    H = getattr(config, "head_dim", None) or width // N
    pairs = config.num_hidden_layers * num_pairs(T)
    return _MAMBA2_OPERATIONS * T * states + 4 * N * H * pairs


def _xlstm_flops(config: transformers.xLSTMConfig, T: int) -> int:
    keys = int(config.hidden_size * config.qk_dim_factor)
    values = int(config.hidden_size * config.v_dim_factor)
    states = keys * values // config.num_heads * config.num_hidden_layers
    return _MATRIX_MEMORY_OPERATIONS * T * states


def _zamba2_flops(config: transformers.Zamba2Config, T: int) -> int:
    inner = config.n_mamba_heads * config.mamba_headdim
    states = inner * config.mamba_d_state * config.num_hidden_layers
    features = config.num_attention_heads * config.attention_head_dim
    pairs = config.layers_block_type.count("hybrid") * num_pairs(T)
    return _MAMBA2_OPERATIONS * T * states + 4 * features * pairs


# model_type -> how positions mix, where it is not softmax attention over keys
# and values of `head_dim` features in windows by `layer_types`.
_MIXING: dict[str, Callable[[transformers.PreTrainedConfig, int], int]] = {
    "deepseek_v2": _deepseek_v2_flops,
    "falcon_h1": _falcon_h1_flops,
    "deepseek_v3": _deepseek_v2_flops,
    "falcon_mamba": _mamba_flops,
    "gemma4_text": _gemma4_flops,
    "gpt_neo": _gpt_neo_flops,
    "granitemoehybrid": _granitemoehybrid_flops,
    "kimi_linear": _kimi_linear_flops,
    "llama4_text": _llama4_flops,
    "mamba": _mamba_flops,
    "mamba2": _mamba2_flops,
    "nemotron_h": _nemotron_h_flops,
    "olmo_hybrid": _delta_rule_flops,
    "qwen3_5_moe_text": _delta_rule_flops,
    "qwen3_5_text": _delta_rule_flops,
    "qwen3_next": _delta_rule_flops,
    "recurrent_gemma": _recurrent_gemma_flops,
    "rwkv": lambda config, T: 0,
    "xlstm": _xlstm_flops,
    "zamba2": _zamba2_flops,
}


def _shapes(
    config: transformers.PreTrainedConfig,
) -> list[tuple[str, tuple[int, ...]]]:
    """Returns path and shape of each parameter, stacks of layers as one."""
    params = shapes.parameters(models.abstract(config))
    return [(path, param.shape) for path, param in params.items()]


def _num_active(
    path: str, shape: tuple[int, ...], config: transformers.PreTrainedConfig
) -> int:
    size = 1
    for length in shape:
        size *= length
    if not _OF_EXPERTS.search(path):
        return size
    num_experts = shape[1]  # [L, experts, ...]
    top_k = getattr(config, "num_experts_per_tok", None)
    if top_k is None:
        top_k = config.top_k_experts
    if isinstance(top_k, list):  # By layer; ports want them equal.
        top_k = top_k[0]
    return size // num_experts * top_k


def _num_uses(path: str, config: transformers.PreTrainedConfig) -> int:
    """Returns how often a token passes a parameter: once, if not shared."""
    shared = _SHARED.match(path)
    if shared is None:
        return 1
    num_hybrid = config.layers_block_type.count("hybrid")
    return len(range(int(shared[1]), num_hybrid, config.num_mem_blocks))


def _is_tied_head(
    path: str, shape: tuple[int, ...], config: transformers.PreTrainedConfig
) -> bool:
    # Gemma 4 has a second table, of vectors for the layers.
    table = (config.vocab_size, config.hidden_size)
    is_table = path.endswith("embedding") and shape == table
    return is_table and config.tie_word_embeddings
