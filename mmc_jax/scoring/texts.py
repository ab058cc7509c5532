"""From texts to the rows of batches, and from scored rows back to texts."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from mmc_jax.corpus import Corpus
from mmc_jax.scoring import batching, token_ends, windows
from mmc_jax.scoring.checkpoints import Checkpoint

_Item = TypeVar("_Item")
_END = object()


@dataclasses.dataclass(eq=False)
class Text:
    """A text while it is scored; its windows may lie in several batches.

    Attributes:
      id: Id of the text in the corpus.
      num_tokens: Number of tokens of the text.
      round_trips: Whether decoding its tokens gives it back unchanged.
      num_windows: Windows that have no score yet.
      nll_nats: Negative log-likelihood of the others.
      num_scored: Tokens that this is the sum over.
      token_nll: Negative log-likelihood of each token, float32 [T], NaN where
        it has none; None where tokens are not kept.
      end_bytes: Where each token ends in the raw text, int32 [T]; None where
        tokens are not kept or cannot be followed.
    """

    id: str
    num_tokens: int
    round_trips: bool
    num_windows: int
    nll_nats: float = 0.0
    num_scored: int = 0
    token_nll: np.ndarray | None = None
    end_bytes: np.ndarray | None = None


class Texts:
    """The texts under way: what goes out as rows comes back as finished texts.

    No text stays here: of one under way there are its waiting rows, of a
    finished one its numbers, until they are taken.
    """

    def __init__(self, checkpoint: Checkpoint, *, keeps_tokens: bool = False):
        """No text is under way yet.

        Args:
          checkpoint: The model's checkpoint.
          keeps_tokens: Whether the scores of tokens stay with their texts.
        """
        self._checkpoint = checkpoint
        self._follower = None
        if keeps_tokens:
            self._follower = token_ends.Follower(checkpoint.tokenizer.backend)
        # `rows` may run in another thread than the rest.
        self._finished: collections.deque[Text] = collections.deque()

    def rows(self, chunks: Iterable[Corpus]) -> Iterator[batching.Row]:
        """Yields the windows of all texts, tokenized chunk by chunk.

        Raises:
          ValueError: A text has no tokens, or one that the model does not know;
            the message names the text.
        """
        prefix = self._checkpoint.tokenizer.prefix.token
        for chunk in chunks:
            encoded = self._checkpoint.encoded(
                chunk.texts, chunk.ids, self._follower
            )
            for i, (id_, tokens, round_trips) in enumerate(
                zip(chunk.ids, encoded.tokens, encoded.round_trips, strict=True)
            ):
                plan = self._checkpoint.windows(len(tokens))
                text = Text(id_, len(tokens), bool(round_trips), len(plan))
                if self._follower is not None:
                    text.token_nll = np.full(len(tokens), np.nan, np.float32)
                    text.end_bytes = encoded.end_bytes[i]
                # One token, and no prefix before it: there is no window.
                if not plan:
                    self._finished.append(text)
                for window in plan:
                    inputs = windows.model_input(tokens, window, prefix)
                    yield batching.Row(text, *inputs, window.scored_from)

    def add(self, batch: batching.Batch, nll: np.ndarray) -> None:
        """Adds a batch's scores, float32 [B, T], to its texts', in float64."""
        for row, values in zip(batch.rows, nll, strict=False):
            scored = values[row.first : len(row.targets)]
            text = row.text
            text.nll_nats += float(scored.sum(dtype=np.float64))
            text.num_scored += scored.size
            if text.token_nll is not None:
                end = row.scored_from + scored.size
                text.token_nll[row.scored_from : end] = scored
            text.num_windows -= 1
            if text.num_windows == 0:
                self._finished.append(text)

    def take_finished(self) -> list[Text]:
        """Returns the texts that were finished since the last call."""
        return [self._finished.popleft() for _ in range(len(self._finished))]


def ahead(items: Iterable[_Item], num_items: int) -> Iterator[_Item]:
    """Yields the items, made by a thread that is at most `num_items` ahead."""
    iterator = iter(items)
    thread = concurrent.futures.ThreadPoolExecutor(1)
    try:
        waiting = collections.deque(
            thread.submit(next, iterator, _END) for _ in range(num_items)
        )
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, iterator, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
