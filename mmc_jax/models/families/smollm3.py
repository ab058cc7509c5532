"""SmolLM3: smol, multilingual, long-context reasoner (2025).

By Bakouch et al., Hugging Face. Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key
    heads, a gated MLP;
  - no rotary positions in every fourth layer (NoPE; Yang et al., arXiv
    2501.18795);
  - tied head.

Longer than most families for its layers without rotary positions.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {
    "no_rope_layer_interval": "no_rope_layers holds what it says",
    "sliding_window": "no layer has a window",
}
# Where windows would begin; layer_types says it of each layer.


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: transformers.SmolLM3Config, *, rngs: nnx.Rngs):
        self.head_dim = config.hidden_size // config.num_attention_heads
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.SmolLM3Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.mlp_bias
        self.gate_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: transformers.SmolLM3Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.SmolLM3Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        rotates = config.no_rope_layers[: config.num_hidden_layers]
        if len(rotates) < config.num_hidden_layers:
            raise ValueError(
                f"no_rope_layers {rotates}: num_hidden_layers is "
                f"{config.num_hidden_layers}"
            )
        self.rotates = tuple(map(bool, rotates))  # 0 is a layer without.
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

        def run(x, layer):
            block, rotates = layer
            # Angles of zero turn nothing, to the last bit.
            own = positions._replace(
                frequencies=jnp.where(rotates, positions.frequencies, 0.0),
                scale=jnp.where(rotates, positions.scale, 1.0),
            )
            return block(x, own), None

        x, _ = jax.lax.scan(
            run,
            self.embed_tokens(tokens),
            (self.layers, jnp.array(self.rotates)),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """SmolLM3 with its head, from Hugging Face's `SmolLM3Config`.

    Raises:
      ValueError: A sliding window (no released model has one), an activation or
        a kind of rotary scaling is not ported; no_rope_layers is too short.
    """

    def __init__(self, config: transformers.SmolLM3Config, *, rngs: nnx.Rngs):
        if config.use_sliding_window:
            raise ValueError("use_sliding_window=True is not ported")
        others = set(config.layer_types) - {"full_attention"}
        if others:
            raise ValueError(f"layer_types {sorted(others)} are not ported")
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


def _rms_norm(
    config: transformers.SmolLM3Config, rngs: nnx.Rngs
) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
