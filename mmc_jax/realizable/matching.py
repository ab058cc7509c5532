"""The texts of a score table, which keeps none: found again by hash or id.

X texts.
"""

import dataclasses

from mmc_jax.corpus import Corpus


def matched_texts(corpus: Corpus, known: Corpus) -> Corpus:
    """Returns the texts of a table, under its ids and domains and in its order.

    They go by the hash of the text where the table knows it, else by id.

    Args:
      corpus: A corpus with texts, which may have more than the table.
      known: What the table knows of its texts.

    Raises:
      ValueError: A text of the table is not in the corpus; its id is named.
    """
    by_hash = all(known.sha256)
    keys = corpus.sha256 if by_hash else corpus.ids
    place = {key: i for i, key in enumerate(keys)}
    wanted = known.sha256 if by_hash else known.ids
    lacking = [x for x, key in enumerate(wanted) if key not in place]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(wanted)} texts of the scores are not in "
            f"the corpus, the first is {known.ids[lacking[0]]!r}: "
            + (
                "it has other texts (--corpus)."
                if by_hash
                else "it has other texts or other ids (--corpus, --text_id)."
            )
        )
    found = corpus.select([place[key] for key in wanted])
    return dataclasses.replace(
        found,
        ids=known.ids,
        domains=known.domains if any(known.domains) else found.domains,
    )
