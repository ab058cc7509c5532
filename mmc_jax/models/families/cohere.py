"""Command R (2024): base of Aya 23 and of Aya Expanse.

By Cohere; Aya 23 by Aryabumi et al., arXiv 2405.15032, which describes it.
Special:
  - attention and MLP side by side after one LayerNorm, which has no bias;
  - rotary positions on neighbouring features;
  - optionally (Command R+) a LayerNorm of each query and key head, with
    weights of its own for each head, before they turn;
  - logits times `logit_scale`; tied head.

Longer than most families for its norms of queries and keys, by head.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate_interleaved

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)


class LayerNorm(nnx.Module):
    """A LayerNorm over the last axis, without bias, all in float32."""

    def __init__(self, *shape: int, epsilon: float):
        self.epsilon = epsilon
        self.weight = nnx.Param(jnp.ones(shape))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - jnp.mean(y, axis=-1, keepdims=True)
        variance = jnp.mean(y * y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(variance + self.epsilon)
        return (y * self.weight[...].astype(jnp.float32)).astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions, perhaps normalised."""

    def __init__(self, config: transformers.CohereConfig, *, rngs: nnx.Rngs):
        width, epsilon = config.hidden_size, config.layer_norm_eps
        N, K = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = width // N
        bias, H = config.attention_bias, self.head_dim
        self.q_proj = layers.Linear(width, N * H, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, K * H, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, K * H, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(N * H, width, use_bias=bias, rngs=rngs)
        self.normalised = config.use_qk_norm
        if self.normalised:
            self.q_norm = LayerNorm(N, H, epsilon=epsilon)
            self.k_norm = LayerNorm(K, H, epsilon=epsilon)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        if self.normalised:
            q, k = self.q_norm(q), self.k_norm(k)
        x = layers.causal_attention(
            rotate_interleaved(q, positions),
            rotate_interleaved(k, positions),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(
        self,
        config: transformers.CohereConfig | transformers.Cohere2Config,
        *,
        rngs: nnx.Rngs,
    ):
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention and MLP on the same normalised input, both added to it."""

    def __init__(self, config: transformers.CohereConfig, *, rngs: nnx.Rngs):
        self.input_layernorm = LayerNorm(
            config.hidden_size, epsilon=config.layer_norm_eps
        )
        self.self_attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        y = self.input_layernorm(x)
        return x + self.self_attn(y, positions) + self.mlp(y)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.CohereConfig, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
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
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.embed_tokens(tokens),
            self.layers,
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Command R with its head, from Hugging Face's `CohereConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.CohereConfig, *, rngs: nnx.Rngs):
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
