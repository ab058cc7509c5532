"""The flags that programs share: one name, one meaning and one text each.

A program defines the ones it takes, as in `_OUT = shared_flags.out()`.
Rules for all flags: several values are one flag with commas in between; paths
may begin with `~`; what counts begins with `num_`; what selects begins with
`only_`; times are in seconds.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from . import choices

# The flags belong to the programs, which --help goes by.
flags.disclaim_key_flags()

# Two programs in one process, as in tests, define the same flags.
_SHARED = {"allow_override": True}


class _PathParser(flags.ArgumentParser):
    """A path, with `~` for the home folder expanded; gs:// and s3:// stay."""

    syntactic_help = "a path; ~ is the home folder"

    def parse(self, argument: str) -> str:
        path = os.path.expanduser(argument)
        if path.startswith("~"):
            raise ValueError(f"there is no user {path.split('/')[0]}")
        return path

    def flag_type(self) -> str:
        return "path"


class _ListParser(flags.ArgumentParser):
    """Values with commas in between, each parsed by another parser."""

    def __init__(self, of_one: flags.ArgumentParser):
        self._of_one = of_one
        self.syntactic_help = "commas in between"

    def parse(self, argument: str | Sequence[Any]) -> list[Any]:
        if isinstance(argument, str):
            argument = [part for part in argument.split(",") if part.strip()]
        return [self._of_one.parse(part) for part in argument]

    def flag_type(self) -> str:
        return f"list of {self._of_one.flag_type()}s"


class _MeshParser(flags.ArgumentParser):
    """Devices along data and model: 2x4, or x4 where all others are data."""

    syntactic_help = "devices along data and model, such as 2x4"

    def parse(self, argument: str) -> str:
        if re.fullmatch(r"([1-9]\d*)?x[1-9]\d*", argument) is None:
            raise ValueError("give devices along data and model, such as 2x4")
        return argument

    def flag_type(self) -> str:
        return "mesh"


def path(
    name: str, default: str | None, text: str, *, required: bool = False
) -> flags.FlagHolder:
    """Defines a flag that takes a path."""
    return flags.DEFINE(
        _PathParser(), name, default, text, required=required, **_SHARED
    )


def paths(name: str, text: str) -> flags.FlagHolder:
    """Defines a flag that takes any number of paths."""
    return _listed(name, [], text, _PathParser())


def integers(
    name: str, default: Sequence[int] | None, text: str, *, lower_bound: int = 0
) -> flags.FlagHolder:
    """Defines a flag that takes several whole numbers."""
    return _listed(
        name, default, text, flags.IntegerParser(lower_bound=lower_bound)
    )


def floats(name: str, default: Sequence[float], text: str) -> flags.FlagHolder:
    """Defines a flag that takes several numbers."""
    return _listed(name, default, text, flags.FloatParser())


def _listed(name, default, text, of_one) -> flags.FlagHolder:
    return flags.DEFINE(
        _ListParser(of_one),
        name,
        default,
        text,
        serializer=flags.CsvListSerializer(","),
        **_SHARED,
    )


def out(
    default: str | None = None, *, required: bool = True
) -> flags.FlagHolder:
    """Where results go."""
    return path(
        "out",
        default,
        "Folder that the results are written into.",
        required=required and default is None,
    )


def page() -> flags.FlagHolder:
    """Where a page goes."""
    return path(
        "out",
        None,
        "Page to write, a name that ends in .html; the numbers go into the "
        "folder of that name without .html.",
        required=True,
    )


def seed() -> flags.FlagHolder:
    """What random numbers begin with."""
    return flags.DEFINE_integer(
        "seed", 0, "Seed of all random choices.", lower_bound=0, **_SHARED
    )


def pool(*, required: bool = True) -> flags.FlagHolder:
    """The models under study."""
    return path(
        "pool",
        None,
        "Pool of models: a YAML file, or the name of a shipped pool.",
        required=required,
    )


def corpus(*, required: bool) -> flags.FlagHolder:
    """The texts."""
    return path(
        "corpus",
        None,
        "Texts: a .jsonl or .parquet file, a folder of text files, `embedded`, "
        "`hf:NAME:SPLIT` or `hf:NAME:CONFIG:SPLIT`.",
        required=required,
    )


def prefix_bytes(default: int | None) -> flags.FlagHolder:
    """How much of a text all models read."""
    return flags.DEFINE_integer(
        "prefix_bytes",
        default,
        "Bytes of a text that the prefix router lets all models read; it needs "
        "scores with --keep_tokens.",
        lower_bound=1,
        **_SHARED,
    )


def text_column() -> flags.FlagHolder:
    """Where the texts of a corpus stand."""
    return flags.DEFINE_string(
        "text_column",
        "text",
        "The column of the corpus that holds the texts.",
        **_SHARED,
    )


def text_id(default: str) -> flags.FlagHolder:
    """How texts are named."""
    return flags.DEFINE_string(
        "text_id", default, "Column that names the texts.", **_SHARED
    )


def domain(default: str | None) -> flags.FlagHolder:
    """To which domain a text belongs."""
    return flags.DEFINE_string(
        "domain", default, "Column of the texts' domains.", **_SHARED
    )


def checkpoint(*, required: bool) -> flags.FlagHolder:
    """One model."""
    return path(
        "checkpoint",
        None,
        "Model: the folder of a checkpoint, or a hub id.",
        required=required,
    )


def text_dates() -> flags.FlagHolder:
    """When texts were written."""
    return path(
        "text_dates",
        None,
        "File with the columns text_id and date, such as the corpus itself: "
        "also the laws of texts by their age, and of those that no model can "
        "have seen (release_date of --models or of the pool).",
    )


def only_models() -> flags.FlagHolder:
    """Which models are taken."""
    return flags.DEFINE_list(
        "only_models",
        None,
        "Names of the models to take; all if unset.",
        **_SHARED,
    )


def num_texts_per_domain(default: int | None) -> flags.FlagHolder:
    """How many texts are taken."""
    return flags.DEFINE_integer(
        "num_texts_per_domain",
        default,
        "Number of texts of each domain that are taken, at most; all if unset.",
        lower_bound=1,
        **_SHARED,
    )


def dtype() -> flags.FlagHolder:
    """What models compute in."""
    return flags.DEFINE_enum(
        "dtype",
        "float32",
        choices.DTYPES,
        "Type of the models' parameters.",
        **_SHARED,
    )


def max_context() -> flags.FlagHolder:
    """How long windows are."""
    return flags.DEFINE_integer(
        "max_context",
        None,
        "Positions of a window; the model's own context if unset.",
        lower_bound=1,
        **_SHARED,
    )


def tokens_per_batch() -> flags.FlagHolder:
    """How large batches are."""
    return flags.DEFINE_integer(
        "tokens_per_batch",
        None,
        "Token budget of a batch on a device; what suits the device if unset.",
        lower_bound=1,
        **_SHARED,
    )


def mesh(default: str) -> flags.FlagHolder:
    """How devices share the work."""
    return flags.DEFINE(
        _MeshParser(),
        "mesh",
        default,
        "Devices as DATAxMODEL, such as 2x4: batches are spread over DATA, "
        "weights split over MODEL. x4 spreads batches over all others.",
        **_SHARED,
    )


def mesh_sizes(mesh: str) -> tuple[int | None, int]:
    """Returns the devices along data, None for all others, and along model."""
    num_data, _, num_model = mesh.partition("x")
    return int(num_data) if num_data else None, int(num_model)


def method() -> flags.FlagHolder:
    """How the frontier is found."""
    return flags.DEFINE_enum(
        "method",
        "pruned",
        choices.METHODS,
        "How subsets are searched.",
        **_SHARED,
    )


def held_out() -> flags.FlagHolder:
    """Which texts choose nothing."""
    return flags.DEFINE_float(
        "held_out",
        0.0,
        "Share of the texts that choose nothing: what the others chose is "
        "evaluated on them.",
        lower_bound=0.0,
        upper_bound=1.0,
        **_SHARED,
    )


def cluster_by_domain() -> flags.FlagHolder:
    """What is resampled."""
    return flags.DEFINE_bool(
        "cluster_by_domain",
        False,
        "Keep the texts of a domain together where texts are split or "
        "resampled.",
        **_SHARED,
    )


def routers(default: Sequence[str] | None) -> flags.FlagHolder:
    """Which routers are compared."""
    return flags.DEFINE_list(
        "routers",
        default,
        "Names of the routers to compare, or all; none where it is empty: "
        f"{', '.join(choices.ROUTERS)}.",
        **_SHARED,
    )


def granularities(default: Sequence[str] | None) -> flags.FlagHolder:
    """How finely texts are cut."""
    return flags.DEFINE_list(
        "granularities",
        default,
        "Kinds of segments: text, line, sentence, word, token, bytes:N.",
        **_SHARED,
    )


def num_resamples(default: int, *, lower_bound: int = 1) -> flags.FlagHolder:
    """How many resamples intervals are made of."""
    return flags.DEFINE_integer(
        "num_resamples",
        default,
        "Number of resamples of the texts that an interval comes from.",
        lower_bound=lower_bound,
        **_SHARED,
    )


def num_searches(default: int, *, lower_bound: int) -> flags.FlagHolder:
    """How many resamples are searched."""
    return flags.DEFINE_integer(
        "num_searches",
        default,
        "Number of resamples of the texts whose frontier is searched anew.",
        lower_bound=lower_bound,
        **_SHARED,
    )


def num_splits(default: int, *, lower_bound: int) -> flags.FlagHolder:
    """How often texts are halved."""
    return flags.DEFINE_integer(
        "num_splits",
        default,
        "Number of random splits of the texts into halves; each half chooses "
        "the subsets that the other half judges.",
        lower_bound=lower_bound,
        **_SHARED,
    )


def num_starts() -> flags.FlagHolder:
    """From where a law is fitted."""
    return flags.DEFINE_integer(
        "num_starts",
        64,
        "Starts of the optimiser of each fit.",
        lower_bound=1,
        **_SHARED,
    )


def num_repeats(default: int) -> flags.FlagHolder:
    """How often a case is timed."""
    return flags.DEFINE_integer(
        "num_repeats",
        default,
        "Number of times that a case is timed; the fastest counts.",
        lower_bound=1,
        **_SHARED,
    )


def patience(default: float) -> flags.FlagHolder:
    """When a case is not repeated."""
    return flags.DEFINE_float(
        "patience",
        default,
        "Seconds after which a case is not run again.",
        **_SHARED,
    )


def time_limit(
    default: float | None, text: str = "Seconds for each proof."
) -> flags.FlagHolder:
    """How long a proof may take."""
    return flags.DEFINE_float(
        "time_limit", default, text, lower_bound=0.0, **_SHARED
    )


def noise(default: Sequence[float], text: str) -> flags.FlagHolder:
    """How much is random in simulated losses."""
    return floats("noise", default, text)
