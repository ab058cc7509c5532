"""Corpora from Hugging Face data sets, and corpora by their names."""

import re

from mmc_jax.corpus.container import Corpus, Stream, record_of_row
from mmc_jax.corpus.embedded_texts import embedded
from mmc_jax.corpus.readers import stream

# hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT; a split may be train[:100].
_DATA_SET = re.compile(
    r"hf:(?P<name>[^:]+)(:(?P<config>[^:\[\]]+))?"
    r":(?P<split>[^:\[\]]+(\[[^\]]*\])?)"
)


def hugging_face(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus:
    """Returns the texts of a Hugging Face data set.

    Args:
      name: A data set's hub id, or a local folder that `datasets` can load.
      split: Such as "test" or "train[:1000]".
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.
      skip_blank: Whether texts that are empty or white space are left out.

    Raises:
      ImportError: The package `datasets` is not installed.
      ValueError: A row without a text, an empty text, a duplicate id or no rows
        at all; the message names the row.
    """
    return hugging_face_stream(
        name,
        split=split,
        subset=subset,
        text_column=text_column,
        id_column=id_column,
        domain_column=domain_column,
        skip_blank=skip_blank,
    ).load()


def hugging_face_stream(
    name: str,
    *,
    split: str,
    subset: str | None = None,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
    on_disk: bool = True,
) -> Stream:
    """Returns the texts of a Hugging Face data set, not held in memory.

    Args:
      name: A data set's hub id, or a local folder that `datasets` can load.
      split: Such as "test"; a part of it, "train[:1000]", only on disk.
      subset: The data set's configuration, where it has several.
      text_column: The column that holds the text.
      id_column: The column that holds the id.
      domain_column: The column that holds the domain.
      skip_blank: Whether texts that are empty or white space are left out.
      on_disk: Whether the data set is fetched once into the cache of
        `datasets`. Otherwise it takes no disk and comes over the network on
        every pass: the first one, and one for each model.

    Raises:
      ImportError: The package `datasets` is not installed.
      ValueError: The data set has several configurations, and `subset` names
        none of them.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading {name!r} needs the package datasets: pip install datasets"
        ) from error
    try:
        rows = datasets.load_dataset(
            name, subset, split=split, streaming=not on_disk
        )
    except ValueError as error:
        if "onfig name" in str(error):
            raise ValueError(
                f"{name}: has several configurations; name one in the corpus "
                f"as hf:{name}:CONFIG:{split} ({error})"
            ) from error
        raise
    where = f"{name} ({split})"
    columns = (text_column, id_column, domain_column)
    return Stream(
        lambda: (
            record_of_row(f"{where}, row {i}", row, *columns)
            for i, row in enumerate(rows)
        ),
        where,
        skip_blank=skip_blank,
    )


def named(
    name: str,
    *,
    text_column: str = "text",
    id_column: str = "id",
    domain_column: str = "domain",
    skip_blank: bool = False,
) -> Corpus | Stream:
    """Returns the corpus that a name on a command line stands for.

    Args:
      name: `embedded` for the held-out texts that come with Python,
        `hf:NAME:SPLIT` or `hf:NAME:CONFIG:SPLIT` for a Hugging Face data set,
        else the path of a file or folder. All but the first are streams.
      text_column: The column that holds the text.
      id_column: The column that holds the id; may be missing.
      domain_column: The column that holds the domain; may be missing.
      skip_blank: Whether texts that are empty or white space are left out.

    Raises:
      FileNotFoundError: Nothing is at the path.
      ImportError: The package `datasets` is needed and not installed.
      ValueError: A kind of file that is not read, or a data set without a
        split.
    """
    if name == "embedded":
        return embedded("held_out")
    options = {
        "text_column": text_column,
        "id_column": id_column,
        "domain_column": domain_column,
        "skip_blank": skip_blank,
    }
    if name.startswith("hf:"):
        match = _DATA_SET.fullmatch(name)
        if match is None:
            raise ValueError(
                f"corpus {name!r}: write it as hf:NAME:SPLIT or "
                "hf:NAME:CONFIG:SPLIT"
            )
        return hugging_face_stream(
            match["name"],
            split=match["split"],
            subset=match["config"],
            **options,
        )
    return stream(name, **options)
