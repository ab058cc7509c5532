"""OPT: Open Pre-trained Transformer Language Models (2022).

By Zhang et al., arXiv 2205.01068; also Galactica (Taylor et al., arXiv
2211.09085), which has a gelu and, in its larger sizes, no biases and no
parameters in its norms. Special:
  - learned positions, whose table has two unused rows in front;
  - LayerNorm before each sublayer and at the end; in the 350M after each
    sublayer and not at the end (`do_layer_norm_before`);
  - tied head; in the 350M the embedding is narrower than the layers, with a
    projection on either side (`word_embed_proj_dim`).

Longer than most families for what the 350M and Galactica do differently.

B batch, T position, N heads, H head features, D width, F MLP width, V
vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, sharding

PREFIX = "model."
LAYERS = "model.decoder.layers"
IGNORED = ()
SHARDING = (
    *sharding.RULES,
    *sharding.columns("fc1"),
    *sharding.rows("out_proj", "fc2"),
    *sharding.replicated("embed_positions", "project_in", "project_out"),
)

# PyTorch's default, in no config.
_EPSILON = 1e-5
# Rows of the position table before the first position.
_OFFSET = 2


class Attention(nnx.Module):
    """Multi-head attention."""

    def __init__(self, config: transformers.OPTConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"hidden_size {width} is no multiple of num_attention_heads "
                f"{self.num_heads}"
            )
        bias = config.enable_bias
        self.q_proj = layers.Linear(width, width, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, width, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, width, use_bias=bias, rngs=rngs)
        self.out_proj = layers.Linear(width, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, D = x.shape
        q = self.q_proj(x).reshape(B, T, self.num_heads, -1)
        k = self.k_proj(x).reshape(B, T, self.num_heads, -1)
        v = self.v_proj(x).reshape(B, T, self.num_heads, -1)
        x = layers.causal_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.out_proj(x.reshape(B, T, D))


class Block(nnx.Module):
    """Attention, then MLP, with a LayerNorm before or after each."""

    def __init__(self, config: transformers.OPTConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.ffn_dim
        self.norm_first = config.do_layer_norm_before
        bias = config.enable_bias
        self.self_attn = Attention(config, rngs=rngs)
        self.self_attn_layer_norm = _layer_norm(config, rngs)
        self.fc1 = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.fc2 = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.final_layer_norm = _layer_norm(config, rngs)
        self.act = layers.activation(config.activation_function)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.norm_first:
            x = x + self.self_attn(self.self_attn_layer_norm(x))
            return x + self.mlp(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        return self.final_layer_norm(x + self.mlp(x))

    def mlp(self, x: jax.Array) -> jax.Array:
        return self.fc2(self.act(self.fc1(x)))


class Decoder(nnx.Module):
    """Embeddings, layers, the last LayerNorm and the projections."""

    def __init__(self, config: transformers.OPTConfig, *, rngs: nnx.Rngs):
        width, narrow = config.hidden_size, config.word_embed_proj_dim
        self.embed_tokens = layers.Embed(config.vocab_size, narrow, rngs=rngs)
        self.embed_positions = layers.Embed(
            config.max_position_embeddings + _OFFSET, width, rngs=rngs
        )
        self.projected = narrow != width
        if self.projected:
            self.project_in = layers.Linear(
                narrow, width, use_bias=False, rngs=rngs
            )
            self.project_out = layers.Linear(
                width, narrow, use_bias=False, rngs=rngs
            )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        # Some files from before transformers 4.20 lack the last one.
        removed = config._remove_final_layer_norm
        self.norm_last = config.do_layer_norm_before and not removed
        if self.norm_last:
            self.final_layer_norm = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        T = tokens.shape[1]
        num_positions = self.embed_positions.num_embeddings - _OFFSET
        if T > num_positions:
            raise ValueError(
                f"{T} positions, but the position table "
                f"(max_position_embeddings) has {num_positions}"
            )
        x = self.embed_tokens(tokens)
        x = self.project_in(x) if self.projected else x
        x = x + self.embed_positions(_OFFSET + jnp.arange(T))
        x, _ = jax.lax.scan(lambda x, layer: (layer(x), None), x, self.layers)
        x = self.final_layer_norm(x) if self.norm_last else x
        return self.project_out(x) if self.projected else x


class Transformer(nnx.Module):
    """The decoder, by its name in files."""

    def __init__(self, config: transformers.OPTConfig, *, rngs: nnx.Rngs):
        self.decoder = Decoder(config, rngs=rngs)


class CausalLM(layers.LanguageModel):
    """OPT with its head, from Hugging Face's `OPTConfig`.

    Raises:
      ValueError: An activation is not ported.
    """

    def __init__(self, config: transformers.OPTConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.word_embed_proj_dim,
                config.vocab_size,
                use_bias=False,
                rngs=rngs,
            )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D].

        D is the width of the embedding, `word_embed_proj_dim`.
        """
        return self.model.decoder(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if self.config.tie_word_embeddings:
            return self.model.decoder.embed_tokens.attend(hidden)
        return self.lm_head(hidden)


def _layer_norm(
    config: transformers.OPTConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    affine = config.layer_norm_elementwise_affine
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=_EPSILON,
        use_bias=affine,
        use_scale=affine,
        use_fast_variance=False,
        rngs=rngs,
    )
