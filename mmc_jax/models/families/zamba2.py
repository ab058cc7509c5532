"""The Zamba2 Suite: Technical Report (2024).

By Glorioso et al., arXiv 2411.15242. Special:
  - a layer is Mamba-2 after an RMSNorm; every sixth or so is a hybrid one,
    which adds the output of a transformer block to Mamba-2's input;
  - the blocks are one or two for all hybrid layers, in turn; each layer has
    adapters of low rank of its own for them;
  - a block sees the embeddings beside the features, so that its attention is
    twice as wide as the model, and scores are divided by sqrt(H / 2); it has
    no residual of its own;
  - positions where `use_mem_rope` says so.

Longer than most families for its shared blocks; one file, as all families.

B batch, T position, N query heads, K key heads, H head features, D width, F
MLP width, V vocabulary, L layers, R rank of an adapter.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import hybrids, layers, sharding, state_spaces
from mmc_jax.models.families import mamba
from mmc_jax.models.rotary import Rotary, rotary_positions, rotate

PREFIX = "model."
# Adapters of layers that do not use the block; transformers has none there.
IGNORED = (r"\.shared_transformer\.\w+\.\w+_adapter_list\.\d+\.[01]\.weight$",)
INERT = {
    "chunk_size": "it is the block of the scan, not what it computes",
    "kv_channels": "transformers never reads it",
    "num_logits_to_keep": "it says what a call returns, not its logits",
    "num_query_groups": "transformers never reads it",
    "use_conv_bias": "transformers gives every convolution a bias",
    "use_mamba_kernels": "it chooses between ways to compute the same",
    "use_mem_eff_path": "it chooses between ways to compute the same",
}
_ADAPTERS = ("linear_q", "linear_k", "linear_v", "gate_up_proj")
SHARDING = (
    *state_spaces.SHARDING,
    *sharding.columns(
        *("q_proj", "k_proj", "v_proj", "gate_up_proj"),
        r"\w+_adapter_list\.1",
    ),
    *sharding.rows(
        "o_proj", "down_proj", r"\w+_adapter_list\.0", r"hybrid_\d+\.linear"
    ),
    *sharding.tables("embed_tokens"),
)
# That of the norm in Mamba-2, a literal in transformers.
_EPSILON = 1e-5

Config = transformers.Zamba2Config


def stacks(config: Config) -> dict[str, layers.Stack]:
    """Returns the layers of each kind, the shared blocks and their adapters."""
    found = hybrids.stacks(
        "model", config.layers_block_type, {"linear_attention": "mamba"}
    )
    hybrid = hybrids.numbers(config.layers_block_type, "hybrid")
    for block in range(_num_blocks(config)):
        every = slice(block, None, config.num_mem_blocks)
        shared = f"model.shared_{block}"
        found[f"model.hybrid_{block}"] = layers.Stack("layers", hybrid[every])
        # The files have a shared block where it is used first.
        found[shared] = layers.Stack("layers", [hybrid[block]])
        for name in _ADAPTERS:
            module = "feed_forward" if name == "gate_up_proj" else "self_attn"
            path = f"{shared}.shared_transformer.{module}.{name}_adapter_list"
            found[path] = layers.Stack(
                f"{name}_adapter_list", range(len(hybrid))[every]
            )
    return found


class Mamba(state_spaces.Mamba2Mixer):
    """Mamba-2's layer by the names of `Zamba2Config`."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        sizes = state_spaces.Sizes(
            config.hidden_size,
            config.n_mamba_heads,
            config.mamba_headdim,
            config.mamba_ngroups,
            config.mamba_d_state,
            config.mamba_d_conv,
        )
        super().__init__(
            sizes,
            state_spaces.GatedRMSNorm(
                sizes.inner, config.mamba_ngroups, _EPSILON
            ),
            hidden_act="silu",
            step_limits=(config.time_step_min, float("inf")),
            conv_bias=True,
            in_bias=config.add_bias_linear,
            out_bias=config.add_bias_linear,
            step_bias=mamba.step_bias(config),
            rngs=rngs,
        )


class MambaLayer(nnx.Module):
    """Mamba-2 after an RMSNorm, added to its input."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(config, config.hidden_size, rngs)
        self.mamba = Mamba(config, rngs=rngs)

    def __call__(
        self, x: jax.Array, of_block: jax.Array | float = 0.0
    ) -> jax.Array:
        return x + self.mamba(self.input_layernorm(x + of_block))


class HybridLayer(nnx.Module):
    """What a hybrid layer has of its own: a projection and Mamba-2."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.linear = layers.Linear(width, width, use_bias=False, rngs=rngs)
        self.mamba_decoder = MambaLayer(config, rngs=rngs)


class Adapter(nnx.Module):
    """Two linear layers of low rank, which the files number."""

    def __init__(self, config: Config, inputs: int, outputs: int, *, rngs):
        rank = config.adapter_rank
        for name, shape in (("0", (inputs, rank)), ("1", (rank, outputs))):
            setattr(
                self, name, layers.Linear(*shape, use_bias=False, rngs=rngs)
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        return getattr(self, "1")(getattr(self, "0")(x))


Adapters = dict[str, Adapter]


def _with_adapter(
    layer: nnx.Linear, adapters: Adapters, name: str, x: jax.Array
) -> jax.Array:
    """Returns a shared layer's output and, if there is one, its adapter's."""
    return layer(x) + adapters[name](x) if name in adapters else layer(x)


class Attention(nnx.Module):
    """Grouped-query attention over features beside embeddings."""

    def __init__(self, config: Config, num_adapters: int, *, rngs: nnx.Rngs):
        width = config.attention_hidden_size
        self.head_dim = config.attention_head_dim
        num_query = config.num_attention_heads * self.head_dim
        num_key = config.num_key_value_heads * self.head_dim
        self.q_proj = layers.Linear(width, num_query, use_bias=False, rngs=rngs)
        self.k_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.v_proj = layers.Linear(width, num_key, use_bias=False, rngs=rngs)
        self.o_proj = layers.Linear(
            num_query, config.hidden_size, use_bias=False, rngs=rngs
        )
        if config.use_shared_attention_adapter:
            for name in _ADAPTERS[:3]:
                adapters = layers.stack(
                    lambda rngs: Adapter(config, width, width, rngs=rngs),
                    num_adapters,
                    rngs,
                )
                setattr(self, f"{name}_adapter_list", adapters)

    def __call__(
        self, x: jax.Array, adapters: Adapters, positions: Rotary | None
    ) -> jax.Array:
        B, T, _ = x.shape
        q, k, v = (
            _with_adapter(layer, adapters, name, x).reshape(
                B, T, -1, self.head_dim
            )
            for layer, name in (
                (self.q_proj, "linear_q"),
                (self.k_proj, "linear_k"),
                (self.v_proj, "linear_v"),
            )
        )
        if positions is not None:
            q, k = rotate(q, positions), rotate(k, positions)
        x = layers.causal_attention(q, k, v, scale=(self.head_dim / 2) ** -0.5)
        return self.o_proj(x.reshape(B, T, -1))


class MLP(nnx.Module):
    """A gated linear unit, gate and input in one tensor, and a projection."""

    def __init__(self, config: Config, num_adapters: int, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.intermediate_size
        bias = config.add_bias_linear
        self.gate_up_proj = layers.Linear(
            width, 2 * inner, use_bias=bias, rngs=rngs
        )
        self.down_proj = layers.Linear(inner, width, use_bias=bias, rngs=rngs)
        self.gate_up_proj_adapter_list = layers.stack(
            lambda rngs: Adapter(config, width, 2 * inner, rngs=rngs),
            num_adapters,
            rngs,
        )
        self.act = layers.activation(config.hidden_act)

    def __call__(self, x: jax.Array, adapters: Adapters) -> jax.Array:
        x = _with_adapter(self.gate_up_proj, adapters, "gate_up_proj", x)
        gate, x = jnp.split(x, 2, axis=-1)
        return self.down_proj(self.act(gate) * x)


class SharedTransformer(nnx.Module):
    """Attention, then MLP, each after an RMSNorm; nothing is added."""

    def __init__(self, config: Config, num_adapters: int, *, rngs: nnx.Rngs):
        self.input_layernorm = _rms_norm(
            config, config.attention_hidden_size, rngs
        )
        self.self_attn = Attention(config, num_adapters, rngs=rngs)
        self.pre_ff_layernorm = _rms_norm(config, config.hidden_size, rngs)
        self.feed_forward = MLP(config, num_adapters, rngs=rngs)

    def adapters(self) -> dict[str, nnx.Module]:
        """Returns the stacks of adapters that there are, by their names."""
        return {
            name: getattr(module, f"{name}_adapter_list")
            for name in _ADAPTERS
            for module in (self.self_attn, self.feed_forward)
            if hasattr(module, f"{name}_adapter_list")
        }

    def __call__(
        self,
        x: jax.Array,
        embedded: jax.Array,
        adapters: Adapters,
        positions: Rotary | None,
    ) -> jax.Array:
        x = self.input_layernorm(jnp.concatenate([x, embedded], axis=-1))
        x = self.self_attn(x, adapters, positions)
        return self.feed_forward(self.pre_ff_layernorm(x), adapters)


class Shared(nnx.Module):
    """A shared block, by its name in a layer."""

    def __init__(self, config: Config, num_adapters: int, *, rngs: nnx.Rngs):
        self.shared_transformer = SharedTransformer(
            config, num_adapters, rngs=rngs
        )


class Transformer(nnx.Module):
    """Embedding, layers, shared blocks and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.layer_types = tuple(config.layers_block_type)
        self.num_blocks = _num_blocks(config)
        rope = (
            config.rope_parameters
        )  # Without use_mem_rope it changes nothing.
        self.rope_parameters = rope if config.use_mem_rope else None
        self.head_dim = config.attention_head_dim
        self.max_positions = config.max_position_embeddings
        self.positions()  # Refuses what is not ported before any weight.
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.mamba = hybrids.blocks(
            self.layer_types,
            "linear_attention",
            lambda rngs: MambaLayer(config, rngs=rngs),
            rngs,
        )
        num_hybrid = self.layer_types.count("hybrid")
        for block in range(self.num_blocks):
            number = len(range(block, num_hybrid, self.num_blocks))
            own = layers.stack(
                lambda rngs: HybridLayer(config, rngs=rngs), number, rngs
            )
            shared = layers.stack(_shared(config, number), 1, rngs)
            setattr(self, f"hybrid_{block}", own)
            setattr(self, f"shared_{block}", shared)
        self.final_layernorm = _rms_norm(config, config.hidden_size, rngs)

    def positions(self) -> Rotary | None:
        if self.rope_parameters is None:
            return None
        return rotary_positions(
            self.rope_parameters, self.head_dim, self.max_positions
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        positions, embedded = self.positions(), self.embed_tokens(tokens)

        def kind(block: int) -> hybrids.Kind:
            shared = jax.tree.map(
                lambda p: p[0], getattr(self, f"shared_{block}")
            ).shared_transformer

            def apply(own_and_adapters, x):
                own, adapters = own_and_adapters
                y = own.linear(shared(x, embedded, adapters, positions))
                return own.mamba_decoder(x, y)

            own = getattr(self, f"hybrid_{block}")
            return hybrids.Kind((own, shared.adapters()), apply)

        kinds = {f"hybrid_{i}": kind(i) for i in range(self.num_blocks)}
        kinds["linear_attention"] = hybrids.Kind(
            self.mamba, lambda layer, x: layer(x)
        )
        x = hybrids.run(embedded, self._kinds_of_layers(), kinds)
        return self.final_layernorm(x)

    def _kinds_of_layers(self) -> list[str]:
        """Returns the kind of each layer, of a hybrid one with its block."""
        kinds, num_hybrid = [], 0
        for kind in self.layer_types:
            if kind == "hybrid":
                kind = f"hybrid_{num_hybrid % self.num_blocks}"
                num_hybrid += 1
            kinds.append(kind)
        return kinds


class CausalLM(layers.LanguageModel):
    """Zamba2 with its head, from Hugging Face's `Zamba2Config`.

    Raises:
      ValueError: A layer is of another type, or none is a hybrid one; sizes
        that the config repeats contradict one another; the head is not tied; an
        activation or a kind of rotary scaling is not ported.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        _check(config)
        self.config = config
        self.model = Transformer(config, rngs=rngs)

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.model(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output: [..., D] -> [..., V]."""
        return self.model.embed_tokens.attend(hidden)


def _shared(config: Config, num_adapters: int):
    return lambda rngs: Shared(config, num_adapters, rngs=rngs)


def _num_blocks(config: Config) -> int:
    """Returns the number of shared blocks that a layer uses."""
    return min(config.num_mem_blocks, config.layers_block_type.count("hybrid"))


def _check(config: Config) -> None:
    kinds = config.layers_block_type
    if set(kinds) - {"linear_attention", "hybrid"} or "hybrid" not in kinds:
        raise ValueError(
            f"layers_block_type {sorted(set(kinds))} is not ported: hybrid, "
            "alone or with linear_attention, is"
        )
    width, heads = 2 * config.hidden_size, config.num_attention_heads
    inner = int(config.mamba_expand * config.hidden_size)
    query = heads * config.attention_head_dim
    key = config.num_key_value_heads * config.attention_head_dim
    hybrid = hybrids.numbers(kinds, "hybrid")
    heads_of_mamba = config.mamba_headdim * config.n_mamba_heads
    for name, value, expected in (
        ("num_hidden_layers", config.num_hidden_layers, len(kinds)),
        ("hybrid_layer_ids", list(config.hybrid_layer_ids), hybrid),
        ("attention_hidden_size", config.attention_hidden_size, width),
        ("mamba_headdim", heads_of_mamba, inner),
    ):
        if value != expected:
            raise ValueError(
                f"{name}: {value}, but other attributes need {expected}"
            )
    if config.use_shared_attention_adapter and {query, key} != {width}:
        raise ValueError(
            "use_shared_attention_adapter=True with heads that are not twice "
            "as wide as hidden_size together is not ported"
        )
    if not config.tie_word_embeddings:
        # transformers then ties nothing, the shared blocks included.
        raise ValueError("tie_word_embeddings=False is not ported")
    if config.num_mem_blocks < 1:
        raise ValueError(f"num_mem_blocks={config.num_mem_blocks}; at least 1")
    state_spaces.check_groups(
        config.n_mamba_heads,
        config.mamba_ngroups,
        "n_mamba_heads mamba_ngroups",
    )


def _rms_norm(config: Config, width: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(width, epsilon=config.rms_norm_eps, rngs=rngs)
