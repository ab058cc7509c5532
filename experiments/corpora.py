"""The flag by which programs take a corpus, and its reading."""

from . import shared_flags

_CORPUS = shared_flags.path(
    "corpus",
    None,
    "Texts: a .jsonl or .parquet file, a folder of text files, `embedded`, or "
    "`hf:NAME:SPLIT`.",
    required=True,
)


def read():
    """Returns the corpus that the flag names."""
    from mmc_jax import corpus

    return corpus.named(_CORPUS.value)
