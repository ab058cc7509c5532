"""Mixture of experts without capacity: every token gets all of its experts.

In one run on 2 CPU cores (float32, 2,048 tokens, 64 experts of 512 x 256, 8 a
token) the blocks below are 2.5 times as fast as every expert on every token,
and 30 times as fast as `jax.lax.ragged_dot`, which off TPUs copies all rows
once an expert (2.3 GB where the blocks take 2 MB).

D width, F MLP width, M tokens, E experts, k experts a token, P = Mk pairs of a
token and an expert, R rows of a block, C blocks.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from mmc_jax.models import layers


class SigmoidRouter(nnx.Module):
    """DeepSeek-V3's router: sigmoids, and a bias that only chooses.

    An expert's score is a sigmoid. Chosen are the best k by score plus bias,
    among the experts of the best groups alone; a group counts by the sum of its
    best two. Scores without the bias are the weights.

    Args:
      width: Number of features of a token, D.
      num_experts: Number of experts, E.
      top_k: Number of experts that a token gets, k.
      num_groups: Number of groups of experts, each of at least two.
      top_groups: Number of groups that a token's experts come from.
      normalise: Whether a token's weights are divided by their sum.
      scale: Factor of the weights.

    Raises:
      ValueError: The groups cannot be made, or have too few experts.

    Source: DeepSeek-AI, arXiv 2412.19437, eq. 13 to 16.
    """

    def __init__(
        self,
        width: int,
        num_experts: int,
        *,
        top_k: int,
        num_groups: int | None = 1,
        top_groups: int | None = 1,
        normalise: bool = True,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        _check_groups(num_experts, top_k, num_groups, top_groups)
        init = layers.initializer(rngs)
        self.kernel = nnx.Param(init(rngs.params(), (width, num_experts)))
        self.e_score_correction_bias = nnx.Param(jnp.zeros(num_experts))
        self.top_k = top_k
        self.num_groups, self.top_groups = num_groups, top_groups
        self.normalise, self.scale = normalise, scale

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the numbers and the weights of each token's experts.

        [..., D] -> int32 [..., k], float32 [..., k].
        """
        kernel = self.kernel[...].astype(jnp.float32)
        scores = jax.nn.sigmoid(x.astype(jnp.float32) @ kernel)
        biased = scores + self.e_score_correction_bias[...].astype(jnp.float32)
        if self.top_groups < self.num_groups:
            groups = biased.reshape(*biased.shape[:-1], self.num_groups, -1)
            best, _ = jax.lax.top_k(groups, 2)
            _, kept = jax.lax.top_k(best.sum(axis=-1), self.top_groups)
            mask = jax.nn.one_hot(kept, self.num_groups, dtype=bool).any(-2)
            biased = jnp.where(mask[..., None], groups, -jnp.inf)
            biased = biased.reshape(scores.shape)
        _, chosen = jax.lax.top_k(biased, self.top_k)
        weights = jnp.take_along_axis(scores, chosen, axis=-1)
        if self.normalise:
            weights = normalised(weights)
        return chosen, weights * self.scale


class GatedMLP(nnx.Module):
    """A gated linear unit and a projection back: the expert of most families.

    Args:
      width: Number of features before and after, D.
      inner: Number of hidden features, F.
      hidden_act: Hugging Face's name of the activation.
      use_bias: Whether the three projections have biases.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        hidden_act: str,
        *,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        self.gate_proj = layers.Linear(
            width, inner, use_bias=use_bias, rngs=rngs
        )
        self.up_proj = layers.Linear(width, inner, use_bias=use_bias, rngs=rngs)
        self.down_proj = layers.Linear(
            inner, width, use_bias=use_bias, rngs=rngs
        )
        self.act = layers.activation(hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class PackedMLP(nnx.Module):
    """A gated linear unit and a projection back, as tensors of all experts.

    Some checkpoints hold the experts of a layer in two tensors. A stack of
    these has the same two.

    Args:
      width: Number of features before and after, D.
      inner: Number of hidden features, F.
      hidden_act: Hugging Face's name of the activation.
      inputs_first: Whether a matrix is stored as [in, out]; else [out, in].
    """

    def __init__(
        self,
        width: int,
        inner: int,
        hidden_act: str,
        *,
        inputs_first: bool,
        rngs: nnx.Rngs,
    ):
        def made(num_in: int, num_out: int) -> nnx.Param:
            init = layers.initializer(rngs)
            value = init(rngs.params(), (num_in, num_out))
            return nnx.Param(value if inputs_first else value.T)

        self.gate_up_proj = made(width, 2 * inner)
        self.down_proj = made(inner, width)
        self.inputs_first = inputs_first
        self.act = layers.activation(hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate_up, down = self.gate_up_proj[...], self.down_proj[...]
        if not self.inputs_first:
            gate_up, down = gate_up.T, down.T
        gate, up = jnp.split(x @ gate_up, 2, axis=-1)
        return (self.act(gate) * up) @ down


def normalised(weights: jax.Array) -> jax.Array:
    """Returns weights [..., k] that sum to 1, those of sigmoids, in float32."""
    # Sigmoids can all be zero; DeepSeek-V3 and its kin add so much.
    return weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)


def _check_groups(
    num_experts: int,
    top_k: int,
    num_groups: int | None,
    top_groups: int | None,
) -> None:
    if not num_groups or num_experts % num_groups:
        raise ValueError(
            f"n_group={num_groups} does not divide the {num_experts} experts"
        )
    size = num_experts // num_groups
    if size < 2 or not top_groups or not 1 <= top_groups <= num_groups:
        raise ValueError(
            f"topk_group={top_groups} of n_group={num_groups} groups of {size} "
            "experts is not ported"
        )
    if top_k is None or top_k > top_groups * size:
        raise ValueError(
            f"num_experts_per_tok={top_k}, but the best groups have "
            f"{top_groups * size} experts"
        )


def mixture(
    x: jax.Array, experts: nnx.Module, chosen: jax.Array, weights: jax.Array
) -> jax.Array:
    """Returns the weighted sum of each token's experts: [..., D].

    y_m = sum_j w_mj expert_{e_mj}(x_m). The pairs, sorted by expert, are cut
    into blocks of R rows, each of one expert. An expert's last block may be
    partly empty, so that C = P / R + E blocks always suffice, whatever the
    router says: none is dropped, and what a token gets depends on no other.

    Args:
      x: Features of the tokens, [..., D].
      experts: E experts in one module, from `layers.stack`; one maps [R, D] to
        [R, D].
      chosen: The numbers of each token's experts, [..., k].
      weights: The weight of each chosen expert, float32 [..., k].
    """
    D, k = x.shape[-1], chosen.shape[-1]
    E = jax.tree.leaves(experts)[0].shape[0]
    tokens, chosen = x.reshape(-1, D), chosen.reshape(-1)
    M, P = tokens.shape[0], chosen.size
    if not M:
        return x
    # Half an expert's mean share, a multiple of 8: then the blocks hold at most
    # half as many rows again as there are pairs, in at most 3 E steps.
    R = max(8, 8 * -(-P // (16 * E)))
    C = min(P, P // R + E)

    order = jnp.argsort(chosen, stable=True)
    num_rows = jnp.bincount(chosen, length=E)
    num_blocks = -(-num_rows // R)
    block = jnp.arange(C)
    # Of each block: its expert, and its rows among those of that expert. Blocks
    # beyond the last come out as the last expert's, without a row in use.
    expert = jnp.searchsorted(jnp.cumsum(num_blocks), block, side="right")
    expert = jnp.minimum(expert, E - 1)
    first_block = (jnp.cumsum(num_blocks) - num_blocks)[expert]
    row = ((block - first_block) * R)[:, None] + jnp.arange(R)
    used = row < num_rows[expert][:, None]
    first_row = (jnp.cumsum(num_rows) - num_rows)[expert]
    pair = order.at[first_row[:, None] + row].get(mode="clip")
    # Token M is none: a read of it is never used, a write to it is dropped.
    token = jnp.where(used, pair // k, M)
    weight = weights.reshape(-1)[pair]

    def add_block(
        total: jax.Array, block: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, None]:
        number, token, weight = block
        expert = jax.tree.map(lambda leaf: leaf[number], experts)
        y = expert(tokens.at[token].get(mode="clip")).astype(jnp.float32)
        return total.at[token].add(weight[:, None] * y, mode="drop"), None

    total = jnp.zeros((M, D), jnp.float32)
    total, _ = jax.lax.scan(add_block, total, (expert, token, weight))
    return total.astype(x.dtype).reshape(x.shape)
