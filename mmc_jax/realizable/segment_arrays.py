"""Segments of texts as one array, text by text.

X texts, T segments of a text, M models.
"""

from typing import NamedTuple

import numpy as np

from mmc_jax.scores import ScoreTable


class SegmentLosses(NamedTuple):
    """Segments of texts as one array; short texts end in segments of loss 0.

    Attributes:
      text_ids: Id of each text, [X].
      nll_nats: Negative log-likelihood of each segment under each model, in
        nats, float32 [X, T, M].
      num_segments: Segments of each text, int64 [X].
      end_bytes: Where each segment ends in its text, in bytes, int64 [X, T]; of
        segments beyond the last, the text's end.
    """

    text_ids: tuple[str, ...]
    nll_nats: np.ndarray
    num_segments: np.ndarray
    end_bytes: np.ndarray


def segment_losses(table: ScoreTable) -> SegmentLosses:
    """Returns the segments of a table, text by text.

    Args:
      table: A table of segments, from `ScoreTable.segments`.

    Raises:
      ValueError: The rows of the table are texts.
    """
    if table.places is None:
        raise ValueError(
            "the table's rows are texts; cut them: table.segments('word')"
        )
    text_ids, first, row = np.unique(
        np.array(table.places.text_ids), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    row = rank[row]
    num_segments = np.bincount(row)
    # Rows are sorted by text, and inside of it by place.
    column = np.arange(len(row)) - np.repeat(
        np.cumsum(num_segments) - num_segments, num_segments
    )
    ends = table.places.start_bytes + table.texts.num_bytes
    shape = len(text_ids), int(num_segments.max())
    nll = np.zeros((*shape, len(table.models)), np.float32)
    nll[row, column] = table.nll_nats.T
    end_bytes = np.zeros(shape, np.int64)
    end_bytes[row, column] = ends
    end_bytes = np.maximum.accumulate(end_bytes, axis=1)
    return SegmentLosses(
        tuple(text_ids[order].tolist()), nll, num_segments, end_bytes
    )
