"""All analyses of one table, and the chapters that they make."""

import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, overviews, realizable, report, scores, studies
from mmc_jax.report import overview as report_overview
from tests import left_out

_NAMES = ("a-1", "a-2", "b-1", "b-2", "b-3")


def _routers(found):
    prepared = realizable.prepared_contest(
        found, normalisation="text_length", num_resamples=8
    )
    return realizable.router_study(prepared, ["best_per_domain"])


def table(num_texts=24, num_domains=2):
    """Returns a table of 5 models of two families, in nats."""
    rng = np.random.default_rng(0)
    sizes = np.array([1e6, 4e6, 2e6, 8e6, 3e7])
    nll = 40 * sizes[:, None] ** -0.1 * rng.lognormal(0, 0.2, (5, num_texts))
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(
                name,
                family=name[0],
                costs={"num_params": size, "same": size, "price": size**0.5},
            )
            for name, size in zip(_NAMES, sizes, strict=True)
        ),
        texts=corpus.Corpus(
            ids=tuple(f"text {x}" for x in range(num_texts)),
            domains=tuple(
                f"domain {x % num_domains}" for x in range(num_texts)
            ),
            num_bytes=np.full(num_texts, 20),
            num_chars=np.full(num_texts, 20),
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=nll,
        num_tokens=np.full(nll.shape, 5),
        num_scored=np.full(nll.shape, 5),
    )


class OverviewTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())
        cls.found = overviews.overview(
            table(),
            more_costs=["same", "price", "none"],
            checks=studies.Checks(num_resamples=8, num_splits=1),
            num_texts=3,
            routers=_routers,
        )

    def test_views(self):
        first, second = self.found.views
        self.assertEqual((first.cost, second.cost), ("num_params", "price"))
        self.assertSameElements(first.lines, overviews.LINES)
        self.assertIn("is num_params", self.found.reasons["cost same"])
        self.assertIn("no cost 'none'", self.found.reasons["cost none"])
        self.assertIn("tokens were not", self.found.reasons["granularity"])
        for view in self.found.views:
            self.assertEqual(
                view.lines["oracle"].points.costs.shape,
                view.lines["oracle"].points.losses.shape,
            )

    def test_lines_are_in_order(self):
        for view in self.found.views:
            oracle = view.lines["oracle"].points
            for name in ("single", "mixture", "homogeneous", "heterogeneous"):
                line = view.lines[name].points
                for cost, loss in zip(line.costs, line.losses, strict=True):
                    bought = oracle.losses[oracle.costs <= cost].min()
                    self.assertLessEqual(bought, loss + 1e-12, name)

    def test_the_line_of_a_router(self):
        """It lies between the oracle and the worst model of its subset."""
        for view in self.found.views:
            oracle, line = view.lines["oracle"].points, view.lines["router"]
            self.assertEqual(line.router, "best_per_domain")
            for cost, loss in zip(
                line.points.costs, line.points.losses, strict=True
            ):
                self.assertIn(cost, oracle.costs)
                self.assertGreaterEqual(
                    loss + 1e-12, oracle.losses[oracle.costs <= cost].min()
                )

    def test_an_ideal_router_has_an_interval(self):
        line = self.found.views[0].lines["routed"]
        self.assertIsNotNone(line.law.resampled)
        of_floor = line.law.interval("L_inf")
        self.assertLessEqual(of_floor.low, of_floor.high)
        numbers = report.overview_sections(self.found)[1].numbers["law"]
        lines = numbers["views"][0]["lines"]
        self.assertEqual(lines["router"]["router"], "best_per_domain")
        self.assertIn("L_inf", lines["routed"]["law"]["intervals"])
        with mock.patch.object(report_overview, "_MOST_POINTS", 2):
            few = report.overview_sections(self.found)[1].numbers["law"]
        first, second = (view["lines"]["oracle"] for view in few["views"])
        self.assertLen(first["costs"], first["num_points"])
        line = self.found.views[1].lines["oracle"].points
        self.assertEqual(second["num_points"], len(line.costs))
        np.testing.assert_array_equal(second["costs"], line.costs[[0, -1]])
        self.assertLen(second["models"], 2)

    def test_readings(self):
        view = self.found.views[0]
        single = view.lines["single"]
        read = single.readings
        self.assertEqual(read.loss.value.shape, view.budgets.shape)
        inside = view.budgets[: view.num_inside]
        self.assertLessEqual(
            inside[-1],
            max(line.points.costs[-1] for line in view.lines.values()),
        )
        falls = np.diff(read.loss.value)
        self.assertTrue((falls <= 0).all())
        if read.loss.has_interval:
            self.assertTrue((read.loss.low <= read.loss.high).all())

    def test_the_page_says_what_the_result_says(self):
        out = pathlib.Path(tempfile.mkdtemp(), "page.html")
        sections = report.overview_sections(self.found, {})
        report.write_page(out, sections, flags={"out": "page.html"})
        result = json.loads((out.parent / "page/result.json").read_text())
        page = out.read_text()
        self.assertEqual(report.read_embedded(page), result)
        self.assertEqual(
            result["study"]["laws"]["pool"]["alpha"],
            result["law"]["views"][0]["lines"]["oracle"]["law"]["alpha"],
        )
        for chapter in ("law", "table", "generalises", "domains", "winners"):
            self.assertIn(f'id="{chapter}"', page)

    def test_what_is_not_known_is_left_out(self):
        few = table(12, 1)
        few = scores.ScoreTable(
            models=tuple(
                scores.ScoredModel(m.name, costs=m.costs) for m in few.models
            ),
            texts=few.texts,
            nll_nats=few.nll_nats,
            unit="raw",
        )
        found = overviews.overview(few, normalisation="raw", num_texts=1)
        self.assertIsNone(found.families)
        self.assertIsNone(found.systems)
        self.assertIsNone(found.domains)
        self.assertSameElements(
            found.views[0].lines, ["single", "oracle", "routed"]
        )
        self.assertIn("without a family", found.reasons["families"])
        self.assertIn("--routers", found.views[0].reasons["router"])


if __name__ == "__main__":
    absltest.main()
