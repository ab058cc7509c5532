"""BLOOM: A 176B-Parameter Open-Access Multilingual Language Model (2022).

By BigScience (Le Scao et al.), arXiv 2211.05100. Special:
  - ALiBi instead of positions;
  - a LayerNorm on the embedding, besides those before each sublayer and at the
    end;
  - one fused projection whose rows go by head, then query, key, value;
  - tied head.

B batch, T position, N heads, H head features, D width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import alibi, layers, sharding

PREFIX = "transformer."
LAYERS = "transformer.h"
IGNORED = ()
SHARDING = (
    *sharding.columns("query_key_value", "dense_h_to_4h", "lm_head"),
    *sharding.rows("dense", "dense_4h_to_h"),
    *sharding.tables("word_embeddings"),
    *sharding.NORMS,
)
INERT = {
    "slow_but_exact": "it chooses between two orders of one sum",
}


class Attention(nnx.Module):
    """Multi-head attention with linear biases."""

    def __init__(self, config: transformers.BloomConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"hidden_size {width} is no multiple of n_head {self.num_heads}"
            )
        self.query_key_value = layers.Linear(width, 3 * width, rngs=rngs)
        self.dense = layers.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, D = x.shape
        qkv = self.query_key_value(x).reshape(B, T, self.num_heads, 3, -1)
        q, k, v = qkv[..., 0, :], qkv[..., 1, :], qkv[..., 2, :]
        x = alibi.causal_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.dense(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with a gelu, by its tanh, between them."""

    def __init__(self, config: transformers.BloomConfig, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.dense_h_to_4h = layers.Linear(width, 4 * width, rngs=rngs)
        self.dense_4h_to_h = layers.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.gelu(self.dense_h_to_4h(x), approximate=True)
        return self.dense_4h_to_h(x)


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input.

    With `apply_residual_connection_post_layernorm` each is added to the
    LayerNorm's output instead.
    """

    def __init__(self, config: transformers.BloomConfig, *, rngs: nnx.Rngs):
        self.after_norm = config.apply_residual_connection_post_layernorm
        self.input_layernorm = _layer_norm(config, rngs)
        self.self_attention = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _layer_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        normed = self.input_layernorm(x)
        x = (normed if self.after_norm else x) + self.self_attention(normed)
        normed = self.post_attention_layernorm(x)
        return (normed if self.after_norm else x) + self.mlp(normed)


class Transformer(nnx.Module):
    """Embedding with its LayerNorm, layers and the last LayerNorm."""

    def __init__(self, config: transformers.BloomConfig, *, rngs: nnx.Rngs):
        self.word_embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.word_embeddings_layernorm = _layer_norm(config, rngs)
        self.h = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.ln_f = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.word_embeddings_layernorm(self.word_embeddings(tokens))
        x, _ = jax.lax.scan(lambda x, layer: (layer(x), None), x, self.h)
        return self.ln_f(x)


class CausalLM(layers.LanguageModel):
    """BLOOM with its head, from Hugging Face's `BloomConfig`."""

    def __init__(self, config: transformers.BloomConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.transformer = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.transformer(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.transformer.word_embeddings.attend(hidden)
        return self.lm_head(hidden)


def _layer_norm(
    config: transformers.BloomConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
