"""What train_router does: one router trained and kept, or asked anew."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmc_jax import at_once, realizable, report, scores

from . import import_flags, routing, tables

_ROUTER, _PREDICTIONS = "router", "predictions.jsonl"


def train(
    table: scores.ScoreTable,
    name: str,
    out: str,
    *,
    by_domain: bool,
    num_resamples: int,
    seed: int,
    flag_values: dict[str, Any],
    **options: Any,
) -> str:
    """Trains a router, writes it with what it is worth, and returns words.

    Args:
      table: The score table.
      name: Name of the router.
      out: Folder to write into.
      by_domain: Whether intervals resample domains in place of texts.
      num_resamples: Number of resamples behind the intervals.
      seed: Seed of all random choices.
      flag_values: The program's flags.
      **options: Options of the router.

    Raises:
      ValueError: What the router needs is not there.
    """
    prepared = routing.prepared(
        table,
        cache_dir=f"{out}/features",
        by_domain=by_domain,
        num_resamples=num_resamples,
        seed=seed,
    )
    contest = prepared.contest
    # Judged by a part of the texts, with the same options.
    learned = contest.texts.select(~contest.test)
    judged = realizable.fit_router(
        name,
        contest.losses[:, ~contest.test],
        contest.models,
        learned,
        seed=seed,
        **options,
    )
    evaluation = contest.evaluation(
        name,
        realizable.predicted_losses(judged, contest.texts.select(contest.test)),
    )
    known = contest.costs is not None
    router = realizable.fit_router(
        name,
        contest.losses,
        contest.models,
        contest.texts,
        seed=seed,
        facts={
            "features": routing.facts(contest.texts.features),
            "normalisation": tables.NORMALISATION.value,
            "cost": tables.COST.value,
            "costs": dict(
                zip(contest.models, contest.costs.tolist(), strict=True)
            )
            if known
            else {},
        },
        **options,
    )
    realizable.save_router(router, f"{out}/{_ROUTER}")
    study = realizable.RouterStudy(
        prepared,
        {name: realizable.Entry(evaluation, None, float("nan"))},
        {},
        None,
        None,
    )
    sections = report.routers_sections(
        study,
        unit=table.loss_unit(tables.NORMALISATION.value),
        cost=tables.COST.value,
    )
    return report.write_sections(out, sections, flags=flag_values)


def predict(out: str, path: str, price: float) -> str:
    """Sends the texts of a file to models, and returns words.

    Args:
      out: Folder in which `train` left a router.
      path: The new texts, as --corpus names them.
      price: Loss that a unit of cost is worth.

    Raises:
      FileNotFoundError: No router is there, or no texts.
      ValueError: The router does not know a model of --only_models, or needs
        what is not known of the texts; this program did not write it.
    """
    router = realizable.load_router(f"{out}/{_ROUTER}")
    _check_facts(router.facts, f"{out}/{_ROUTER}")
    if "prefix_losses" in realizable.ROUTERS[router.name].NEEDS:
        raise ValueError(
            f"router {router.name} needs the scores of new texts' beginnings, "
            "which --predict does not have: train another router"
        )
    texts = routing.read_corpus(path)
    known = realizable.Texts(
        texts.ids,
        texts.domains,
        routing.features_again(
            router.facts["features"], texts, f"{out}/features"
        ),
    )
    chosen = realizable.chosen_models(
        router,
        known,
        only_models=import_flags.ONLY_MODELS.value,
        costs=router.facts["costs"],
        price=price,
    )
    expected = realizable.predicted_losses(router, known)
    file = pathlib.Path(out, _PREDICTIONS)
    with at_once.replaced(file) as new, new.open("w") as lines:
        for x, (id_, model) in enumerate(zip(texts.ids, chosen, strict=True)):
            loss = expected[router.models.index(model), x]
            line = {"id": id_, "model": model, "expected_loss": float(loss)}
            lines.write(json.dumps(line) + "\n")
    names, counts = np.unique(chosen, return_counts=True)
    most = sorted(zip(counts.tolist(), names.tolist(), strict=True))[::-1]
    shares = ", ".join(f"{model} {count:,}" for count, model in most)
    return f"{file}: {len(chosen):,} texts; {shares}"


def _check_facts(facts: Mapping[str, Any], folder: str) -> None:
    """Raises where facts are not those that `train` writes."""
    features, costs = facts.get("features"), facts.get("costs")
    if not (
        isinstance(features, dict)
        and isinstance(features.get("kinds"), list)
        and all(isinstance(kind, str) for kind in features["kinds"])
        and isinstance(features.get("num_features"), int)
        and all(
            isinstance(features.get(name, 0), str | None)
            for name in ("pool", "reader")
        )
        and isinstance(costs, dict)
        and all(isinstance(cost, int | float) for cost in costs.values())
    ):
        raise ValueError(
            f"{folder}/router.json: its facts are not those that train_router "
            "writes; train it again"
        )
