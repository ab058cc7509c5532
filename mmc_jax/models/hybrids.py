"""Models whose layers are of several kinds, one stack of blocks a kind.

B batch, T position, D width, L layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mmc_jax.models import layers


def numbers(layer_types: Sequence[str], kind: str) -> list[int]:
    """Returns the numbers of the layers of a kind.

    >>> numbers(["mamba", "attention", "mamba"], "mamba")
    [0, 2]
    """
    return [i for i, of_layer in enumerate(layer_types) if of_layer == kind]


def stacks(
    parent: str, layer_types: Sequence[str], names: Mapping[str, str]
) -> dict[str, layers.Stack]:
    """Returns where the rows of each kind's stack stand in a checkpoint.

    Args:
      parent: Path of the module that has the stacks, such as `model`.
      layer_types: The kind of each layer.
      names: The attribute that holds a kind's stack, by the kind.
    """
    return {
        f"{parent}.{name}": layers.Stack("layers", numbers(layer_types, kind))
        for kind, name in names.items()
        if kind in layer_types
    }


def blocks(
    layer_types: Sequence[str],
    kind: str,
    block: Callable[[nnx.Rngs], nnx.Module],
    rngs: nnx.Rngs,
) -> nnx.Module | None:
    """Returns the blocks of a kind in one; None where no layer is of the kind.

    Args:
      layer_types: The kind of each layer.
      kind: The kind of the blocks.
      block: Function that makes one block.
      rngs: Random numbers of the parameters.
    """
    number = layer_types.count(kind)
    return layers.stack(block, number, rngs) if number else None


def pass_over(
    config: Any, layer_types: Sequence[str], attributes: Mapping[str, str]
) -> None:
    """Reads the attributes of the kinds that no layer is of.

    They change nothing, whatever their values are; the loader would refuse them
    as attributes that the port does not read.

    Args:
      config: The config of the model.
      layer_types: The kind of each layer.
      attributes: Names of a kind's own attributes, with blanks between, by the
        kind.
    """
    for kind in attributes.keys() - set(layer_types):
        for name in attributes[kind].split():
            getattr(config, name)


class Kind(NamedTuple):
    """The layers of one kind.

    Attributes:
      blocks: The blocks in one, from `layers.stack`; None where no layer is of
        the kind.
      apply: Function of a block and of its input, [B, T, D] -> [B, T, D].
    """

    blocks: nnx.Module | None
    apply: Callable[[nnx.Module, jax.Array], jax.Array]


def run(
    x: jax.Array, layer_types: Sequence[str], kinds: Mapping[str, Kind]
) -> jax.Array:
    """Returns the output of all layers, one after the other: [B, T, D].

    The code of each kind is compiled once, however many layers there are.

    Args:
      x: Input of the first layer, [B, T, D].
      layer_types: The kind of each layer.
      kinds: The layers of each kind.
    """
    present = [kind for kind in kinds if kind in layer_types]

    def branch(kind: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
        blocks, apply = kinds[kind]

        def block(x: jax.Array, row: jax.Array) -> jax.Array:
            return apply(jax.tree.map(lambda p: p[row], blocks), x)

        return block

    branches = [branch(kind) for kind in present]

    def layer(x, place):
        return jax.lax.switch(place[0], branches, x, place[1]), None

    places = [
        (present.index(kind), layer_types[:i].count(kind))
        for i, kind in enumerate(layer_types)
    ]
    return jax.lax.scan(layer, x, jnp.array(places))[0]
