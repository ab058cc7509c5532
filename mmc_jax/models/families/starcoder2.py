"""StarCoder 2 and The Stack v2: the next generation (2024).

By Lozhkov et al., arXiv 2402.19173. Special:
  - LayerNorm before each sublayer and at the end; an MLP without a gate;
  - rotary positions; grouped key heads; biases everywhere but in the head;
  - a window, in which a query sees its own and the keys before it;
  - tied head.

Longer than most families for the biases that its layers may have.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns("c_fc"),
    *sharding.rows("c_proj"),
)
INERT = {
    "embedding_dropout": "only training uses it",
    "residual_dropout": "only training uses it",
}


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and perhaps a window."""

    def __init__(
        self, config: transformers.Starcoder2Config, *, rngs: nnx.Rngs
    ):
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.window = config.sliding_window
        bias, width = config.use_bias, config.hidden_size
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
        x = layers.causal_attention(
            rotate(q, positions),
            rotate(k, positions),
            v,
            scale=self.head_dim**-0.5,
            window=self.window,
        )
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """Two linear layers with an activation between them."""

    def __init__(
        self, config: transformers.Starcoder2Config, *, rngs: nnx.Rngs
    ):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.use_bias
        self.c_fc = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.c_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(
        self, config: transformers.Starcoder2Config, *, rngs: nnx.Rngs
    ):
        self.input_layernorm = _layer_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = _layer_norm(config, rngs)
        self.mlp = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(
        self, config: transformers.Starcoder2Config, *, rngs: nnx.Rngs
    ):
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
        self.norm = _layer_norm(config, rngs)

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
    """StarCoder 2 with its head, from Hugging Face's `Starcoder2Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(
        self, config: transformers.Starcoder2Config, *, rngs: nnx.Rngs
    ):
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


def _layer_norm(
    config: transformers.Starcoder2Config, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.norm_epsilon,
        use_fast_variance=False,
        rngs=rngs,
    )
