"""GPT-NeoX: An Open-Source Autoregressive Language Model (2022).

By Black et al., arXiv 2204.06745; also Pythia (Biderman et al., arXiv
2304.01373). Special:
  - attention and MLP side by side, each after a LayerNorm of its own
    (`use_parallel_residual`; else one after the other);
  - rotary positions on the first quarter of each head;
  - one fused projection whose rows go by head, then query, key, value;
  - the head is called `embed_out` in files.

B batch, T position, N heads, H head features, D width, F MLP width, V
vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "gpt_neox."
LAYERS = "gpt_neox.layers"
# Buffers that older files carry.
IGNORED = (
    r"\.attention\.bias$",
    r"\.attention\.masked_bias$",
    r"\.rotary_emb\.inv_freq$",
)
INERT = {
    "is_decoder": "transformers only warns where it is false",
}
SHARDING = (
    *sharding.columns("query_key_value", "dense_h_to_4h", "embed_out"),
    *sharding.rows("dense", "dense_4h_to_h"),
    *sharding.tables("embed_in"),
    *sharding.NORMS,
)


class Attention(nnx.Module):
    """Multi-head attention with partly rotated heads."""

    def __init__(self, config: transformers.GPTNeoXConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"hidden_size {width} is no multiple of num_attention_heads "
                f"{self.num_heads}"
            )
        bias = config.attention_bias
        self.query_key_value = layers.Linear(
            width, 3 * width, use_bias=bias, rngs=rngs
        )
        self.dense = layers.Linear(width, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, D = x.shape
        qkv = self.query_key_value(x).reshape(B, T, self.num_heads, -1)
        q, k, v = jnp.split(qkv, 3, axis=-1)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.dense(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: transformers.GPTNeoXConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.dense_h_to_4h = layers.Linear(width, inner, rngs=rngs)
        self.dense_4h_to_h = layers.Linear(inner, width, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense_4h_to_h(self.act(self.dense_h_to_4h(x)))


class Block(nnx.Module):
    """Attention and MLP, both on the block's input or in sequence."""

    def __init__(self, config: transformers.GPTNeoXConfig, *, rngs: nnx.Rngs):
        self.parallel = config.use_parallel_residual
        self.input_layernorm = _layer_norm(config, rngs)
        self.post_attention_layernorm = _layer_norm(config, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        attended = x + self.attention(self.input_layernorm(x), positions)
        source = x if self.parallel else attended
        return attended + self.mlp(self.post_attention_layernorm(source))


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.GPTNeoXConfig, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_in = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.final_layer_norm = _layer_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.embed_in(tokens),
            self.layers,
        )
        return self.final_layer_norm(x)


class CausalLM(layers.LanguageModel):
    """GPT-NeoX with its head, from Hugging Face's `GPTNeoXConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.GPTNeoXConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.gpt_neox = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.embed_out = layers.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.gpt_neox(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.gpt_neox.embed_in.attend(hidden)
        return self.embed_out(hidden)


def _layer_norm(
    config: transformers.GPTNeoXConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_eps,
        use_fast_variance=False,
        rngs=rngs,
    )
