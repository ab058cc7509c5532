"""Shows how surprised a model is by each token of a text.

  python -m experiments.show_model --checkpoint=openai-community/gpt2 \
      --text="The capital of France is Paris."

One line a token: its surprisal in nats and the token as the vocabulary spells
it. A sane model is surprised by the first words of a sentence and hardly by the
last ones of a saying; a port that is wrong somewhere is lost throughout, near
the logarithm of its vocabulary. Seconds and the time of loading, anywhere.
"""

import bisect
import math
import os
import sys

from absl import flags

from . import program, shared_flags

_CHECKPOINT = shared_flags.checkpoint(required=True)
_TEXT = flags.DEFINE_string(
    "text", None, "Text that the model reads.", required=True
)
_REVISION = flags.DEFINE_string(
    "revision", None, "Branch, tag or commit of a hub id."
)
_DTYPE = shared_flags.dtype()

# Colours of the terminal's 256, from expected to surprising, and the nats at
# which the next one begins: probabilities of 0.37, 0.14, 0.02 and 0.0003.
_COLOURS = (34, 106, 220, 208, 196)
_NATS = (1.0, 2.0, 4.0, 8.0)


def _coloured(text, nats):
    # https://no-color.org: set and not empty.
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    colour = _COLOURS[bisect.bisect(_NATS, nats)]
    return f"\033[38;5;{colour}m{text}\033[0m"


def main():
    from mmc_jax import scoring

    shown = scoring.surprisal(
        _CHECKPOINT.value,
        _TEXT.value,
        revision=_REVISION.value,
        settings=scoring.Settings(dtype=_DTYPE.value),
    )
    first_scored = len(shown.tokens) - shown.num_scored
    print(f"{'nats':>8}  token")
    for i, token in enumerate(shown.tokens):
        # Spelled like a Python string: a token may be a control character.
        if i < first_scored:
            print(f"{'-':>8}  {token!r}")
        else:
            nats = shown.nll_nats[i]
            print(_coloured(f"{nats:8.3f}  {token!r}", nats))
    policy, prefix = shown.prefix
    before = "nothing" if prefix is None else f"the {policy} token, {prefix}"
    print(
        f"total {shown.total_nats:.4f} nats over {shown.num_scored} of "
        f"{len(shown.tokens)} tokens, {shown.bits_per_byte:.4f} bits per byte; "
        f"before the text stands {before}"
    )
    if not math.isfinite(shown.total_nats):
        raise ValueError(f"{_CHECKPOINT.value}: a score is not finite")


if __name__ == "__main__":
    program.run(main)
