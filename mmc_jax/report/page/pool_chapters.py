"""Domains, who wins where, diagnosis, single texts."""

from collections.abc import Iterator
from typing import Any

from mmc_jax.report.page.charts import chart
from mmc_jax.report.page.elements import (
    Child,
    Result,
    element,
    name_of,
    pointer,
    table,
)

# Columns of a table that can be read. The page's JavaScript makes larger ones
# when they are asked for.
_MOST_COLUMNS = 32
# Models of which a chart of bars, or a table of many columns, has rows.
_MOST_ROWS = 200


def domains(result: Result) -> Iterator[Child]:
    """Yields the losses of each domain.

    Args:
      result: The result, with "/domains".
    """
    rows = [
        [
            name_of(domain["name"] or "no domain"),
            result.number(f"{at}/num_texts", "int"),
            name_of(domain["best_model"]),
            result.number(f"{at}/best_loss"),
            result.number(f"{at}/oracle_loss"),
        ]
        for d, domain in enumerate(result.get("/domains/domains"))
        for at in [pointer("domains", "domains", d)]
    ]
    yield table(
        "The best single model of each domain, and the ideal choice among all",
        ["domain", "texts", "best model", "its loss", "oracle"],
        rows,
    )
    yield chart(
        {
            "kind": "heat",
            "values": "/domains/losses",
            "rows": ["/domains/domains", "name"],
            "columns": ["/study/models", "name"],
            "families": "/study/models",
            "perRow": True,
            "all": len(result.get("/domains/domains")) > _MOST_COLUMNS,
        },
        "Mean loss of each model in each domain. A row has shades of its own: "
        "dark is its best model.",
        _domains_table(result),
        wide=True,
    )


def winners(result: Result) -> Iterator[Child]:
    """Yields what each model brings, alone and in pairs.

    Args:
      result: The result, with "/diversity".
    """
    models = result.get("/diversity/models")
    yield chart(
        {
            "kind": "bars",
            "rows": "/diversity/models",
            "most": _MOST_ROWS,
            "panels": [
                {"value": "win_share", "form": ".1%", "title": "texts won"},
                {
                    "value": "shapley",
                    "error": "shapley_standard_error",
                    "form": ".3~g",
                    "title": "Shapley value",
                },
                {
                    "value": "marginal_contribution",
                    "form": ".3~g",
                    "title": "lost without it",
                },
            ],
        },
        "What each model brings to the pool. Bars of Shapley values have one "
        "standard error over texts."
        + (
            f" The {_MOST_ROWS} models that win the most texts."
            if len(models) > _MOST_ROWS
            else ""
        ),
        table(
            "What each model brings",
            [
                "model",
                "family",
                "loss",
                "texts won",
                "Shapley value",
                "standard error",
                "lost without it",
            ],
            [
                [
                    name_of(model["name"]),
                    name_of(model["family"] or "-"),
                    result.number(f"{at}/loss"),
                    result.number(f"{at}/win_share", ".1%"),
                    result.number(f"{at}/shapley"),
                    result.number(f"{at}/shapley_standard_error", ".2g"),
                    result.number(f"{at}/marginal_contribution", ".3g"),
                ]
                for m, model in enumerate(models)
                for at in [pointer("diversity", "models", m)]
            ],
            num_names=2,
        ),
        wide=True,
    )
    yield _gain_matrix(result)
    yield chart(
        {
            "kind": "membership",
            "line": "/law/views/0/lines/oracle",
            "models": "/study/models",
        },
        "Members of the subsets of the oracle's frontier, the cheapest first.",
        wide=True,
    )


def diagnosis(result: Result) -> Iterator[Child]:
    """Yields what is wrong with the pool and its texts, in sentences.

    Args:
      result: The result, with "/diagnosis/findings".
    """
    yield element(
        "ul",
        [
            element(
                "li",
                element("b", finding["about"]),
                ": ",
                element(
                    "span",
                    finding["words"],
                    class_="n",
                    data_at=f"/diagnosis/findings/{i}/words",
                ),
            )
            for i, finding in enumerate(result.get("/diagnosis/findings"))
        ],
    )


def texts(result: Result) -> Iterator[Child]:
    """Yields the worst and the most contested texts, with every model's loss.

    Args:
      result: The result, with "/texts".
    """
    best, models = result.get("/texts/best_model"), result.get("/study/models")
    rows, which = range(len(models)), "every model"
    if len(models) > _MOST_ROWS:
        least = sorted(rows, key=lambda m: models[m]["loss"])[:_MOST_ROWS]
        rows = sorted(least)
        which = f"the {_MOST_ROWS} models of the least mean loss"
    for kind, title in (
        ("worst", ["The largest oracle losses"]),
        ("contested", ["The largest gains over ", name_of(best)]),
    ):
        yield element("h3", title)
        found = result.get(f"/texts/{kind}")
        yield element(
            "ol",
            [
                _text(result, f"/texts/{kind}/{i}", t)
                for i, t in enumerate(found)
            ],
        )
        yield element(
            "details",
            element("summary", f"Loss of {which} on these texts"),
            table(
                f"Loss of {which} on the {kind} texts",
                ["model", *(name_of(text["text_id"], 16) for text in found)],
                [
                    [
                        name_of(models[m]["name"]),
                        *(
                            result.number(f"/texts/{kind}/{i}/losses/{m}")
                            for i in range(len(found))
                        ),
                    ]
                    for m in rows
                ],
            ),
        )


def _text(result: Result, at: str, text: dict[str, Any]) -> Child:
    return element(
        "li",
        name_of(text["text_id"]),
        [" (", name_of(text["domain"]), ")"] if text["domain"] else None,
        ": oracle ",
        result.number(f"{at}/oracle_loss"),
        ", gain ",
        result.number(f"{at}/gain", ".3g"),
        ", best is ",
        name_of(text["best_model"]),
        element(
            "blockquote",
            [
                element("div", line or " ", dir="auto")
                for line in text["text"].split("\n")
            ],
        )
        if text.get("text")
        else None,
    )


def _gain_matrix(result: Result) -> Child:
    """Returns the chart of the gains of pairs, of very many models of some."""
    models, more = "/study/models", ""
    if result.get("/diversity/paired_models"):
        models = "/diversity/paired_models"
        more = (
            f" Of {len(result.get('/study/models')):,} models those of the "
            "largest Shapley values; diversity_pair_gains in arrays.npz has "
            "all."
        )
    return chart(
        {
            "kind": "heat",
            "values": "/diversity/pair_gains",
            "rows": [models, "name"],
            "columns": [models, "name"],
            "families": models,
            "all": True,
        },
        "Gain matrix: what an ideal choice between two models gains over the "
        "better of them." + more,
        _largest_table(result),
        wide=True,
        summary="The largest gains with their intervals",
    )


def _largest_table(result: Result) -> Child:
    pairs = result.get("/diversity/largest/pair_gains", [])
    return table(
        "The pairs that gain most, the best of all pairs (with selection bias)",
        ["first", "second", "gain"],
        [
            [
                name_of(pair["pair"][0]),
                name_of(pair["pair"][1]),
                result.interval(f"{at}/bonus", f"{at}/low", f"{at}/high"),
            ]
            for i, pair in enumerate(pairs)
            for at in [pointer("diversity", "largest", "pair_gains", i)]
        ],
        num_names=2,
    )


def _domains_table(result: Result) -> Child:
    found = result.get("/domains/domains")
    if len(found) > _MOST_COLUMNS:
        return None
    return table(
        "Mean loss of each model in each domain",
        ["model", *(name_of(one["name"] or "no domain", 24) for one in found)],
        [
            [
                name_of(model["name"]),
                *(
                    result.number(f"/domains/losses/{d}/{m}")
                    for d in range(len(found))
                ),
            ]
            for m, model in enumerate(result.get("/study/models"))
        ],
    )
