"""ERNIE 4.5 Technical Report (2025): the mixtures of experts.

By the ERNIE team of Baidu. Special:
  - as ERNIE 4.5: RMSNorm before each sublayer, interleaved rotary positions,
    grouped key heads;
  - the first layers have an MLP, the others experts: those that all tokens
    share, as one MLP, and the best by the router's softmax plus a bias. The
    weights are the softmax alone over the sum of the chosen ones;
  - the head has a bias where the projections have.

B batch, T position, D width, V vocabulary, L layers, E experts.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import experts, layers, sharding
from mmc_jax.models.families import ernie4_5
from mmc_jax.models.families.phi import Bias
from mmc_jax.models.rotary import Rotary, rotary_positions

PREFIX = "model."
# Heads that predict several tokens at once, which transformers leaves aside.
IGNORED = (r"(^|\.)mtp_",)
SHARDING = sharding.RULES + sharding.replicated("gate", "moe_statics")
UNDECLARED = ("head_dim",)
INERT = {"intermediate_size": "only layers without experts have it"}

Config = transformers.Ernie4_5_MoeConfig


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts."""
    dense = config.moe_layer_start_index
    mixed = range(dense, config.num_hidden_layers)
    return {
        "model.dense_layers": layers.Stack("layers", range(dense)),
        "model.layers": layers.Stack("layers", mixed),
        "model.layers.mlp.experts": layers.Stack(
            "experts", range(config.moe_num_experts)
        ),
    }


class Statics(nnx.Module):
    """What the training kept of each expert: the bias of its rank, [1, E]."""

    def __init__(self, num_experts: int):
        self.e_score_correction_bias = nnx.Param(jnp.zeros((1, num_experts)))


class Mixture(nnx.Module):
    """The router and its experts, and those that all tokens share, as one."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, num_experts = config.hidden_size, config.moe_num_experts
        self.top_k, self.least = config.moe_k, config.moe_norm_min
        self.gate = layers.Linear(width, num_experts, use_bias=False, rngs=rngs)
        self.moe_statics = Statics(num_experts)
        act, inner = config.hidden_act, config.moe_intermediate_size
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        num_shared = config.moe_num_shared_experts
        self.has_shared = num_shared > 0
        if self.has_shared:
            self.shared_experts = ernie4_5.mlp(config, num_shared * inner, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        # Here the router's logits too are in float32.
        kernel = self.gate.kernel[...].astype(jnp.float32)
        scores = jax.nn.softmax(x.astype(jnp.float32) @ kernel, axis=-1)
        bias = self.moe_statics.e_score_correction_bias[...]
        _, chosen = jax.lax.top_k(
            scores + bias[0].astype(jnp.float32), self.top_k
        )
        weights = jnp.take_along_axis(scores, chosen, axis=-1)
        total = weights.sum(axis=-1, keepdims=True)
        weights = weights / jnp.maximum(total, self.least)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        return mixed + self.shared_experts(x) if self.has_shared else mixed


class Block(nnx.Module):
    """Attention, then MLP or experts, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, dense: bool, rngs: nnx.Rngs):
        self.input_layernorm = ernie4_5.rms_norm(config, rngs)
        self.self_attn = ernie4_5.Attention(config, rngs=rngs)
        self.post_attention_layernorm = ernie4_5.rms_norm(config, rngs)
        if dense:
            self.mlp = ernie4_5.mlp(config, config.intermediate_size, rngs)
        else:
            self.mlp = Mixture(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: Rotary) -> jax.Array:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nnx.Module):
    """Embedding, layers of both kinds and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.rope_parameters = config.rope_parameters
        self.head_dim = ernie4_5.head_dim(config)
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.num_dense = config.moe_layer_start_index
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        if self.num_dense:
            self.dense_layers = layers.stack(
                lambda rngs: Block(config, dense=True, rngs=rngs),
                self.num_dense,
                rngs,
            )
        self.layers = layers.stack(
            lambda rngs: Block(config, dense=False, rngs=rngs),
            config.num_hidden_layers - self.num_dense,
            rngs,
        )
        self.norm = ernie4_5.rms_norm(config, rngs)

    def positions(self) -> Rotary:
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions = self.positions()
        x = self.embed_tokens(tokens)

        def step(x: jax.Array, layer: Block) -> tuple[jax.Array, None]:
            return layer(x, positions), None

        if self.num_dense:
            x, _ = jax.lax.scan(step, x, self.dense_layers)
        x, _ = jax.lax.scan(step, x, self.layers)
        return self.norm(x)


class CausalLM(layers.LanguageModel):
    """ERNIE 4.5 MoE with its head, from Hugging Face's `Ernie4_5_MoeConfig`.

    Raises:
      ValueError: Layers without experts stand behind those with them (of no
        released model), or none has experts; an activation or a kind of rotary
        scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        last = config.num_hidden_layers - 1
        for name, ported in (
            ("moe_layer_interval", (1,)),
            ("moe_layer_end_index", (last,)),
            ("moe_layer_start_index", range(last + 1)),
        ):
            if (value := getattr(config, name)) not in ported:
                raise ValueError(
                    f"{name}={value} of {last + 1} layers is not ported"
                )
        self.config = config
        self.model = Transformer(config, rngs=rngs)
        if not config.tie_word_embeddings:
            self.lm_head = layers.Linear(
                config.hidden_size,
                config.vocab_size,
                use_bias=config.use_bias,
                rngs=rngs,
            )
        elif config.use_bias:
            self.lm_head = Bias(config.vocab_size)

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        if not self.config.tie_word_embeddings:
            return self.lm_head(hidden)
        logits = self.model.embed_tokens.attend(hidden)
        if self.config.use_bias:
            logits = logits + self.lm_head.bias[...]
        return logits
