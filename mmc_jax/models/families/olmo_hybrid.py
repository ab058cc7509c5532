"""Olmo Hybrid (2026).

By the OLMo team. Special:
  - three layers with a gated delta rule (linear attention, after Yang et al.,
    arXiv 2412.06464), then one with attention: beside Olmo 3 the contrast is
    nearly controlled;
  - layers with a delta rule: an RMSNorm before each sublayer; rates up to 2, by
    which a state may also reflect (`linear_allow_neg_eigval`); a gate under an
    RMSNorm with an epsilon of its own, 1e-5;
  - layers with attention are those of OLMo 2, norms on the output of each
    sublayer; released models turn nothing, for their `rope_theta` is null;
  - files have a convolution each for queries, keys and values.

B batch, T position, D width, F MLP width, V vocabulary, L layers.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import (
    convolutions,
    delta_rule,
    hybrids,
    layers,
    sharding,
)
from mmc_jax.models.families import olmo2, qwen3_next
from mmc_jax.models.rotary import Rotary, rotary_positions

PREFIX = "model."
IGNORED = (r"\.rotary_emb\.inv_freq$",)
SHARDING = (
    *sharding.RULES,
    *sharding.columns("a_proj", "b_proj", "g_proj"),
    *sharding.features(r"conv1d\.weight", rank=3),
    *sharding.features("A_log", "dt_bias"),
)
INERT = {
    name: "it sets values that the checkpoint's weights replace"
    for name in (
        *("linear_a_log_max", "linear_a_log_min"),
        *("linear_dt_init_floor", "linear_dt_max", "linear_dt_min"),
    )
}
# transformers writes the second name in layers of both kinds, and cuts the
# convolution into three at other places than its parts have.
OTHER_NAMES = (
    (r"\.attention_layer_norm\.", ".input_layernorm."),
    (r"\.feedforward_layer_norm\.", ".post_attention_layernorm."),
)
JOINED = {
    "conv1d.weight": (
        "q_conv1d.weight",
        "k_conv1d.weight",
        "v_conv1d.weight",
    ),
}

_EPSILON = 1e-5

Config = transformers.OlmoHybridConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of both kinds."""
    return hybrids.stacks("model", config.layer_types, qwen3_next.STACKS)


class DeltaNet(nnx.Module):
    """Linear attention by the gated delta rule.

    Source: Yang, Kautz and Hatamizadeh, arXiv 2412.06464, figure 1; rates up to
    2 are those of Grazzi et al., arXiv 2411.12537.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.heads = heads = qwen3_next.delta_heads(config)

        def linear(num_features: int) -> nnx.Linear:
            return layers.Linear(
                config.hidden_size, num_features, use_bias=False, rngs=rngs
            )

        self.q_proj, self.k_proj = linear(heads.keys), linear(heads.keys)
        self.v_proj, self.g_proj = linear(heads.values), linear(heads.values)
        self.a_proj = linear(heads.num_values)
        self.b_proj = linear(heads.num_values)
        self.conv1d = convolutions.CausalConv1D(
            2 * heads.keys + heads.values,
            config.linear_conv_kernel_dim,
            bias=False,
            rngs=rngs,
        )
        rates = jnp.linspace(0.5, 16, heads.num_values)
        self.A_log = nnx.Param(jnp.log(rates))
        self.dt_bias = nnx.Param(jnp.full(heads.num_values, -4.0))
        self.o_norm = delta_rule.GatedRMSNorm(heads.value_dim, epsilon=_EPSILON)
        self.o_proj = layers.Linear(
            heads.values, config.hidden_size, use_bias=False, rngs=rngs
        )
        self.act = layers.activation(config.hidden_act)
        self.most_rate = 2.0 if config.linear_allow_neg_eigval else 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""
        qkv = jnp.concatenate(
            [self.q_proj(x), self.k_proj(x), self.v_proj(x)], axis=-1
        )
        y = delta_rule.linear_attention(
            self.act(self.conv1d(qkv)),
            self.most_rate * jax.nn.sigmoid(self.b_proj(x)),
            self.a_proj(x),
            self.A_log[...],
            self.dt_bias[...],
            self.heads,
        )
        gate = self.g_proj(x)
        y = self.o_norm(y, gate.reshape(y.shape))
        return self.o_proj(y.reshape(gate.shape))


class LinearBlock(nnx.Module):
    """A delta rule, then MLP, each after an RMSNorm and added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.input_layernorm = olmo2.rms_norm(config, width, rngs)
        self.linear_attn = DeltaNet(config, rngs=rngs)
        self.post_attention_layernorm = olmo2.rms_norm(config, width, rngs)
        self.mlp = olmo2.MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.linear_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers of two kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.layer_types = tuple(config.layer_types)
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.linear = layers.stack(
            lambda rngs: LinearBlock(config, rngs=rngs),
            self.layer_types.count("linear_attention"),
            rngs,
        )
        self.full = layers.stack(
            lambda rngs: olmo2.Block(config, rngs=rngs),
            self.layer_types.count("full_attention"),
            rngs,
        )
        self.norm = olmo2.rms_norm(config, config.hidden_size, rngs)

    def positions(self) -> Rotary:
        parameters = self.rope_parameters or {}
        if parameters.get("rope_theta") is None:
            return Rotary(jnp.zeros(0))  # Of no features: nothing turns.
        return rotary_positions(parameters, self.head_dim, self.max_positions)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        kinds = {
            "linear_attention": hybrids.Kind(
                self.linear, lambda block, x: block(x)
            ),
            "full_attention": hybrids.Kind(
                self.full, lambda block, x: block(x, positions)
            ),
        }
        x = hybrids.run(self.embed_tokens(tokens), self.layer_types, kinds)
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """Olmo Hybrid with its head, from Hugging Face's `OlmoHybridConfig`.

    Raises:
      ValueError: The layers are not of both kinds, linear and full attention;
        key heads do not divide value heads; an activation or a kind of rotary
        scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        qwen3_next.check_layers(config)
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
