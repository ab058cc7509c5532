"""The jitted part of scoring.

B batch, T position, C chunk of positions, D width, V vocabulary.
"""

import jax
import jax.numpy as jnp

from mmc_jax.models import layers

# Logits that are in memory at once, float32: 64 MiB.
_LOGITS_PER_CHUNK = 2**24


def token_nll(
    model: layers.LanguageModel, inputs: jax.Array, targets: jax.Array
) -> jax.Array:
    """Returns the negative log-likelihood of each target, in nats: [B, T].

    nll_t = log sum_v exp(logits_tv) - logits_(t, target_t), in float32 over
    chunks of positions, so that the logits [B, T, V] never exist as a whole.

    Args:
      model: A language model of `mmc_jax.models`.
      inputs: Tokens that position t sees up to, int32 [B, T].
      targets: The token that position t predicts, int32 [B, T].
    """
    hidden = model.hidden_states(inputs)
    B, T = inputs.shape
    chunk = max(1, min(T, _LOGITS_PER_CHUNK // (B * model.config.vocab_size)))
    num_chunks = -(-T // chunk)

    def chunks(x: jax.Array) -> jax.Array:  # [B, T, ...] -> [chunks, B, C, ...]
        pad = [(0, 0), (0, num_chunks * chunk - T)] + [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, pad).reshape(B, num_chunks, chunk, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)

    def chunk_nll(hidden_and_targets: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, targets = hidden_and_targets
        logits = model.logits(hidden).astype(jnp.float32)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)
        return jax.nn.logsumexp(logits, axis=-1) - chosen[..., 0]

    nll = jax.lax.map(chunk_nll, (chunks(hidden), chunks(targets)))
    return jnp.moveaxis(nll, 0, 1).reshape(B, -1)[:, :T]
