"""LLaMA: Open and Efficient Foundation Language Models (2023).

By Touvron et al., arXiv 2302.13971; with its successors to LLaMA 3.2, its many
relatives of `model_type` llama, and Mistral 7B (Jiang et al., arXiv
2310.06825). Special:
  - RMSNorm before each sublayer and at the end; rotary positions;
  - grouped key heads; a gated MLP;
  - Mistral: a window, in which a query sees its own and the keys before it.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers.
"""

from collections.abc import Callable

import jax
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = (r"\.rotary_emb\.inv_freq$",)

Config = transformers.LlamaConfig | transformers.MistralConfig


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions and perhaps a window."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.head_dim = head_dim(config)
        self.window = getattr(config, "sliding_window", None)
        bias = getattr(config, "attention_bias", False)
        width = config.hidden_size
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
    """A gated linear unit and a projection back."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = getattr(config, "mlp_bias", False)
        self.gate_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.up_proj = layers.Linear(width, inner, use_bias=bias, rngs=rngs)
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Attention, then MLP, each after an RMSNorm and added to its input.

    Args:
      config: Hugging Face's config of LLaMA or of a kin.
      attention: What makes the attention, from the config and `rngs`.
      mlp: What makes the MLP, from the config and `rngs`.
    """

    def __init__(
        self,
        config: Config,
        *,
        attention: Callable[..., nnx.Module] = Attention,
        mlp: Callable[..., nnx.Module] = MLP,
        rngs: nnx.Rngs,
    ):
        self.input_layernorm = _rms_norm(config, rngs)
        self.self_attn = attention(config, rngs=rngs)
        self.post_attention_layernorm = _rms_norm(config, rngs)
        self.mlp = mlp(config, rngs=rngs)

    def __call__(
        self, x: jax.Array, positions: Rotary, *of_layer: jax.Array
    ) -> jax.Array:
        y = self.self_attn(self.input_layernorm(x), positions, *of_layer)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm.

    Args:
      config: Hugging Face's config of LLaMA or of a kin.
      block: What makes a layer, from the config and `rngs`.
    """

    def __init__(
        self,
        config: Config,
        *,
        block: Callable[..., nnx.Module] = Block,
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
        self.norm = _rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def of_layers(self) -> tuple[jax.Array, ...]:
        """Returns what differs from layer to layer, one row a layer."""
        return ()

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, positions, *layer[1:]), None),
            self.embed_tokens(tokens),
            (self.layers, *self.of_layers()),
        )
        return self.norm(x)


class CausalLM(layers.Headed):
    """LLaMA or Mistral with its head, from Hugging Face's config.

    Raises:
      ValueError: An activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config, Transformer(config, rngs=rngs), rngs=rngs)


def head_dim(config: Config) -> int:
    """Returns the features of a head, which a config may leave out."""
    stated = getattr(config, "head_dim", None)
    return stated or config.hidden_size // config.num_attention_heads


def _rms_norm(config: Config, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(
        config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
    )
