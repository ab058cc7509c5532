"""The window plan: every token of a text is scored exactly once."""

from typing import NamedTuple

import numpy as np
import transformers


class Window(NamedTuple):
    """A run of tokens that the model sees at once.

    Attributes:
      start: Index of the first token.
      end: One past the last token.
      scored_from: First token whose score counts; those before it are context.
    """

    start: int
    end: int
    scored_from: int


def native_context(config: transformers.PreTrainedConfig) -> int | None:
    """Returns how many positions a model was made for, None where unbounded."""
    name = context_attribute(config)
    if name is None:
        return None
    stated = getattr(config, "rope_parameters", None) or {}
    return stated[name] if name in stated else getattr(config, name)


def context_attribute(config: transformers.PreTrainedConfig) -> str | None:
    """Returns the attribute that states `native_context`; None without one.

    Where the rotary angles would change beyond the original context (LongRoPE),
    it is that, so that a score does not depend on the text's length.
    """
    stated = getattr(config, "rope_parameters", None) or {}
    if stated.get("rope_type") == "longrope":
        return "original_max_position_embeddings"
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):
        if getattr(config, name, None) is not None:
            return name
    return None


def plan(
    num_tokens: int, context: int, stride: int, *, has_prefix: bool
) -> list[Window]:
    """Returns the windows of a text, in order.

    The first window scores all of its tokens. Each later one moves on by
    `stride` tokens and scores those, with the tokens before them as context, as
    many as fit. Without a prefix token the text's first token is not scored.

    Args:
      num_tokens: Number of tokens of the text, at least 1.
      context: Positions that the model takes.
      stride: Tokens that a later window scores, 1 to `context`.
      has_prefix: Whether a prefix token stands before every window; it takes a
        position, as the last token of a window does not.

    Raises:
      ValueError: A stride or context outside its range.

    >>> plan(7, context=4, stride=2, has_prefix=True)
    [Window(start=0, end=4, scored_from=0), Window(start=2, end=6, \
scored_from=4), Window(start=3, end=7, scored_from=6)]
    """
    if context < 1 or not 1 <= stride <= context:
        raise ValueError(
            f"context {context} and stride {stride}: a stride is at least 1 "
            "and at most the context"
        )
    first = 0 if has_prefix else 1
    capacity = context + first
    end = min(num_tokens, capacity)
    windows = [Window(0, end, first)] if end > first else []
    while end < num_tokens:
        scored_from, end = end, min(num_tokens, end + stride)
        windows.append(Window(end - capacity, end, scored_from))
    num_scored = sum(window.end - window.scored_from for window in windows)
    assert num_scored == num_tokens - first, (windows, num_tokens)
    return windows


def model_input(
    tokens: np.ndarray, window: Window, prefix: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns inputs, targets [T] each, and the first scored position.

    Position t sees the inputs 0 to t and predicts target t.

    Args:
      tokens: Tokens of the text, int32 [T].
      window: One of its windows.
      prefix: The prefix token, or None.
    """
    seen = tokens[window.start : window.end]
    if prefix is None:
        first = window.scored_from - window.start - 1
        return seen[:-1], seen[1:], first
    inputs = np.concatenate([np.array([prefix], np.int32), seen[:-1]])
    return inputs, seen, window.scored_from - window.start
