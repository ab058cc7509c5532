"""Dates as people write them, days or less exact: ISO 8601.

Of a date that is a year or a month, the first and the last day are known.
"""

import calendar
import datetime
import re
from collections.abc import Iterable

_DATE = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ]\d{1,2}:\d{2}.*)?)?)?"
)


def date_span(text: str) -> tuple[datetime.date, datetime.date]:
    """Returns the first and the last day that a date may mean.

    Args:
      text: Date such as "2023-04-03", "2023-04" or "2023"; a time of day is
        left out.

    Raises:
      ValueError: It is no such date.

    >>> first, last = date_span("2023-02")
    >>> first.isoformat(), last.isoformat()
    ('2023-02-01', '2023-02-28')
    """
    match = _DATE.fullmatch(text.strip()) if text.isascii() else None
    if match is None:
        raise ValueError(
            f"{text!r} is no date; write it as 2023-04-03, 2023-04 or 2023"
        )
    year, month, day = (number and int(number) for number in match.groups())
    try:
        first = datetime.date(year, month or 1, day or 1)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date ({error})") from error
    if day is not None:
        return first, first
    if month is None:
        return first, datetime.date(year, 12, 31)
    return first, first.replace(day=calendar.monthrange(year, month)[1])


def known_dates(texts: Iterable[str]) -> tuple[tuple[str, ...] | None, int]:
    """Returns the dates of a column, and how many of its cells are none.

    Args:
      texts: Cells of the column, "" where it is empty.

    Returns:
      Each date without blanks around it, "" where there is none; None where no
      cell is a date. The number of cells that are not empty and no date.

    >>> known_dates(["2023-04", "", "soon"])
    (('2023-04', '', ''), 1)
    """
    found, num_bad = [], 0
    for text in texts:
        date = text.strip()
        try:
            if date:
                date_span(date)
        except ValueError:
            date, num_bad = "", num_bad + 1
        found.append(date)
    return (tuple(found) if any(found) else None), num_bad
