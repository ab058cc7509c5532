"""The Falcon Series of Open Language Models (2023).

By Almazrouei et al., arXiv 2311.16867. Three layouts, by the config, which
is why this file is long:
  - 7B: attention and MLP side by side after one LayerNorm; rotary positions;
    one key head for all queries (`multi_query`);
  - 40B, 180B (`new_decoder_architecture`): a LayerNorm for each of the two,
    grouped key heads; the 11B has one LayerNorm for both;
  - RW: attention, then MLP (`parallel_attn` false); ALiBi, added before the
    scores are scaled and in bfloat16, as the models were trained; biases.
In all, one fused projection whose rows go by key head, and there its queries,
its key, its value; tied head.

B batch, T query position, S key position, N query heads, K key heads, G query
heads a key head, H head features, D width, F MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import alibi, layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "transformer."
LAYERS = "transformer.h"
IGNORED = ()
SHARDING = (
    *sharding.columns("query_key_value", "dense_h_to_4h", "lm_head"),
    *sharding.rows("dense", "dense_4h_to_h"),
    *sharding.tables("word_embeddings"),
    *sharding.NORMS,
)


class Attention(nnx.Module):
    """Grouped-query attention, rotated or with linear biases."""

    def __init__(self, config: transformers.FalconConfig, *, rngs: nnx.Rngs):
        width, num_query = config.hidden_size, config.num_attention_heads
        self.num_key = _num_key_heads(config)
        if width % num_query:
            raise ValueError(
                f"hidden_size {width} is no multiple of num_attention_heads "
                f"{num_query}"
            )
        if num_query % self.num_key:
            raise ValueError(
                f"num_attention_heads {num_query} is no multiple of "
                f"num_kv_heads {self.num_key}"
            )
        self.head_dim = width // num_query
        fused = (num_query + 2 * self.num_key) * self.head_dim
        bias = config.bias
        self.query_key_value = layers.Linear(
            width, fused, use_bias=bias, rngs=rngs
        )
        self.dense = layers.Linear(width, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary | None) -> jax.Array:
        B, T, D = x.shape
        H, scale = self.head_dim, self.head_dim**-0.5
        qkv = self.query_key_value(x).reshape(B, T, self.num_key, -1, H)
        q = qkv[..., :-2, :].reshape(B, T, -1, H)
        k, v = qkv[..., -2, :], qkv[..., -1, :]
        if positions is None:
            bias = _linear_biases(q.shape[2], T)
            scores = (layers.attention_scores(q, k) + bias) * scale
            x = layers.attend(scores, v, layers.causal_mask(T))
        else:
            q, k = rotate(q, positions), rotate(k, positions)
            x = layers.causal_attention(q, k, v, scale=scale)
        return self.dense(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.FalconConfig, *, rngs: nnx.Rngs):
        width, inner, bias = (
            config.hidden_size,
            config.ffn_hidden_size,
            config.bias,
        )
        self.dense_h_to_4h = layers.Linear(
            width, inner, use_bias=bias, rngs=rngs
        )
        self.dense_4h_to_h = layers.Linear(
            inner, width, use_bias=bias, rngs=rngs
        )
        self.act = layers.activation(config.activation)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense_4h_to_h(self.act(self.dense_h_to_4h(x)))


class Block(nnx.Module):
    """Attention and MLP, side by side or in sequence."""

    def __init__(self, config: transformers.FalconConfig, *, rngs: nnx.Rngs):
        self.parallel = config.parallel_attn
        self.num_norms = _num_norms(config)
        if self.parallel and self.num_norms == 2:
            self.ln_attn = _layer_norm(config, rngs)
            self.ln_mlp = _layer_norm(config, rngs)
        else:
            self.input_layernorm = _layer_norm(config, rngs)
        if not self.parallel:
            self.post_attention_layernorm = _layer_norm(config, rngs)
        self.self_attention = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary | None) -> jax.Array:
        if not self.parallel:
            x = x + self.self_attention(self.input_layernorm(x), positions)
            return x + self.mlp(self.post_attention_layernorm(x))
        if self.num_norms == 2:
            first, second = self.ln_attn(x), self.ln_mlp(x)
        else:
            first = second = self.input_layernorm(x)
        return x + self.self_attention(first, positions) + self.mlp(second)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.FalconConfig, *, rngs: nnx.Rngs):
        self.alibi = config.alibi
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.word_embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.h = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.ln_f = _layer_norm(config, rngs)

    def positions(self) -> Rotary | None:
        """Returns the rotary positions; None where ALiBi replaces them."""
        if self.alibi:
            return None
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.word_embeddings(tokens),
            self.h,
        )
        return self.ln_f(x)


class CausalLM(layers.LanguageModel):
    """Falcon with its head, from Hugging Face's `FalconConfig`.

    Raises:
      ValueError: An activation, a kind of rotary scaling or a mixture of the
        layouts is not ported.
    """

    def __init__(self, config: transformers.FalconConfig, *, rngs: nnx.Rngs):
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


def _num_key_heads(config: transformers.FalconConfig) -> int:
    num_query, num_key = config.num_attention_heads, config.num_kv_heads
    multi_query = config.multi_query
    if config.new_decoder_architecture:
        return num_key
    if multi_query:
        return 1
    if num_key != num_query:
        raise ValueError(
            f"num_kv_heads={num_key} is not ported: without multi_query and "
            f"new_decoder_architecture it must be num_attention_heads "
            f"{num_query}"
        )
    return num_query


def _num_norms(config: transformers.FalconConfig) -> int:
    """Returns how many LayerNorms a block has."""
    num_norms, new = (
        config.num_ln_in_parallel_attn,
        config.new_decoder_architecture,
    )
    if not config.parallel_attn:
        if new:
            raise ValueError(
                "parallel_attn=False is not ported with "
                "new_decoder_architecture=True"
            )
        return 2
    if num_norms is None:
        return 2 if new else 1
    if num_norms not in ((1, 2) if new else (1,)):
        raise ValueError(
            f"num_ln_in_parallel_attn={num_norms} is not ported with "
            f"new_decoder_architecture={new}"
        )
    return num_norms


def _linear_biases(num_heads: int, length: int) -> jax.Array:
    """Returns slope * s, all three rounded to bfloat16: float32 [N, 1, S]."""

    def rounded(x):  # XLA may drop a cast to bfloat16 and back, but not this.
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)

    slopes = rounded(jnp.array(alibi.slopes(num_heads)))
    positions = rounded(jnp.arange(length, dtype=jnp.float32))
    return rounded(slopes[:, None, None] * positions)


def _layer_norm(
    config: transformers.FalconConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
