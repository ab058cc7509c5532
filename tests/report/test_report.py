import json
import math
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import corpus, frontier, law, report, scores, studies, training
from tests import left_out


def _table(nll: np.ndarray, domains: tuple[str, ...]) -> scores.ScoreTable:
    num_models, num_texts = nll.shape
    return scores.ScoreTable(
        models=tuple(
            scores.ScoredModel(
                f"model-{m}",
                family="ab"[m % 2],
                costs={"num_params": 10 * 3**m, "price": float(m + 1)},
            )
            for m in range(num_models)
        ),
        texts=corpus.Corpus(
            ids=tuple(map(str, range(num_texts))),
            domains=domains,
            num_bytes=np.full(num_texts, 8),
            num_chars=np.full(num_texts, 4),
            sha256=("",) * num_texts,
            texts=None,
        ),
        nll_nats=nll,
        num_tokens=np.full(nll.shape, 2),
        num_scored=np.full(nll.shape, 2),
    )


def falling_table() -> scores.ScoreTable:
    """Six models that get better with size, each best on some texts."""
    rng = np.random.default_rng(0)
    size = np.arange(6)[:, None]
    nll = 8 * np.exp(-0.3 * size) + 4 + rng.uniform(0, 2, (6, 40))
    return _table(nll, ("prose", "code") * 20)


class StudyTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    def test_is_the_chain(self):
        table = falling_table()
        found = studies.study(table)
        losses = table.losses("text_length")
        costs = table.costs("num_params")
        expected = frontier.pruned(losses, costs)
        np.testing.assert_array_equal(found.pool.losses, expected.losses)
        fit = law.fit(expected.costs, expected.losses)
        self.assertEqual(found.pool_law.L_inf, fit.L_inf)
        self.assertEqual(found.reasons, {})

    def test_the_law_alone(self):
        """Its numbers are those of the full study; one figure is drawn."""
        found = studies.study(falling_table())
        short, full = tempfile.mkdtemp(), tempfile.mkdtemp()
        report.write_sections(short, report.law_sections(found), flags={})
        with left_out.figures():
            report.write_sections(full, report.study_sections(found), flags={})
        drawn = {file.name for file in pathlib.Path(short).glob("*.svg")}
        self.assertEqual(drawn, {"laws.svg"})
        numbers = [
            json.loads(pathlib.Path(folder, "result.json").read_text())
            for folder in (short, full)
        ]
        self.assertEqual(numbers[0]["laws"], numbers[1]["laws"])
        self.assertEqual(numbers[0]["models"], numbers[1]["models"])

    def test_up_to_a_size_and_polished(self):
        table = falling_table()
        found = studies.study(table, method="polished", max_size=2)
        expected = frontier.exhaustive(
            table.losses("text_length"), table.costs("num_params"), max_size=2
        )
        np.testing.assert_array_equal(found.pool.masks, expected.masks)

    def test_routed(self):
        table = falling_table()
        out = pathlib.Path(tempfile.mkdtemp())
        found = studies.study(table, routed=True)
        report.write_sections(out, report.study_sections(found), flags={})
        numbers = json.loads((out / "result.json").read_text())
        expected = frontier.routed(
            table.losses("text_length"), table.costs("num_params"), lambdas=200
        )
        with self.subTest("the routed frontier"):
            self.assertEqual(
                [point["expected_cost"] for point in numbers["routed"]],
                expected.costs.tolist(),
            )
        with self.subTest("running one costs less than holding all"):
            for point in numbers["frontier"]:
                self.assertLessEqual(point["expected_cost"], point["cost"])
        with self.subTest("the figure"):
            self.assertTrue((out / "routed.png").exists())

    def test_says_why_a_law_is_not_fitted(self):
        nll = np.tile([[1.0], [2.0], [3.0]], (1, 4))  # The smallest wins.
        found = studies.study(_table(nll, ("",) * 4), method="exhaustive")
        self.assertIsNone(found.pool_law)
        self.assertIn("at least 4 are needed", found.reasons["pool"])

    def test_another_cost_and_normalisation(self):
        found = studies.study(
            falling_table(), normalisation="bits_per_byte", cost="price"
        )
        np.testing.assert_array_equal(found.costs, np.arange(1, 7))
        self.assertAlmostEqual(
            found.losses[0, 0], falling_table().nll_nats[0, 0] / 8 / np.log(2)
        )


class WriteStudyTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())
        cls.out = pathlib.Path(tempfile.mkdtemp())
        cls.words = report.write_sections(
            cls.out,
            report.study_sections(studies.study(falling_table())),
            flags={"out": "x"},
        )
        cls.result = json.loads((cls.out / "result.json").read_text())

    def test_numbers(self):
        found = studies.study(falling_table())
        self.assertEqual(self.result["flags"], {"out": "x"})
        self.assertIn("jax", self.result["versions"])
        self.assertEqual(
            [point["loss"] for point in self.result["frontier"]],
            found.pool.losses.tolist(),
        )
        self.assertEqual(
            self.result["laws"]["pool"]["L_inf"],
            float(f"{found.pool_law.L_inf:.10g}"),
        )
        self.assertEqual(
            self.result["loss_of_all_models"],
            math.fsum(found.losses.min(axis=0)) / 40,
        )
        names = {model["name"] for model in self.result["models"]}
        for point in self.result["frontier"]:
            self.assertContainsSubset(point["models"], names)

    def test_figures(self):
        for name in ("laws", "membership", "domains"):
            self.assertStartsWith(
                (self.out / f"{name}.png").read_bytes(), b"\x89PNG"
            )
            svg = (self.out / f"{name}.svg").read_text()
            self.assertIn("</svg>", svg)

    def test_words(self):
        self.assertIn("law of the pool: L(P) =", self.words)
        self.assertIn(str(self.out / "result.json"), self.words)

    def test_points_come_back(self):
        groups = report.read_points(self.out)
        found = studies.study(falling_table())
        np.testing.assert_array_equal(groups["pool"][1], found.pool.losses)
        np.testing.assert_array_equal(
            groups["single models"][0], found.single.costs
        )


class ReadPointsTest(parameterized.TestCase):
    def _file(self, content: str) -> pathlib.Path:
        path = pathlib.Path(tempfile.mkdtemp(), "points.csv")
        path.write_text(content)
        return path

    def test_groups_of_a_csv(self):
        path = self._file("group,cost,loss\na,1,3\nb,2,2.5\na,10,1\n")
        groups = report.read_points(path)
        self.assertEqual(list(groups), ["a", "b"])
        np.testing.assert_array_equal(groups["a"], [[1, 10], [3, 1]])

    @parameterized.parameters(
        ("cost,nll\n1,2\n", "no column 'loss'"),
        ("cost,loss\n1,much\n", "column 'loss'"),
        ("cost,loss\n", "no rows"),
        ("cost,loss\n1,2\n2,NA\n", "column 'loss': no value in line 3"),
        ("cost,loss\n1,2\n,3\n", "column 'cost': no value in line 3"),
        ("cost,loss,group\n1,2,1\n2,3,\n", "column 'group': no value"),
    )
    def test_bad_files(self, content, message):
        path = self._file(content)
        with self.assertRaisesRegex(ValueError, f"{path}.*{message}"):
            report.read_points(path)

    def test_nothing_there(self):
        with self.assertRaisesRegex(FileNotFoundError, "nowhere.csv"):
            report.read_points("nowhere.csv")
        folder = tempfile.mkdtemp()
        with self.assertRaisesRegex(FileNotFoundError, "trace_frontier"):
            report.read_points(folder)

    def test_a_result_of_another_program(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        points = dict.fromkeys(
            ("single_costs", "single_losses", "frontier_costs"), np.ones(3)
        )
        for arrays in (
            {"x": np.ones(3)},
            points,
            points | {"frontier_losses": np.ones(2)},
            points | {"frontier_losses": np.array(["a", "b", "c"])},
            points | {"frontier_losses": np.array([1.0, 2.0, np.nan])},
        ):
            section = report.Section(arrays=arrays)
            report.write_sections(folder, [section], flags={})
            with self.assertRaisesRegex(
                ValueError, f"{folder}: its arrays hold no points, [fs]"
            ):
                report.read_points(folder)
        (folder / "result.json").write_text("[" * 3000)
        with self.assertRaisesRegex(ValueError, "result.json: not readable"):
            report.read_points(folder)


class PoolCardTest(absltest.TestCase):
    def test_tells_every_model(self):
        table = falling_table()
        facts = {
            "mixture": {"prose": 0.25, "code": 0.75},
            "num_steps": 450,
            "tokens_per_step": 4096,
            "seq_len": 256,
            "learning_rate": 3e-3,
            "warmup_fraction": 0.05,
            "weight_decay": 0.1,
            "max_grad_norm": 1.0,
            "seed": 7,
            "corpus": "texts",
            "python": "3.11",
            "device": "cpu",
            "num_cores": 2,
            "jax": "0.10",
            "train_loss_nats": 2.5,
            "seconds": 90.0,
        }
        training = {model.name: facts for model in table.models}
        card = report.pool_card(
            table, training, {"a": 257, "b": 300}, {"a": 4.5, "b": 5.5}, "cmd"
        )
        losses = table.losses("bits_per_byte")
        for m in range(6):
            self.assertRegex(card, rf"\| model-{m} \|.*{losses[m].mean():.3f}")
        self.assertIn("seed 7", card)
        self.assertIn("9 minutes in all", card)
        self.assertIn("| a | 257 | prose 25%, code 75% | 0.003 | 4.500 |", card)

    def test_unigram_by_hand(self):
        # Counts [3, 1] with one more each: p = 4/6, 2/6.
        loss = training.unigram_bits_per_byte(
            np.array([3, 1]), [np.array([0, 1]), np.array([1])], [2, 1]
        )
        first = -(np.log2(4 / 6) + np.log2(2 / 6)) / 2
        self.assertAlmostEqual(loss, (first - np.log2(2 / 6)) / 2)


if __name__ == "__main__":
    absltest.main()
