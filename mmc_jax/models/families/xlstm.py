"""xLSTM 7B: A Recurrent LLM for Fast and Efficient Inference (2025).

By Beck et al., arXiv 2503.13427; the memory is that of xLSTM (Beck et al.,
arXiv 2405.04517). Special:
  - no attention and no positions: each head has a matrix as memory, which
    decays by one gate and takes in keys and values by another, exponential one;
  - both gates and the logits are capped by a tanh;
  - what a head reads goes through a LayerNorm of its own without a mean's bias,
    and under the sigmoid of a gate;
  - a gated MLP; an RMSNorm before each sublayer and at the end.

B batch, T position, N heads, H head features of values, D width, V vocabulary.
"""

import jax
import jax.numpy as jnp
import transformers
from flax import nnx

from mmc_jax.models import layers, matrix_memory, sharding

PREFIX = "backbone."
LAYERS = "backbone.blocks"
IGNORED = ()
SHARDING = (
    *sharding.columns(
        *("q", "k", "v", "ogate_preact", "proj_up", "proj_up_gate", "lm_head")
    ),
    *sharding.rows("out_proj", "proj_down"),
    *sharding.tables("embeddings"),
    *sharding.replicated("igate_preact", "fgate_preact"),
    *sharding.NORMS,
)
# Names of programs that compute the same numbers. Published files have those
# of a package that transformers need not have, and then does not know.
KERNELS = ("chunkwise_kernel", "sequence_kernel", "step_kernel")
INERT = {
    "add_out_norm": "transformers always has that norm",
    "autocast_kernel_dtype": "transformers' own kernels do not read it",
    "chunk_size": "it is the block of the scan, not what it computes",
    "chunkwise_kernel": "it chooses between ways to compute the same",
    "head_dim": "files have it, and transformers never reads it",
    "max_inference_chunksize": "it is a part of a text, not what it computes",
    "mode": "it chooses between ways to compute the same",
    "norm_reduction_force_float32": "norms are computed in float32 here",
    "return_last_states": "it says what a call returns, not its logits",
    "sequence_kernel": "it chooses between ways to compute the same",
    "step_kernel": "it chooses between ways to compute the same",
}

Config = transformers.xLSTMConfig


class MatrixMemory(nnx.Module):
    """Heads with a matrix as memory, a norm, a gate and a projection back."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, self.num_heads = config.hidden_size, config.num_heads
        keys, values = _sizes(config)

        def linear(num_in: int, num_out: int) -> nnx.Linear:
            bias = config.use_bias
            return layers.Linear(num_in, num_out, use_bias=bias, rngs=rngs)

        self.q, self.k = linear(width, keys), linear(width, keys)
        self.v = linear(width, values)
        self.ogate_preact = linear(width, values)
        self.igate_preact = layers.Linear(width, self.num_heads, rngs=rngs)
        self.fgate_preact = layers.Linear(width, self.num_heads, rngs=rngs)
        self.multihead_norm = MultiHeadNorm(config)
        self.out_proj = linear(values, width)
        self.cap, self.epsilon = config.gate_soft_cap, config.eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the layer's output: [B, T, D] -> [B, T, D]."""
        q, k, v = (
            projection(x)
            .astype(jnp.float32)
            .reshape(*x.shape[:2], self.num_heads, -1)
            for projection in (self.q, self.k, self.v)
        )
        gates = (
            _soft_cap(gate(x).astype(jnp.float32), self.cap)
            for gate in (self.igate_preact, self.fgate_preact)
        )
        taken, kept = gates
        y = matrix_memory.mlstm(
            q * q.shape[-1] ** -0.5,
            k,
            v,
            taken,
            jax.nn.log_sigmoid(kept),
            epsilon=self.epsilon,
        )
        y = self.multihead_norm(y, x.dtype)
        return self.out_proj(jax.nn.sigmoid(self.ogate_preact(x)) * y)


class MultiHeadNorm(nnx.Module):
    """The LayerNorm of each head's features."""

    def __init__(self, config: Config):
        _, num_features = _sizes(config)
        self.epsilon = config.norm_eps
        self.weight = nnx.Param(jnp.ones(num_features))
        self.has_bias = config.use_bias
        if self.has_bias:
            self.bias = nnx.Param(jnp.zeros(num_features))

    def __call__(self, x: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
        """Returns heads, float32, side by side: [B, T, N, H] -> [B, T, N H]."""
        x = x - x.mean(axis=-1, keepdims=True)
        square = jnp.mean(x * x, axis=-1, keepdims=True)
        x = (x * jax.lax.rsqrt(square + self.epsilon)).astype(dtype)
        x = x.reshape(*x.shape[:2], -1) * self.weight[...]
        return x + self.bias[...] if self.has_bias else x


class RMSNorm(nnx.Module):
    """An RMSNorm that may have a bias."""

    def __init__(self, config: Config, *, bias: bool):
        self.weight = nnx.Param(jnp.ones(config.hidden_size))
        self.epsilon, self.has_bias = config.norm_eps, bias
        if bias:
            self.bias = nnx.Param(jnp.zeros(config.hidden_size))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, normalised, in its own dtype: [B, T, D]."""
        y = x.astype(jnp.float32)
        square = jnp.mean(y * y, axis=-1, keepdims=True)
        y = (y * jax.lax.rsqrt(square + self.epsilon)).astype(x.dtype)
        y = y * self.weight[...]
        return y + self.bias[...] if self.has_bias else y


class MLP(nnx.Module):
    """A gated linear unit and a projection back."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        width, multiple = config.hidden_size, config.ffn_round_up_to_multiple_of
        # Rounded up as transformers does it, in floating point.
        inner = width * config.ffn_proj_factor
        inner = int((inner + multiple - 1) // multiple * multiple)

        def linear(num_in: int, num_out: int) -> nnx.Linear:
            bias = config.use_bias
            return layers.Linear(num_in, num_out, use_bias=bias, rngs=rngs)

        self.proj_up_gate = linear(width, inner)
        self.proj_up = linear(width, inner)
        self.proj_down = linear(inner, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate = jax.nn.silu(self.proj_up_gate(x))
        return self.proj_down(gate * self.proj_up(x))


class Block(nnx.Module):
    """A matrix memory, then MLP, each after an RMSNorm and added."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.norm_mlstm = RMSNorm(config, bias=config.use_bias)
        self.mlstm_layer = MatrixMemory(config, rngs=rngs)
        self.norm_ffn = RMSNorm(config, bias=config.use_bias)
        self.ffn = MLP(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.mlstm_layer(self.norm_mlstm(x))
        return x + self.ffn(self.norm_ffn(x))


class Backbone(nnx.Module):
    """Embedding, layers and the last RMSNorm."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.embeddings = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        self.blocks = layers.stack(
            lambda rngs: Block(config, rngs=rngs),
            config.num_hidden_layers,
            rngs,
        )
        self.out_norm = RMSNorm(config, bias=False)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(
            lambda x, block: (block(x), None),
            self.embeddings(tokens),
            self.blocks,
        )
        return self.out_norm(x)


class CausalLM(layers.LanguageModel):
    """xLSTM with its head, from Hugging Face's `xLSTMConfig`.

    Raises:
      ValueError: Two names of one size differ; heads do not divide the features
        of keys or values; weights are fused; the head is tied.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        _check(config)
        self.config = config
        self.cap = config.output_logit_soft_cap
        self.backbone = Backbone(config, rngs=rngs)
        self.lm_head = layers.Linear(
            config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
        )

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        return self.backbone(tokens)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output, capped: [..., D] -> [..., V]."""
        return _soft_cap(self.lm_head(hidden), self.cap)


def _check(config: Config) -> None:
    for name, other in (
        ("embedding_dim", "hidden_size"),
        ("num_blocks", "num_hidden_layers"),
    ):
        if getattr(config, name) != getattr(config, other):
            raise ValueError(
                f"{name}={getattr(config, name)}, but {other}="
                f"{getattr(config, other)}: give both the same number"
            )
    for name, ported in (
        ("weight_mode", "single"),
        ("tie_word_embeddings", False),
    ):
        if (value := getattr(config, name)) != ported:
            raise ValueError(f"{name}={value!r} is not ported")
    keys, values = _sizes(config)
    if keys % config.num_heads or values % config.num_heads:
        raise ValueError(
            f"num_heads={config.num_heads} does not divide {keys} features of "
            f"keys (qk_dim_factor) or {values} of values (v_dim_factor)"
        )


def _sizes(config: Config) -> tuple[int, int]:
    """Returns the number of features of all keys, and of all values."""
    width = config.hidden_size
    keys = int(width * config.qk_dim_factor)
    return keys, int(width * config.v_dim_factor)


def _soft_cap(x: jax.Array, cap: float) -> jax.Array:
    return cap * jnp.tanh(x / cap)
