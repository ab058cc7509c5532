"""What a page draws: a description of each chart, and the table behind it.

Charts are drawn in the reader's browser, from the fields of the result that
their descriptions name.
"""

import json
from collections.abc import Sequence
from typing import Any

from mmc_jax.report.page.elements import (
    Child,
    Element,
    Result,
    element,
    table,
)

# A list of objects by its JSON Pointer, and the key in each of them.
Column = tuple[str, str]
# Rows of a table behind a chart.
_MOST_ROWS = 60


def chart(
    what: dict[str, Any],
    caption: str,
    *behind: Child,
    wide: bool = False,
    summary: str = "The numbers as a table",
) -> Element:
    """Returns the place of a chart, with what stands behind it.

    Args:
      what: Description that the page's JavaScript draws by, as JSON.
      caption: What the chart shows.
      *behind: Tables of the numbers, for who does not see the chart.
      wide: Whether the chart takes all of the page's width.
      summary: What opens the tables.
    """
    return element(
        "figure",
        element("div", class_="drawing"),
        element("figcaption", caption),
        element(
            "details",
            element("summary", summary),
            behind,
            class_="behind",
        )
        if behind
        else None,
        class_="chart wide" if wide else "chart",
        data_chart=json.dumps({**what, "caption": caption}),
    )


def line_chart(
    result: Result,
    caption: str,
    *,
    x: Column,
    lines: Sequence[tuple[str, Column, tuple[Column, Column] | None]],
    x_label: str,
    y_label: str,
    steps: bool = True,
) -> Element:
    """Returns a chart of lines over one axis, with its table.

    Args:
      result: The result that the columns are of.
      caption: What the chart shows.
      x: Column of the horizontal axis, which is logarithmic.
      lines: Name, column, and columns of the interval's two ends, of each line.
      x_label: Title of the horizontal axis.
      y_label: Title of the vertical axis.
      steps: Whether a value holds up to the next place.
    """
    number = len(result.get(x[0]))
    chosen: Sequence[int] = range(number)
    shown = caption
    if number > _MOST_ROWS:
        step = (number - 1) / (_MOST_ROWS - 1)
        chosen = sorted({round(i * step) for i in range(_MOST_ROWS)})
        shown += f" {len(chosen)} of {number} points."

    def cell(column: Column, i: int, form: str) -> Element:
        return result.number(f"{column[0]}/{i}/{column[1]}", form)

    return chart(
        {
            "kind": "lines",
            "x": x,
            "lines": [
                {"name": name, "y": y, "band": band} for name, y, band in lines
            ],
            "xLabel": x_label,
            "yLabel": y_label,
            "steps": steps,
        },
        caption,
        table(
            shown,
            [x_label, *(name for name, *_ in lines)],
            [
                [
                    cell(x, i, "cost"),
                    *(
                        result.interval(
                            f"{y[0]}/{i}/{y[1]}",
                            f"{band[0][0]}/{i}/{band[0][1]}",
                            f"{band[1][0]}/{i}/{band[1][1]}",
                            ".5g",
                        )
                        if band
                        else cell(y, i, ".5g")
                        for _, y, band in lines
                    ),
                ]
                for i in chosen
            ],
        ),
    )
