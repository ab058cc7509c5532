"""What the minimum over models would gain if they differed by noise alone.

M models, F families, X texts, Y segments, R draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Up to this many bytes, segments of a class are of equal length; beyond, their
# lengths differ by at most 2^(1/4).
_EXACT_BYTES = 16


class ControlLosses(NamedTuple):
    """The oracle's loss of a text under three ideas of noise, in losses.

    Attributes:
      losses: Each model's losses are permuted, [R].
      residuals: Each model's residuals are permuted, [R].
      families: The residuals of each family are permuted together, [R]; NaN
        where all models are of one family.
    """

    losses: np.ndarray
    residuals: np.ndarray
    families: np.ndarray


def control_losses(
    losses: np.ndarray,
    text_ids: Sequence[str],
    num_bytes: np.ndarray,
    families: Sequence[str],
    *,
    num_draws: int = 20,
    seed: int = 0,
) -> ControlLosses:
    """Returns the oracle's loss of a text where models differ by noise.

    A permutation goes among the segments of equal length within a text: up to
    16 bytes exactly equal, beyond that within a factor of 2^(1/4). Three
    controls permute more and more of what models have in common together:

    1. `losses`: the losses of each model alone. This is the oracle's loss if,
       given text and length, models knew nothing of one another's losses. In
       fact a hard segment is hard for all, and the minimum of losses that rise
       together is larger than that of independent ones. So this control gains
       more than noise can: it is an upper bound, and may be above all that the
       oracle gains. Models that are better at segments of some lengths keep
       that here.
    2. `residuals`: a loss is taken apart into what all families have on the
       segment (their mean), what the model has on this text (by bytes), what it
       has on segments of this length in this text, and a residual. The third is
       what a model is systematically better at, and is left out. The residuals
       of each model alone are permuted, as multiples of how far models are
       apart on a segment. Models of a family err alike, so that this is an
       upper bound as well, where families have several models.
    3. `families`: as 2, but the residuals of a family's models move together.
       What a family's models have in common counts as noise of the family.

    With models that are independent but for what they share on a segment, 2 is
    about all that the oracle gains; with families that are, 3 is. (Few models,
    and losses that are far from symmetric, move it by a tenth or two.) Models
    that are better at segments of some lengths gain nothing in 2 and 3. Models
    that specialise by anything else count as noise in all three.

    Args:
      losses: What each segment adds to its text's loss, [M, Y].
      text_ids: Id of each segment's text, [Y].
      num_bytes: Length of each segment, [Y].
      families: Name of each model's family, [M].
      num_draws: Number of draws R.
      seed: Seed of the permutations.

    Returns:
      The mean over texts of the sum of the minima, of each draw.

    >>> losses = np.array([[1.0, 9.0, 1.0, 9.0], [9.0, 1.0, 9.0, 1.0]])
    >>> found = control_losses(
    ...     losses, ["a"] * 4, np.array([2, 4, 2, 4]), ["f", "g"], num_draws=2
    ... )
    >>> found.losses.tolist(), found.residuals.tolist()
    ([4.0, 4.0], [20.0, 20.0])
    """
    num_bytes = np.asarray(num_bytes, np.float64)
    _, of_text = np.unique(np.array(text_ids), return_inverse=True)
    group = _groups(of_text, num_bytes)
    _, blocks = np.unique(np.array(families), return_inverse=True)
    singles = np.arange(len(losses))
    controls = (
        _Apart(np.zeros(losses.shape), losses, np.ones(len(group))),
        _taken_apart(losses, of_text, group, num_bytes, singles),
        _taken_apart(losses, of_text, group, num_bytes, blocks),
    )
    by_group = np.argsort(group, kind="stable")
    rng = np.random.default_rng(seed)
    found = np.full((len(controls), num_draws), np.nan)
    for draw in range(num_draws):
        # Rows of a group, in random order, for each model.
        orders = [np.argsort(group + rng.random(len(group))) for _ in losses]
        for control, apart in enumerate(controls):
            moves = blocks if control == 2 else singles
            least = np.full(len(group), np.inf)
            for row, move in enumerate(moves.tolist()):
                drawn = np.empty(len(group))
                drawn[by_group] = apart.residuals[row, orders[move]]
                drawn = apart.base[row] + drawn * apart.spread
                np.minimum(least, drawn, out=least)
            found[control, draw] = least.sum() / (of_text.max() + 1)
    if blocks.max() == 0:
        found[2] = np.nan
    return ControlLosses(*found)


def _groups(of_text: np.ndarray, num_bytes: np.ndarray) -> np.ndarray:
    """Returns the number of each segment's text and class of length, [Y]."""
    classes = np.where(
        num_bytes <= _EXACT_BYTES,
        num_bytes,
        _EXACT_BYTES + np.ceil(4 * np.log2(num_bytes / _EXACT_BYTES)),
    )
    _, group = np.unique(
        np.stack([of_text, classes]), axis=1, return_inverse=True
    )
    return group.reshape(-1)


class _Apart(NamedTuple):
    """Losses taken apart.

    Attributes:
      base: What is common to all models, and what each has on a text, [M, Y].
      residuals: The rest, by the spread, [M, Y].
      spread: How far models are apart on a segment, [Y].
    """

    base: np.ndarray
    residuals: np.ndarray
    spread: np.ndarray


def _taken_apart(
    losses: np.ndarray,
    of_text: np.ndarray,
    group: np.ndarray,
    num_bytes: np.ndarray,
    blocks: np.ndarray,
) -> _Apart:
    """Returns losses taken apart; `blocks` are what is independent, [M]."""
    num_blocks = int(blocks.max()) + 1
    members = np.eye(num_blocks)[blocks]
    to_means = (members / members.sum(axis=0)).T
    in_common = (to_means @ losses).mean(axis=0)
    text_bytes = np.bincount(of_text, num_bytes)
    sizes = np.bincount(group)
    base, residuals = np.empty((2, *losses.shape))
    for row, own in enumerate(losses - in_common):
        rate = np.bincount(of_text, own) / text_bytes
        base[row] = in_common + rate[of_text] * num_bytes
        per_byte = own / num_bytes
        means = np.bincount(group, per_byte) / sizes
        residuals[row] = per_byte - means[group]
    # The mean over blocks and that over a group have a share of each residual.
    of_blocks = (to_means @ residuals)[blocks]
    grown = np.sqrt(num_blocks / max(num_blocks - 1, 1)) - 1
    residuals += grown * of_blocks
    residuals *= np.sqrt(sizes / np.maximum(sizes - 1, 1))[group]
    spread = np.sqrt(np.square(residuals).mean(axis=0))
    # Where no model differs from another there is nothing to permute.
    residuals /= np.where(spread > 0, spread, 1)
    return _Apart(base, residuals, spread * num_bytes)
