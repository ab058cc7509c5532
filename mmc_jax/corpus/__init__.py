"""Texts in: files that users bring, and the corpus that comes with Python.

A text is the unit that the oracle decides on. Bytes and characters are counted
on the raw text, before any tokenizer sees it. A `Corpus` has its texts in
memory; a `Stream` reads them anew whenever they are asked for.
"""

from mmc_jax.corpus.container import Corpus, Stream
from mmc_jax.corpus.data_sets import (
    hugging_face,
    hugging_face_stream,
    named,
)
from mmc_jax.corpus.embedded_texts import embedded
from mmc_jax.corpus.readers import read, stream

__all__ = [
    "Corpus",
    "Stream",
    "embedded",
    "hugging_face",
    "hugging_face_stream",
    "named",
    "read",
    "stream",
]
