"""The score table: the score of every text under every model.

A table lies in a folder of Parquet files (`open`, `write`, and `ModelWriter`
for scores that come piece by piece) and is a `ScoreTable` in memory, whose
`losses` apply one of the normalisations; two tables that were scored in
different ways are compared by `differences`.
"""

from mmc_jax.scores.comparison import (
    Agreement,
    Differences,
    Distribution,
    agreement,
    differences,
    distribution,
    pair_differences,
)
from mmc_jax.scores.files import (
    finished_key,
    is_finished,
    is_table,
    open,
    unfinished,
    write,
    write_corpus,
)
from mmc_jax.scores.locks import locked
from mmc_jax.scores.normalisations import (
    bits_per_byte,
    chars_per_token,
    nats_per_char,
    nats_per_token,
    raw,
    text_length,
)
from mmc_jax.scores.segmentation import Places, unfollowed_texts
from mmc_jax.scores.shipped_tables import shipped
from mmc_jax.scores.summing import nll_of_table, summed
from mmc_jax.scores.table import (
    NORMALISATIONS,
    UNITS,
    ScoredModel,
    ScoreTable,
)
from mmc_jax.scores.tokens import TokenScores, keeps_tokens, token_scores
from mmc_jax.scores.writer import ModelWriter

__all__ = [
    "NORMALISATIONS",
    "UNITS",
    "Agreement",
    "Differences",
    "Distribution",
    "ModelWriter",
    "Places",
    "ScoreTable",
    "ScoredModel",
    "TokenScores",
    "agreement",
    "bits_per_byte",
    "chars_per_token",
    "differences",
    "distribution",
    "finished_key",
    "is_finished",
    "is_table",
    "keeps_tokens",
    "locked",
    "nats_per_char",
    "nats_per_token",
    "nll_of_table",
    "open",
    "pair_differences",
    "raw",
    "shipped",
    "summed",
    "text_length",
    "token_scores",
    "unfinished",
    "unfollowed_texts",
    "write",
    "write_corpus",
]
