"""GPT-2: Language Models are Unsupervised Multitask Learners (2019).

By Radford et al., OpenAI; also Cerebras-GPT (Dey et al., arXiv 2304.03208),
which differs by an exact gelu. Special:
  - learned positions; LayerNorm before each sublayer and at the end;
  - one fused projection for query, key and value; weights stored [in, out];
  - tied head.

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
# Linear layers are stored as [in, out].
TRANSPOSED = True
# Causal masks that older files carry.
IGNORED = (r"\.attn\.bias$", r"\.attn\.masked_bias$")
SHARDING = (
    *sharding.columns("c_attn", "c_fc", "lm_head"),
    *sharding.rows("c_proj"),
    *sharding.tables("wte"),
    *sharding.replicated("wpe"),
    *sharding.NORMS,
)
INERT = {
    "reorder_and_upcast_attn": "scores are always in float32 here",
}


class Conv1D(nnx.Module):
    """A linear layer whose weight is stored [in, out]."""

    def __init__(self, num_in: int, num_out: int, *, rngs: nnx.Rngs):
        init = layers.initializer(rngs)
        self.weight = nnx.Param(init(rngs.params(), (num_in, num_out)))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight[...] + self.bias[...]


class Attention(nnx.Module):
    """Multi-head attention with one projection for query, key and value."""

    def __init__(self, config: transformers.GPT2Config, *, rngs: nnx.Rngs):
        self.num_heads = config.num_attention_heads
        self.scaled = config.scale_attn_weights
        width = config.hidden_size
        if width % self.num_heads:
            raise ValueError(
                f"n_embd {width} is no multiple of n_head {self.num_heads}"
            )
        self.c_attn = Conv1D(width, 3 * width, rngs=rngs)
        self.c_proj = Conv1D(width, width, rngs=rngs)

    def __call__(self, x: jax.Array, divisor: jax.Array) -> jax.Array:
        B, T, D = x.shape
        qkv = self.c_attn(x).reshape(B, T, 3, self.num_heads, -1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        scale = q.shape[-1] ** -0.5 if self.scaled else 1.0
        q = q / divisor.astype(q.dtype)
        x = layers.causal_attention(q, k, v, scale=scale)
        return self.c_proj(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.GPT2Config, *, rngs: nnx.Rngs):
        inner = config.n_inner or 4 * config.hidden_size
        self.c_fc = Conv1D(config.hidden_size, inner, rngs=rngs)
        self.c_proj = Conv1D(inner, config.hidden_size, rngs=rngs)
        self.act = layers.activation(config.activation_function)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.GPT2Config, *, rngs: nnx.Rngs):
        self.ln_1 = _layer_norm(config, rngs)
        self.attn = Attention(config, rngs=rngs)
        self.ln_2 = _layer_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, divisor: jax.Array) -> jax.Array:
        x = x + self.attn(self.ln_1(x), divisor)
        return x + self.mlp(self.ln_2(x))


class Transformer(nnx.Module):
    """Embeddings, layers and the last LayerNorm."""

    def __init__(self, config: transformers.GPT2Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.wte = layers.Embed(config.vocab_size, width, rngs=rngs)
        self.wpe = layers.Embed(
            config.max_position_embeddings, width, rngs=rngs
        )
        self.h = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.ln_f = _layer_norm(config, rngs)
        # Each layer's scores are divided by this: 1, or its number from 1.
        numbers = range(1, config.num_hidden_layers + 1)
        by_layer = config.scale_attn_by_inverse_layer_idx
        self.divisors = tuple(float(i) if by_layer else 1.0 for i in numbers)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        T = tokens.shape[1]
        if T > self.wpe.num_embeddings:
            raise ValueError(
                f"{T} positions, but the position table (n_positions) has "
                f"{self.wpe.num_embeddings}"
            )
        x = self.wte(tokens) + self.wpe(jnp.arange(T))
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, layer[1]), None),
            x,
            (self.h, jnp.array(self.divisors, jnp.float32)),
        )
        return self.ln_f(x)


class CausalLM(layers.LanguageModel):
    """GPT-2 with its head, from Hugging Face's `GPT2Config`.

    Raises:
      ValueError: Cross attention, or an activation that is not ported.
    """

    def __init__(self, config: transformers.GPT2Config, *, rngs: nnx.Rngs):
        if config.add_cross_attention:
            raise ValueError("add_cross_attention=True is not ported")
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
    config: transformers.GPT2Config, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
