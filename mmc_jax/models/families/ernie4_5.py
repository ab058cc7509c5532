"""ERNIE 4.5 Technical Report (2025).

By the ERNIE team of Baidu: the dense model. Special:
  - as LLaMA: RMSNorm before each sublayer, grouped key heads, a gated MLP;
  - rotary positions that turn feature 2i together with 2i + 1;
  - all projections but the head have biases, or none has.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

import jax
import transformers
from flax import nnx

from mmc_jax.models import experts, layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate_interleaved

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

# The mixtures of experts have the same attention.
Config = transformers.Ernie4_5Config | transformers.Ernie4_5_MoeConfig


class Attention(nnx.Module):
    """Grouped-query attention with interleaved rotary positions."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        bias, width = config.use_bias, config.hidden_size
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = nnx.Linear(width, num_query, use_bias=bias, rngs=rngs)
        self.k_proj = nnx.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.v_proj = nnx.Linear(width, num_key, use_bias=bias, rngs=rngs)
        self.o_proj = nnx.Linear(num_query, width, use_bias=bias, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, -1, self.head_dim)
        k = self.k_proj(x).reshape(B, T, -1, self.head_dim)
        v = self.v_proj(x).reshape(B, T, -1, self.head_dim)
        x = layers.causal_attention(
            rotate_interleaved(q, positions),
            rotate_interleaved(k, positions),
            v,
            scale=self.head_dim**-0.5,
        )
        return self.o_proj(x.reshape(B, T, -1))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = rms_norm(config, rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = rms_norm(config, rngs)
        self.mlp = mlp(config, config.intermediate_size, rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = head_dim(config)
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
        self.norm = rms_norm(config, rngs)

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
    """ERNIE 4.5 with its head, from Hugging Face's `Ernie4_5Config`.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = config
        self.model = Transformer(config, rngs=rngs)
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
    # Of the experts' config only files have it.
    if isinstance(getattr(config, "head_dim", None), int):
        return config.head_dim
    return config.hidden_size // config.num_attention_heads


def mlp(config: Config, inner: int, rngs: nnx.Rngs) -> experts.GatedMLP:
    """Returns a gated MLP of so many inner features."""
    return experts.GatedMLP(
        config.hidden_size,
        inner,
        config.hidden_act,
        use_bias=config.use_bias,
        rngs=rngs,
    )


def rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """Returns an RMSNorm of the model's width."""
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
