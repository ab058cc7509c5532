"""Tables as strangers have them: what is said is said in words."""

import dataclasses
import pathlib
import tempfile
import xml.etree.ElementTree

import numpy as np
from absl.testing import absltest, parameterized

from mmc_jax import diversity, frontier, report, studies
from mmc_jax.report import drawing, study_figures
from tests import left_out
from tests.diversity.test_findings import table_of

_ODD_NAMES = (
    "$a$ _b^{c}",
    "<script>alert(1)</script>",
    250 * "x",
    "\x1b[2Jred\x07",
    "\u202egpj\u200b",
    "模型 é",
    "a\nb\tc",
    "--><svg>",
    "\udc80x",
)
_LOSSES = (
    4 * np.exp(-0.3 * np.arange(9))[:, None]
    + 2
    + np.random.default_rng(0).uniform(0, 2, (9, 16))
)


def odd_table(losses, costs, names=None, families=None):
    losses = np.asarray(losses, float)
    names = names or [f"m{i}" for i in range(len(losses))]
    table = table_of(losses, families=families or ["a", "b"] * 4 + ["c"])
    return dataclasses.replace(
        table,
        models=tuple(
            dataclasses.replace(
                model, name=name, costs={"num_params": float(cost)}
            )
            for model, name, cost in zip(
                table.models, names, costs, strict=True
            )
        ),
    )


def _sections(table):
    found = studies.study(table, normalisation="raw", routed=True)
    yield report.study_sections(found)
    yield report.diversity_sections(
        diversity.summary(table, normalisation="raw", num_resamples=3)
    )
    yield [
        report.optimism_section(
            diversity.optimism(found.losses, found.costs, num_samples=2),
            unit="nats",
            cost="num_params",
            num_samples=2,
        )
    ]


class OddTablesTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(left_out.most_starts())

    @parameterized.named_parameters(
        ("names", _LOSSES, 3.0 ** np.arange(9), _ODD_NAMES),
        ("a_cost_of_0", _LOSSES, np.arange(9), None),
        ("costs_all_0", _LOSSES, np.zeros(9), None),
        ("losses_below_0", -_LOSSES, 1 + np.arange(9), None),
        ("losses_all_0", 0 * _LOSSES, 1 + np.arange(9), None),
    )
    def test_is_written(self, losses, costs, names):
        table = odd_table(losses, costs, names, names)
        for sections in _sections(table):
            out = pathlib.Path(tempfile.mkdtemp())
            words = report.write_sections(out, sections, flags={})
            self.assertNotRegex(words, r"\bnan\b|\binf\b")
            for line in words.splitlines():
                self.assertTrue(line.isprintable(), line)
            figures = list(out.glob("*.svg"))
            self.assertNotEmpty(figures)
            for path in figures:
                xml.etree.ElementTree.parse(path)

    def test_a_long_name_is_whole_in_numbers(self):
        table = odd_table(_LOSSES, 3.0 ** np.arange(9), _ODD_NAMES)
        section = report.study_sections(
            studies.study(table, normalisation="raw")
        )[0]
        self.assertEqual(
            [model["name"] for model in section.numbers["models"]],
            list(_ODD_NAMES),
        )

    def test_sixty_families(self):
        """All are in the legends, and the axes have room."""
        families = ["_a", *(f"family-{i}" for i in range(59))]
        costs, losses = np.geomspace(1, 1e4, 60), np.geomspace(4, 2, 60)
        line = frontier.Frontier(costs, losses, np.eye(60, dtype=bool))
        labels = {"cost_label": "Cost", "loss_label": "Loss"}
        for figure in (
            study_figures.laws(
                costs, losses, families, line, None, None, **labels
            ),
            study_figures.domains(
                costs, losses[:, None] + [0, 1], ["a", "b"], families, **labels
            ),
        ):
            drawing.saved(figure)
            texts = [text.get_text() for text in figure.legends[0].texts]
            self.assertEqual([text.strip() for text in texts], families)
            self.assertGreater(figure.axes[0].get_position().height, 0.3)


if __name__ == "__main__":
    absltest.main()
