"""RouterEval (github.com/MilkThink-Lab/RouterEval, arXiv 2503.10657).

`router_dataset/<data set>_router_dataset.pkl`: a dict with `easy` and `hard`,
each number of candidates -> group of candidates -> `model` (names, [M]) and
`data` (`train_score`, `val_score`, `test_score`, each [X, M], between 0 and 1),
and `prompt` (`train_prompt`, ...). All candidates of all groups become one
table. There are no costs.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmc_jax.importers import pickles, prompts
from mmc_jax.importers.frame import Imported, Options
from mmc_jax.scores import ScoredModel

_ENDING = "_router_dataset"
_LEVELS = ("easy", "hard")
_SPLITS = ("train", "val", "test")


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a path has the name of a file of RouterEval."""
    return path.is_file() and path.stem.endswith(_ENDING)


def read(path: pathlib.Path, options: Options) -> Imported:
    """Returns the scores of all candidates; texts are named by their split.

    Args:
      path: One pickle of RouterEval; it is read without running code.
      options: Whether prompts are kept.

    Raises:
      ValueError: The pickle holds more than plain data, an array has another
        shape, or a candidate has other scores in two groups.
    """
    data = pickles.plain(path)
    columns: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for where, names, scores in _groups(data, path):
        sizes = sizes or {split: len(of) for split, of in scores.items()}
        if {split: len(of) for split, of in scores.items()} != sizes:
            raise ValueError(f"{where}: other numbers of texts than elsewhere")
        stacked = np.concatenate(list(scores.values()))
        for m, name in enumerate(names):
            if name not in columns:
                columns[name], places[name] = stacked[:, m], where
            elif not np.array_equal(
                columns[name], stacked[:, m], equal_nan=True
            ):
                raise ValueError(
                    f"{where}: the model {name!r} has other scores than in "
                    f"{places[name]}"
                )
    if not columns:
        raise ValueError(f"{path}: no candidates under 'easy' or 'hard'")
    name = path.stem.removesuffix(_ENDING)
    ids = [
        f"{name}/{split}/{i}"
        for split, num in sizes.items()
        for i in range(num)
    ]
    return Imported(
        path=path,
        models=tuple(ScoredModel(model) for model in columns),
        text_ids=tuple(ids),
        values=np.stack(list(columns.values())),
        unit="score",
        domains=(name,) * len(ids),
        provenance={"file": path.name, "source": "RouterEval"},
        **_prompts(data, sizes, path),
    )


def _groups(
    data: Any, path: pathlib.Path
) -> Iterator[tuple[str, list[str], dict[str, np.ndarray]]]:
    """Yields place, names [M] and scores of each split [X, M] of each group."""
    for level in _LEVELS:
        sizes = data.get(level) if isinstance(data, dict) else None
        for size, groups in (sizes or {}).items():
            for group, content in groups.items():
                where = f"{path}, [{level!r}][{size!r}][{group!r}]"
                if not isinstance(content, dict) or not {
                    "model",
                    "data",
                } <= set(content):
                    raise ValueError(f"{where}: no 'model' and 'data'")
                names = [str(name) for name in list(content["model"])]
                scores = {}
                for split in _SPLITS:
                    field = f"{split}_score"
                    if field in content["data"]:
                        scores[split] = _scores(
                            content["data"][field],
                            len(names),
                            f"{where}['data'][{field!r}]",
                        )
                if not scores:
                    raise ValueError(f"{where}['data']: no scores")
                yield where, names, scores


def _scores(values: Any, num_models: int, where: str) -> np.ndarray:
    try:
        scores = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: no numbers ({error})") from error
    if scores.ndim != 2 or scores.shape[1] != num_models:
        raise ValueError(
            f"{where}: the shape is {scores.shape}, for {num_models} models"
        )
    return scores


def _prompts(
    data: dict[str, Any], sizes: dict[str, int], path: pathlib.Path
) -> dict[str, Any]:
    """Returns what follows from the prompts, if they are there."""
    there = data.get("prompt")
    if not isinstance(there, dict):
        return {}
    said: list[str] = []
    for split, num in sizes.items():
        of_split = there.get(f"{split}_prompt")
        if of_split is None:
            return {}
        if len(of_split) != num:
            raise ValueError(
                f"{path}, ['prompt']['{split}_prompt']: {len(of_split)} "
                f"prompts for {num} texts"
            )
        said += [str(prompt) for prompt in list(of_split)]
    return dict(prompts.facts(said))
