"""Stable LM 2 1.6B Technical Report (2024).

By Bellagente et al., arXiv 2402.17834; also StableLM-3B-4E1T and Stable LM 2
12B. Special:
  - LayerNorm before each sublayer and at the end; a gated MLP;
  - rotary positions on the first quarter of each head; grouped key heads;
  - perhaps biases of query, key and value;
  - perhaps a LayerNorm without bias over the features of each query and key
    head, every head with weights of its own (`qk_layernorm`);
  - perhaps attention and MLP side by side, after one LayerNorm
    (`use_parallel_residual`).
The three releases differ in the last three, whence the length of this file.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.inv_freq$",)


def stacks(config: transformers.StableLmConfig) -> dict[str, layers.Stack]:
    """Returns the stacks of layers and, inside, of the heads' LayerNorms."""
    attention = "model.layers.self_attn"
    query, key = config.num_attention_heads, config.num_key_value_heads
    return {
        "model.layers": layers.Stack("layers", range(config.num_hidden_layers)),
        f"{attention}.q_layernorm.norms": layers.Stack("norms", range(query)),
        f"{attention}.k_layernorm.norms": layers.Stack("norms", range(key)),
    }


class LayerNormPerHead(nnx.Module):
    """A LayerNorm of its own for each head: [B, T, N, H] -> the same."""

    def __init__(
        self,
        config: transformers.StableLmConfig,
        num_heads: int,
        head_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.norms = layers.stack(
            lambda rngs: nnx.LayerNorm(
                head_dim,
                epsilon=config.layer_norm_eps,
                use_bias=False,
                use_fast_variance=False,
                rngs=rngs,
            ),
            num_heads,
            rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(
            lambda norm, head: norm(head), in_axes=(0, 2), out_axes=2
        )(self.norms, x)


class Attention(nnx.Module):
    """Grouped-query attention with partly rotated heads."""

    def __init__(self, config: transformers.StableLmConfig, *, rngs: nnx.Rngs):
        width, N = config.hidden_size, config.num_attention_heads
        K, bias = config.num_key_value_heads, config.use_qkv_bias
        if width % N:
            raise ValueError(
                f"hidden_size {width} is no multiple of num_attention_heads {N}"
            )
        self.head_dim = H = width // N
        self.q_proj = layers.Linear(width, N * H, use_bias=bias, rngs=rngs)
        self.k_proj = layers.Linear(width, K * H, use_bias=bias, rngs=rngs)
        self.v_proj = layers.Linear(width, K * H, use_bias=bias, rngs=rngs)
        self.o_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.normalised = config.qk_layernorm
        if self.normalised:
            self.q_layernorm = LayerNormPerHead(config, N, H, rngs=rngs)
            self.k_layernorm = LayerNormPerHead(config, K, H, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, D = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        if self.normalised:
            q, k = self.q_layernorm(q), self.k_layernorm(k)
        q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.o_proj(x.reshape(B, T, D))


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: transformers.StableLmConfig, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=False, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=False, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention and MLP, both on the block's input or in sequence."""

    def __init__(self, config: transformers.StableLmConfig, *, rngs: nnx.Rngs):
        self.parallel = config.use_parallel_residual
        self.input_layernorm = _layer_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.mlp = MLP(config, rngs=rngs)
        if not self.parallel:
            self.post_attention_layernorm = _layer_norm(config, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        normed = self.input_layernorm(x)
        attended = x + self.self_attn(normed, positions)
        if not self.parallel:
            normed = self.post_attention_layernorm(attended)
        return attended + self.mlp(normed)


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.StableLmConfig, *, rngs: nnx.Rngs):
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
            self.rope_parameters,
            self.head_dim,
            self.max_positions,
            partial=True,
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
    """StableLM with its head, from Hugging Face's `StableLmConfig`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: transformers.StableLmConfig, *, rngs: nnx.Rngs):
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
    config: transformers.StableLmConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_eps,
        use_fast_variance=False,
        rngs=rngs,
    )
