"""HTML that cannot be broken by the names in it, and numbers with a source.

The page is a tree of elements that the standard library writes: whatever is
text stays text. Control characters, and those that turn the direction of
writing, are written as escapes.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from mmc_jax.report import labels

Element = ElementTree.Element
Child = Element | str | None | Iterable["Child"]

_MISSING = object()
# Fewest and most characters of a cost that is written out.
_PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def element(tag: str, *children: Child, **attributes: Any) -> Element:
    """Returns an element.

    Args:
      tag: Name of the element, such as "td".
      *children: Texts, elements, None for nothing, and lists of these.
      **attributes: Value by name; `class_` is class, other `_` become `-`. None
        and False leave the attribute out, True gives it no value.

    >>> html(element("p", "a < b", element("b", "!"), class_="wide"))
    '<p class="wide">a &lt; b<b>!</b></p>'
    """
    found = Element(tag)
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        found.set(name, "" if value is True else labels.printable(str(value)))
    _append(found, children)
    return found


def html(found: Element) -> str:
    """Returns an element as HTML.

    Args:
      found: The element, with all that is inside it.
    """
    return ElementTree.tostring(found, encoding="unicode", method="html")


def name_of(name: str, most: int = 60) -> Element:
    """Returns a name that comes from data, isolated from the text around it.

    Args:
      name: Name of a model, a family, a domain or a text.
      most: Largest number of characters; the middle of a longer name is cut,
        and its title has all of it.
    """
    shown = labels.shown(name, most)
    title = labels.printable(name)
    return element("bdi", shown, title=title if title != shown else None)


def _is_name(cell: Child) -> bool:
    return isinstance(cell, Element) and cell.tag == "bdi"


def _append(found: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            found.append(child)
        elif isinstance(child, str):
            text = labels.printable(child)
            if len(found):
                found[-1].tail = (found[-1].tail or "") + text
            else:
                found.text = (found.text or "") + text
        else:
            _append(found, child)


class Result:
    """The content of a result.json, from which every number of a page comes.

    A field is named by a JSON Pointer (RFC 6901), such as
    "/study/laws/pool/alpha".
    """

    def __init__(self, content: Mapping[str, Any]):
        self.content = content

    def get(self, at: str, default: Any = None) -> Any:
        """Returns the value of a field, or the default if it is not there.

        Args:
          at: JSON Pointer of the field.
          default: Value where there is no such field, or where it is null.
        """
        value = self.content
        for word in at.split("/")[1:]:
            word = word.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping):
                value = value.get(word, _MISSING)
            elif isinstance(value, Sequence) and not isinstance(value, str):
                in_range = word.isdecimal() and int(word) < len(value)
                value = value[int(word)] if in_range else _MISSING
            else:
                value = _MISSING
            if value is _MISSING:
                return default
        return default if value is None else value

    def number(
        self, at: str, form: str = ".4g", *, missing: str = "-"
    ) -> Element:
        """Returns a number of the result that knows its field.

        Args:
          at: JSON Pointer of the field.
          form: Format of the number, as in an f-string; "cost" for 1.2M, "int"
            for 1,234.
          missing: What stands where the number is null.
        """
        return self.numbers([at], form, missing=missing)

    def interval(
        self,
        at: str,
        low: str,
        high: str,
        form: str = ".4g",
        *,
        missing: str = "-",
    ) -> Element:
        """Returns a number with its interval, or alone where it has none.

        Args:
          at: JSON Pointer of the number.
          low: JSON Pointer of the lower end.
          high: JSON Pointer of the upper end.
          form: Format of the number, as in an f-string.
          missing: What stands where the number is null.
        """
        if self.get(low) is None or self.get(high) is None:
            return self.number(at, form, missing=missing)
        return self.numbers([at, low, high], form, missing=missing)

    def numbers(
        self, fields: Sequence[str], form: str, *, missing: str = "-"
    ) -> Element:
        """Returns one number, or a number with the two ends of its interval.

        Args:
          fields: JSON Pointers of the number, and of the ends.
          form: Format of the numbers, as in an f-string.
          missing: What stands where the first number is null.
        """
        values = [self.get(field) for field in fields]
        if values[0] is None:
            return element("span", missing)
        shown = [written(value, form) for value in values]
        return element(
            "span",
            shown[0],
            element("span", f" [{shown[1]}, {shown[2]}]", class_="ends")
            if len(shown) > 1
            else None,
            class_="n",
            data_at=json.dumps(list(fields)) if len(fields) > 1 else fields[0],
        )


def written(value: float, form: str) -> str:
    """Returns a number as it is shown.

    Args:
      value: The number; text stays as it is.
      form: Format as in an f-string; "cost" for 1.2M, "int" for 1,234.

    >>> written(124439808, "cost"), written(1234, "int"), written(0.25, ".1%")
    ('124M', '1,234', '25.0%')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if math.isinf(value) or math.isnan(value):
        return str(value)
    if form == "int":
        return f"{value:,.0f}"
    if form == "cost":
        for size, prefix in _PREFIXES:
            if abs(value) >= size * 0.9995:
                return f"{value / size:#.3g}".rstrip(".") + prefix
        return f"{value:.4g}"
    if form.endswith("g") and "#" not in form:
        # Zeros at the end say how exact a number is.
        shown = format(value, "#" + form)
        return shown.rstrip(".") if "e" not in shown else format(value, form)
    return format(value, form)


def pointer(*words: str | int) -> str:
    """Returns the JSON Pointer of nested keys and places.

    Args:
      *words: Keys of objects and places in lists, from the outside in.

    >>> pointer("parts", "a/b", 0)
    '/parts/a~1b/0'
    """
    return "".join(
        "/" + str(word).replace("~", "~0").replace("/", "~1") for word in words
    )


def table(
    caption: Child,
    header: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    num_names: int = 1,
) -> Element:
    """Returns a table that scrolls in a region of its own.

    Args:
      caption: What the table shows.
      header: Title of each column.
      rows: Cells of each row; the first ones name it.
      num_names: Number of columns of names, which are not numbers.
    """
    body = [
        element(
            "tr",
            [
                element("th", cell, scope="row")
                if not c
                else element(
                    "td",
                    cell,
                    class_=None if c < num_names or _is_name(cell) else "r",
                )
                for c, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    head = element(
        "tr",
        [
            element(
                "th",
                cell,
                scope="col",
                class_=None if c < num_names else "r",
            )
            for c, cell in enumerate(header)
        ],
    )
    found = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", body),
    )
    label = "".join(found.find("caption").itertext())
    return element(
        "div",
        found,
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=label,
    )
