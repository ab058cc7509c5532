"""The jitted part of scoring.

B batch, T position, P parts of the vocabulary, C columns of a chunk, D width,
V vocabulary.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mmc_jax.models import layers

# Logits that are in memory at once, float32: 128 MiB, if that makes a chunk of
# neither fewer columns (many short products) nor more (XLA's softmax on CPUs
# spills long rows to memory). A CPU has 16 MiB of them in its last cache still
# when their softmax begins: 7 percent faster for the head of GPT-2.
_LOGITS_PER_CHUNK = 2**25
_LOGITS_PER_CHUNK_ON_CPU = 2**22
_COLUMNS = (1024, 8192)
# A vocabulary sharded over 2, 4, ..., 64 devices is chunked inside each shard.
_MAX_PARTS = 64
# The vocabulary's axis of what a head is made of.
_VOCABULARY_AXES = {"embedding": 0, "kernel": -1, "bias": -1}


def token_nll(
    model: layers.LanguageModel, inputs: jax.Array, targets: jax.Array
) -> jax.Array:
    """Returns the negative log-likelihood of each target, in nats: [B, T].

    nll_t = log sum_v exp(logits_tv) - logits_(t, target_t), in float32 over
    chunks of the vocabulary, so that the logits [B, T, V] never exist as a
    whole. (Chunks of positions would read all of the head for each.)

    Args:
      model: A language model of `mmc_jax.models`.
      inputs: Tokens that position t sees up to, int32 [B, T].
      targets: The token that position t predicts, int32 [B, T].
    """
    hidden = model.hidden_states(inputs)
    V = model.config.vocab_size
    # The vocabulary as a table [P, V / P], of which a chunk is C / P columns:
    # whole rows of it lie on a device.
    P = math.gcd(V, _MAX_PARTS)
    num_columns = V // P
    on_cpu = jax.default_backend() == "cpu"
    C = _LOGITS_PER_CHUNK_ON_CPU if on_cpu else _LOGITS_PER_CHUNK
    C = np.clip(C // max(1, inputs.size), *_COLUMNS)
    size = int(np.clip(C // P, 1, num_columns))
    part, column = targets // num_columns, targets % num_columns

    def add_chunk(
        total: tuple[jax.Array, ...], start: jax.Array | int, size: int
    ) -> tuple[jax.Array, ...]:
        """Adds columns to (the largest logit, sum of exp, target's logit)."""
        largest, scaled_sum, chosen = total
        part_of_head = _vocabulary_columns(model, P, start, size)
        logits = part_of_head.logits(hidden).astype(jnp.float32)
        new_largest = jnp.maximum(largest, logits.max(axis=-1))
        # An infinite one must give NaN or infinity, but not before it is seen.
        shift = jnp.where(new_largest == -jnp.inf, 0.0, new_largest)
        scaled_sum = scaled_sum * jnp.exp(largest - shift)
        scaled_sum += jnp.exp(logits - shift[..., None]).sum(axis=-1)
        here = (column >= start) & (column < start + size)
        index = jnp.where(here, part * size + column - start, 0)
        found = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
        return new_largest, scaled_sum, jnp.where(here, found, chosen)

    total = (
        jnp.full(inputs.shape, -jnp.inf, jnp.float32),
        jnp.zeros(inputs.shape, jnp.float32),
        jnp.zeros(inputs.shape, jnp.float32),
    )
    num_chunks, rest = divmod(num_columns, size)
    total = jax.lax.fori_loop(
        0, num_chunks, lambda i, total: add_chunk(total, i * size, size), total
    )
    if rest:
        total = add_chunk(total, num_chunks * size, rest)
    largest, scaled_sum, chosen = total
    return jnp.log(scaled_sum) + (largest - chosen)


def _vocabulary_columns(
    model: layers.LanguageModel, P: int, start: jax.Array | int, size: int
) -> layers.LanguageModel:
    """Returns the model with some columns of its head's vocabulary, [P, V / P].

    Of its methods only `logits` makes sense: a tied head is the embedding.
    """
    V = model.config.vocab_size

    def columns(path: tuple, leaf: jax.Array) -> jax.Array:
        *_, name, _ = [
            getattr(key, "name", None) for key in (None, None, *path)
        ]
        axis = _VOCABULARY_AXES.get(name)
        # In a stack of layers V is a coincidence.
        if axis is None or leaf.ndim > 2 or leaf.shape[axis] != V:
            return leaf
        axis %= leaf.ndim
        before, after = leaf.shape[:axis], leaf.shape[axis + 1 :]
        table = leaf.reshape(*before, P, V // P, *after)
        table = jax.lax.dynamic_slice_in_dim(table, start, size, axis + 1)
        return table.reshape(*before, P * size, *after)

    return jax.tree_util.tree_map_with_path(columns, model)
