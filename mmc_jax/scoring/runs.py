"""What all models of one scoring run share."""

import os
import pathlib
from typing import NamedTuple

import jax

from mmc_jax.corpus import Corpus, Stream
from mmc_jax.scoring.settings import Settings


class Run(NamedTuple):
    """What all models of a run share.

    Attributes:
      corpus: The texts to score.
      out: Folder of the score table.
      settings: How texts are scored.
      mesh: Devices that score.
      rescore: Whether scores that were made with other settings or another
        checkpoint are replaced.
      cache: Folder where keys and costs of checkpoints are kept for the next
        run; None where nothing is kept.
    """

    corpus: Corpus | Stream
    out: str | os.PathLike[str]
    settings: Settings
    mesh: jax.sharding.Mesh
    rescore: bool
    cache: pathlib.Path | None = None
