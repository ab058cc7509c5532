"""Command R7B and Command A (2024, 2025).

By Cohere; Command A's report is arXiv 2504.00698. Special:
  - as Command R: attention and MLP side by side after one LayerNorm without
    bias, rotary positions on neighbouring features, logits times
    `logit_scale`, tied head;
  - three layers with a window, then one without; those without have no
    positions at all.

B batch, T position, N query heads, K key heads, H head features, D width, V
vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families.cohere import MLP, LayerNorm
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate_interleaved

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and a window."""

    def __init__(self, config: transformers.Cohere2Config, *, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate_interleaved(q, positions),
            rotate_interleaved(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention and MLP on the same normalised input, both added to it."""

    def __init__(self, config: transformers.Cohere2Config, *, rngs: nnx.Rngs):
        self.input_layernorm = LayerNorm(
            config.hidden_size, epsilon=config.layer_norm_eps
        )
        self.self_attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, window: jax.Array
    ) -> jax.Array:
        y = self.input_layernorm(x)
        return x + self.self_attn(y, positions, window) + self.mlp(y)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.Cohere2Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.layer_types = tuple(config.layer_types)
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm = LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def positions(self) -> Rotary:
        """Returns those of each layer; where there are none, all angles 0."""
        one = rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )
        if one.scale != 1.0 or one.max_positions is not None:
            kind = self.rope_parameters["rope_type"]
            raise ValueError(
                f"rope_parameters: rope_type {kind!r} is not ported"
            )
        turns = [t == "sliding_attention" for t in self.layer_types]
        turns = jnp.array(turns, jnp.float32)[:, None]
        return Rotary(turns * one.frequencies, jnp.ones(len(turns)))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, *layer[1:]), None),
            self.embed_tokens(tokens),
            (self.layers, self.positions(), jnp.array(self.windows)),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Command R7B or A with its head, from Hugging Face's `Cohere2Config`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: transformers.Cohere2Config, *, rngs: nnx.Rngs):
        self.scale = config.logit_scale
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
        """Returns the head's output, scaled: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.scale * self.model.embed_tokens.attend(hidden)
        return self.scale * self.lm_head(hidden)
