"""How figures are drawn and saved: the same bytes on every run.

Matplotlib reads its settings from the environment, from files in the home and
in the working folder. Figures of a study must not depend on any of them, and
names that come from data must appear as they are, `$` included.
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

# A notebook names a backend here that may not be installed beside mmc_jax.
# Matplotlib would refuse to be imported, although no figure here is shown.
_BACKEND = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
finally:
    if _BACKEND is not None:
        os.environ["MPLBACKEND"] = _BACKEND
from matplotlib.axis import Axis  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.ticker import Formatter, LogFormatterMathtext  # noqa: E402

_DOTS_PER_INCH = 160
_SETTINGS = {
    # Seed of the ids in an SVG file, which are random without it.
    "svg.hashsalt": "mmc_jax",
    # A model may be called "$a$"; it is no formula.
    "text.parse_math": False,
}
_SUPERSCRIPTS = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Sets Matplotlib's own defaults and ours, and the old ones afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def saved(draw: Callable[[], Figure] | Figure) -> dict[str, bytes]:
    """Returns a figure as the bytes of its files, by suffix: svg and png.

    Args:
      draw: Returns the figure; or the figure itself.
    """
    with _settings(), warnings.catch_warnings():
        # A name may have letters that Matplotlib's own font has not; each is
        # drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # The margin of an axis whose values are near the end of float64.
        warnings.filterwarnings("ignore", "overflow encountered in exp")
        # On a busy machine the search for a legend's place takes a second.
        warnings.filterwarnings("ignore", "Creating legend with loc=")
        figure = draw() if callable(draw) else draw
        _show_text_as_it_is(figure)
        _lay_out(figure)
        files = {}
        for suffix, options in (
            ("svg", {"metadata": {"Date": None}}),
            ("png", {"dpi": _DOTS_PER_INCH}),
        ):
            file = io.BytesIO()
            figure.savefig(file, format=suffix, **options)
            files[suffix] = file.getvalue()
    return files


def _lay_out(figure: Figure) -> None:
    """Lays a figure out, once: Matplotlib would twice for each file."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)


def _show_text_as_it_is(figure: Figure) -> None:
    """Turns off formulas in every text of a figure, ticks included."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                axis.set_major_formatter(_Plain(axis.get_major_formatter()))
            if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
                axis.set_minor_formatter(_Plain(axis.get_minor_formatter()))
    for text in figure.findobj(Text):
        text.set_parse_math(False)


class _Plain(Formatter):
    """Writes the powers of another formatter in plain characters: 10⁶."""

    def __init__(self, formatter: LogFormatterMathtext) -> None:
        self._formatter = formatter

    def set_axis(self, axis: Axis) -> None:
        super().set_axis(axis)
        self._formatter.set_axis(axis)

    def set_locs(self, locs: Sequence[float]) -> None:
        super().set_locs(locs)
        self._formatter.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        label = self._formatter(x, pos).replace(
            r"\times", "\N{MULTIPLICATION SIGN}"
        )
        label = re.sub(
            r"\^\{(-?[0-9.]+)\}",
            lambda power: power[1].translate(_SUPERSCRIPTS),
            label.replace(r"\mathdefault", ""),
        )
        return label.translate({ord(mark): None for mark in "${}"})
