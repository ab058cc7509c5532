"""Olmo 3 (2025).

By Olmo et al., arXiv 2512.13961. Special:
  - the layers of OLMo 2: norms on the output of each sublayer, and on all
    queries and all keys together;
  - three layers with a window, then one without;
  - rotary positions of their own for the two types of layer: those without a
    window were stretched by YaRN.

B batch, T position, D width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers
from mmc_jax.models.families.olmo2 import Block, rms_norm
from mmc_jax.models.rotary import Rotary, rotary_by_layer

PREFIX = "model."
LAYERS = "model.layers"
IGNORED = ()


class Transformer(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: transformers.Olmo3Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.layer_types = tuple(config.layer_types)
        self.windows = layers.windows(config.layer_types, config.sliding_window)
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.layers = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.norm = rms_norm(config, config.hidden_size, rngs)

    def positions(self) -> Rotary:
        return rotary_by_layer(
            self.rope_parameters,
            self.layer_types,
            self.head_dim,
            self.max_positions,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, layer: (layer[0](x, *layer[1:]), None),
            self.embed_tokens(tokens),
            (self.layers, self.positions(), jnp.array(self.windows)),
        )
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Olmo 3 with its head, from Hugging Face's `Olmo3Config`.

    Raises:
      ValueError: A type of layer, an activation or a kind of rotary scaling is
        not ported.
    """

    def __init__(self, config: transformers.Olmo3Config, *, rngs: nnx.Rngs):
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
