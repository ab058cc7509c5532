"""MPT: MosaicML Pretrained Transformers (2023).

By the MosaicML NLP Team (no paper; the announcement is "Introducing MPT-7B").
Special:
  - ALiBi instead of positions;
  - LayerNorm with a weight only, before each sublayer and at the end; no
    biases at all;
  - one fused projection: all queries, all keys, all values; optionally clipped
    (`clip_qkv`);
  - tied head.

B batch, T position, N heads, H head features, D width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import alibi, layers, sharding

PREFIX = "transformer."
LAYERS = "transformer.blocks"
IGNORED = ()
SHARDING = (
    *sharding.columns("Wqkv", "up_proj", "lm_head"),
    *sharding.rows("out_proj", "down_proj"),
    *sharding.tables("wte"),
    *sharding.NORMS,
)
INERT = {
    "embedding_fraction": "it scales gradients only",
    "learned_pos_emb": "MPT in transformers has no table of positions",
}

# What this port reads of `attn_config`, and what it need not read.
_HANDLED = ("clip_qkv", "softmax_scale")
_INERT_ATTENTION = {
    "attn_impl": "it chooses between ways to compute the same numbers",
    "attn_pdrop": "only training uses it",
    "dtype": "it names a type",
    "transformers_version": "it names a version",
}


class Attention(nnx.Module):
    """Multi-head attention with linear biases."""

    def __init__(self, config: transformers.MptConfig, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                f"d_model {width} is no multiple of n_heads {self.num_heads}"
            )
        self.clip = config.attn_config.clip_qkv
        self.scale = config.attn_config.softmax_scale
        if self.scale is None:
            self.scale = (width // self.num_heads) ** -0.5
        self.Wqkv = layers.Linear(width, 3 * width, use_bias=False, rngs=rngs)
        self.out_proj = layers.Linear(width, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        B, T, D = x.shape
        qkv = self.Wqkv(x)
        if self.clip:  # As in transformers, zero clips nothing.
            qkv = jnp.clip(qkv, -self.clip, self.clip)
        qkv = qkv.reshape(B, T, 3, self.num_heads, -1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        x = alibi.causal_attention(q, k, v, scale=self.scale)
        return self.out_proj(x.reshape(B, T, D))


class MLP(nnx.Module):
    """Two linear layers with an exact gelu between them."""

    def __init__(self, config: transformers.MptConfig, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.up_proj = layers.Linear(
            width, 4 * width, use_bias=False, rngs=rngs
        )
        self.down_proj = layers.Linear(
            4 * width, width, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(jax.nn.gelu(self.up_proj(x), approximate=False))


class Block(nnx.Module):
    """Attention, then MLP, each after a LayerNorm and added to its input."""

    def __init__(self, config: transformers.MptConfig, *, rngs: nnx.Rngs):
        self.norm_1 = _layer_norm(config, rngs)
        self.attn = Attention(config, rngs=rngs)
        self.norm_2 = _layer_norm(config, rngs)
        self.ffn = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm_1(x))
        return x + self.ffn(self.norm_2(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last LayerNorm."""

    def __init__(self, config: transformers.MptConfig, *, rngs: nnx.Rngs):
        self.wte = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.blocks = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm_f = _layer_norm(config, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x), None), self.wte(tokens), self.blocks
        )
        return self.norm_f(x)


class CausalLM(layers.LanguageModel):
    """MPT with its head, from Hugging Face's `MptConfig`.

    Raises:
      ValueError: An attribute of `attn_config` is not ported.
    """

    def __init__(self, config: transformers.MptConfig, *, rngs: nnx.Rngs):
        _check_attention(config)
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


def _check_attention(config: transformers.MptConfig) -> None:
    """Refuses what is not at its default, unless it is handled."""
    found = config.attn_config.to_dict()
    problems = [
        f"{name}={found[name]!r}"
        for name, default in type(config.attn_config)().to_dict().items()
        if name not in _HANDLED
        and name not in _INERT_ATTENTION
        and found[name] != default
    ]
    if problems:
        raise ValueError(f"attn_config: {', '.join(problems)} is not ported")


def _layer_norm(
    config: transformers.MptConfig, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_epsilon,
        use_bias=False,
        use_fast_variance=False,
        rngs=rngs,
    )
