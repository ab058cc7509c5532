"""A router by its name: fitted to a loss table, kept on disk, asked anew.

M models, X texts, D features.
Writing and reading stay in one file: what one writes the other checks.
"""

import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

from mmc_jax import at_once, limits
from mmc_jax.models import hashes
from mmc_jax.models.cache import saved_by_orbax
from mmc_jax.realizable.features import Features
from mmc_jax.realizable.routers import ROUTERS
from mmc_jax.realizable.routers.seen import Seen
from mmc_jax.statistics import checked_losses

_FACTS, _ARRAYS = "router.json", "arrays"
_FORMAT = 2
# Where programs take from what a router needs.
_FLAGS = {
    "features": "--corpus, or --features with a file",
    "domains": "--domain",
    "prefix_losses": "--prefix_bytes",
}


class Texts(NamedTuple):
    """What is known of some texts, for a router.

    Attributes:
      ids: Id of each text, [X].
      domains: Domain of each text, [X]; None where not known.
      features: Features of at least these texts; None where there are none.
      prefix_losses: Loss of each model on the beginning of each text, [M, X],
        the models in the order of the losses; None where not known.
    """

    ids: Sequence[str]
    domains: Sequence[str] | None = None
    features: Features | None = None
    prefix_losses: np.ndarray | None = None

    def select(self, texts: np.ndarray) -> "Texts":
        """Returns what is known of some of the texts.

        Args:
          texts: A mask, bool [X], or indices.
        """
        places = np.arange(len(self.ids))[texts]
        return Texts(
            [self.ids[x] for x in places],
            None if self.domains is None else [self.domains[x] for x in places],
            self.features,
            None
            if self.prefix_losses is None
            else self.prefix_losses[:, places],
        )

    def of_models(self, mask: np.ndarray) -> "Texts":
        """Returns the same for some of the models.

        Args:
          mask: Whether each model is one of them, bool [M].
        """
        if self.prefix_losses is None:
            return self
        return self._replace(prefix_losses=self.prefix_losses[mask])


class FittedRouter(NamedTuple):
    """A router that has learned.

    Attributes:
      name: Name of the router, one of `ROUTERS`.
      models: Name of each model that it knows, [M].
      domains: Names of the domains that it has learned from.
      arrays: What it has learned, by name.
      facts: What else belongs to it, as JSON: how its features are made, for
        instance.
    """

    name: str
    models: tuple[str, ...]
    domains: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    facts: Mapping[str, Any] = {}


def fit_router(
    name: str,
    losses: np.ndarray,
    models: Sequence[str],
    texts: Texts,
    *,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    **options: Any,
) -> FittedRouter:
    """Returns a router that has learned from texts with known losses.

    Args:
      name: Name of the router, one of `ROUTERS`.
      losses: Loss of each text under each model, finite, [M, X].
      models: Name of each model, [M].
      texts: What is known of the texts.
      seed: Seed of all random choices.
      facts: What else belongs to the router, as JSON.
      **options: Options of this router, such as num_neighbours.

    Raises:
      ValueError: No such router; it needs what is not known of the texts; an
        option that it does not have; too few texts; losses that are not finite.

    >>> found = fit_router(
    ...     "best_single", [[1.0, 2.0], [3.0, 1.0]], ["a", "b"], Texts("xy")
    ... )
    >>> chosen_models(found, Texts("z"))
    ['a']
    """
    if name not in ROUTERS:
        raise ValueError(f"no router {name!r}; there are {', '.join(ROUTERS)}.")
    losses, _ = checked_losses(losses, None)
    if losses.shape != (len(models), len(texts.ids)):
        raise ValueError(
            f"losses of the shape {losses.shape} for {len(models)} models and "
            f"{len(texts.ids)} texts."
        )
    known = tuple(sorted(set(texts.domains or ())))
    try:
        arrays = ROUTERS[name].fit(
            _seen(name, texts, known), losses, seed=seed, **options
        )
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(
            f"router {name} has no option {', '.join(options)}."
        ) from error
    return FittedRouter(name, tuple(models), known, arrays, dict(facts or {}))


def predicted_losses(router: FittedRouter, texts: Texts) -> np.ndarray:
    """Returns the loss that a router expects of each model: float64 [M, X].

    Args:
      router: The router that has learned.
      texts: What is known of new texts, of the same kinds.

    Raises:
      ValueError: Something that the router needs is not known, or of another
        size than where it learned; its arrays do not fit.
    """
    seen = _seen(router.name, texts, router.domains)
    try:
        predicted = ROUTERS[router.name].predict(router.arrays, seen)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"router {router.name}: its arrays are not those that it learned "
            f"({error}); train it again."
        ) from error
    predicted = np.asarray(predicted, np.float64)
    if predicted.shape != (len(router.models), len(texts.ids)):
        raise ValueError(
            f"router {router.name} predicts losses of the shape "
            f"{predicted.shape} for {len(router.models)} models and "
            f"{len(texts.ids)} texts; train it again."
        )
    bad = ~np.isfinite(predicted)
    if bad.any():
        m, x = np.argwhere(bad)[0]
        raise ValueError(
            f"router {router.name} predicts the loss {predicted[m, x]} of "
            f"model {router.models[m]!r} on text {texts.ids[x]!r}: its "
            "features are far from those that it learned from, or its arrays "
            "are damaged."
        )
    return predicted


def chosen_models(
    router: FittedRouter,
    texts: Texts,
    *,
    only_models: Sequence[str] | None = None,
    costs: Mapping[str, float] | None = None,
    price: float = 0.0,
) -> list[str]:
    """Returns the name of the model that each text goes to: [X].

    The model of the least predicted loss + price x cost; of equals the first.

    Args:
      router: The router that has learned.
      texts: What is known of the texts.
      only_models: Names of the models that may be chosen; None for all.
      costs: Cost of each model by its name, where there is a price.
      price: Loss that a unit of cost is worth.

    Raises:
      ValueError: A model that the router does not know, or without a cost.
    """
    allowed = list(router.models if only_models is None else only_models)
    for model in allowed:
        if model not in router.models:
            raise ValueError(
                f"the router does not know the model {model!r}; it knows "
                f"{', '.join(router.models)}."
            )
        if price and model not in (costs or {}):
            raise ValueError(f"no cost of the model {model!r} for the price.")
    if not allowed:
        raise ValueError("no model may be chosen.")
    rows = [router.models.index(model) for model in allowed]
    total = predicted_losses(router, texts)[rows]
    if price:
        total += price * np.array([[costs[model]] for model in allowed])
    return [allowed[m] for m in total.argmin(axis=0)]


def check_needs(name: str, texts: Texts) -> None:
    """Raises where something that a router needs is not known of texts.

    Args:
      name: Name of the router, one of `ROUTERS`.
      texts: What is known of the texts.

    Raises:
      ValueError: It is not known; the message names it and the flag.
    """
    for need in ROUTERS[name].NEEDS:
        if getattr(texts, need) is None:
            raise ValueError(
                f"router {name} needs the texts' {need.replace('_', ' ')} "
                f"({_FLAGS[need]})."
            )


def save_router(router: FittedRouter, path: str | os.PathLike[str]) -> None:
    """Writes a router into a folder: `router.json`, and arrays by Orbax.

    A router that is there is replaced. `router.json` comes last: a folder that
    has it is complete.

    Args:
      router: The router that has learned.
      path: Folder to write into; it is made.

    Raises:
      OSError: The folder cannot be written.
    """
    folder = pathlib.Path(path).absolute()
    content = {
        "format": _FORMAT,
        "router": router.name,
        "models": router.models,
        "domains": router.domains,
        "arrays": {
            name: [list(array.shape), str(array.dtype)]
            for name, array in router.arrays.items()
        },
        "facts": router.facts,
    }
    content["sha256"] = _sha256(content, router.arrays)
    with at_once.alone(folder):
        # An earlier router stays until this one is complete.
        arrays = folder / f"{_ARRAYS}.partial"
        with saved_by_orbax(arrays), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(arrays, dict(router.arrays), force=True)
        with at_once.replaced(folder / _FACTS) as new:
            new.write_text(json.dumps(content, indent=1) + "\n")
            (folder / _FACTS).unlink(missing_ok=True)
            shutil.rmtree(folder / _ARRAYS, ignore_errors=True)
            arrays.rename(folder / _ARRAYS)


def load_router(path: str | os.PathLike[str]) -> FittedRouter:
    """Returns the router of a folder.

    Args:
      path: Folder that `save_router` wrote.

    Raises:
      FileNotFoundError: No router is there.
      ValueError: It is damaged or of another format.
      PermissionError: This user may not read it.
    """
    folder = pathlib.Path(path).absolute()
    # Another run might replace it between two lines.
    with at_once.alone(folder, reads=True):
        return _loaded(folder)


def _loaded(folder: pathlib.Path) -> FittedRouter:
    """Returns the router of a folder in which no run writes."""
    file = folder / _FACTS
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no router; train_router writes one")
    limits.check_file("result", file)
    try:
        content = json.loads(file.read_text())
        if content["format"] != _FORMAT or content["router"] not in ROUTERS:
            raise ValueError("another format, or a router that is not known")
        _check_names("models", content["models"])
        _check_names("domains", content["domains"])
        if not isinstance(content["facts"], dict):
            raise ValueError("its facts are no object")
        like = {
            name: _like(name, shape, dtype, file)
            for name, (shape, dtype) in content["arrays"].items()
        }
        with ocp.StandardCheckpointer() as checkpointer:
            kept = checkpointer.metadata(folder / _ARRAYS).item_metadata
            for name, array in like.items():
                # Orbax would restore another shape, and cast another dtype.
                if (kept[name].shape, kept[name].dtype) != (
                    array.shape,
                    array.dtype,
                ):
                    raise ValueError(
                        f"array {name!r} is {kept[name].dtype} of shape "
                        f"{kept[name].shape}, not what {_FACTS} says"
                    )
            arrays = checkpointer.restore(folder / _ARRAYS, like)
        stated = content.pop("sha256")
        if stated != _sha256(content, arrays):
            raise ValueError("it is damaged, or its files are of two routers")
        return FittedRouter(
            content["router"],
            tuple(content["models"]),
            tuple(content["domains"]),
            {name: np.asarray(array) for name, array in arrays.items()},
            content["facts"],
        )
    except (MemoryError, PermissionError):
        raise  # They say nothing of the router.
    except Exception as error:  # Orbax and TensorStore raise of all types.
        raise ValueError(
            f"{folder}: not a router that can be read ({error}); train it again"
        ) from error


def _sha256(content: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of a router's facts and arrays."""
    of_arrays = {
        name: hashlib.sha256(np.asarray(array).tobytes()).hexdigest()
        for name, array in arrays.items()
    }
    # As JSON gives it back: with lists for tuples.
    return hashes.json_sha256([json.loads(json.dumps(content)), of_arrays])


def _check_names(what: str, names: object) -> None:
    """Raises where names from a file are no list of different texts."""
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"its {what} are no list of different names")


def _like(
    name: str, shape: Sequence[int], dtype: str, file: pathlib.Path
) -> np.ndarray:
    """Returns an array of a shape and dtype that a file states, checked.

    Raises:
      ValueError: It is no array of numbers, or too large.
    """
    number = np.dtype(dtype)
    if number.kind not in "fiu" or not all(size >= 0 for size in shape):
        raise ValueError(f"array {name!r} is {dtype} of shape {shape}")
    limits.check("arrays", math.prod(shape) * number.itemsize, file)
    return np.zeros(shape, number)


def _seen(name: str, texts: Texts, known_domains: Sequence[str]) -> Seen:
    """Returns what a router sees, checked.

    Raises:
      ValueError: It needs what is not known of the texts.
    """
    check_needs(name, texts)
    features = domains = None
    needs = ROUTERS[name].NEEDS
    if "features" in needs:
        features = texts.features.of(texts.ids).values
    if "domains" in needs:
        number = {domain: d for d, domain in enumerate(known_domains)}
        domains = np.array(
            [number.get(domain, -1) for domain in texts.domains], np.int64
        )
    prefix = texts.prefix_losses if "prefix_losses" in needs else None
    return Seen(len(texts.ids), features, domains, prefix)
