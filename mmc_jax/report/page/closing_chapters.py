"""The referee's page, how to repeat, how to cite, and any other chapter."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from mmc_jax.report.page.elements import (
    Child,
    Result,
    element,
    pointer,
    table,
)

# Numbers of a chapter without a form of its own.
_MOST_FIELDS = 200
_PAPER = (
    "The Law of Multi-Model Collaboration: Scaling Limits of Model Ensembling "
    "for Large Language Models, Lu et al., 2025, arXiv 2512.23340"
)


def checklist(result: Result) -> Iterator[Child]:
    """Yields the referee's page: what is known of how the laws were made.

    Args:
      result: The result. "/checklist/items" holds objects with "group", "item",
        "answer" (null where it cannot be known) and "source".
    """
    yield element(
        "p",
        "The checklist of (Mis)Fitting Scaling Laws, arXiv 2502.18969, filled "
        "from the table and the flags. What neither says is open.",
    )
    groups: dict[str, list[int]] = {}
    items = result.get("/checklist/items")
    for i, item in enumerate(items):
        groups.setdefault(item.get("group") or "", []).append(i)
    for group, places in groups.items():
        yield table(
            f"Checklist: {group}" if group else "Checklist",
            ["item", "answer", "from"],
            [
                [
                    items[i]["item"],
                    element(
                        "span",
                        items[i]["answer"],
                        class_="n",
                        data_at=pointer("checklist", "items", i, "answer"),
                    )
                    if items[i]["answer"] is not None
                    else element("em", "open", class_="open"),
                    items[i].get("source") or "-",
                ]
                for i in places
            ],
            num_names=3,
        )


def repeat(result: Result) -> Iterator[Child]:
    """Yields the command, versions, hashes and machine.

    Args:
      result: The result, with "/flags", "/versions" and "/device".
    """
    yield element("p", "The command:")
    program = "compare_reports" if result.get("/comparison") else "report"
    yield element(
        "pre", element("code", command(result.get("/flags", {}), program))
    )
    rows = [
        [name, element("span", str(value), class_="n", data_at=at)]
        for group in ("versions", "device")
        for name, value in result.get(f"/{group}", {}).items()
        for at in [pointer(group, name)]
    ]
    yield table("Versions and machine", ["what", "value"], rows, num_names=2)
    hashes = result.get("/sha256", {})
    if hashes:
        yield table(
            "SHA-256 of the files beside result.json",
            ["file", "SHA-256"],
            [[name, element("code", of)] for name, of in hashes.items()],
            num_names=2,
        )


def cite(result: Result) -> Iterator[Child]:
    """Yields what to cite.

    Args:
      result: The result, with the version of the package.
    """
    yield element("p", "The law: ", element("cite", _PAPER), ".")
    yield element(
        "p",
        "This page: mmc_jax ",
        element("span", str(result.get("/versions/mmc_jax", ""))),
        ". The SHA-256 of the scores tells others whether they look at the "
        "same numbers: ",
        element(
            "code",
            result.get("/scores/sha256", "not known"),
            class_="n",
            data_at="/scores/sha256" if result.get("/scores/sha256") else None,
        ),
        ".",
    )


def other(result: Result, name: str) -> Iterator[Child]:
    """Yields a chapter that has no form of its own: sentences, then numbers.

    Args:
      result: The result that the chapter is of.
      name: Key of the chapter in the result.
    """
    found = result.get(pointer(name))
    sentences = found.get("sentences", [])
    if sentences:
        yield element(
            "pre", [element("div", line or " ") for line in sentences]
        )
    fields = list(
        _fields({k: v for k, v in found.items() if k != "sentences"}, [name])
    )
    rows = [
        [element("code", at), result.number(at, ".6g")]
        for at in fields[:_MOST_FIELDS]
    ]
    if rows:
        caption = "Numbers of this chapter"
        if len(fields) > len(rows):
            caption += f": {len(rows)} of {len(fields)}"
        yield element(
            "details",
            element("summary", caption),
            table(caption, ["field", "value"], rows),
        )


def command(flags: Mapping[str, Any], program: str = "report") -> str:
    """Returns the command line that the flags came from.

    Args:
      flags: The program's flags as result.json has them.
      program: Name of the program in experiments/.

    >>> command({"out": "my page.html", "mixtures": False, "seed": 0})
    "python -m experiments.report '--out=my page.html' --nomixtures --seed=0"
    """
    words = [f"python -m experiments.{program}"]
    for name, value in flags.items():
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no{name}")
            continue
        if isinstance(value, list):
            value = ",".join(map(str, value))
        # A value with marks of a shell must not run when it is pasted.
        words.append(shlex.quote(f"--{name}={value}"))
    return " ".join(words)


def _fields(value: Any, words: list[str | int]) -> Iterator[str]:
    """Yields the JSON Pointers of all numbers and texts in a value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _fields(item, [*words, key])
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _fields(item, [*words, i])
    elif value is not None:
        yield pointer(*words)
