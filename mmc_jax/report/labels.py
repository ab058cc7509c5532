"""How names, costs and losses are shown to a reader."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmc_jax.frontier import Frontier

_COSTS = {
    "num_params": "Total parameters",
    "num_active_params": "Active parameters",
    "num_non_embedding_params": "Parameters without embeddings",
    "num_training_tokens": "Training tokens",
    "flops_per_token": "FLOPs per token",
    "flops_per_byte": "FLOPs per byte",
}
# Characters of a name in a figure. Longer ones leave no room for the axes.
_MOST = 40


def cost_label(cost: str) -> str:
    """Returns what a cost is called on an axis.

    Args:
      cost: Name of the cost, such as "num_params".

    >>> cost_label("num_params"), cost_label("price")
    ('Total parameters', 'price')
    """
    return _COSTS.get(cost, shown(cost))


def loss_label(unit: str) -> str:
    """Returns what losses are called on an axis, with their unit.

    Args:
      unit: Unit of the losses in words, as `ScoreTable.loss_unit` returns it.

    >>> loss_label("nats a word")
    'Loss (nats a word)'
    """
    return f"Loss ({unit})"


def printable(text: str) -> str:
    r"""Returns a text whose control characters are written as escapes.

    A name that comes from data could otherwise move the cursor of a terminal,
    turn the direction of writing, or make an SVG file invalid.

    Args:
      text: Text of any characters.

    >>> printable("a\x1b[2Jb"), printable("模型 é")
    ('a\\x1b[2Jb', '模型 é')
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def shown(name: str, most: int = _MOST) -> str:
    """Returns a name as figures show it: printable, its middle cut if long.

    Args:
      name: Name of a model, a family, a domain or a cost.
      most: Largest number of characters.

    >>> len(shown(250 * "a")), shown("pythia-70m")
    (40, 'pythia-70m')
    """
    name = printable(name)
    if len(name) <= most:
        return name
    num_last = most // 3
    return name[: most - num_last - 1] + "…" + name[-num_last:]


def points(line: Frontier, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the points of a frontier as JSON, F objects.

    Args:
      line: The frontier, F points.
      names: Name of each model, [M].
    """
    return [
        {"cost": cost, "loss": loss, "models": subset}
        for cost, loss, subset in zip(
            line.costs, line.losses, subsets(line.masks, names), strict=True
        )
    ]


def subsets(masks: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """Returns the names of each subset's models.

    Args:
      masks: Models of each subset, bool [F, M].
      names: Name of each model, [M].
    """
    return [[names[m] for m in np.flatnonzero(mask)] for mask in masks]
