"""Which files of a checkpoint folder hold its weights."""

import pathlib
import re

from absl import logging

from mmc_jax.corpus import files as corpus_files

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# One of several files: its name, its number and how many there are.
_NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the safetensors files of a checkpoint folder.

    As in transformers, model.safetensors goes before an index beside it. Where
    neither is there, the only file of another name is taken, or the only
    complete set of files that are numbered as in `a-00001-of-00002`.

    Raises:
      FileNotFoundError: There are none, or one of a set is missing.
      ValueError: The index cannot be read or names a file outside the folder;
        or the folder holds several files or sets of other names.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        return _files_of_other_names(folder)
    content = corpus_files.json_object(index, limit="index")
    try:
        names = set(content["weight_map"].values())
        files = {name: folder / name for name in sorted(names)}
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{index}: not readable as an index of tensors: {error!r}"
        ) from None
    for name, file in files.items():
        # Links are followed: the hub's own cache is made of them.
        if pathlib.Path(name).name != name:
            raise ValueError(f"{index}: {name!r} is outside the folder")
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing; {index} names it")
    return list(files.values())


def _files_of_other_names(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the weights of a folder that has neither usual name."""
    sets: dict[str, list[pathlib.Path]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if file.name.startswith((".", "adapter_")) or not file.is_file():
            continue  # A pipe would stop the process, and Ctrl-C with it.
        numbered = _NUMBERED.fullmatch(file.name)
        name = f"{numbered[1]}-*-of-{numbered[3]}" if numbered else file.name
        sets.setdefault(name, []).append(file)
    if not sets:
        raise FileNotFoundError(f"{folder / WEIGHTS}: {_advice(folder)}")
    if len(sets) > 1:
        raise ValueError(
            f"{folder}: neither {WEIGHTS} nor {INDEX}, and several other files "
            f"of weights: {some(list(sets))}; give the right one that name, "
            "or move the others away"
        )
    ((name, files),) = sets.items()
    if (numbered := _NUMBERED.fullmatch(files[0].name)) is not None:
        have = {int(_NUMBERED.fullmatch(file.name)[2]) for file in files}
        missing = sorted(set(range(1, int(numbered[3]) + 1)) - have)
        if missing:
            raise FileNotFoundError(
                f"{folder}: of {name}.safetensors number "
                f"{some([str(number) for number in missing])} is missing"
            )
    logging.info("%s: weights are read from %s", folder, name)
    return files


def _advice(folder: pathlib.Path) -> str:
    pickles = [
        file.name
        for pattern in ("*.bin", "*.pt", "*.pth")
        for file in sorted(folder.glob(pattern))
    ]
    if not pickles:
        return (
            "missing; only safetensors are read, which transformers' "
            "save_pretrained writes"
        )
    return (
        f"missing; only safetensors are read, and {pickles[0]} is a pickle, "
        "which may run any code when it is opened. If you trust it, convert "
        "it: python -c 'from transformers import AutoModelForCausalLM as M; "
        f'M.from_pretrained("{folder}").save_pretrained("{folder}")\''
    )


def some(names: list[str]) -> str:
    """Returns the first of many names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
