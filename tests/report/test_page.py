"""The page: what it embeds, where its numbers come from, what it escapes."""

import html.parser
import json
import pathlib
import re
import tempfile

from absl.testing import absltest, parameterized

from mmc_jax import report
from mmc_jax.report.page import document, elements, encoding
from mmc_jax.report.sections import Section
from tests.report import contents

_SIZE = 1_000_000


class _Reader(html.parser.HTMLParser):
    """Collects the elements of a page, and the text of those with a field."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.ids, self.fields = [], [], []
        self._at = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        if "data-at" in attrs:
            self.fields.append([attrs["data-at"], ""])
            self._at = tag

    def handle_data(self, text):
        if self._at:
            self.fields[-1][1] += text

    def handle_endtag(self, tag):
        if tag == self._at:
            self._at = None


class EncodingTest(parameterized.TestCase):
    @parameterized.parameters(
        {"value": {}},
        {"value": {"$words": [[1]], "$$again": 0, "$columns": {"a": [1]}}},
        {"value": {"a": [[], []], "b": [["x"], []], "c": [["x"], [1]]}},
        {"value": {"rows": [{"a": 1}, {"a": 2, "b": 3}], "none": None}},
        {"value": {"rows": [{}, {}], "one": [{"a": [{"b": 1}, {"b": 2}]}]}},
        {"value": {"a": [["x", "y", "x"], []], "b": [["z", "x"], ["y"]]}},
        {"value": {"x": list(range(99)), "y": list(range(99))}},
        {"value": contents.content(names=contents.ODD_NAMES)},
    )
    def test_nothing_is_changed(self, value):
        for names in ((), ("y", "x", "y"), contents.ODD_NAMES):
            encoded = encoding.encoded(value, names)
            found = encoding.decoded(json.loads(json.dumps(encoded)))
            self.assertEqual(found, value)

    def test_what_repeats_is_there_once(self):
        columns = {f"copy {i}": list(range(1000)) for i in range(9)}
        self.assertLess(len(json.dumps(encoding.encoded(columns))), 6000)

    def test_no_page(self):
        with self.assertRaisesRegex(ValueError, "no page of a report"):
            encoding.read_embedded("<html></html>")


class PageTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.content = contents.content(names=contents.ODD_NAMES)
        cls.page = document.page_of(cls.content)
        cls.read = _Reader(cls.page)

    def test_it_embeds_the_result(self):
        self.assertEqual(encoding.read_embedded(self.page), self.content)

    def test_every_number_is_that_of_its_field(self):
        result = elements.Result(self.content)
        self.assertGreater(len(self.read.fields), 100)
        for at, text in self.read.fields:
            fields = json.loads(at) if at.startswith("[") else [at]
            values = [result.get(field) for field in fields]
            self.assertNotIn(None, values, at)
            numbers = re.findall(r"-?[\d.,]+(?:e[+-]\d+)?", text)
            if isinstance(values[0], float) and "%" not in text:
                number = float(numbers[0].replace(",", ""))
                for size, mark in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
                    number *= size if mark in text else 1
                self.assertLess(
                    abs(number - values[0]), 6e-3 * abs(values[0]) + 1e-9, at
                )

    def test_names_are_text(self):
        tags = [tag for tag, _ in self.read.tags]
        self.assertNotIn("img", tags)
        # The embedded result, and what runs: no other script.
        self.assertEqual(tags.count("script"), 1 + len(document.SCRIPTS))
        self.assertEqual(self.page.count("</script>"), tags.count("script"))
        self.assertFalse(
            re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e]", self.page)
        )

    def test_nothing_is_asked_of_a_network(self):
        for _, attributes in self.read.tags:
            for name in ("src", "srcset", "action", "data", "poster"):
                self.assertNotIn(name, attributes)
            target = attributes.get("href", "#")
            self.assertTrue(target.startswith(("#", "data:")), target)
            self.assertFalse([n for n in attributes if n.startswith("on")])
            self.assertNotIn("style", attributes)
        policy = next(
            attributes["content"]
            for _, attributes in self.read.tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        )
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)

    def test_links_lead_somewhere(self):
        self.assertLen(self.read.ids, len(set(self.read.ids)))
        for _, attributes in self.read.tags:
            if attributes.get("href", "").startswith("#"):
                self.assertIn(attributes["href"][1:], self.read.ids)
            for name in ("aria-labelledby", "for"):
                if name in attributes:
                    self.assertIn(attributes[name], self.read.ids)

    def test_the_order_of_the_chapters(self):
        places = [
            self.page.index(f'id="{one}"')
            for one in (
                "answer law table proven generalises domains winners "
                "granularity routers diagnosis texts other-0 referee repeat "
                "cite"
            ).split()
        ]
        self.assertEqual(places, sorted(places))

    def test_the_frame_is_small(self):
        frame = len(self.page) - len(
            encoding.embedded_json(encoding.encoded(self.content))
        )
        self.assertLess(frame, _SIZE)

    def test_little_is_known(self):
        few = {
            key: self.content[key]
            for key in ("flags", "versions", "study", "law", "not_there")
        }
        page = document.page_of(few)
        self.assertIn("What is not here", page)
        self.assertIn("not asked for (--routers)", page)
        self.assertNotIn('id="texts"', page)


class WritingTest(absltest.TestCase):
    def test_the_page_and_its_result(self):
        out = pathlib.Path(tempfile.mkdtemp(), "a.html")
        sections = [
            Section({key: value})
            for key, value in contents.content().items()
            if key not in ("flags", "versions", "device", "sha256")
        ]
        words = report.write_page(out, sections, flags={"out": str(out)})
        self.assertIn(str(out), words)
        result = json.loads((out.parent / "a" / "result.json").read_text())
        self.assertEqual(report.read_embedded(out.read_text()), result)

    def test_other_results(self):
        out = pathlib.Path(tempfile.mkdtemp())
        report.write_sections(out, [Section({"granularity": {}})], flags={})
        (found,) = report.result_chapters([out])
        self.assertIn("granularity", found.numbers["granularity"])
        beside = {"routers": {"entries": {}}, "router_law": {"points": []}}
        routed = pathlib.Path(tempfile.mkdtemp())
        report.write_sections(routed, [Section(beside)], flags={})
        (found,) = report.result_chapters([routed])
        self.assertLessEqual(beside.items(), found.numbers["routers"].items())
        again = pathlib.Path(tempfile.mkdtemp())
        report.write_sections(again, [Section({"granularity": {}})], flags={})
        with self.assertRaisesRegex(ValueError, "makes the chapter"):
            report.result_chapters([out, again])
        report.write_sections(out, [Section({"law": 1})], flags={})
        with self.assertRaisesRegex(ValueError, "no chapter"):
            report.result_chapters([out])
        (out / "result.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "not readable"):
            report.result_chapters([out])
        with self.assertRaises(FileNotFoundError):
            report.result_chapters([out / "none"])

    def test_another_name(self):
        self.assertEqual(str(report.folder_of("a/b.html")), "a/b")
        with self.assertRaisesRegex(ValueError, "end in .html"):
            report.folder_of("a/b")
        with self.assertRaisesRegex(ValueError, "end in .html"):
            report.folder_of("...html")

    def test_what_stands_in_the_way(self):
        """It is said before hours of work, not after."""
        base = pathlib.Path(tempfile.mkdtemp())
        (base / "page.html").mkdir()
        (base / "file").write_text("")
        for name, error, words in (
            ("page.html", IsADirectoryError, "is a folder"),
            ("file.html", NotADirectoryError, "is a file"),
            ("file/page.html", NotADirectoryError, "is a file"),
        ):
            with self.assertRaisesRegex(error, words):
                report.folder_of(base / name)


if __name__ == "__main__":
    absltest.main()
