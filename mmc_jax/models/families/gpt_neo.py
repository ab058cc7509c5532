"""GPT-Neo: Large Scale Autoregressive Language Modeling (2021).

By Black et al., EleutherAI, doi 10.5281/zenodo.5297715 (no paper; the code is
mesh-tensorflow's). Special:
  - as GPT-2: learned positions, LayerNorm before each sublayer and at the end,
    a tied head;
  - every second layer sees a window of 256 positions only;
  - scores are not scaled by the head size; no biases on query, key and value.

Longer than most families for its windows by turns and unscaled scores.

B batch, T position, N heads, H head features, D width, F MLP width, V
vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding

PREFIX = "transformer."
LAYERS = "transformer.h"
# Causal masks that older files carry.
IGNORED = (r"\.attn\.attention\.bias$", r"\.attn\.attention\.masked_bias$")
SHARDING = (
    *sharding.columns("q_proj", "k_proj", "v_proj", "c_fc", "lm_head"),
    *sharding.rows("out_proj", "c_proj"),
    *sharding.tables("wte"),
    *sharding.replicated("wpe"),
    *sharding.NORMS,
)
INERT = {
    "attention_types": "attention_layers holds what it says",
}


class SelfAttention(nnx.Module):
    """Multi-head attention without a scale, in a window."""

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"hidden_size {width} is no multiple of num_heads "
                f"{self.num_heads}"
            )
        self.q_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.out_proj = layers.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array, window: jax.Array) -> jax.Array:
        B, T, D = x.shape
        q = self.q_proj(x).reshape(B, T, self.num_heads, -1)
        k = self.k_proj(x).reshape(B, T, self.num_heads, -1)
        v = self.v_proj(x).reshape(B, T, self.num_heads, -1)
        x = layers.causal_attention(q, k, v, scale=1.0, window=window)
        return self.out_proj(x.reshape(B, T, D))


class Attention(nnx.Module):
    """The attention of a layer, by its name in files."""

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
        self.attention = SelfAttention(config, rngs=rngs)

    def __call__(self, x: jax.Array, window: jax.Array) -> jax.Array:
        return self.attention(x, window)


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        inner = 4 * width if inner is None else inner
        self.c_fc = layers.Linear(width, inner, rngs=rngs)
        self.c_proj = layers.Linear(inner, width, rngs=rngs)
        self.act = layers.activation(config.activation_function)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
        self.ln_1 = _layer_norm(config, rngs)
        self.attn = Attention(config, rngs=rngs)
        self.ln_2 = _layer_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, window: jax.Array) -> jax.Array:
        x = x + self.attn(self.ln_1(x), window)
        return x + self.mlp(self.ln_2(x))


class Transformer(nnx.Module):
    """Embeddings, layers and the last LayerNorm."""

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
        width, num_positions = (
            config.hidden_size,
            config.max_position_embeddings,
        )
        # A global layer's window holds the whole table of positions.
        windows = {"global": num_positions, "local": config.window_size}
        for kind in config.attention_layers:
            if kind not in windows:
                raise ValueError(
                    f"attention_layers: {kind!r} is not ported; ported are "
                    f"{', '.join(windows)}"
                )
        self.windows = tuple(windows[kind] for kind in config.attention_layers)
        self.wte = layers.Embed(config.vocab_size, width, rngs=rngs)
        self.wpe = layers.Embed(num_positions, width, rngs=rngs)
        self.h = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.ln_f = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        T = tokens.shape[1]
        if T > self.wpe.num_embeddings:
            raise ValueError(
                f"{T} positions, but the position table "
                f"(max_position_embeddings) has {self.wpe.num_embeddings}"
            )
        x = self.wte(tokens) + self.wpe(jnp.arange(T))
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, layer[1]), None),
            x,
            (self.h, jnp.array(self.windows)),
        )
        return self.ln_f(x)


class CausalLM(layers.LanguageModel):
    """GPT-Neo with its head, from Hugging Face's `GPTNeoConfig`.

    Raises:
      ValueError: An activation or a kind of attention is not ported.
    """

    def __init__(self, config: transformers.GPTNeoConfig, *, rngs: nnx.Rngs):
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
            return self.transformer.wte.attend(hidden)
        return self.lm_head(hidden)


def _layer_norm(
    config: transformers.GPTNeoConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
