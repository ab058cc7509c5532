"""Laws as result folders, and the published refit."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from mmc_jax import corpus, frontier, law, report, scores
from mmc_jax.report import refit
from tests import left_out


def _table(nll: np.ndarray) -> scores.ScoreTable:
    num_models, num_texts = nll.shape
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(
                f"model-{m}", "ab"[m % 2], costs={"num_params": 10 * 3.0**m}
            )
            for m in range(num_models)
        ),
        texts=corpus.Corpus(
            ids=tuple(map(str, range(num_texts))),
            domains=("prose", "code") * (num_texts // 2),
            num_bytes=np.full(num_texts, 8),
            num_chars=np.full(num_texts, 4),
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=nll,
    )


def _falling_table() -> scores.ScoreTable:
    rng = np.random.default_rng(0)
    means = 3 * (10 * 3.0 ** np.arange(6)[:, None]) ** -0.3 + 1
    return _table(means * rng.lognormal(0, 0.2, (6, 40)))


def _search(losses, costs, weights=None):
    return frontier.pruned(losses, costs, weights, max_size=2)


class TableTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())
        cls.out = pathlib.Path(tempfile.mkdtemp())
        cls.study, cls.words = cls.write(cls.out)
        cls.result = json.loads((cls.out / "result.json").read_text())

    @staticmethod
    def write(out):
        study = law.laws_of_table(
            _falling_table(),
            normalisation="raw",
            search=_search,
            num_resamples=8,
            num_searches=2,
            forms=["power_law"],
        )
        words = report.write_laws(
            study, out, flags={"out": "x"}, budgets=[1e6], losses=[1.4]
        )
        return study, words

    def test_another_run_writes_the_same_bytes(self):
        again = pathlib.Path(tempfile.mkdtemp())
        self.write(again)
        for path in sorted(self.out.iterdir()):
            with self.subTest(path.name):
                same = (again / path.name).read_bytes() == path.read_bytes()
                self.assertTrue(same)

    def test_the_law_is_that_of_the_frontier(self):
        table = _falling_table()
        line = _search(table.losses("raw"), table.costs())
        fit = law.fit(line.costs, line.losses)
        numbers = self.result["laws"]["pool"]
        self.assertEqual(numbers["alpha"], float(f"{fit.alpha:.10g}"))
        self.assertEqual(numbers["num_points"], len(line.costs))
        interval = numbers["intervals_of_resampled_texts"]["L_inf"]
        self.assertLess(interval["low"], interval["high"])

    def test_table_1(self):
        header, single = self.words.splitlines()[:2]
        for name in ("A", "alpha", "L_inf", "R^2", "n"):
            self.assertIn(name, header.split())
        self.assertStartsWith(single, "single models")
        alpha = self.result["laws"]["single models"]["alpha"]
        self.assertIn(f"{alpha:.4g} [", single)

    def test_the_pool(self):
        chain = self.result["chain"]
        self.assertLen(chain["without_one_model"]["laws"], 6)
        self.assertEqual(set(chain["without_one_family"]["laws"]), {"a", "b"})
        self.assertGreater(chain["gain_percent"], 0)
        self.assertEqual(chain["full_bootstrap"]["num_resamples"], 2)
        self.assertIn("held_out", chain)
        self.assertIn("an ideal choice for each text gains", self.words)

    def test_answers(self):
        answers = self.result["answers"]
        self.assertAlmostEqual(
            answers["pool"]["loss_at_budget"][0]["value"],
            float(law.loss(self.study.laws["pool"].fit, 1e6)),
        )
        pair = answers["pool against single models"]
        self.assertEqual(pair["times_fewer_at_equal_loss"][0]["loss"], 1.4)
        self.assertIn("interval", pair["floor_gap_percent"])

    def test_shared_parameters(self):
        asked = [
            answer["shared"] for answer in self.result["shared_parameters"]
        ]
        self.assertIn(["alpha"], asked)
        self.assertRegex(self.words, r"the groups (may|do not) share L_inf")

    def test_figures(self):
        for name in ("laws", "residuals", "profiles", "forms"):
            self.assertStartsWith(
                (self.out / f"{name}.png").read_bytes(), b"\x89PNG"
            )


class NoGainTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_one_model_wins_every_text(self):
        rng = np.random.default_rng(0)
        means = 3 * (10 * 3.0 ** np.arange(6)[:, None]) ** -0.3 + 1
        table = _table(means * rng.lognormal(0, 0.2, 40))
        study = law.laws_of_table(
            table,
            normalisation="raw",
            search=_search,
            num_resamples=4,
            num_searches=2,
            forms=["power_law"],
        )
        self.assertEqual(study.pool.best_model, "model-5")
        words = report.write_laws(study, tempfile.mkdtemp(), flags={})
        self.assertIn("a pool of all gains nothing", words)
        self.assertRegex(words, r"floor lower by this many percent: 0 ")


class PointsTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_what_cannot_be_fitted_is_said(self):
        P = np.geomspace(1, 1e4, 12)
        groups = {
            "rising": (P, np.linspace(1, 2, 12)),
            "bumpy": (P, 3 * P**-0.3 + 1 + 0.2 * (np.arange(12) % 2)),
        }
        study = law.laws_of_points(groups, num_resamples=4, forms=["power_law"])
        self.assertIn("do not fall", study.reasons["rising"])
        out = pathlib.Path(tempfile.mkdtemp())
        words = report.write_laws(study, out, flags={})
        self.assertIn("rising: no law: losses do not fall", words)
        self.assertRegex(words, r"3 of 11 times a dearer point loses more")
        result = json.loads((out / "result.json").read_text())
        self.assertIn("do not fall", result["laws"]["rising"]["not_fitted"])

    def test_no_law_at_all_is_an_error(self):
        P = np.geomspace(1, 1e4, 12)
        with self.assertRaisesRegex(
            ValueError, "up: losses do not fall.*; few"
        ):
            law.laws_of_points({"up": (P, P), "few": (P[:3], P[:3])})
        with self.assertRaisesRegex(ValueError, "no points"):
            law.laws_of_points({})

    def test_a_table_of_one_text(self):
        with self.assertRaisesRegex(ValueError, "single models: .*; pool: "):
            law.laws_of_table(
                _falling_table().select(texts=[0]),
                normalisation="raw",
                search=_search,
            )


class RefitTest(absltest.TestCase):
    def _file(self, content: str) -> pathlib.Path:
        path = pathlib.Path(tempfile.mkdtemp(), "points.csv")
        path.write_text(content)
        return path

    def test_points_of_a_file(self):
        path = self._file(
            "x,Model Size,Training FLOP,loss\n"
            "0,10,1200,3.0\n0,20,6000,9.0\n0,30,1800,2.5\n"
        )
        N, D, losses = refit.chinchilla_points(path, num_dropped=1)
        np.testing.assert_array_equal(N, [10, 30])
        np.testing.assert_array_equal(D, [20, 10])
        np.testing.assert_array_equal(losses, [3.0, 2.5])
        with self.assertRaisesRegex(ValueError, "5 points to drop of 3"):
            refit.chinchilla_points(path)
        with self.assertRaisesRegex(ValueError, "no column 'Model Size'"):
            refit.chinchilla_points(self._file("N,loss\n1,2\n"))

    def test_written(self):
        rng = np.random.default_rng(0)
        N = np.exp(rng.uniform(18, 23, 24))
        D = np.exp(rng.uniform(21, 26, 24))
        losses = 1.8 + 480 / N**0.35 + 2100 / D**0.37
        rows = [
            f"{n!r},{6 * n * d!r},{x!r}"
            for n, d, x in zip(
                *map(np.ndarray.tolist, (N, D, losses)), strict=True
            )
        ]
        path = self._file("\n".join(["Model Size,Training FLOP,loss", *rows]))
        out = pathlib.Path(tempfile.mkdtemp())
        words = report.write_refit(
            path, out, num_dropped=0, num_starts=64, flags={}
        )
        result = json.loads((out / "result.json").read_text())
        self.assertAlmostEqual(result["the optimum"]["E"], 1.8, places=5)
        self.assertGreater(
            result["published"]["objective"],
            result["the optimum"]["objective"],
        )
        self.assertIn("the mean, SciPy's BFGS", words)


class TrialsTest(absltest.TestCase):
    def test_coverage_written(self):
        out = pathlib.Path(tempfile.mkdtemp())
        words = report.write_coverage(
            out, num_sets=8, num_points=[12], noises=[0.01], seed=0, flags={}
        )
        (row,) = json.loads((out / "result.json").read_text())["rows"]
        self.assertBetween(row["alpha_coverage"], 0, 1)
        self.assertIn("8 sets each", words)


if __name__ == "__main__":
    absltest.main()
