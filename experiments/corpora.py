"""The flags by which programs take a corpus, and its reading."""

from absl import flags

from . import shared_flags

_CORPUS = shared_flags.corpus(required=True)
_TEXT_COLUMN = shared_flags.text_column()
_TEXT_ID = shared_flags.text_id("id")
_DOMAIN = shared_flags.domain("domain")
_SKIP_BLANK = flags.DEFINE_bool(
    "skip_blank", False, "Leave out texts that are empty or white space."
)


def read():
    """Returns the corpus that the flags name: a Corpus or a Stream."""
    from mmc_jax import corpus

    return corpus.named(
        _CORPUS.value,
        text_column=_TEXT_COLUMN.value,
        id_column=_TEXT_ID.value,
        domain_column=_DOMAIN.value,
        skip_blank=_SKIP_BLANK.value,
    )
