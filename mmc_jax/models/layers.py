"""What the families share: activations, stacks of layers, attention.

B batch, T query position, S key position, N query heads, K key heads, G query
heads a key head, R = T * G rows of queries, H head features (of values perhaps
others), L layers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# Queries of a block of attention, and the most blocks of a text: more would
# save little work and be compiled one by one. On CPUs XLA fuses all of a block
# into one loop up to 4 blocks, and beyond no more (1.3 times as slow).
_BLOCK = 128
_MAX_BLOCKS = 4

# As Flax begins linear layers and tables.
_LECUN_NORMAL = nnx.initializers.lecun_normal()
_EMBEDDING = nnx.initializers.variance_scaling(
    1.0, "fan_in", "normal", out_axis=0
)


def _relu2(x: jax.Array) -> jax.Array:
    return jnp.square(jax.nn.relu(x))


# Hugging Face's names of activations. Its "gelu" is exact; jax.nn.gelu is not
# unless told.
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_fast": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "relu2": _relu2,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


class LanguageModel(nnx.Module):
    """What every family offers; a family defines the first two methods."""

    def hidden_states(self, tokens: jax.Array) -> jax.Array:
        """Returns what the head sees: [B, T] -> [B, T, D]."""
        raise NotImplementedError

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Returns the head's output for any positions: [..., D] -> [..., V]."""
        raise NotImplementedError

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Returns the logits of the next token: [B, T] -> [B, T, V].

        Raises:
          ValueError: A token is outside the vocabulary. It is checked where the
            tokens are known; under `jit` a token beyond the vocabulary gives
            NaN.
        """
        if not isinstance(tokens, jax.core.Tracer):
            host, vocab_size = np.asarray(tokens), self.config.vocab_size
            for token in host[(host < 0) | (host >= vocab_size)][:1]:
                raise ValueError(
                    f"token {token} is outside the vocabulary, 0 to "
                    f"{vocab_size - 1}"
                )
        return self.logits(self.hidden_states(tokens))


class Headed(LanguageModel):
    """A transformer and its head: a linear layer, or the embedding where tied.

    Args:
      config: Hugging Face's config.
      model: The transformer, which maps tokens [B, T] to [B, T, D]; its table
        is `embed_tokens`.
    """

    def __init__(self, config: Any, model: nnx.Module, *, rngs: nnx.Rngs):
        self.config = config
        self.model = model
        if not config.tie_word_embeddings:
            self.lm_head = Linear(
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


class ShapesOnly(nnx.Rngs):
    """The random numbers of a model whose values nobody reads.

    All parameters get the same key: to count keys takes a third of a trace.
    """

    def params(self) -> jax.Array:
        return self.default.key.get_value()


def initializer(
    rngs: nnx.Rngs, of_values: nnx.Initializer = _LECUN_NORMAL
) -> nnx.Initializer:
    """Returns what makes a parameter: zeros where nobody reads its values.

    To trace random values takes half of the time of a model of shapes.
    """
    return nnx.initializers.zeros if isinstance(rngs, ShapesOnly) else of_values


class Linear(nnx.Linear):
    """Flax's linear layer, which is quick to make with `ShapesOnly`."""

    def __init__(self, *sizes: int, rngs: nnx.Rngs, **options: Any):
        super().__init__(
            *sizes, kernel_init=initializer(rngs), rngs=rngs, **options
        )


class Embed(nnx.Embed):
    """A table of vectors, in the dtype of its parameter.

    Flax keeps the dtype in which the table was made; all that follows a table
    loaded in bfloat16 would then be float32.
    """

    def __init__(self, num_embeddings: int, features: int, *, rngs: nnx.Rngs):
        super().__init__(
            num_embeddings,
            features,
            embedding_init=initializer(rngs, _EMBEDDING),
            rngs=rngs,
        )
        self.dtype = None


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Returns the activation of that name in Hugging Face's `ACT2FN`.

    Raises:
      ValueError: It is not ported.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"activation {name!r} is not ported; ported are "
            f"{', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


class Stack(NamedTuple):
    """Where the rows of a stack stand in a checkpoint.

    Attributes:
      name: The last part of the stack's name there.
      numbers: The number of each row.
    """

    name: str
    numbers: Sequence[int]


def stack(
    block: Callable[[nnx.Rngs], nnx.Module], num_layers: int, rngs: nnx.Rngs
) -> nnx.Module:
    """Returns `num_layers` blocks in one, each parameter with an axis [L].

    `jax.lax.scan(lambda x, block: (block(x), None), x, stacked)` runs them.
    With `ShapesOnly` all blocks have the values of the first, which takes a
    third of the time to trace.
    """
    if isinstance(rngs, ShapesOnly):
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (num_layers, *x.shape)), block(rngs)
        )
    return nnx.split_rngs(splits=num_layers)(nnx.vmap(block))(rngs)


def causal_mask(T: int, window: int | jax.Array | None = None) -> jax.Array:
    """Returns which keys a query sees, bool [T, S]: s <= t, s > t - window."""
    distance = jnp.arange(T)[:, None] - jnp.arange(T)
    mask = distance >= 0
    return mask if window is None else mask & (distance < window)


def windows(
    layer_types: Sequence[str], sliding_window: int | None
) -> tuple[int, ...]:
    """Returns each layer's window, that of a full layer beyond any text.

    Args:
      layer_types: The type of each layer, `sliding_attention` or
        `full_attention`, as in Hugging Face's config.
      sliding_window: Number of positions that a query of a sliding layer sees.

    Raises:
      ValueError: A layer is of another type, or slides without a window.
    """
    of_type = {"full_attention": 2**31 - 1, "sliding_attention": sliding_window}
    for layer_type in layer_types:
        if of_type.get(layer_type) is None:
            raise ValueError(
                f"layer_types: {layer_type!r} with sliding_window="
                f"{sliding_window} is not ported"
            )
    return tuple(of_type[layer_type] for layer_type in layer_types)


def causal_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    scale: float,
    window: int | jax.Array | None = None,
    sinks: jax.Array | None = None,
) -> jax.Array:
    """Returns causal attention of grouped heads: [B, T, N, H].

    Softmax in float32 over the keys s <= t, with a window also s > t - window.
    Right padding needs no mask: later positions never reach earlier ones.

    On NVIDIA GPUs it is cuDNN's flash attention where that takes the dtype, the
    head size and the window; elsewhere `blockwise_attention`.

    Args:
      query: [B, T, N, H].
      key: [B, T, K, H]; K divides N.
      value: [B, T, K, H]; features may be more or fewer than a key's, and so
        are then those of what is returned.
      scale: Factor of the scores, often H^-0.5.
      window: Number of positions that a query sees, its own included; an array
        where it differs from layer to layer under a scan.
      sinks: Score that each head gives to no key, [N]: the weights of the keys
        then add up to less than 1. None without.
    """
    blockwise = functools.partial(
        blockwise_attention, scale=scale, window=window, sinks=sinks
    )
    if (
        sinks is not None
        or key.shape != value.shape
        or not _cudnn_takes(query, window)
    ):
        return blockwise(query, key, value)
    flash = functools.partial(
        jax.nn.dot_product_attention,
        scale=scale,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )
    return jax.lax.platform_dependent(
        query, key, value, cuda=flash, default=blockwise
    )


def _cudnn_takes(query: jax.Array, window: int | jax.Array | None) -> bool:
    """Returns whether cuDNN is there and has a kernel for such heads."""
    capability = _cuda_capability()
    # Of cuDNN 9: 16-bit floats, from Ampere on; longer heads from Hopper on.
    largest_head = 256 if capability >= 9.0 else 128
    return (
        capability >= 8.0
        and query.dtype == jnp.bfloat16
        and query.shape[-1] <= largest_head
        and query.shape[-1] % 8 == 0
        and not isinstance(window, jax.Array)
    )


def _cuda_capability() -> float:
    """Returns the compute capability of the default device; 0 if not CUDA."""
    device = jax.devices()[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        return 0.0
    return float(device.compute_capability)


def blockwise_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    scale: float,
    window: int | jax.Array | None = None,
    sinks: jax.Array | None = None,
) -> jax.Array:
    """Returns causal attention in blocks of queries: [B, T, N, H].

    A block reads no key behind its end, which leaves little more than half of
    the work, and the scores of one block only are in memory. The division by
    the softmax's sum waits until after the product with the values, which is
    smaller.

    Args: as for `causal_attention`.
    """
    B, T, N, H = query.shape
    K = key.shape[2]
    G = N // K
    # Transposed once, not once a block; each query of a group is a row.
    query = jnp.einsum("BTKGH->BKTGH", (query * scale).reshape(B, T, K, G, H))
    query = query.reshape(B, K, T * G, H)
    key, value = jnp.swapaxes(key, 1, 2), jnp.swapaxes(value, 1, 2)
    size = max(_BLOCK, -(-T // _MAX_BLOCKS))
    attended = []
    for start in range(0, T, size):
        end = min(start + size, T)
        first = 0
        if isinstance(window, int):
            first = max(0, start - window + 1)
        scores = jnp.einsum(
            "BKRH,BKSH->BKRS",
            query[:, :, start * G : end * G],
            key[:, :, first:end],
            preferred_element_type=jnp.float32,
        )
        position = jnp.arange(start * G, end * G)[:, None] // G
        distance = position - jnp.arange(first, end)
        mask = distance >= 0
        if window is not None:
            mask &= distance < window
        scores = _masked(scores, mask)
        largest = scores.max(axis=-1, keepdims=True)
        if sinks is not None:
            of_rows = jnp.tile(sinks.reshape(K, 1, G), (1, end - start, 1))
            of_rows = of_rows.reshape(K, -1, 1).astype(jnp.float32)
            largest = jnp.maximum(largest, of_rows)
        weights = jnp.exp(scores - largest)
        total = weights.sum(axis=-1, keepdims=True)
        if sinks is not None:
            total += jnp.exp(of_rows - largest)
        block = jnp.einsum(
            "BKRS,BKSH->BKRH",
            weights.astype(value.dtype),
            value[:, :, first:end],
            preferred_element_type=jnp.float32,
        )
        attended.append((block / total).astype(value.dtype))
    attended = jnp.concatenate(attended, axis=2).reshape(B, K, T, G, -1)
    return jnp.einsum("BKTGH->BTKGH", attended).reshape(B, T, N, -1)


def attention_scores(query: jax.Array, key: jax.Array) -> jax.Array:
    """Returns q . k of grouped heads, float32 [B, N, T, S], without a scale.

    For families that do something to the scores before the softmax.

    Args:
      query: [B, T, N, H].
      key: [B, S, K, H]; K divides N.
    """
    B, T, N, H = query.shape
    K = key.shape[2]
    query = query.reshape(B, T, K, N // K, H)
    scores = jnp.einsum(
        "BTKGH,BSKH->BKGTS", query, key, preferred_element_type=jnp.float32
    )
    return scores.reshape(B, N, T, -1)


def attend(scores: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the values weighted by a softmax of the scores: [B, T, N, H].

    Args:
      scores: float32 [B, N, T, S].
      value: [B, S, K, H]; K divides N.
      mask: Which keys count, bool, of a shape that broadcasts to the scores'.
    """
    B, N, T, S = scores.shape
    K = value.shape[2]
    weights = jax.nn.softmax(_masked(scores, mask), axis=-1)
    weights = weights.astype(value.dtype).reshape(B, K, N // K, T, S)
    attended = jnp.einsum("BKGTS,BSKH->BTKGH", weights, value)
    return attended.reshape(B, T, N, -1)


def _masked(scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the scores, -inf where the mask is False.

    As a minimum, which XLA on CPUs fuses with the products before and after the
    softmax (1.5 to 2 times as fast); it does no `where`.
    """
    return jnp.minimum(scores, jnp.where(mask, jnp.inf, -jnp.inf))
