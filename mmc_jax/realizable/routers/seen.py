"""What a router may see of a text.

M models, X texts, D features.
"""

from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """What a router may see of each text. What is not known is None.

    Attributes:
      num_texts: Number of texts X.
      features: Features of each text, float32 [X, D].
      domains: Number of each text's domain, int64 [X]; -1 for a domain that
        no text had from which the router learned.
      prefix_losses: Loss of each model on the beginning of each text, [M, X].
    """

    num_texts: int
    features: np.ndarray | None = None
    domains: np.ndarray | None = None
    prefix_losses: np.ndarray | None = None

    def select(self, texts: np.ndarray) -> "Seen":
        """Returns what is seen of some texts.

        Args:
          texts: A mask, bool [X], or indices.
        """
        return Seen(
            len(np.arange(self.num_texts)[texts]),
            None if self.features is None else self.features[texts],
            None if self.domains is None else self.domains[texts],
            None
            if self.prefix_losses is None
            else self.prefix_losses[:, texts],
        )
