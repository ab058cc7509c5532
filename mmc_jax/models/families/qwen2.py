"""Qwen2 Technical Report (2024).

By Yang et al., arXiv 2407.10671; also Qwen1.5 and Qwen2.5 (arXiv 2412.15115).
Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key
    heads, a gated MLP;
  - biases of query, key and value, and no others;
  - layers of `layer_types` sliding_attention see a window.

Longer than most families for the windows that differ by layer.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {
    "max_window_layers": "layer_types holds what it says",
    "use_sliding_window": "layer_types holds what it says",
}

_NO_WINDOW = np.iinfo(np.int32).max


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and perhaps a window."""

    def __init__(self, config: transformers.Qwen2Config, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        width = config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=True, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=True, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=True, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=False, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array | None
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.Qwen2Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: transformers.Qwen2Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array | None
    ) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions, window)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.Qwen2Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.windows = _windows(config)
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm = _rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        windows = None if self.windows is None else jnp.array(self.windows)
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, positions, layer[1]), None),
            self.embed_tokens(tokens),
            (self.layers, windows),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Qwen2 with its head, from Hugging Face's `Qwen2Config`.

    Raises:
      ValueError: A kind of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: transformers.Qwen2Config, *, rngs: nnx.Rngs):
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.attend(hidden)
        return self.lm_head(hidden)


def _windows(config: transformers.Qwen2Config) -> tuple[int, ...] | None:
    """Returns the window of each layer; None where no layer has one."""
    windows = {
        "full_attention": _NO_WINDOW,
        "sliding_attention": config.sliding_window,
    }
    others = set(config.layer_types) - set(windows)
    if others:
        raise ValueError(f"layer_types {sorted(others)} are not ported")
    if "sliding_attention" not in config.layer_types:
        return None
    if config.sliding_window is None:
        raise ValueError("layer_types sliding_attention, sliding_window None")
    return tuple(windows[kind] for kind in config.layer_types)


def _rms_norm(config: transformers.Qwen2Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
