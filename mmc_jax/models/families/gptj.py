"""GPT-J-6B: A 6 Billion Parameter Autoregressive Language Model (2021).

By Wang and Komatsuzaki, EleutherAI (no paper; the code is mesh-transformer-
jax). Special:
  - attention and MLP side by side, after one LayerNorm;
  - rotary positions on the first `rotary_dim` features of each head, feature
    2i turning together with 2i + 1;
  - no biases in attention, one in the head, tied or not.

B batch, T position, N heads, H head features, D width, F MLP width, V
vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate_interleaved

PREFIX = "transformer."
LAYERS = "transformer.h"
# Causal masks that older files carry.
IGNORED = (r"\.attn\.bias$", r"\.attn\.masked_bias$")
SHARDING = (
    *sharding.columns("q_proj", "k_proj", "v_proj", "fc_in", "lm_head"),
    *sharding.rows("out_proj", "fc_out"),
    *sharding.tables("wte"),
    *sharding.NORMS,
)

# The base of the rotary angles, in no config.
_ROTARY = {"rope_type": "default", "rope_theta": 10000.0}


class Attention(nnx.Module):
    """Multi-head attention with partly rotated heads."""

    def __init__(self, config: transformers.GPTJConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"n_embd {width} is no multiple of n_head {self.num_heads}"
            )
        self.q_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.out_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, D = x.shape
        q = self.q_proj(x).reshape(B, T, self.num_heads, -1)
        k = self.k_proj(x).reshape(B, T, self.num_heads, -1)
        v = self.v_proj(x).reshape(B, T, self.num_heads, -1)
        q = rotate_interleaved(q, positions)
        k = rotate_interleaved(k, positions)
        x = layers.causal_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.out_proj(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.GPTJConfig, *, rngs: nnx.Rngs):
        width = config.hidden_size
        inner = 4 * width if config.n_inner is None else config.n_inner
        self.fc_in = layers.Linear(width, inner, rngs=rngs)
        self.fc_out = layers.Linear(inner, width, rngs=rngs)
        self.act = layers.activation(config.activation_function)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc_out(self.act(self.fc_in(x)))


class Block(nnx.Module):
    """Attention and MLP of one LayerNorm's output, added to the input."""

    def __init__(self, config: transformers.GPTJConfig, *, rngs: nnx.Rngs):
        self.ln_1 = _layer_norm(config, rngs)
        self.attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        normed = self.ln_1(x)
        return x + self.attn(normed, positions) + self.mlp(normed)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.GPTJConfig, *, rngs: nnx.Rngs):
        self.rotary_dim = config.rotary_dim
        head_dim = config.hidden_size // config.num_attention_heads
        if self.rotary_dim % 2 or not 0 < self.rotary_dim <= head_dim:
            raise ValueError(
                f"rotary_dim={self.rotary_dim} is not ported: it is no even "
                f"number from 2 to the head size {head_dim}"
            )
        self.max_positions = config.max_position_embeddings
        self.wte = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.h = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.ln_f = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = rotary_positions(
            _ROTARY, self.rotary_dim, self.max_positions
        )
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.wte(tokens),
            self.h,
        )
        return self.ln_f(x)


class Bias(nnx.Module):
    """What a tied head has of its own."""

    def __init__(self, num_features: int):
        self.bias = nnx.Param(jnp.zeros(num_features))


class CausalLM(layers.LanguageModel):
    """GPT-J with its head, from Hugging Face's `GPTJConfig`.

    Raises:
      ValueError: An activation or `rotary_dim` is not ported.
    """

    def __init__(self, config: transformers.GPTJConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.transformer = Transformer(config, rngs=rngs)
        if config.tie_word_embeddings:
            self.lm_head = Bias(config.vocab_size)
        else:
            self.lm_head = layers.Linear(
                config.hidden_size, config.vocab_size, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.transformer(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            bias = self.lm_head.bias[...]
            return self.transformer.wte.attend(hidden) + bias
        return self.lm_head(hidden)


def _layer_norm(
    config: transformers.GPTJConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
