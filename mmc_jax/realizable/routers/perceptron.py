"""A multilayer perceptron that predicts every model's loss from the features.

One hidden layer, in Flax NNX, trained by AdamW. The last layer begins at 0, so
that a network that is not trained predicts the mean losses.

M models, X texts, D features, B batch, N steps of an epoch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from mmc_jax.realizable.routers import scaling, selection
from mmc_jax.realizable.routers.seen import Seen

NEEDS = ("features",)

_HIDDEN = 256
_BATCH = 256
_LEARNING_RATE, _WEIGHT_DECAY = 1e-3, 1e-1
# Length to which each text's features are scaled: a first step then moves the
# outputs by less than a standard deviation.
_LENGTH = 5.0
# Numbers of epochs that are tried.
_EPOCHS = (1, 2, 4, 8, 16, 32)


class Network(nnx.Module):
    """Two linear layers with a GELU in between."""

    def __init__(self, num_features: int, num_models: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(num_features, _HIDDEN, rngs=rngs)
        self.out = nnx.Linear(
            _HIDDEN,
            num_models,
            kernel_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the predicted losses in standard deviations: [B, M]."""
        return self.out(jax.nn.gelu(self.hidden(x), approximate=False))


def fit(seen: Seen, losses: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Returns the parameters of the network, and the scale of the losses.

    The number of epochs is that which routes best the texts of four folds by
    the others; the network is then trained anew on all texts.
    """
    scales = scaling.scales(seen.features)
    features = _scaled(seen.features, scales)
    means = losses.mean(axis=1)
    deviation = float((losses - means[:, None]).std()) or 1.0
    targets = ((losses - means[:, None]) / deviation).T.astype(np.float32)

    def routed(held_out: np.ndarray) -> np.ndarray:
        trial = _Training(features, targets, np.flatnonzero(~held_out), seed)
        found = []
        for num_epochs in (0, *_EPOCHS):
            trial.reach(num_epochs)
            found.append(trial.predicted(features[held_out]).T)
        return np.stack(found) * deviation + means[:, None]

    apart = selection.cross_validated(routed, len(features), seed)
    best = selection.chosen_setting(apart, losses)
    training = _Training(features, targets, np.arange(len(features)), seed)
    training.reach((0, *_EPOCHS)[best])
    return {
        **scales,
        "means": means,
        "loss_deviation": np.array(deviation),
        **{
            f"{layer}.{name}": np.asarray(value)
            for layer, values in nnx.to_pure_dict(training.params).items()
            for name, value in values.items()
        },
    }


def predict(fitted: dict[str, np.ndarray], seen: Seen) -> np.ndarray:
    """Returns the predicted loss of each model, [M, X]."""
    features = _scaled(seen.features, fitted)
    graph, params = _network(features.shape[1], len(fitted["means"]), 0)
    params = jax.tree.map(jnp.asarray, params)
    nnx.replace_by_pure_dict(
        params,
        {
            layer: {
                name: jnp.asarray(fitted[f"{layer}.{name}"])
                for name in ("kernel", "bias")
            }
            for layer in ("hidden", "out")
        },
    )
    predicted = _predicted(graph, params, features)
    means = fitted["means"][:, None]
    return predicted.T * float(fitted["loss_deviation"]) + means


class _Training:
    """A network on its way: `reach` goes on to a later epoch."""

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        texts: np.ndarray,
        seed: int,
    ):
        """Nothing is trained yet.

        Args:
          features: Scaled features of all texts, [X, D].
          targets: Losses of all texts in standard deviations, [X, M].
          texts: Indices of the texts to learn from.
          seed: Seed of the first weights and of the batches.
        """
        self._texts = texts
        self._features = jnp.asarray(features)
        self._targets = jnp.asarray(targets)
        self._rng = np.random.default_rng(seed)
        self._epochs = 0
        self._graph, self.params = _network(
            features.shape[1], targets.shape[1], seed
        )
        self._moments = _OPTIMIZER.init(self.params)

    def reach(self, num_epochs: int) -> None:
        """Trains up to an epoch, in batches that the seed decides."""
        num_texts = len(self._texts)
        size = min(_BATCH, num_texts)
        while self._epochs < num_epochs:
            order = self._rng.permutation(self._texts)
            order = order[: num_texts // size * size].reshape(-1, size)
            self.params, self._moments = _epoch(
                self._graph,
                self.params,
                self._moments,
                self._features,
                self._targets,
                jnp.asarray(order, jnp.int32),
            )
            self._epochs += 1

    def predicted(self, features: np.ndarray) -> np.ndarray:
        """Returns the network's outputs, float64 [X, M]."""
        return _predicted(self._graph, self.params, features)


_OPTIMIZER = optax.adamw(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)


def _scaled(features: np.ndarray, scales: dict[str, np.ndarray]) -> np.ndarray:
    return _LENGTH * scaling.scaled(features, scales, unit=True)


@functools.lru_cache(maxsize=4)
def _network(
    num_features: int, num_models: int, seed: int
) -> tuple[nnx.GraphDef, nnx.State]:
    """Returns a network that is not trained; its parameters are shared."""
    return nnx.split(Network(num_features, num_models, rngs=nnx.Rngs(seed)))


@functools.partial(jax.jit, static_argnames="graph")
def _epoch(graph, params, moments, features, targets, order):
    """Returns parameters and moments after the batches of `order`, [N, B]."""

    def step(state, texts):
        params, moments = state

        def loss(params):
            outputs = nnx.merge(graph, params)(features[texts])
            return jnp.mean(jnp.square(outputs - targets[texts]))

        updates, moments = _OPTIMIZER.update(
            jax.grad(loss)(params), moments, params
        )
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, (params, moments), order)[0]


def _predicted(
    graph: nnx.GraphDef, params: nnx.State, features: np.ndarray
) -> np.ndarray:
    outputs = nnx.merge(graph, params)(jnp.asarray(features))
    return np.asarray(outputs, np.float64)
