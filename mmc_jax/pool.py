"""Pool files in YAML: the models under study and what each costs.

    name: stdlib20                # optional; the file's name otherwise
    description: What it is for.  # optional
    models:
      - name: gpt2-small          # unique; letters, digits, . _ -
        checkpoint: gpt2-small    # a folder or GGUF file, relative to this one,
        family: gpt2
      - name: pythia-70m          # or a Hugging Face hub id with revision
        checkpoint: EleutherAI/pythia-70m
        revision: a39f36b100fe8a5377810d56c3f4789b9c53ac42
        family: pythia
        kind: base                # base (the default) or instruct
        context: 2048             # optional: positions of a window, in place of
                                  # what the checkpoint's config states
        costs: {price: 0.02}      # additive over a subset, any names
        facts:                    # optional, and so is each; nothing adds up
          model_type: gpt_neox    # as in the checkpoint's config.json
          context_length: 2048    # tokens
          vocab_size: 50304       # rows of the embedding
          licence: Apache-2.0     # of the weights; SPDX's name if it has one
          release_date: 2023-04-03  # day, month or year of its publication

Parameters are counted from the checkpoint, `mmc_jax.models.num_params`; a
`num_params` under `costs` is only used where no weights are there.
"""

import dataclasses
import datetime
import difflib
import importlib.resources
import os
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import Any

import yaml

from mmc_jax import limits
from mmc_jax.dates import date_span
from mmc_jax.limits import shown

_GGUF = b"GGUF"
_POOL_FIELDS = ("name", "description", "models")
_REQUIRED = ("name", "checkpoint", "family")
_KINDS = ("base", "instruct")
# Scores are kept in files of these names with endings of up to 55 bytes.
_MAX_NAME = limits.LIMITS["name"].most
_COUNTED_FACTS = ("context_length", "vocab_size")
_DATE_FACT = "release_date"
_FACTS = ("model_type", *_COUNTED_FACTS, "licence", _DATE_FACT)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# Keys of a mapping, with those of others that are merged into it.
_MOST_KEYS = 10_000
# What git takes for a name and the hub for a part of its addresses.
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./+-]*", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the pool.

    Attributes:
      name: Name of the model, unique in the pool and safe as a file name.
      checkpoint: The absolute path of a local folder or GGUF file, or a hub
        id.
      revision: Branch, tag or commit of a hub id; None for a local folder.
      family: Name of the family: models that one team trained as one line.
      kind: "base" or "instruct".
      costs: Costs that the model adds to a subset, each finite and not
        negative. `num_params` here is only used where no weights are there.
      facts: Facts beside the costs: `model_type`, `licence` and
        `release_date`, strings; `context_length` in tokens and `vocab_size`,
        integers. Unknown facts are left out.
      context: Positions of a scoring window; None for what the checkpoint's
        config states.
    """

    name: str
    checkpoint: str
    revision: str | None
    family: str
    kind: str = "base"
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)
    context: int | None = None


@dataclasses.dataclass(frozen=True)
class Pool:
    """The models under study.

    Attributes:
      name: Name of the pool.
      models: Models in the order of the file, at least one.
    """

    name: str
    models: tuple[Model, ...]

    def select(self, names: Iterable[str]) -> "Pool":
        """Returns the pool of the models with these names, in their order.

        Raises:
          ValueError: A name that is not in the pool or given twice, or none.
        """
        by_name = {model.name: model for model in self.models}
        names = list(names)
        if not names:
            raise ValueError(f"pool {self.name}: no model is selected")
        for i, name in enumerate(names):
            if name not in by_name:
                raise ValueError(
                    f"pool {self.name}: no model {name!r}; it has "
                    f"{', '.join(by_name)}"
                )
            if name in names[:i]:
                raise ValueError(
                    f"pool {self.name}: {name!r} is selected twice"
                )
        return Pool(self.name, tuple(by_name[name] for name in names))


def is_gguf(path: pathlib.Path) -> bool:
    """Returns whether a checkpoint is a GGUF file, by its name or first bytes.

    Ollama keeps such files without a suffix, under their digest.
    """
    if not path.is_file():
        return False
    if path.suffix == ".gguf":
        return True
    with open(path, "rb") as file:
        return file.read(len(_GGUF)) == _GGUF


def read(path: str | os.PathLike[str]) -> Pool:
    """Returns the pool of a YAML file.

    Args:
      path: The file, or the bare name of a pool that ships with the package,
        such as "stdlib20".

    Raises:
      FileNotFoundError: Nothing is at `path`.
      ValueError: No pool of that name ships, the YAML cannot be read, or it
        is no pool: a key that is unknown, missing, given twice or of a wrong
        type, a duplicate name, a cost that is negative or not finite, a fact
        that is no count, a folder that is not there, no models. The message
        names the file, the model and the field, and what to do.
    """
    if isinstance(path, str) and re.fullmatch(r"[\w-]+", path):
        file = _shipped(path)
    else:
        file = pathlib.Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such pool file")
    content = _content(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: a mapping with `models:` is needed on top")
    _check_keys(content, _POOL_FIELDS, ("models",), str(file))
    for field in ("name", "description"):
        if field in content:
            _check_string(content[field], f"{file}: {field}")
    entries = content["models"]
    if not isinstance(entries, list) or not entries:
        raise ValueError(
            f"{file}: models: a list of at least one model is needed"
        )
    models, first = [], {}
    for i, entry in enumerate(entries):
        model = _model(entry, file, i)
        # Upper and lower case are one file name on some systems.
        if first.setdefault(model.name.lower(), i) != i:
            raise ValueError(
                f"{file}: models[{i}] ({model.name}): name: taken by "
                f"models[{first[model.name.lower()]}]; each model needs its own"
            )
        models.append(model)
    return Pool(content.get("name", file.stem), tuple(models))


def shipped() -> tuple[str, ...]:
    """Returns the names of the pools that ship with the package, sorted."""
    return tuple(sorted(file.stem for file in _folder().glob("*.yaml")))


def _folder() -> pathlib.Path:
    return pathlib.Path(
        str(importlib.resources.files("mmc_jax").joinpath("pools"))
    )


def _shipped(name: str) -> pathlib.Path:
    """Returns the file of a pool that ships with the package."""
    if name not in shipped():
        raise ValueError(
            f"no pool {name!r} ships with the package; it has "
            f"{', '.join(shipped()) or 'none'}. For a file of your own give "
            "its path with .yaml"
        )
    return _folder() / f"{name}.yaml"


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, refusing a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:  # Merges of merges multiply.
            raise yaml.constructor.ConstructorError(
                problem=f"a mapping of more than {_MOST_KEYS:,} keys",
                problem_mark=node.start_mark,
            )


def _content(file: pathlib.Path) -> Any:
    limits.check_file("pool", file)
    try:
        return yaml.load(file.read_bytes(), _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(
            f"{file}, line {line}: not readable as YAML: {error.problem}"
        ) from error
    # Bytes that are no text, dates that no calendar has, endless nesting.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}: not readable as YAML: {limits.reason(error)}"
        ) from error


def _check_keys(
    mapping: dict[Any, Any],
    known: tuple[str, ...],
    required: tuple[str, ...],
    where: str,
) -> None:
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(shown(key).strip("'"), known, n=1)
            raise ValueError(
                f"{where}: unknown key {shown(key)}; "
                + (f"did you mean {near[0]!r}? " if near else "")
                + f"The keys are {', '.join(known)}"
            )
    for key in required:
        if key not in mapping:
            raise ValueError(f"{where}: {key} is missing; add it")


def _check_string(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"{where}: {shown(value)} is not a string, or empty; write it "
            "in quotes"
        )


def _model(entry: Any, file: pathlib.Path, i: int) -> Model:
    """Returns the checked model of one entry of the list."""
    where = f"{file}: models[{i}]"
    if not isinstance(entry, dict):
        raise ValueError(
            f"{where}: {shown(entry)} is not a mapping with name, ..."
        )
    if isinstance(entry.get("name"), str):
        where += f" ({ascii(entry['name'])[1:-1]})"
    fields = tuple(field.name for field in dataclasses.fields(Model))
    _check_keys(entry, fields, _REQUIRED, where)
    for field in fields:
        if field in entry and field not in ("costs", "facts", "context"):
            _check_string(entry[field], f"{where}: {field}")
    if not _NAME.fullmatch(entry["name"]):
        raise ValueError(
            f"{where}: name: scores are kept under it, so only letters, "
            "digits, . _ - may stand in it, and no . or - first"
        )
    if len(entry["name"]) > _MAX_NAME:
        raise ValueError(
            f"{where}: name: {len(entry['name'])} letters, and file names hold "
            f"no more than {_MAX_NAME}"
        )
    if "context" in entry:
        _check_count(entry["context"], f"{where}: context")
    kind = entry.get("kind", "base")
    if kind not in _KINDS:
        raise ValueError(
            f"{where}: kind: {shown(kind)} is not one of {', '.join(_KINDS)}"
        )
    return Model(
        name=entry["name"],
        checkpoint=_checkpoint(entry, file, where),
        revision=entry.get("revision"),
        family=entry["family"],
        kind=kind,
        costs=_costs(entry.get("costs", {}), f"{where}: costs"),
        facts=_facts(entry.get("facts", {}), f"{where}: facts"),
        context=entry.get("context"),
    )


def _checkpoint(entry: dict[str, Any], file: pathlib.Path, where: str) -> str:
    """Returns a hub id where a revision is given, else the folder's path."""
    checkpoint = entry["checkpoint"]
    if "revision" in entry:
        if not _HUB_ID.fullmatch(checkpoint):
            raise ValueError(
                f"{where}: checkpoint: {shown(checkpoint)} is no Hugging Face "
                "hub id; give one, or remove `revision` for a local folder"
            )
        if not _REVISION.fullmatch(entry["revision"]):
            raise ValueError(
                f"{where}: revision: {shown(entry['revision'])} is no branch, "
                "tag or commit of the hub"
            )
        return checkpoint
    folder = file.parent.joinpath(checkpoint).absolute()
    try:
        folder.stat()  # From Python 3.14 on the next line hides its errors.
        is_there = is_gguf(folder) or folder.is_dir()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        is_there = False
    except OSError as error:  # A name that no file system has.
        raise ValueError(f"{where}: checkpoint: {error.strerror}") from error
    if not is_there:
        raise ValueError(
            f"{where}: checkpoint: no folder or GGUF file {folder}; correct "
            "it, or add `revision` for a Hugging Face hub id"
        )
    return os.path.normpath(folder)


def _costs(costs: Any, where: str) -> dict[str, float]:
    if not isinstance(costs, dict):
        raise ValueError(f"{where}: {shown(costs)} is not a mapping of numbers")
    for name, value in costs.items():
        _check_string(name, f"{where}: the name of a cost")
        if isinstance(value, bool) or not isinstance(value, int | float):
            # YAML 1.1 takes 1e9 for a string.
            raise ValueError(
                f"{where}.{name}: {shown(value)} is not a number; write it "
                "like 1000000000, 0.25 or 1.0e+9"
            )
        # An integer may be too large for a float.
        if not 0 <= value <= sys.float_info.max:
            raise ValueError(
                f"{where}.{name}: {shown(value)} is negative or not finite; "
                "costs add up over a subset"
            )
    return costs


def _facts(facts: Any, where: str) -> dict[str, str | int]:
    if not isinstance(facts, dict):
        raise ValueError(f"{where}: {shown(facts)} is not a mapping of facts")
    _check_keys(facts, _FACTS, (), where)
    for name, value in facts.items():
        if name == _DATE_FACT:
            continue
        if name not in _COUNTED_FACTS:
            _check_string(value, f"{where}.{name}")
        else:
            _check_count(value, f"{where}.{name}")
    if _DATE_FACT not in facts:
        return facts
    # YAML reads 2023-04-03 as a date and 2023 as a number.
    date = facts[_DATE_FACT]
    if not isinstance(date, datetime.date | int):
        _check_string(date, f"{where}.{_DATE_FACT}")
    date = shown(date) if isinstance(date, int) else str(date)
    try:
        date_span(date)
    except ValueError as error:
        raise ValueError(f"{where}.{_DATE_FACT}: {error}") from error
    return {**facts, _DATE_FACT: date}


def _check_count(value: Any, where: str) -> None:
    # A bool is an int, too. Larger numbers than 2^63 fit no array.
    if type(value) is not int or not 1 <= value < 2**63:
        raise ValueError(
            f"{where}: {shown(value)} is not a whole number of at least 1"
        )
