"""The pages that people read first: length, links, names of programs."""

import pathlib
import re

import yaml
from absl.testing import absltest

from mmc_jax import cli

_ROOT = pathlib.Path(__file__).parents[1]
_MOST_LINES = 150
_FOLDERS = ("experiments", "mmc_jax", "third_party", "tests")


def _pages() -> list[pathlib.Path]:
    """Returns all pages of the project, those at its root first."""
    found = sorted(_ROOT.glob("*.md"))
    for folder in _FOLDERS:
        found += sorted((_ROOT / folder).rglob("*.md"))
    return found


def _without_code(page: pathlib.Path) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())


def _anchors(page: pathlib.Path) -> set[str]:
    """Returns the names by which links reach the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", _without_code(page))
    words = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", h) for h in headings)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in words
    }


class PagesTest(absltest.TestCase):
    def test_front_door_is_short(self):
        lines = (_ROOT / "README.md").read_text().splitlines()
        self.assertLess(len(lines), _MOST_LINES)

    def test_links_lead_somewhere(self):
        num_links = 0
        for page in _pages():
            for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page)):
                if link.startswith(("http:", "https:")):
                    continue
                num_links += 1
                file, _, anchor = link.partition("#")
                target = page.parent / file if file else page
                with self.subTest(page=page.name, link=link):
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, _anchors(target))
        self.assertGreater(num_links, 30)

    def test_commands_name_programs(self):
        for page in _pages():
            named = re.findall(
                r"python -m\s+experiments\.(\w+)", page.read_text()
            )
            self.assertEmpty(set(named) - set(cli.programs()), page)

    def test_citation(self):
        found = yaml.safe_load((_ROOT / "CITATION.cff").read_text())
        self.assertEqual(found["cff-version"], "1.2.0")
        self.assertTrue({"message", "title", "authors"} <= found.keys())
        (paper,) = found["references"]
        self.assertIn("Multi-Model Collaboration", paper["title"])
        self.assertIn("2512.23340", paper["url"])


if __name__ == "__main__":
    absltest.main()
