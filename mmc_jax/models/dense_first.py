"""Decoders whose first layers have an MLP and whose others have experts.

B batch, T position, D width, L layers, of them M with experts.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from mmc_jax.models import experts, layers


def stacks(
    num_layers: int, num_dense: int, num_experts: int
) -> dict[str, layers.Stack]:
    """Returns the layers without experts, those with them, and the experts.

    Args:
      num_layers: Number of all layers, L.
      num_dense: Number of layers without experts, the first ones, L - M.
      num_experts: Number of experts of a layer.
    """
    return {
        "model.dense_layers": layers.Stack("layers", range(num_dense)),
        "model.layers": layers.Stack("layers", range(num_dense, num_layers)),
        "model.layers.mlp.experts": layers.Stack("experts", range(num_experts)),
    }


class Transformer(nnx.Module):
    """Embedding, layers without experts, layers with them, the last RMSNorm.

    Args:
      config: Hugging Face's config.
      num_dense: Number of layers without experts, the first ones.
      block: Makes a layer: `block(dense, rngs)`, `dense` for an MLP.

    Raises:
      ValueError: No layer is left for experts.
    """

    def __init__(
        self,
        config: Any,
        num_dense: int,
        block: Callable[[bool, nnx.Rngs], nnx.Module],
        *,
        rngs: nnx.Rngs,
    ):
        num_mixed = config.num_hidden_layers - num_dense
        if num_mixed < 1:
            raise ValueError(
                f"{num_dense} of {config.num_hidden_layers} layers are without "
                "experts: none is left with them"
            )
        self.num_dense = num_dense
        self.embed_tokens = layers.Embed(
            config.vocab_size, config.hidden_size, rngs=rngs
        )
        if num_dense:
            self.dense_layers = layers.stack(
                lambda rngs: block(True, rngs), num_dense, rngs
            )
        self.layers = layers.stack(
            lambda rngs: block(False, rngs), num_mixed, rngs
        )
        self.norm = nnx.RMSNorm(
            config.hidden_size, epsilon=config.rms_norm_eps, rngs=rngs
        )

    def run(
        self, x: jax.Array, step: Callable[..., jax.Array], *along: Any
    ) -> jax.Array:
        """Returns what the head sees of embedded tokens: [B, T, D].

        Args:
          x: The embedded tokens, [B, T, D].
          step: A layer, `step(x, layer, *of_layer)`, returns [B, T, D].
          along: What differs from layer to layer, arrays [L, ...] or trees of
            them; a step gets its row of each.
        """

        def scanned(
            x: jax.Array, of_layer: tuple[Any, ...]
        ) -> tuple[jax.Array, None]:
            return step(x, *of_layer), None

        if self.num_dense:
            first = jax.tree.map(lambda row: row[: self.num_dense], along)
            x, _ = jax.lax.scan(scanned, x, (self.dense_layers, *first))
        rest = jax.tree.map(lambda row: row[self.num_dense :], along)
        x, _ = jax.lax.scan(scanned, x, (self.layers, *rest))
        return self.norm(x)


class Mixture(nnx.Module):
    """Experts by a router of sigmoids, and those that all tokens share, as one.

    Args:
      config: Hugging Face's config, with DeepSeek-V3's names of attributes.
    """

    def __init__(self, config: Any, *, rngs: nnx.Rngs):
        width, inner = config.hidden_size, config.moe_intermediate_size
        act, num_experts = config.hidden_act, config.n_routed_experts
        self.gate = experts.SigmoidRouter(
            width,
            num_experts,
            top_k=config.num_experts_per_tok,
            num_groups=config.n_group,
            top_groups=config.topk_group,
            normalise=config.norm_topk_prob,
            scale=config.routed_scaling_factor,
            rngs=rngs,
        )
        self.experts = layers.stack(
            lambda rngs: experts.GatedMLP(width, inner, act, rngs=rngs),
            num_experts,
            rngs,
        )
        self.shared_experts = experts.GatedMLP(
            width, config.n_shared_experts * inner, act, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        chosen, weights = self.gate(x)
        mixed = experts.mixture(x, self.experts, chosen, weights)
        return mixed + self.shared_experts(x)
