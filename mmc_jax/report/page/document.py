"""The page itself: one file, without a request, from one result.json."""

import base64
import hashlib
import importlib.resources
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmc_jax import at_once, stages
from mmc_jax.report import labels, result
from mmc_jax.report.page import closing_chapters as closing
from mmc_jax.report.page import comparison_chapter
from mmc_jax.report.page import law_chapters as laws
from mmc_jax.report.page import pool_chapters as pool
from mmc_jax.report.page import system_chapters as systems
from mmc_jax.report.page.elements import Child, Element, Result, element, html
from mmc_jax.report.page.encoding import embedded_json, encoded
from mmc_jax.report.page.places import folder_of
from mmc_jax.report.sections import Section, merged

SCRIPTS = ("d3.min.js", "data.js", "charts.js", "law.js", "page.js")
_STYLE = "page.css"


class Chapter(NamedTuple):
    """One chapter of the page.

    Attributes:
      id: Word that links name it by.
      title: Heading of the chapter.
      needs: JSON Pointers of fields of which one must be there.
      content: Function that yields what stands in the chapter.
      missing: What would add the chapter; "" where nothing is said.
      fields: JSON Pointers that its numbers are below.
    """

    id: str
    title: str
    needs: Sequence[str]
    content: Callable[[Result], Iterator[Child]]
    missing: str = ""
    fields: Sequence[str] = ()


# The order in which the page is read. What has no chapter here, such as laws
# for referees, comes before the referee's page, by `closing.other`.
_CHAPTERS = (
    Chapter(
        "comparison",
        "What differs",
        ["/comparison"],
        comparison_chapter.comparison,
    ),
    Chapter("answer", "The answer", ["/answer/sentences"], laws.answer),
    Chapter("law", "The law", ["/law/views"], laws.law),
    Chapter("table", "Table 1: the laws", ["/law/views"], laws.laws_table),
    Chapter(
        "proven",
        "What is proven",
        ["/study/certified"],
        laws.proof,
        "--method=certified proves that no subset is better.",
    ),
    Chapter(
        "generalises",
        "What generalises",
        ["/study/held_out", "/study/cross_fitted", "/study/all_models"],
        laws.generalisation,
        "--held_out, --num_splits and --num_resamples ask other texts.",
    ),
    Chapter(
        "domains",
        "Losses by domain",
        ["/domains/domains"],
        pool.domains,
        "The table has one domain.",
    ),
    Chapter(
        "winners",
        "Who wins where",
        ["/diversity/models"],
        pool.winners,
        "It takes at least 2 models.",
    ),
    Chapter(
        "granularity",
        "Granularity",
        ["/granularity/granularity"],
        systems.granularity,
        "score_texts --keep_tokens keeps the scores that it needs; "
        "--granularities asks for it where they are many.",
    ),
    Chapter(
        "routers",
        "Routers",
        ["/routers/routers"],
        systems.routers,
        "--routers, with --corpus for features of the texts, compares routers.",
    ),
    Chapter("diagnosis", "Diagnosis", ["/diagnosis/findings"], pool.diagnosis),
    Chapter("texts", "Single texts", ["/texts/worst"], pool.texts),
)
_CLOSING = (
    Chapter(
        "referee", "The referee's page", ["/checklist/items"], closing.checklist
    ),
    Chapter("repeat", "How to repeat", ["/flags"], closing.repeat),
    Chapter("cite", "How to cite", ["/versions"], closing.cite),
)
# Keys of result.json that are no chapters, or belong to one above.
_NOT_OTHER = frozenset(
    "flags versions device sha256 study law not_there families systems scores "
    "diversity".split()
)
_TITLES = {"sensitivity": "Laws for referees"}


def write_page(
    out: str | os.PathLike[str],
    sections: Sequence[Section],
    *,
    flags: Mapping[str, Any],
) -> str:
    """Writes a page and its result folder, and returns words for the terminal.

    The folder has the page's name without ".html". Its result.json is merged
    from the sections as that of any program, and the page is made of nothing
    else: a result that was moved or mended makes the page anew.

    Args:
      out: Path of the page; it ends in ".html".
      sections: What the analyses say, most of them made by `chapter`.
      flags: What the program was called with.

    Raises:
      ValueError: Another ending; two sections give the same key, array or file.
      OSError: A file cannot be written.
    """
    out, folder = pathlib.Path(out), folder_of(out)
    found = merged(sections)

    def write(path: pathlib.Path) -> None:
        page = page_of(json.loads(path.read_text()))
        with at_once.replaced(out) as new:
            new.write_text(page, encoding="utf-8")

    with stages.stage("writing numbers and page"):
        path = result.write_result(
            folder,
            found.numbers,
            flags=flags,
            arrays=found.arrays,
            files=found.files,
            then=write,
        )
    size = out.stat().st_size / 1e6
    return "\n".join(
        map(
            labels.printable,
            [
                *found.sentences,
                f"page: {out} ({size:.1f} MB); numbers: {path}",
            ],
        )
    )


def page_of(content: Mapping[str, Any]) -> str:
    """Returns the page of a result.json as HTML.

    Args:
      content: Content of the result.json, as `json.loads` returns it.
    """
    found = Result(content)
    chapters, missing = [], []
    for one in (*_CHAPTERS, *_others(content), *_CLOSING):
        if any(found.get(at) for at in one.needs):
            chapters.append((one, _chapter(found, one)))
        elif one.missing and not found.get("/comparison"):
            missing.append(one)
    main = element(
        "main",
        element("div", _header(found)),
        element(
            "nav",
            element(
                "ul",
                [
                    element("li", element("a", one.title, href=f"#{one.id}"))
                    for one, _ in chapters
                ],
            ),
            aria_label="Contents",
        ),
        [body for _, body in chapters],
        _missing(found, missing),
        _licence(),
        id="main",
        tabindex="-1",
    )
    return _document(_title(found), main, content)


def _others(content: Mapping[str, Any]) -> list[Chapter]:
    """Returns a chapter for each key of the result that has none."""
    taken = {one.needs[0].split("/")[1] for one in (*_CHAPTERS, *_CLOSING)}
    names = [
        name
        for name, value in content.items()
        if name not in taken | _NOT_OTHER and isinstance(value, Mapping)
    ]
    return [
        Chapter(
            f"other-{number}",
            _TITLES.get(name, name.replace("_", " ").capitalize()),
            [f"/{name}"],
            lambda found, name=name: closing.other(found, name),
        )
        for number, name in enumerate(names)
    ]


def _chapter(found: Result, one: Chapter) -> Element:
    root = one.needs[0].split("/")[1]
    return element(
        "section",
        element("h2", one.title, id=f"{one.id}-title"),
        list(one.content(found)),
        element(
            "p",
            "From ",
            element("code", f"result.json#/{root}"),
            class_="source",
        ),
        id=one.id,
        aria_labelledby=f"{one.id}-title",
    )


def _missing(found: Result, chapters: Sequence[Chapter]) -> Element | None:
    if not chapters:
        return None
    reasons = found.get("/not_there", {})
    return element(
        "section",
        element("h2", "What is not here", id="missing-title"),
        element(
            "ul",
            [
                element(
                    "li",
                    f"{one.title}: {one.missing}",
                    f" ({reasons[one.id]})" if one.id in reasons else None,
                )
                for one in chapters
            ],
        ),
        id="missing",
        aria_labelledby="missing-title",
    )


def _licence() -> Element:
    """Returns the notice that every copy of the drawing library carries."""
    return element(
        "details",
        element("summary", "The drawing library D3 and its licence"),
        element(
            "pre",
            [
                element("div", line or " ")
                for line in _asset("d3.LICENSE").splitlines()
            ],
        ),
        class_="note",
    )


def _title(found: Result) -> str:
    if found.get("/comparison"):
        return "The Law of Multi-Model Collaboration: two studies"
    number = found.get("/study/num_models", 0)
    return f"The Law of Multi-Model Collaboration: {number} models"


def _header(found: Result) -> list[Child]:
    if found.get("/comparison"):
        return list(comparison_chapter.header(found))
    return [
        element("h1", "The Law of Multi-Model Collaboration"),
        element(
            "p",
            found.number("/study/num_models", "int"),
            " models on ",
            found.number("/study/num_texts", "int"),
            " texts. Loss in ",
            found.get("/study/loss_unit", "?"),
            "; cost: ",
            labels.cost_label(found.get("/study/cost", "?")).lower(),
            ".",
            class_="lead",
        ),
    ]


def _document(title: str, main: Element, content: Mapping[str, Any]) -> str:
    """Returns the whole file; what runs in it is named by its hash."""
    style = _asset(_STYLE)
    scripts = [_asset(name) for name in SCRIPTS]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash(style)}",
            "script-src " + " ".join(map(_hash, scripts)),
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    data = element("script", type="application/json", id="data")
    models = content.get("study", {}).get("models", ())
    data.text = embedded_json(
        encoded(content, [model["name"] for model in models])
    )
    code = [element("script") for _ in scripts]
    for tag, text in zip(code, scripts, strict=True):
        tag.text = text
    sheet = element("style")
    sheet.text = style
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element(
                "meta", http_equiv="Content-Security-Policy", content=policy
            ),
            element(
                "meta",
                name="viewport",
                content="width=device-width, initial-scale=1",
            ),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="referrer", content="no-referrer"),
            element("link", rel="icon", href="data:,"),
            element("title", title),
            sheet,
        ),
        element(
            "body",
            element("a", "Skip to the page", href="#main", class_="skip"),
            main,
            element("output", id="source", hidden=True),
            data,
            code,
        ),
        lang="en",
    )
    return "<!doctype html>\n" + html(page) + "\n"


def _asset(name: str) -> str:
    return (
        importlib.resources.files("mmc_jax.report.page")
        .joinpath("assets", name)
        .read_text(encoding="utf-8")
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
