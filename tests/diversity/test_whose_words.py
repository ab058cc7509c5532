import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import diversity, report
from mmc_jax.diversity import whose_words
from mmc_jax.report import whose_words as page_of_winners
from tests import test_segments

_EVIL = "<script>alert(1)</script> x_1\n    \x1b[2J Paris & 42\n"


def _cut(texts=None, kind="word", num_models=3):
    table = test_segments.table_of_tokens(
        texts or {"evil": _EVIL, "two": "It is 3.14 or fooBar\n"},
        num_models=num_models,
        share=2.0,
    )
    return table.segments(kind), table.texts


class WinnersTest(parameterized.TestCase):
    @parameterized.parameters(
        ("    ", True, "indentation"),
        ("\n\t\t", False, "indentation"),
        ("\n", False, "white space"),
        (" ", False, "white space"),
        (" 3.14", False, "number"),
        ("-1e-5", False, "number"),
        (" x_1", False, "identifier"),
        (" fooBar", False, "identifier"),
        ("HTTP", True, "identifier"),
        (" Paris", False, "named thing"),
        (" paris", False, "word"),
        (" \u6f22\u5b57", False, "word"),
        ("):", False, "marks"),
        (" a-b", False, "other"),
        ("\ufffd", False, "marks"),
    )
    def test_kinds(self, text, begins_line, expected):
        found = whose_words.kind_of_segment(text, begins_line=begins_line)
        self.assertEqual(found, expected)
        self.assertIn(found, whose_words.KINDS)

    def test_shares_by_hand(self):
        cut, texts = _cut()
        found = diversity.winners(cut, texts)
        _, kinds = whose_words.texts_of_segments(cut, texts)
        best = cut.nll_nats.argmin(axis=0)
        families = [model.family for model in cut.models]
        for row in found:
            rows = [
                y
                for y, kind in enumerate(kinds)
                if kind == row.kind and row.domain in ("", cut.texts.domains[y])
            ]
            self.assertLen(rows, row.num_segments)
            for name, share in row.shares.items():
                won = [families[best[y]] == name for y in rows]
                self.assertAlmostEqual(share, np.mean(won))
            self.assertAlmostEqual(sum(row.shares.values()), 1.0)
            nll = cut.nll_nats[:, rows].sum(axis=1)
            nll /= cut.texts.num_bytes[rows].sum()
            self.assertAlmostEqual(row.losses["f0"], min(nll[0], nll[2]))

    def test_spans_are_the_text(self):
        cut, texts = _cut()
        found = diversity.spans(cut, texts, "evil")
        self.assertEqual("".join(span.text for span in found), _EVIL)
        self.assertTrue(all(span.margin >= 0 for span in found))
        with self.assertRaisesRegex(ValueError, "no segments of the text 'z'"):
            diversity.spans(cut, texts, "z")

    def test_page_is_escaped(self):
        cut, texts = _cut()
        spans = diversity.spans(cut, texts, "evil")
        spans = [
            span._replace(family="<f>" if span.family == "f0" else "f1")
            for span in spans
        ]
        names = ["<f>", "f1"]
        made = page_of_winners.page(spans, names, "</title><b>")
        for raw in ("<script>", "</title><b>", "<f>"):
            self.assertNotIn(raw, made)
        self.assertIn("&lt;f&gt;", made)
        self.assertIn("&lt;/", made)

    def test_terminal_is_safe(self):
        cut, texts = _cut()
        spans = diversity.spans(cut, texts, "evil")
        plain = report.coloured_text(spans, ["f0", "f1"], has_colours=False)
        self.assertNotIn("\x1b", plain)
        self.assertIn("\\x1b", plain)
        coloured = report.coloured_text(spans, ["f0", "f1"], has_colours=True)
        self.assertNotIn("\x1b[2J", coloured)
        self.assertIn("\x1b[0m", coloured)

    def test_section(self):
        cut, texts = _cut()
        section = report.winners_section(
            diversity.winners(cut, texts),
            diversity.spans(cut, texts, "two"),
            "two",
        )
        self.assertIn("text.html", section.files)
        self.assertTrue(any("number" in line for line in section.sentences))

    def test_refuses_texts(self):
        cut, texts = _cut()
        with self.assertRaisesRegex(ValueError, "are needed"):
            diversity.winners(cut, dataclasses.replace(texts, texts=None))
        with self.assertRaisesRegex(ValueError, "no text 'evil'"):
            diversity.winners(cut, texts.select([1]))


if __name__ == "__main__":
    absltest.main()
