"""The answer, the law's figure, its table, the proof, other texts."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmc_jax.report import labels
from mmc_jax.report.page.charts import chart, line_chart
from mmc_jax.report.page.elements import (
    Child,
    Element,
    Result,
    element,
    name_of,
    pointer,
    table,
)

LINE_NAMES = {
    "single": "single models",
    "router": "a router",
    "mixture": "mixtures",
    "homogeneous": "oracle, one family",
    "heterogeneous": "oracle, mixed families",
    "routed": "oracle, one model runs",
    "oracle": "oracle, any subset",
}
_WHAT_LINES_ARE = {
    "single": "the best single model of each budget",
    "router": "one model of the subset runs, chosen for each text by what is "
    "seen of it; the router learned from other texts; the cost is that of all "
    "models of the subset",
    "mixture": "mixtures with uniform weights, which know nothing of the text",
    "homogeneous": "an ideal choice among models of one family",
    "heterogeneous": "an ideal choice among models of several families",
    "routed": "an ideal choice among all models; the cost is that of the model "
    "that runs, in the mean over texts",
    "oracle": "an ideal choice among any models; the cost is that of all "
    "models of the subset",
}
# Rows of a table that can be read at once.
_MOST_ROWS = 40


def answer(result: Result) -> Iterator[Child]:
    """Yields the answer in three sentences.

    Args:
      result: The result. "/answer/sentences" holds objects with "words", and
        "fields", the JSON Pointers that the sentence rests on.
    """
    for sentence in result.get("/answer/sentences"):
        fields = sentence.get("fields") or []
        yield element(
            "p",
            sentence["words"],
            class_="answer",
            data_from=json.dumps(fields) if fields else None,
        )


def law(result: Result) -> Iterator[Child]:
    """Yields the law's figure with a table of its lines.

    Args:
      result: The result, with "/law/views".
    """
    view = result.get("/law/views/0")
    yield element(
        "p",
        f"Loss in {view['loss_unit']}. A line is what each budget buys at "
        "best; the dotted line beside it is its law, with its interval.",
    )
    yield chart(
        {"kind": "law"},
        "Best loss at each budget. Arrow keys move along a line and from line "
        "to line.",
        element(
            "dl",
            [
                (
                    element("dt", _line_name(view, name)),
                    element("dd", _WHAT_LINES_ARE[name]),
                )
                for name in LINE_NAMES
                if name in view["lines"]
            ],
        ),
        *(_points_table(result, name) for name in view["lines"]),
    )
    for name, why in view["not_there"].items():
        missing = LINE_NAMES[name].removeprefix("a ")
        yield element("p", f"No {missing}: {why}.", class_="hint")
    for name, why in result.get("/not_there", {}).items():
        if name.startswith(("cost ", "normalisation ")):
            yield element("p", f"No {name}: {why}.", class_="hint")
    if len(result.get("/law/views")) == 1:
        yield element(
            "p",
            "--more_costs and --more_normalisations add switches for others.",
            class_="hint",
        )


def laws_table(result: Result) -> Iterator[Child]:
    """Yields Table 1: the laws' parameters with their intervals.

    Args:
      result: The result, with "/law/views".
    """
    for v, view in enumerate(result.get("/law/views")):
        rows = []
        for name in filter(view["lines"].get, LINE_NAMES):
            line = view["lines"][name]
            at = pointer("law", "views", v, "lines", name)
            if line["law"] is None:
                rows.append(
                    [
                        _line_name(view, name),
                        f"not fitted: {line['not_fitted']}",
                    ]
                    + [""] * 4
                )
                continue
            rows.append(
                [
                    _line_name(view, name),
                    *(
                        result.interval(
                            f"{at}/law/{parameter}",
                            f"{at}/law/intervals/{parameter}/low",
                            f"{at}/law/intervals/{parameter}/high",
                        )
                        for parameter in ("A", "alpha", "L_inf")
                    ),
                    result.number(f"{at}/law/r_squared", ".4f"),
                    result.number(f"{at}/law/num_points", "int"),
                ]
            )
        found = table(
            f"L(P) = A P^-alpha + L_inf, loss in {view['loss_unit']}, P: "
            f"{view['cost_label'].lower()}",
            ["line", "A", "alpha", "L_inf", "R²", "points"],
            rows,
        )
        if not v:
            yield found
            continue
        yield element(
            "details",
            element(
                "summary",
                f"{view['loss_unit']}, {view['cost_label'].lower()}",
            ),
            found,
        )
    floors = [
        result.get(f"/law/views/0/lines/{name}/law/L_inf")
        for name in ("router", "oracle")
    ]
    if None not in floors and floors[0] < floors[1]:
        yield element(
            "p",
            "No router is better than the oracle of its subset. Where the law "
            "of its line has the lower floor all the same, the points leave "
            "the floors open.",
            class_="note",
        )
    yield element(
        "p",
        "Intervals hold 95 percent of resamples of the texts with the subsets "
        "fixed. They do not cover the choice of the models.",
        class_="note",
    )
    if result.get("/law/views/0/most_resampled_points"):
        yield element(
            "p",
            "There are many texts: of each line ",
            result.number("/law/views/0/most_resampled_points", "int"),
            " points are resampled at most, spread evenly over it, and the "
            "line of the ideal choice has fewer points.",
            class_="note",
        )


def proof(result: Result) -> Iterator[Child]:
    """Yields what is proven of the frontier.

    Args:
      result: The result, with "/study/certified".
    """
    at = "/study/certified"
    yield element(
        "p",
        result.number(f"{at}/num_proven", "int"),
        " of ",
        result.number(f"{at}/num_points", "int"),
        " points are proven: no subset of their budget is better. Elsewhere a "
        "better subset lies at most ",
        result.number(f"{at}/largest_gap", ".3%"),
        " below. ",
        element("code", "certificate.npz"),
        " beside result.json holds the proof; ",
        element("code", "mmc check_certificate"),
        " checks it with other code.",
    )
    rows = "/study/frontier"
    yield line_chart(
        result,
        "The frontier, and the bound below which no subset lies.",
        x=(rows, "cost"),
        lines=[
            ("frontier", (rows, "loss"), None),
            ("lower bound", (rows, "lower_bound"), None),
        ],
        x_label=result.get("/law/views/0/cost_label"),
        y_label=_loss_label(result),
    )


def generalisation(result: Result) -> Iterator[Child]:
    """Yields what other texts say of the frontier.

    Args:
      result: The result, with some checks in "/study".
    """
    rows = "/study/frontier"
    first = result.get(f"{rows}/0")
    titles = {
        "x_label": result.get("/law/views/0/cost_label"),
        "y_label": _loss_label(result),
    }
    if result.get("/study/held_out"):
        yield element(
            "p",
            result.number("/study/held_out/num_texts", "int"),
            " texts chose nothing. On them ",
            result.number("/study/held_out/share_non_dominated", ".0%"),
            " of the frontier's subsets stay non-dominated.",
        )
    if result.get("/study/cross_fitted"):
        yield element(
            "p",
            "Each half of the texts chose subsets for the other, in ",
            result.number("/study/cross_fitted/num_splits", "int"),
            " random splits: ",
            result.number("/study/cross_fitted/share_non_dominated", ".0%"),
            " of the subsets stay non-dominated on the half that did not "
            "choose them.",
        )
    if result.get("/study/most_subsets_of_a_size"):
        yield element(
            "p",
            "Levels of the pruning on halves of the texts are cut to ",
            result.number("/study/most_subsets_of_a_size", "int"),
            " subsets: they may miss a little of what the frontier's own "
            "search finds.",
        )
    if result.get("/study/all_models"):
        yield element(
            "p",
            "No subset goes below the loss of all models together: ",
            result.interval(
                "/study/all_models/loss",
                "/study/all_models/low",
                "/study/all_models/high",
            ),
            ".",
        )
    band = (
        ((rows, "loss_low"), (rows, "loss_high"))
        if "loss_low" in first
        else None
    )
    lines = [("on the texts that chose", (rows, "loss"), band)]
    if "held_out_loss" in first:
        lines.append(("on held-out texts", (rows, "held_out_loss"), None))
    yield line_chart(
        result,
        "The frontier and its interval over texts, and its subsets on texts "
        "that did not choose them.",
        x=(rows, "cost"),
        lines=lines,
        **titles,
    )
    budgets = "/study/cross_fitted/budgets"
    if result.get(budgets):
        yield line_chart(
            result,
            "Losses of subsets that half of the texts chose: the difference is "
            "selection bias.",
            x=(budgets, "budget"),
            lines=[
                ("on the half that chose", (budgets, "in_sample"), None),
                ("on the other half", (budgets, "held_out"), None),
            ],
            **titles,
        )


def _line_name(view: Mapping[str, Any], name: str) -> str:
    """Returns what a line is called; a router's line, by its router."""
    router = view["lines"][name].get("router")
    if not isinstance(router, str):
        return LINE_NAMES[name]
    return f"router: {labels.shown(router)}"


def _points_table(result: Result, name: str) -> Element:
    """Returns some points of a line, evenly spaced, as a table."""
    at = pointer("law", "views", 0, "lines", name)
    number = len(result.get(f"{at}/costs"))
    chosen = range(number)
    line = _line_name(result.get("/law/views/0"), name)
    caption = f"{line}: {number} points"
    if number > _MOST_ROWS:
        step = (number - 1) / (_MOST_ROWS - 1)
        chosen = sorted({round(i * step) for i in range(_MOST_ROWS)})
        caption += f", of which {len(chosen)} are here"
    return element(
        "details",
        element("summary", caption),
        table(
            caption,
            ["cost", "loss", "models"],
            [
                [
                    result.number(f"{at}/costs/{i}", "cost"),
                    result.number(f"{at}/losses/{i}", ".5g"),
                    [
                        ("" if not j else ", ", name_of(name))
                        for j, name in enumerate(result.get(f"{at}/models/{i}"))
                    ],
                ]
                for i in chosen
            ],
        ),
    )


def _loss_label(result: Result) -> str:
    return f"Loss ({result.get('/law/views/0/loss_unit')})"
