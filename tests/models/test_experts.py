"""The mixture of experts against a loop over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax.models import experts, layers
from tests import tolerances


class Expert(nnx.Module):
    """A gated linear unit with names of its own."""

    def __init__(self, width: int, inner: int, *, rngs: nnx.Rngs):
        self.gate = nnx.Linear(width, inner, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(width, inner, rngs=rngs)
        self.down = nnx.Linear(inner, width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(jnp.tanh(self.gate(x)) * self.up(x))


def stack(E: int, D: int = 6, F: int = 5) -> Expert:
    stacked = layers.stack(lambda rngs: Expert(D, F, rngs=rngs), E, nnx.Rngs(0))
    stacked.up.bias[...] += 0.5  # What empty rows would leave.
    return stacked


def loop(x, stacked, chosen, weights) -> np.ndarray:
    """Returns the same by NumPy, in float64, one token after the other."""
    gate, up, bias, down = (
        np.asarray(value[...], np.float64)
        for value in (
            stacked.gate.kernel,
            stacked.up.kernel,
            stacked.up.bias,
            stacked.down.kernel,
        )
    )
    total = np.zeros(x.shape)
    for m in np.ndindex(x.shape[:-1]):
        for e, weight in zip(chosen[m], weights[m], strict=True):
            inner = np.tanh(x[m] @ gate[e]) * (x[m] @ up[e] + bias[e])
            total[m] += weight * (inner @ down[e])
    return total


def tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def route(E: int, k: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns k different experts of each token, and their weights."""
    rng = np.random.default_rng(2)
    chosen = np.argsort(rng.random((*shape, E)), axis=-1)[..., :k]
    weights = rng.dirichlet(np.ones(k), shape).astype(np.float32)
    return chosen.astype(np.int32), weights


_mixture = jax.jit(experts.mixture)


class MixtureTest(parameterized.TestCase):
    def check(self, x, stacked, chosen, weights):
        expected = loop(x, stacked, chosen, weights)
        largest = max(1.0, np.max(np.abs(expected), initial=0.0))
        np.testing.assert_allclose(
            _mixture(x, stacked, chosen, weights),
            expected,
            rtol=0,
            atol=tolerances.FLOAT32_KERNEL * largest,
        )

    @parameterized.parameters(
        # E, k, the tokens' shape.
        (1, 1, (1,)),
        (1, 1, (40,)),
        (7, 3, (1,)),
        (7, 3, (1, 1)),
        (7, 7, (2, 13)),
        (7, 3, (2, 131)),
        (64, 8, (3,)),
        (16, 2, (0,)),
        (3, 2, (257,)),
    )
    def test_equals_loop(self, E, k, shape):
        self.check(tokens(*shape, 6), stack(E), *route(E, k, *shape))

    @parameterized.parameters(0, 3, 6)
    def test_one_expert_gets_all(self, e):
        _, weights = route(7, 1, 150)
        chosen = np.full((150, 1), e, np.int32)
        self.check(tokens(150, 6), stack(7), chosen, weights)

    @parameterized.parameters(0, 3, 6)
    def test_one_expert_gets_none(self, e):
        chosen, weights = route(6, 2, 150)
        chosen += chosen >= e
        self.check(tokens(150, 6), stack(7), chosen, weights)

    def test_shares_at_the_blocks_edges(self):
        # 96 pairs for 3 experts: blocks of 16 rows.
        for first in (15, 16, 17, 31, 32, 33):
            numbers = np.repeat([0, 1, 2], [first, 48, 48 - first])
            chosen = np.random.default_rng(3).permutation(numbers)[:, None]
            weights = np.ones((96, 1), np.float32)
            with self.subTest(first=first):
                self.check(
                    tokens(96, 6), stack(3), chosen.astype(np.int32), weights
                )

    def test_ties_go_to_the_lower_number(self):
        scores = jnp.array([[0.1, 0.3, 0.3, 0.3], [0.25, 0.25, 0.25, 0.25]])
        weights, chosen = jax.lax.top_k(scores, 2)
        np.testing.assert_array_equal(chosen, [[1, 2], [0, 1]])
        self.check(
            tokens(2, 6), stack(4), np.asarray(chosen), np.asarray(weights)
        )

    def test_the_same_expert_twice(self):
        chosen = np.array([[2, 2], [1, 2]], np.int32)
        weights = np.array([[0.3, 0.6], [0.5, 0.5]], np.float32)
        self.check(tokens(2, 6), stack(3), chosen, weights)

    def test_neighbours_change_nothing(self):
        x, stacked = tokens(150, 6), stack(7)
        chosen, weights = route(7, 3, 150)
        expected = _mixture(x, stacked, chosen, weights)[:77]
        for e in range(7):  # All the others go to one expert, and are NaN.
            others = chosen.copy()
            others[77:] = e
            broken = x.copy()
            broken[77:] = np.nan
            np.testing.assert_array_equal(
                _mixture(broken, stacked, others, weights)[:77], expected
            )

    def test_order_of_tokens_is_kept(self):
        x, stacked = tokens(150, 6), stack(7)
        chosen, weights = route(7, 3, 150)
        turn = np.random.default_rng(4).permutation(150)
        np.testing.assert_array_equal(
            _mixture(x, stacked, chosen, weights)[turn],
            _mixture(x[turn], stacked, chosen[turn], weights[turn]),
        )

    def test_bfloat16_sums_in_float32(self):
        one = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), stack(1))
        same = jax.tree.map(lambda leaf: leaf.repeat(64, axis=0), one)
        x = jnp.asarray(tokens(40, 6), jnp.bfloat16)
        chosen, weights = route(64, 64, 40)
        summed = _mixture(x, same, chosen, np.full_like(weights, 1 / 64))
        self.assertEqual(summed.dtype, jnp.bfloat16)
        expected = _mixture(x, one, *route(1, 1, 40))
        # A sum in bfloat16 would round 64 times, not once.
        np.testing.assert_allclose(
            summed.astype(jnp.float32),
            expected.astype(jnp.float32),
            rtol=2**-8,
        )


if __name__ == "__main__":
    absltest.main()
