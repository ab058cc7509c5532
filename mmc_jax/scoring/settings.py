"""How texts are scored."""

import os
from typing import NamedTuple

# Never float16: it overflows in several families.
DTYPES = ("float32", "bfloat16")
PREFIXES = ("own", "bos", "eos", "none")


class Settings(NamedTuple):
    """How texts are scored.

    The first four are part of what a score depends on: a table refuses scores
    that were made with others. The rest changes speed and memory.

    Attributes:
      dtype: Data type of the parameters, one of `DTYPES`.
      max_context: Positions that a window takes; the model's own limit if it is
        less, or where None is given.
      stride: Tokens by which windows move on; half the window's positions where
        None is given.
      prefix: What stands before every window, one of `PREFIXES`: "own" is the
        token that the tokenizer itself puts there, else BOS, else EOS; "bos"
        and "eos" are that token; with "none" the first token of a text has no
        score. The last three are for comparisons with tools that score so.
      tokens_per_batch: Token budget of a batch, padding included, for each
        device that batches are spread over; what suits the devices where None
        is given. A bucket of which a batch does not fit in memory goes on with
        half as many rows.
      part_seconds: Finished texts are written to disk this often.
      num_data: Devices that a batch is spread over; all of this process where
        None is given.
      num_model: Devices that the weights are split over. Where `num_data` times
        `num_model` is more than the process has, it is the devices of all
        processes, which then work on each batch together.
      cache_dir: Where converted parameters are kept for the next start; nowhere
        if None. All processes must reach it.
      keep_tokens: Whether the scores of tokens are kept beside those of texts,
        with the place where each token ends.
    """

    dtype: str = "float32"
    max_context: int | None = None
    stride: int | None = None
    prefix: str = "own"
    tokens_per_batch: int | None = None
    part_seconds: float = 10.0
    num_data: int | None = None
    num_model: int = 1
    cache_dir: str | os.PathLike[str] | None = None
    keep_tokens: bool = False
