"""Finer choices than one a text, and routers."""

from collections.abc import Iterator

from mmc_jax.report import labels
from mmc_jax.report.page.charts import chart, line_chart
from mmc_jax.report.page.elements import (
    Child,
    Result,
    element,
    name_of,
    pointer,
    table,
)

# Lines of the chart of granularity: name, column, columns of the band.
_GRANULARITY_LINES = (
    (
        "oracle",
        "all_models",
        ("all_models_interval/low", "all_models_interval/high"),
    ),
    (
        "oracle, losses permuted (control)",
        "controls/losses/all_models",
        None,
    ),
    ("oracle, residuals permuted", "controls/residuals/all_models", None),
    ("Bayes mixture of all models", "systems/bayes_mixture", None),
    ("fixed share", "systems/fixed_share", None),
    ("best single model", "best_loss", None),
)


def granularity(result: Result) -> Iterator[Child]:
    """Yields what a finer choice of the model gains.

    Args:
      result: The result, with "/granularity/granularity".
    """
    base = "/granularity/granularity"
    rows = []
    levels = f"{base}/levels"
    unit = result.get(f"{base}/unit")
    lines = [
        {"name": name, "y": [levels, column], "band": band}
        for name, column, band in _GRANULARITY_LINES
        if result.get(f"{levels}/0/{column}") is not None
    ]
    yield chart(
        {
            "kind": "lines",
            "x": [levels, "bytes_per_choice"],
            "lines": [
                {
                    **line,
                    "band": line["band"]
                    and [[levels, b] for b in line["band"]],
                }
                for line in lines
            ],
            "xLabel": "Bytes of a choice",
            "yLabel": f"Loss ({unit})",
            "steps": False,
            "marks": True,
        },
        "What a finer choice of the model gains: the oracle that chooses for "
        "each piece of a text, what it gains where losses or residuals are "
        "permuted, and systems that exist.",
    )
    for i, level in enumerate(result.get(f"{base}/levels")):
        at = f"{base}/levels/{i}"
        rows.append(
            [
                level["kind"],
                result.number(f"{at}/bytes_per_choice", ".1f"),
                result.interval(
                    f"{at}/all_models",
                    f"{at}/all_models_interval/low",
                    f"{at}/all_models_interval/high",
                ),
                result.number(f"{at}/controls/residuals/all_models"),
                result.number(f"{at}/controls/residuals/share_of_gain", ".0%"),
                result.number(f"{at}/systems/bayes_mixture"),
                result.number(f"{at}/systems/fixed_share"),
                *(
                    result.interval(
                        f"{at}/law/{name}",
                        f"{at}/{name}_interval/low",
                        f"{at}/{name}_interval/high",
                        ".3g",
                    )
                    for name in ("alpha", "L_inf")
                ),
            ]
        )
    yield table(
        f"What a finer choice gains, loss in {unit}",
        [
            "choice per",
            "bytes",
            "oracle",
            "residuals permuted",
            "of the gain, at most noise",
            "Bayes mixture",
            "fixed share",
            "alpha",
            "L_inf",
        ],
        rows,
    )


def routers(result: Result) -> Iterator[Child]:
    """Yields what routers attain.

    Args:
      result: The result, with "/routers/routers".
    """
    base = "/routers/routers"
    names = list(result.get(f"{base}/entries"))
    yield chart(
        {
            "kind": "estimates",
            "rows": [
                {
                    "name": name,
                    "at": pointer(*at, "closed_gap"),
                    "beside": pointer(*at, "on_noise", "closed_gap"),
                }
                for name in names
                for at in [("routers", "routers", "entries", name)]
            ],
            "beside": "the same router on noise features",
            "unit": "Share of the gap to the oracle that is closed",
        },
        "What routers close of the gap between the best single model and the "
        "oracle, with 95% intervals over texts.",
    )
    yield table(
        "Routers: the share of the gap between the best single model and the "
        "oracle that each closes, on texts that it did not learn from",
        ["router", "loss", "closed gap", "on noise features", "agreement"],
        [
            [
                name_of(name),
                _estimate(result, f"{at}/routed", ".4g"),
                _estimate(result, f"{at}/closed_gap", ".1%"),
                result.number(f"{at}/on_noise/closed_gap/value", ".1%"),
                result.number(f"{at}/agreement/value", ".1%"),
            ]
            for name in names
            for at in [pointer("routers", "routers", "entries", name)]
        ],
    )
    for name, why in result.get(f"{base}/not_there", {}).items():
        yield element("p", f"No {name}: {why}.", class_="hint")
    yield from _router_law(result)


def _router_law(result: Result) -> Iterator[Child]:
    """Yields what a router buys at each budget, where that was measured."""
    at = "/routers/router_law"
    points = f"{at}/points"
    if not result.get(points):
        return
    router = result.get(f"{at}/router", "a router")
    yield line_chart(
        result,
        f"What {router} buys at each budget, and the oracle of the same "
        "subsets, on the texts that judge.",
        x=(points, "cost"),
        lines=[
            (name, (points, f"{key}/value"), ends)
            for name, key in (("oracle", "oracle"), (router, "routed"))
            for ends in [((points, f"{key}/low"), (points, f"{key}/high"))]
        ],
        x_label=labels.cost_label(result.get(f"{at}/cost", "?")),
        y_label=f"Loss ({result.get('/routers/routers/loss_unit', '?')})",
        steps=False,
    )


def _estimate(result: Result, at: str, form: str) -> Child:
    return result.interval(f"{at}/value", f"{at}/low", f"{at}/high", form)
