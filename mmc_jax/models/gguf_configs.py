"""Configs of GGUF files: the metadata of llama.cpp as Hugging Face's configs.

Each architecture says which keys it reads. A key of the architecture that
nobody reads is refused, as it may change the logits: nothing is guessed.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmc_jax.models.gguf_metadata import Metadata


class Architecture(NamedTuple):
    """How an architecture of llama.cpp is stored.

    Attributes:
      model_type: Hugging Face's name of the architecture.
      names: The name under which the `gguf` package lists its tensors.
      config: Returns the attributes of Hugging Face's config.
      permuted: Whether the rows of queries and keys are interleaved for rotary
        positions, which is undone.
      norms_plus_one: Whether norms are stored with 1 added to their weights.
      transposed: Modules whose matrices Hugging Face stores as [in, out].
    """

    model_type: str
    names: str
    config: Callable[[Metadata], dict[str, Any]]
    permuted: bool = False
    norms_plus_one: bool = False
    transposed: Sequence[str] = ()


def _sizes(found: Metadata) -> dict[str, Any]:
    """Returns what most configs share, under the names that most have."""
    return {
        "hidden_size": found.need("embedding_length"),
        "num_hidden_layers": found.num_layers(),
        "num_attention_heads": found.need("attention.head_count"),
        "max_position_embeddings": found.need("context_length"),
        "vocab_size": found.tensors["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in found.tensors,
    }


def _gated(found: Metadata) -> dict[str, Any]:
    """Returns what LLaMA's relatives share."""
    sizes = _sizes(found)
    return sizes | {
        "intermediate_size": found.need("feed_forward_length"),
        "num_key_value_heads": found.get(
            "attention.head_count_kv", sizes["num_attention_heads"]
        ),
        "rms_norm_eps": found.need("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(found),
    }


def _head_dim(found: Metadata) -> int:
    """Returns the features of a head, rotary positions over all of them."""
    width, heads = found.need("embedding_length"), "attention.head_count"
    rotary = found.get("rope.dimension_count")
    size = found.get("attention.key_length") or rotary
    size = size or width // found.need(heads)
    found.expect("attention.value_length", size)
    found.expect("rope.dimension_count", size)
    return size


def _window(found: Metadata) -> int | None:
    """Returns the positions that a query sees, None for all before it."""
    # llama.cpp writes a window of 0 where there is none.
    return found.get("attention.sliding_window") or None


def _rope(found: Metadata) -> dict[str, Any]:
    """Returns rotary parameters, as scaled as the file says."""
    theta = found.get("rope.freq_base", 10000.0)
    if not theta > 0:
        raise ValueError(f"rotary base {theta!r} is not positive")
    rope = {"rope_type": "default", "rope_theta": theta}
    # Where a file names no kind, llama.cpp scales linearly by its factor, and
    # 0 stands for none.
    factor = found.get("rope.scaling.factor") or 1.0
    scaling = found.get(
        "rope.scaling.type", "none" if factor == 1.0 else "linear"
    )
    original = found.get(
        "rope.scaling.original_context_length", found.get("context_length")
    )
    if scaling == "linear":
        rope |= {"rope_type": "linear", "factor": factor}
    elif scaling == "yarn":
        rope |= {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
        }
    elif scaling != "none":
        raise ValueError(f"rope scaling {scaling!r} is not implemented")
    if "rope_freqs.weight" in found.factors:
        if rope["rope_type"] != "default":
            raise ValueError(
                f"rope scaling {scaling!r} beside rope_freqs.weight is not "
                "implemented"
            )
        rope |= _llama3_factors(
            found.factors["rope_freqs.weight"], rope["rope_theta"]
        )
    return rope


def _llama3_factors(factors: np.ndarray, theta: float) -> dict[str, Any]:
    """Returns the parameters of LLaMA 3's scaling that give these factors.

    The file holds the factor of each frequency alone; published models have one
    of two sets of parameters.

    Raises:
      ValueError: Neither gives them.
    """
    frequencies = theta ** -(np.arange(len(factors)) / len(factors))
    lengths = 2 * np.pi / frequencies
    low, high, original = 1.0, 4.0, 8192
    for factor in (8.0, 32.0):
        smooth = (original / lengths - low) / (high - low)
        blended = 1 / ((1 - smooth) / factor + smooth)
        expected = np.where(lengths < original / high, 1.0, blended)
        expected = np.where(lengths > original / low, factor, expected)
        if np.allclose(factors, expected, rtol=1e-5):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise ValueError(
        "rope_freqs.weight is of no scaling that is known: its parameters "
        "cannot be told from it"
    )


def _llama(found: Metadata) -> dict[str, Any]:
    found.expect("expert_count", 0)
    return _gated(found) | {
        "head_dim": _head_dim(found),
        "attention_bias": "blk.0.attn_q.bias" in found.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in found.tensors,
    }


def _mistral(found: Metadata) -> dict[str, Any]:
    return _gated(found) | {
        "head_dim": _head_dim(found),
        "sliding_window": _window(found),
    }


def _qwen2(found: Metadata) -> dict[str, Any]:
    config = _gated(found)
    width = config["hidden_size"] // config["num_attention_heads"]
    if _head_dim(found) != width:
        raise ValueError("heads of another size than the width gives")
    return config


def _qwen3(found: Metadata) -> dict[str, Any]:
    return _gated(found) | {"head_dim": _head_dim(found)}


def _gemma_scale(
    config: Mapping[str, Any], head_dim: int, depth_of_27b: int
) -> float:
    """Returns the size that queries are scaled by.

    The file does not say it: llama.cpp takes it from the depth, which tells the
    27B model from the others.
    """
    if config["num_hidden_layers"] == depth_of_27b:
        return config["hidden_size"] / config["num_attention_heads"]
    return head_dim


def _gemma2(found: Metadata) -> dict[str, Any]:
    config, head_dim = _gated(found), _head_dim(found)
    return config | {
        "head_dim": head_dim,
        "query_pre_attn_scalar": _gemma_scale(config, head_dim, 46),
        "sliding_window": found.need("attention.sliding_window"),
        "attn_logit_softcapping": found.get("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": found.get("final_logit_softcapping", 30.0),
    }


def _gemma3(found: Metadata) -> dict[str, Any]:
    config, head_dim = _gated(found), _head_dim(found)
    found.expect("attn_logit_softcapping", 0.0)
    found.expect("final_logit_softcapping", 0.0)
    found.expect("attention.sliding_window_pattern", 6)
    full = config["rope_parameters"]
    if found.get("rope.freq_base") is None:
        full["rope_theta"] = 1e6
    return config | {
        "head_dim": head_dim,
        "query_pre_attn_scalar": _gemma_scale(config, head_dim, 62),
        "sliding_window": found.need("attention.sliding_window"),
        "rope_parameters": {
            "full_attention": full,
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": found.get("rope.freq_base_swa", 10000.0),
            },
        },
    }


def _phi3(found: Metadata) -> dict[str, Any]:
    config = _gated(found)
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    rotary = found.get("rope.dimension_count", head_dim)
    config["rope_parameters"]["partial_rotary_factor"] = rotary / head_dim
    original = found.get(
        "rope.scaling.original_context_length",
        config["max_position_embeddings"],
    )
    return config | {
        "original_max_position_embeddings": original,
        "sliding_window": _window(found),
    }


def _gpt2(found: Metadata) -> dict[str, Any]:
    config = _sizes(found)
    found.expect("attention.head_count_kv", config["num_attention_heads"])
    return config | {
        "n_inner": found.need("feed_forward_length"),
        "layer_norm_epsilon": found.need("attention.layer_norm_epsilon"),
    }


def _falcon(found: Metadata) -> dict[str, Any]:
    config = _sizes(found)
    kv_heads = found.get(
        "attention.head_count_kv", config["num_attention_heads"]
    )
    is_new = "blk.0.attn_norm_2.weight" in found.tensors
    if not is_new and kv_heads != 1:
        raise ValueError(
            f"{kv_heads} key heads without a second norm are not implemented"
        )
    config["rope_parameters"] = _rope(found)
    _head_dim(found)
    return config | {
        "ffn_hidden_size": found.need("feed_forward_length"),
        "num_kv_heads": kv_heads,
        "new_decoder_architecture": is_new,
        "layer_norm_epsilon": found.need("attention.layer_norm_epsilon"),
    }


def _starcoder2(found: Metadata) -> dict[str, Any]:
    config = _sizes(found)
    return config | {
        "intermediate_size": found.need("feed_forward_length"),
        "num_key_value_heads": found.need("attention.head_count_kv"),
        "norm_epsilon": found.need("attention.layer_norm_epsilon"),
        "rope_parameters": _rope(found),
        "sliding_window": _window(found),
        "use_bias": "blk.0.attn_q.bias" in found.tensors,
        "head_dim": _head_dim(found),
    }


def _mamba(found: Metadata) -> dict[str, Any]:
    found.expect("ssm.dt_b_c_rms", False)
    found.expect("attention.head_count", 0)
    found.expect("feed_forward_length", 0)
    found.get("context_length")  # A recurrence has no longest context.
    inner = found.need("ssm.inner_size")
    width = found.need("embedding_length")
    return {
        "hidden_size": width,
        "num_hidden_layers": found.num_layers(),
        "vocab_size": found.tensors["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in found.tensors,
        "layer_norm_epsilon": found.need("attention.layer_norm_rms_epsilon"),
        "conv_kernel": found.need("ssm.conv_kernel"),
        "state_size": found.need("ssm.state_size"),
        "time_step_rank": found.need("ssm.time_step_rank"),
        "intermediate_size": inner,
        "expand": inner // width,
    }


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "LLAMA", _llama, permuted=True),
    "mistral": Architecture("mistral", "LLAMA", _mistral, permuted=True),
    "qwen2": Architecture("qwen2", "QWEN2", _qwen2),
    "qwen3": Architecture("qwen3", "QWEN3", _qwen3),
    "gemma2": Architecture("gemma2", "GEMMA2", _gemma2, norms_plus_one=True),
    "gemma3": Architecture(
        "gemma3_text", "GEMMA3", _gemma3, norms_plus_one=True
    ),
    "phi3": Architecture("phi3", "PHI3", _phi3),
    "gpt2": Architecture(
        "gpt2",
        "GPT2",
        _gpt2,
        transposed=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    ),
    "falcon": Architecture("falcon", "FALCON", _falcon),
    "starcoder2": Architecture("starcoder2", "STARCODER2", _starcoder2),
    "mamba": Architecture("mamba", "MAMBA", _mamba),
}


def architecture(name: str, ported: Container[str]) -> Architecture:
    """Returns how an architecture is stored.

    Args:
      name: The value of general.architecture.
      ported: Model types of Hugging Face that have a port.

    Raises:
      ValueError: It is not read.
    """
    found = ARCHITECTURES.get(name)
    if found is None or found.model_type not in ported:
        raise ValueError(
            f"architecture {name!r} is not read from GGUF; these are: "
            f"{', '.join(sorted(ARCHITECTURES))}"
        )
    return found
