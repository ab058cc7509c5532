"""Two studies on one page: laws, frontiers, wins by family, models."""

from collections.abc import Iterator

from mmc_jax.report import labels
from mmc_jax.report.page.charts import line_chart
from mmc_jax.report.page.elements import (
    Child,
    Result,
    element,
    name_of,
    table,
)

_AT = "/comparison"
_COLUMNS = ("a", "b", "difference")
_TITLES = ("a", "b", "b - a")
# Models of a table that can be read at once.
_MOST_MODELS = 200


def header(result: Result) -> Iterator[Child]:
    """Yields the heading of the page, and which studies stand on it.

    Args:
      result: The result, with "/comparison".
    """
    yield element("h1", "Two studies side by side")
    yield element(
        "p",
        "Loss in ",
        result.get(f"{_AT}/a/loss_unit", "?"),
        "; cost: ",
        labels.cost_label(result.get(f"{_AT}/a/cost", "?")).lower(),
        ". Differences are b - a.",
        class_="lead",
    )


def comparison(result: Result) -> Iterator[Child]:
    """Yields the two studies, their laws, frontiers, families and models.

    Args:
      result: The result, with "/comparison".
    """
    yield table(
        "The two studies",
        ["study", "folder", "models", "texts", "loss of all models"],
        [
            [
                name,
                name_of(result.get(f"{_AT}/{name}/folder")),
                result.number(f"{_AT}/{name}/num_models", "int"),
                result.number(f"{_AT}/{name}/num_texts", "int"),
                result.number(f"{_AT}/{name}/all_models"),
            ]
            for name in "ab"
        ],
        num_names=2,
    )
    if result.get(f"{_AT}/losses_of_b_times") != 1:
        yield element(
            "p",
            "Losses of b are multiplied by ",
            result.number(f"{_AT}/losses_of_b_times"),
            ", to the characters per token of a.",
            class_="note",
        )
    if result.get(f"{_AT}/a/normalisation") == "raw":
        yield element(
            "p",
            "Scores are taken as given: that both are of one kind is not "
            "checked.",
            class_="note",
        )
    yield table(
        "Laws L(P) = A P^-alpha + L_inf",
        ["law", "parameter", *_TITLES],
        [
            [
                one["law"],
                one["parameter"],
                *(
                    result.interval(
                        f"{_AT}/laws/{i}/{column}/value",
                        f"{_AT}/laws/{i}/{column}/low",
                        f"{_AT}/laws/{i}/{column}/high",
                    )
                    for column in _COLUMNS
                ),
            ]
            for i, one in enumerate(result.get(f"{_AT}/laws", []))
        ],
        num_names=2,
    )
    yield element(
        "p",
        "Intervals of differences take the two studies as independent: they "
        "hold for other texts, not for other models. All models together are "
        "better than the best of them by ",
        result.number(f"{_AT}/gain_percent/a", ".3g"),
        " percent in a and ",
        result.number(f"{_AT}/gain_percent/b", ".3g"),
        " percent in b.",
        class_="note",
    )
    yield from _frontiers(result)
    yield from _families(result)
    yield from _models(result)


def _frontiers(result: Result) -> Iterator[Child]:
    rows = f"{_AT}/frontiers"
    if not result.get(rows):
        yield element("p", "No budget buys a subset in both.", class_="hint")
        return
    yield line_chart(
        result,
        "What each budget buys in the two studies.",
        x=(rows, "budget"),
        lines=[
            ("pool, a", (rows, "pool_a"), None),
            ("pool, b", (rows, "pool_b"), None),
            ("single models, a", (rows, "single_a"), None),
            ("single models, b", (rows, "single_b"), None),
        ],
        x_label=labels.cost_label(result.get(f"{_AT}/a/cost", "?")),
        y_label=f"Loss ({result.get(f'{_AT}/a/loss_unit')})",
    )


def _families(result: Result) -> Iterator[Child]:
    found = result.get(f"{_AT}/families", [])
    if not found:
        yield element(
            "p",
            "Wins by family are known of results of report alone.",
            class_="hint",
        )
        return
    yield table(
        "Share of the texts that each family wins",
        ["family", *_TITLES],
        [
            [
                name_of(one["family"] or "no family"),
                *(
                    result.number(f"{_AT}/families/{i}/{column}", ".1%")
                    for column in _COLUMNS
                ),
            ]
            for i, one in enumerate(found)
        ],
    )


def _models(result: Result) -> Iterator[Child]:
    found = result.get(f"{_AT}/models", [])
    if not found:
        yield element("p", "No model is in both studies.", class_="hint")
        return
    caption = "Mean loss of the models of both studies"
    if len(found) > _MOST_MODELS:
        caption += f": {_MOST_MODELS} of {len(found)}"
    yield table(
        caption,
        ["model", *_TITLES],
        [
            [
                name_of(one["model"]),
                *(
                    result.number(f"{_AT}/models/{i}/{column}")
                    for column in _COLUMNS
                ),
            ]
            for i, one in enumerate(found[:_MOST_MODELS])
        ],
    )
