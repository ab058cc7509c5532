"""Whose words: a table of families, and a text in its winners' colours."""

import functools
import html
import pathlib
from collections.abc import Sequence

from mmc_jax.diversity import Span, Winner
from mmc_jax.report import labels
from mmc_jax.report.sections import Section

# Of the terminal's 256 colours and of pages, in the order of the families.
_COLOURS = (
    (33, "31, 119, 180"),
    (208, "255, 127, 14"),
    (34, "44, 160, 44"),
    (160, "214, 39, 40"),
    (97, "148, 103, 189"),
    (94, "140, 86, 75"),
    (169, "227, 119, 194"),
    (244, "127, 127, 127"),
)
# Nats per byte by which a winner is ahead where its colour is full.
_FULL = 0.5
_FAINTEST = 0.1
_STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:60em}"
    "pre{white-space:pre-wrap;line-height:1.6}"
)


def winners_section(
    found: Sequence[Winner], spans: Sequence[Span], text_id: str
) -> Section:
    """Returns who wins what, and the page of one text.

    Args:
      found: What `diversity.winners` returns.
      spans: What `diversity.spans` returns of one text.
      text_id: Id of that text.
    """
    names = list(found[0].shares) if found else []
    return Section(
        {"winners": [row._asdict() for row in found], "shown_text": text_id},
        sentences=[
            *_table(found, names),
        ],
        files={
            "text.html": functools.partial(
                _write_page, spans=spans, names=names, text_id=text_id
            )
        },
    )


def page(spans: Sequence[Span], names: Sequence[str], text_id: str) -> str:
    """Returns a text as HTML: all that comes from data is escaped.

    Args:
      spans: Segments of the text with their winners.
      names: Names of all families, in the order of the colours.
      text_id: Id of the text, for the title.
    """
    title = html.escape(f"Whose words: {text_id}")
    legend = " ".join(
        f'<span style="background:rgba({_rgb(i)}, 0.6)">{html.escape(name)}'
        "</span>"
        for i, name in enumerate(names)
    )
    body = "".join(
        f'<span style="background:rgba({_rgb(names.index(span.family))}, '
        f'{_opacity(span):.2f})" title="'
        + html.escape(
            f"{span.model}, {span.kind}, {span.margin:.3f} nats per byte ahead"
        )
        + f'">{html.escape(span.text)}</span>'
        for span in spans
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n<p>{legend}</p>\n<pre>{body}</pre>\n"
        "</body>\n</html>\n"
    )


def _write_page(
    path: pathlib.Path,
    *,
    spans: Sequence[Span],
    names: Sequence[str],
    text_id: str,
) -> None:
    path.write_text(page(spans, names, text_id), encoding="utf-8")


def _rgb(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)][1]


def _opacity(span: Span) -> float:
    return max(_FAINTEST, min(1.0, span.margin / _FULL))


def _table(found: Sequence[Winner], names: Sequence[str]) -> list[str]:
    """Returns the shares of wins, a line for each domain and kind."""
    width = max([len(row.domain) for row in found] + [9]) + 2
    lines = [
        f"{'domain':<{width}}{'kind':<14}{'segments':>9}"
        + "".join(f"{name[:11]:>12}" for name in names)
    ]
    for row in found:
        lines.append(
            f"{row.domain or 'all texts':<{width}}{row.kind:<14}"
            f"{row.num_segments:9d}"
            + "".join(f"{row.shares[name]:12.1%}" for name in names)
        )
    return lines


def coloured_text(
    spans: Sequence[Span], names: Sequence[str], *, has_colours: bool
) -> str:
    """Returns a text for the terminal, each segment in its winner's colour.

    A winner that is hardly ahead is faint. Control characters of the text are
    written as escapes, but for the ends of lines and tabs.

    Args:
      spans: Segments of the text with their winners.
      names: Names of all families, in the order of the colours.
      has_colours: Whether colours are written; else the family stands in front
        of each segment that another one wins than the segment before.
    """
    found, last = [], None
    for span in spans:
        text = "".join(
            char if char in "\n\t" else labels.printable(char)
            for char in span.text.replace("\r\n", "\n")
        )
        family = labels.printable(span.family)
        if not has_colours:
            text = text if span.family == last else f"[{family}]{text}"
            last = span.family
        else:
            colour = _COLOURS[names.index(span.family) % len(_COLOURS)][0]
            faint = "2;" if _opacity(span) < 0.5 else ""
            text = f"\033[{faint}38;5;{colour}m{text}\033[0m"
        found.append(text)
    if not has_colours:
        return "".join(found)
    legend = " ".join(
        f"\033[38;5;{_COLOURS[i % len(_COLOURS)][0]}m"
        f"{labels.printable(name)}\033[0m"
        for i, name in enumerate(names)
    )
    return f"{legend}\n\n{''.join(found)}"
