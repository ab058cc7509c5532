"""The page in a real browser: one session of a headless Chromium for all.

It is skipped where there is no Chromium (`apt-get install chromium`).
"""

import itertools
import json
import pathlib
import tempfile
import unittest

from absl.testing import absltest

from mmc_jax.report.page import document
from tests.report import chromium, contents

_READY = "document.documentElement.dataset.ready === 'yes'"
_AXE = pathlib.Path(__file__).with_name("axe.min.js")
_WORDS = "document.querySelector('#law .cursor-words').textContent"


def _digits(value):
    """A number as the page shows it: five digits, no zeros at its end."""
    return f"{value:.5g}"


@unittest.skipUnless(chromium.path(), "no Chromium: apt-get install chromium")
class BrowserTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.content = contents.content(names=contents.ODD_NAMES)
        cls.odd = cls._written("odd", cls.content)
        cls.many = cls._written("many", contents.content(200, 60, 300))
        cls.browser = chromium.Browser()
        cls.addClassCleanup(cls.browser.close)

    @classmethod
    def _written(cls, name, content):
        path = cls.folder / f"{name}.html"
        path.write_text(document.page_of(content), encoding="utf-8")
        return path.as_uri()

    def setUp(self):
        super().setUp()
        self.browser.look(1440)
        self.browser.open(self.odd, _READY)

    def tearDown(self):
        self.assertEmpty(self.browser.complaints())
        addresses = {url.split("#")[0] for url in self.browser.requests()}
        outside = {url for url in addresses if not url.startswith("data:")}
        self.assertLessEqual(outside, {self.odd, self.many})
        super().tearDown()

    def _lines(self, view=0):
        return self.content["law"]["views"][view]["lines"]

    def _assert_words(self, line, i):
        words = self.browser.evaluate(_WORDS)
        self.assertIn(f"point {i + 1} of {len(line['costs'])}", words)
        self.assertIn(f"loss {_digits(line['losses'][i])};", words)
        for name in line["models"][i]:
            name = self.browser.evaluate(f"shown.name({json.dumps(name)}, 40)")
            self.assertIn(name, words)
        return words

    def test_numbers_are_those_of_the_result(self):
        found = self.browser.evaluate("JSON.stringify(data.content)")
        self.assertEqual(json.loads(found), self.content)

    def test_names_do_nothing(self):
        self.assertEqual(self.browser.evaluate("document.images.length"), 0)
        text = self.browser.evaluate("document.body.innerText")
        self.assertIn("<script>alert(1)</script>", text)
        self.assertIn("left\\u202eright", text)
        self.assertNotIn("\u202e", text)
        self.assertNotIn("\x1b", text)
        self.assertFalse(self.browser.evaluate("'alerted' in window"))

    def test_keys(self):
        lines = self._lines()
        last = len(lines["oracle"]["costs"]) - 1
        self.browser.evaluate("document.querySelector('.points').focus()")
        words = self._assert_words(lines["oracle"], last)
        frontier = self.content["study"]["frontier"][last]
        for key in ("lower_bound", "held_out_loss"):
            self.assertIn(_digits(frontier[key]), words)
        self.browser.press("ArrowLeft", "ArrowLeft")
        self._assert_words(lines["oracle"], last - 2)
        self.browser.press("Home", "ArrowRight")
        words = self._assert_words(lines["oracle"], 1)
        spoken = self.browser.evaluate(
            "document.querySelector('.points').getAttribute('aria-valuetext')"
        )
        self.assertEqual(spoken, words)
        self.browser.press("ArrowUp")
        self.assertStartsWith(
            self._assert_words(lines["mixture"], 1), "mixtures"
        )
        self.browser.press("End", "ArrowUp")
        words = self._assert_words(lines["router"], last)
        self.assertStartsWith(words, "router: <script>")
        # Nothing is above the first line.
        self.browser.press("ArrowUp", "ArrowUp")
        self._assert_words(lines["single"], last)
        self.browser.press("ArrowDown", "ArrowDown", "ArrowDown")
        self._assert_words(lines["oracle"], last)

    def test_pointer_and_tap(self):
        line = self._lines()["mixture"]
        for i, kind in ((7, "mouseMoved"), (3, "mousePressed")):
            x, y = self.browser.evaluate(
                "(() => { document.querySelector('.points').scrollIntoView();"
                "const c = document.querySelectorAll('.points circle');"
                f"const b = [...c][{i}].getBoundingClientRect();"
                "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
            )
            self.browser.point(x, y, kind)
            words = self.browser.evaluate(_WORDS)
            self.assertIn(f"point {i + 1} of {len(line['costs'])}", words)

    def test_switches(self):
        first, other = self._lines(0)["oracle"], self._lines(2)["oracle"]
        last = len(first["costs"]) - 1
        self._assert_words(first, last)
        self._select(0, 1)
        self._assert_words(other, last)
        unit = self.browser.evaluate(
            "document.querySelector('.points svg').textContent"
        )
        self.assertIn("bits per byte", unit)
        self._select(1, 1)
        self.assertIn(
            "flops per byte",
            self.browser.evaluate(
                "document.querySelector('.points svg').textContent"
            ),
        )
        path = "document.querySelector('[data-line=oracle]')?.getAttribute('d')"
        drawn = [self.browser.evaluate(path)]
        boxes = "document.querySelectorAll('#law input[type=checkbox]')"
        for box in (0, 1):
            self.browser.evaluate(f"{boxes}[{box}].click()")
            drawn.append(self.browser.evaluate(path))
        self.assertLen(set(drawn), 3)
        for box in (2, 3, 4, 5):
            self.browser.evaluate(f"{boxes}[{box}].click()")
        self.assertIsNone(self.browser.evaluate(path))
        self.assertIn("No line", self.browser.evaluate(_WORDS))
        self.browser.evaluate(f"{boxes}[5].click()")
        self._assert_words(self._lines(3)["oracle"], last)

    def _select(self, number, option):
        self.browser.evaluate(
            f"(() => {{ const s = document.querySelectorAll('#law select')"
            f"[{number}]; s.selectedIndex = {option};"
            "s.dispatchEvent(new Event('change')); })()"
        )

    def test_sliders(self):
        readings = self._lines()["single"]["readings"]
        row = "document.querySelector('#law .laws tbody tr')"
        self._slide("budget", 10)
        text = self.browser.evaluate(f"{row}.innerText")
        for key in ("loss", "loss_low", "loss_high"):
            self.assertIn(f"{readings[key][10]:.4g}", text)
        cell = f"{row}.querySelector('td').className"
        self.assertNotIn("beyond", self.browser.evaluate(cell))
        self._slide("budget", 18)
        self.assertIn("beyond", self.browser.evaluate(cell))
        self.assertIn(
            "beyond the data",
            self.browser.evaluate(
                "document.querySelector('#read-budget').ariaValueText"
            ),
        )
        # No end above, and then never.
        self._slide("loss", 19)
        text = self.browser.evaluate(f"{row}.innerText")
        self.assertIn("no end", text)
        self._slide("loss", 20)
        text = self.browser.evaluate(f"{row}.innerText")
        self.assertIn("never", text)

    def _slide(self, key, value):
        self.browser.evaluate(
            f"(() => {{ const s = document.querySelector('#read-{key}');"
            f"s.value = {value}; s.dispatchEvent(new Event('input')); }})()"
        )

    def test_every_number_says_its_field(self):
        self.browser.evaluate(
            "document.querySelector('#table .scroll').focus()"
        )
        self.browser.press("ArrowDown", "ArrowRight", "ArrowRight")
        said = self.browser.evaluate("document.querySelector('#source').value")
        self.assertStartsWith(
            said, "result.json#/law/views/0/lines/single/law/L_inf = 2.4"
        )
        self.browser.press("Escape")
        self.assertTrue(
            self.browser.evaluate("document.querySelector('#source').hidden")
        )
        missing = self.browser.evaluate(
            "[...document.querySelectorAll('[data-at]')].filter(e => "
            "(e.dataset.at.startsWith('[') ? JSON.parse(e.dataset.at) : "
            "[e.dataset.at]).some(f => data.at(f) === undefined)).length"
        )
        self.assertEqual(missing, 0)

    def test_every_cell_of_a_matrix(self):
        text = self.browser.evaluate(
            "(() => { const d = [...document.querySelectorAll("
            "'#winners details')].find(d => /^All/.test(d.innerText));"
            "d.open = true; return new Promise(done => setTimeout(() => "
            "done([...d.querySelectorAll('td')].map(c => c.innerText)), 50));"
            "})()"
        )
        gains = self.content["diversity"]["pair_gains"]
        self.assertLen(text, len(gains) ** 2)
        for shown, gain in zip(text, itertools.chain(*gains), strict=True):
            self.assertLess(abs(float(shown) - gain), 1e-4)

    def test_on_paper(self):
        self.browser.look(1440, scheme="dark")
        self.browser.call("Emulation.setEmulatedMedia", media="print")
        style = "getComputedStyle(document.querySelector('{}')).{}"
        self.assertEqual(
            self.browser.evaluate(style.format("body", "backgroundColor")),
            "rgb(255, 255, 255)",
        )
        for hidden in ("nav", "#law .controls", ".reader", ".cursor-words"):
            self.assertEqual(
                self.browser.evaluate(style.format(hidden, "display")), "none"
            )
        # All rows are there, and no chart is higher than a sheet.
        self.assertEqual(
            self.browser.evaluate(style.format(".scroll", "overflow")),
            "visible",
        )
        self.browser.evaluate("dispatchEvent(new Event('beforeprint')); 0")
        sizes = self.browser.evaluate(
            "[...document.querySelectorAll('.drawing svg')].map("
            "s => [+s.getAttribute('width'), +s.getAttribute('height')])"
        )
        self.assertLessEqual(max(width for width, _ in sizes), 700)
        self.assertLess(max(height for _, height in sizes), 900)
        self.browser.evaluate("dispatchEvent(new Event('afterprint')); 0")
        self.browser.call("Emulation.setEmulatedMedia", media="")

    def test_who_cannot_see_it(self):
        self.browser.evaluate(_AXE.read_text() + "; 0")
        for width, scheme, rules in (
            (1440, "light", "{}"),
            # What colours and sizes change.
            (390, "dark", "{runOnly: ['color-contrast', 'target-size']}"),
        ):
            self.browser.look(width, scheme=scheme)
            self.browser.evaluate(
                "document.querySelectorAll('details').forEach("
                "d => { d.open = true; })"
            )
            found = self.browser.evaluate(
                f"axe.run(document, {rules})"
                ".then(r => r.violations.map(v => v.id + ': ' + "
                "v.nodes.slice(0, 3).map(n => n.html + ' ' + "
                "n.failureSummary).join('; ')))"
            )
            self.assertEmpty(found, f"{width} {scheme}")

    def test_numbers_that_are_missing(self):
        few = contents.content(2, 1, 1)
        for view in few["law"]["views"]:
            for line in view["lines"].values():
                line["law"], line["not_fitted"] = None, "one point"
                line["readings"] = None
                line["costs"] = [0.0]
        holes = contents.content()
        holes["diversity"]["models"][0]["shapley_standard_error"] = None
        holes["diversity"]["pair_gains"][0][0] = None
        holes["domains"]["domains"][0]["name"] = ""
        for row in holes["study"]["frontier"][:3]:
            row["held_out_loss"] = row["loss_low"] = row["loss_high"] = None
        for model in holes["study"]["models"]:
            model["family"] = ""
        for line in holes["law"]["views"][0]["lines"].values():
            readings = line["readings"]
            readings["loss"][-1] = None
            for key in ("loss_low", "loss_high", "budget_low", "budget_high"):
                readings[key] = [None] * len(readings[key])
        for name, content in (("few", few), ("holes", holes)):
            url = self._written(name, content)
            self.browser.open(url, _READY)
            self.browser.evaluate("document.querySelector('.points').focus()")
            self.browser.press("Home", "ArrowRight", "ArrowUp", "End")
            self.assertEmpty(self.browser.complaints())
            self.assertNotRegex(
                self.browser.evaluate("document.body.innerText"),
                r"\bNaN\b|undefined|\bnull\b|could not be drawn",
            )
        self.browser.open(self.odd, _READY)

    def test_small_and_large(self):
        for url in (self.odd, self.many):
            self.browser.open(url, _READY)
            for width in (390, 1440):
                self.browser.look(width)
                self.browser.evaluate(
                    "new Promise(done => requestAnimationFrame(() => "
                    "requestAnimationFrame(done)))"
                )
                with self.subTest(url=url, width=width):
                    wide = "document.documentElement.scrollWidth"
                    self.assertLessEqual(self.browser.evaluate(wide), width)
                    smallest = self.browser.evaluate(
                        "Math.min(...[...document.querySelectorAll("
                        "'body *')].filter(e => [...e.childNodes].some("
                        "c => c.nodeType === 3 && c.data.trim()) && "
                        "e.checkVisibility?.()).map("
                        "e => parseFloat(getComputedStyle(e).fontSize)))"
                    )
                    self.assertGreaterEqual(smallest, 12)
        families = self.browser.evaluate(
            "document.querySelector('ul.families').children.length"
        )
        self.assertEqual(families, 60)
        looks = self.browser.evaluate(
            "new Set([...document.querySelectorAll('ul.families')[0]"
            ".querySelectorAll('path')].map(p => p.getAttribute('d') + "
            "p.getAttribute('fill') + p.getAttribute('stroke'))).size"
        )
        self.assertEqual(looks, 60)


if __name__ == "__main__":
    absltest.main()
