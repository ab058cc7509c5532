"""Shows whose words a text is made of: which family wins which segments.

  python -m experiments.show_winners --scores=results/tokens \
      --corpus=embedded --out=results/winners

Each domain's words are indentation, identifiers, numbers, named things, ...; a
table says how many of each kind a family's best model wins. One text is shown
in the colours of its winners, in the terminal and as `text.html`. The scores
need tokens (score_texts --keep_tokens). Words have the white space before them;
what indents a line stands alone.
"""

import os
import sys

from absl import flags

from . import program, shared_flags, tables

flags.adopt_module_key_flags(tables)
_SHOWN_TEXT = flags.DEFINE_string(
    "shown_text", None, "Id of the text that is shown; the first if unset."
)
_OUT = shared_flags.out()


def main():
    from mmc_jax import diversity, report

    table, texts = tables.read(), tables.read_texts()
    if texts is None:
        raise ValueError("--corpus: whose words they are needs the texts")
    cut = table
    if table.places is None:
        cut = table.segments("word", texts)
    shown = _SHOWN_TEXT.value or cut.places.text_ids[0]
    found = diversity.winners(cut, texts)
    spans = diversity.spans(cut, texts, shown)
    print(
        report.write_sections(
            _OUT.value,
            [report.winners_section(found, spans, shown)],
            flags=program.flag_values(),
        )
    )
    # https://no-color.org: set and not empty.
    has_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(
        report.coloured_text(
            spans, list(found[0].shares), has_colours=has_colours
        )
    )


if __name__ == "__main__":
    program.run(main)
