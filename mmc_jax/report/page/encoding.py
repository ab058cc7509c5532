"""A result.json in few bytes, for the page that embeds it.

Thousands of points with the names of their models repeat the same words. Here
lists of objects become columns, lists of names become places in one list of
words (or its bits, where a list keeps the order of the words), and long columns
that occur again are named. Nothing is rounded:
`decoded(encoded(content))` is the content. The page's JavaScript has the same
decoder.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Keys of encoded objects. A key of the content that begins with "$" gets one
# more, so that none can be taken for these.
_COLUMNS, _WORDS, _BITS, _AGAIN = "$columns", "$words", "$bits", "$again"
# Elements of a column that is worth a name.
_LONG = 32

_ESCAPES = {
    ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\N{LINE SEPARATOR}'"
}


def encoded(
    content: Mapping[str, Any], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns what the page embeds of a result.json.

    Args:
      content: Content of a result.json, as `json.loads` returns it.
      names: Names in the order in which most lists of names have them, such as
        those of the models.

    >>> encoded({"points": [{"models": ["a"]}, {"models": ["a", "b"]}]}, "ab")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'words': ['a', 'b'], 'columns': [],
     'content': {'points': {'$columns': {'models': {'$bits': ['1', '3']}}}}}
    """
    words = {name: place for place, name in enumerate(dict.fromkeys(names))}
    columns: list[Any] = []
    places: dict[str, int] = {}

    def of(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {_escaped(key): of(item) for key, item in value.items()}
        if isinstance(value, list) and value:
            return again(column(value))
        return value

    def column(value: list) -> Any:
        if _are_rows(value):
            return {
                _COLUMNS: {
                    _escaped(key): of([row[key] for row in value])
                    for key in value[0]
                }
            }
        if _are_subsets(value):
            subsets = [
                [words.setdefault(name, len(words)) for name in subset]
                for subset in value
            ]
            if all(a < b for s in subsets for a, b in itertools.pairwise(s)):
                bits = (sum(1 << place for place in s) for s in subsets)
                return {_BITS: [f"{number:x}" for number in bits]}
            return {_WORDS: subsets}
        return [of(item) for item in value]

    def again(column: Any) -> Any:
        long = column
        if isinstance(column, dict):
            long = column.get(_WORDS) or column.get(_BITS, ())
        if len(long) < _LONG:
            return column
        key = json.dumps(column)
        if key not in places:
            places[key] = len(columns)
            columns.append(column)
        return {_AGAIN: places[key]}

    inside = of(content)
    return {"words": list(words), "columns": columns, "content": inside}


def decoded(embedded: Mapping[str, Any]) -> Any:
    """Returns the content of the result.json that a page embeds.

    Args:
      embedded: What `encoded` returned.

    >>> rows = {"$a": [{"x": 1.5}, {"x": None}]}
    >>> decoded(encoded(rows)) == rows
    True
    """
    words, columns = embedded["words"], embedded["columns"]

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(item) for item in value]
        if not isinstance(value, dict):
            return value
        if _AGAIN in value:
            return of(columns[value[_AGAIN]])
        if _WORDS in value:
            return [[words[w] for w in subset] for subset in value[_WORDS]]
        if _BITS in value:
            numbers = [int(bits, 16) for bits in value[_BITS]]
            return [
                [words[w] for w in range(n.bit_length()) if n >> w & 1]
                for n in numbers
            ]
        if _COLUMNS in value:
            table = {
                _unescaped(key): of(item)
                for key, item in value[_COLUMNS].items()
            }
            return [
                dict(zip(table, row, strict=True))
                for row in zip(*table.values(), strict=True)
            ]
        return {_unescaped(key): of(item) for key, item in value.items()}

    return of(embedded["content"])


def embedded_json(value: Any) -> str:
    r"""Returns JSON that ends no script element and is no markup.

    Args:
      value: Value as JSON holds it.

    >>> embedded_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


def read_embedded(page: str) -> Any:
    """Returns the content of the result.json that a page was written from.

    Args:
      page: The page's HTML.

    Raises:
      ValueError: It is no page of `write_page`.
    """
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>',
        page,
        re.DOTALL,
    )
    if found is None:
        raise ValueError("no page of a report: it embeds no result.json")
    return decoded(json.loads(found[1]))


def _are_rows(value: list) -> bool:
    if len(value) < 2 or not isinstance(value[0], Mapping) or not value[0]:
        return False
    keys = list(value[0])
    return all(isinstance(v, Mapping) and list(v) == keys for v in value)


def _are_subsets(value: list) -> bool:
    return len(value) > 1 and all(
        isinstance(subset, list)
        and all(isinstance(name, str) for name in subset)
        for subset in value
    )


def _escaped(key: str) -> str:
    return "$" + key if key.startswith("$") else key


def _unescaped(key: str) -> str:
    return key.removeprefix("$")
