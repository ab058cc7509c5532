"""Two studies side by side: what differs, and what cannot be compared."""

import copy
import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import comparisons, report


def _law(alpha, floor):
    return {"A": 3.0, "alpha": alpha, "L_inf": floor}


def _content(shift=0.0, k=4.0, normalisation="text_length"):
    """The result.json of a small study, as trace_frontier writes it."""
    points = [
        {"cost": cost, "loss": loss + shift, "models": ["m"]}
        for cost, loss in ((1.0, 3.0), (10.0, 2.0), (100.0, 1.5))
    ]
    return {
        "num_models": 2,
        "num_texts": 10,
        "chars_per_token": k,
        "normalisation": normalisation,
        "loss_unit": "nats",
        "cost": "num_params",
        "models": [
            {"name": "m<b>", "family": "f", "cost": 1.0, "loss": 3.0 + shift},
            {"name": "n", "family": "g", "cost": 100.0, "loss": 2.0 + shift},
        ],
        "loss_of_all_models": 1.5 + shift,
        "single": points[:2],
        "frontier": points,
        "laws": {
            "single": {"not_fitted": "2 points"},
            "pool": _law(0.3, 1.0 + shift),
        },
    }


def _page_content(shift=0.0):
    """The result.json of a page of the same study."""
    ends = {"low": 0.9 + shift, "high": 1.2 + shift, "level": 0.95}
    law = {**_law(0.3, 1.0 + shift), "intervals": {"L_inf": ends}}
    return {
        "study": _content(shift),
        "law": {"views": [{"lines": {"oracle": {"law": law}}}]},
        "diversity": {
            "models": [
                {"name": "m<b>", "family": "f", "win_share": 0.25 + shift},
                {"name": "n", "family": "g", "win_share": 0.75 - shift},
            ]
        },
    }


def _folder(content):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def _compared(a, b):
    return comparisons.comparison(
        *(comparisons.read_result(_folder(one)) for one in (a, b))
    )


class ComparisonTest(parameterized.TestCase):
    def test_differences(self):
        found = _compared(_page_content(), _page_content(0.5))
        floor = found.laws["pool"]["L_inf"]
        self.assertAlmostEqual(floor.value, 0.5)
        self.assertAlmostEqual(floor.low, 0.5 - np.hypot(0.1, 0.2))
        self.assertAlmostEqual(floor.high, 0.5 + np.hypot(0.2, 0.1))
        self.assertNotIn("single", found.laws)
        self.assertEqual(found.win_shares["f"], (0.25, 0.75))
        self.assertEqual(found.models["n"], (2.0, 2.5))
        self.assertEqual(found.budgets[[0, -1]].tolist(), [1.0, 100.0])
        a, b = found.bought["pool"]
        self.assertEqual((a[0], a[-1]), (3.0, 1.5))
        np.testing.assert_allclose(b - a, 0.5)
        # The single models' frontier ends earlier and stays there.
        self.assertEqual(found.bought["single"][0, -1], 2.0)
        np.testing.assert_allclose(
            found.gain_percent, [25.0, 100 * (1 - 2.0 / 2.5)]
        )

    def test_other_characters_per_token(self):
        """Twice the characters per token are twice the losses."""
        doubled = copy.deepcopy(_content(k=8.0))
        for row in (*doubled["models"], *doubled["frontier"]):
            row["loss"] *= 2
        doubled["loss_of_all_models"] *= 2
        doubled["laws"]["pool"]["L_inf"] *= 2
        found = _compared(_content(), doubled)
        self.assertEqual(found.factor, 0.5)
        self.assertEqual(found.laws["pool"]["L_inf"].value, 0)
        self.assertEqual(found.laws["pool"]["alpha"].value, 0)
        np.testing.assert_array_equal(*found.bought["pool"])
        self.assertEmpty(found.win_shares)

    @parameterized.parameters(
        ("normalisation", "raw"), ("loss_unit", "bits"), ("cost", "price")
    )
    def test_what_cannot_be_compared(self, field, value):
        other = {**_content(), field: value}
        with self.assertRaisesRegex(
            ValueError, f"cannot be compared: the {field} is .*'{value}'"
        ):
            _compared(_content(), other)

    def test_unknown_lengths(self):
        with self.assertRaisesRegex(ValueError, "chars_per_token in both"):
            _compared(_content(), _content(k=None))

    @parameterized.parameters(
        ([],),
        ({},),
        ({"study": []},),
        ({**_content(), "models": {}},),
        ({**_content(), "frontier": []},),
        ({**_content(), "single": [{"cost": 1.0}]},),
        ({**_content(), "laws": {}},),
        ({**_content(), "loss_of_all_models": None},),
        ({**_content(), "loss_of_all_models": float("nan")},),
        ({**_content(), "num_texts": float("inf")},),
        ({**_content(), "chars_per_token": "4"},),
        ({**_content(), "chars_per_token": -4.0},),
        ({**_content(), "models": 2 * _content()["models"]},),
        ({**_content(), "frontier": [{"cost": 1.0, "loss": 10**400}]},),
    )
    def test_other_files(self, content):
        folder = _folder(content)
        with self.assertRaisesRegex(ValueError, "result.json: not the result"):
            comparisons.read_result(folder)

    def test_no_json(self):
        folder = _folder({})
        (folder / "result.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "not readable as JSON"):
            comparisons.read_result(folder)
        with self.assertRaisesRegex(FileNotFoundError, "trace_frontier"):
            comparisons.read_result(folder / "nowhere")

    def test_no_budget_buys_in_both(self):
        dear = _content()
        for row in dear["frontier"]:
            row["cost"] *= 1e6
        found = _compared(_content(), dear)
        self.assertEmpty(found.budgets)
        section = report.comparison_section(found)
        self.assertEmpty(section.numbers["comparison"]["frontiers"])

    def test_one_budget(self):
        """Places between two equal ends are rounded: none lies below them."""
        content = _content()
        point = {"cost": 123456789.0, "loss": 2.0, "models": ["n"]}
        content |= {"single": [point], "frontier": [point]}
        found = _compared(content, content)
        self.assertEqual(set(found.budgets), {123456789.0})
        self.assertEqual(np.unique(found.bought["pool"]).tolist(), [2.0])

    def test_free_models(self):
        content = _content()
        content["frontier"][0]["cost"] = 0.0
        found = _compared(content, content)
        self.assertEqual(found.budgets[[0, -1]].tolist(), [10.0, 100.0])

    def test_page(self):
        found = _compared(_page_content(), _page_content(0.5))
        out = pathlib.Path(tempfile.mkdtemp(), "page.html")
        words = report.write_page(
            out, [report.comparison_section(found)], flags={"a": "$(x); y"}
        )
        self.assertIn("pool, L_inf", words)
        page = out.read_text()
        self.assertIn("Two studies side by side", page)
        self.assertIn("m&lt;b&gt;", page)
        self.assertNotIn("m<b>", page)
        self.assertIn('data-at="/comparison/models/1/difference"', page)
        self.assertNotIn("What is not here", page)
        # What is pasted into a shell runs nothing else.
        self.assertIn("experiments.compare_reports '--a=$(x); y'", page)


if __name__ == "__main__":
    absltest.main()
