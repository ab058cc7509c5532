"""Hunyuan dense models of 0.5 to 7 billion parameters (2025).

By Tencent. Special:
  - as LLaMA: RMSNorm before each sublayer, rotary positions, grouped key heads,
    a gated MLP;
  - an RMSNorm over each query and key head, after their rotation;
  - rotary scaling "dynamic" with `alpha` stretches the base once for all texts.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)
INERT = {"eod_token_id": "it names a token"}
# What this family alone reads of rope_parameters.
ROTARY = ("alpha",)

# The mixtures of experts have the same attention.
Config = transformers.HunYuanDenseV1Config | transformers.HunYuanMoEV1Config


class Attention(nnx.Module):
    """Grouped-query attention; queries and keys turn, then are normalised."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        bias, width = config.attention_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = nnx.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = nnx.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = nnx.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = nnx.Linear(num_query, width, use_bias=bias, rngs=rngs)
        self.query_layernorm = rms_norm(config, self.head_dim, rngs)
        self.key_layernorm = rms_norm(config, self.head_dim, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = rotate(self.q_proj(x).reshape(B, T, -1, self.head_dim), positions)
        k = rotate(self.k_proj(x).reshape(B, T, -1, self.head_dim), positions)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            self.query_layernorm(q),
            self.key_layernorm(k),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.input_layernorm = rms_norm(config, width, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = rms_norm(config, width, rngs)
        self.mlp = self.make_mlp(config, rngs)

    def make_mlp(self, config: Config, rngs: nnx.Rngs) -> nnx.Module:
        """Returns what stands behind the attention."""
        return mlp(config, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm.

    Args:
      config: Hugging Face's config.
      block: What makes a layer of it.
    """

    def __init__(
        self,
        config: Config,
        block: type[Block] = Block,
        *,
        rngs: nnx.Rngs,
    ):
        self.rope_parameters = config.rope_parameters
        self.head_dim = head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm = rms_norm(config, config.hidden_size, rngs)

    def positions(self) -> Rotary:
        rope = dict(self.rope_parameters)
        alpha = rope.pop("alpha", None)
        if rope["rope_type"] == "dynamic" and alpha:
            if not isinstance(alpha, int | float) or alpha <= 0:
                raise ValueError(f"rope_parameters: alpha={alpha!r}")
            stretch = alpha ** (self.head_dim / (self.head_dim - 2))
            rope = dict(
                rope_type="default", rope_theta=rope["rope_theta"] * stretch
            )
        return rotary_positions(rope, self.head_dim, self.max_positions)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer(x, positions), None),
            self.embed_tokens(tokens),
            self.layers,
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Hunyuan with its head, from Hugging Face's `HunYuanDenseV1Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    block: type[Block] = Block

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = config
        self.model = Transformer(config, self.block, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = nnx.Linear(
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


def head_dim(config: Config) -> int:
    """Returns the number of features of a head."""
    return config.head_dim or config.hidden_size // config.num_attention_heads


def mlp(config: Config, rngs: nnx.Rngs) -> experts.GatedMLP:
    """Returns a gated MLP, which is an expert as well."""
    width, inner = config.hidden_size, config.intermediate_size
    return experts.GatedMLP(width, inner, config.hidden_act, rngs=rngs)


def rms_norm(config: Config, num_features: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """Returns an RMSNorm with the config's epsilon."""
    return nnx.RMSNorm(num_features, epsilon=config.rms_norm_eps, rngs=rngs)
