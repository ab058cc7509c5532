"""Where the length of a window comes from."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from mmc_jax import pool, scoring
from mmc_jax.scoring import checkpoints
from tests.scoring import checkpoints as tiny


class ContextTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    @parameterized.parameters(
        ("gpt2", None, None, 72, "config.json: max_position_embeddings"),
        ("gpt2", 40, None, 40, "pool file: context"),
        ("gpt2", 40, 30, 30, "settings: max_context"),
        ("gpt2", 40, 50, 40, "pool file: context"),
        ("mamba", None, None, 4096, "default: the config states none"),
        ("mamba", 2048, None, 2048, "pool file: context"),
    )
    def test_source(self, model_type, stated, most, positions, source):
        folder = tiny.make(self.folder / "a", model_type, with_weights=False)
        opened = checkpoints.open(
            folder, None, scoring.Settings(max_context=most), context=stated
        )
        self.assertEqual(opened.context, positions)
        self.assertEqual(opened.context_source, source)

    def test_what_a_port_refuses_names_the_file(self):
        folder = tiny.make(
            self.folder / "a",
            "gpt2",
            with_weights=False,
            activation_function="gelu_moon",
        )
        with self.assertRaisesRegex(
            ValueError, r"a/config\.json: activation 'gelu_moon'"
        ):
            checkpoints.open(folder, None, scoring.Settings())

    def test_is_in_the_provenance(self):
        folder = tiny.make(self.folder / "a", "mamba")
        path = folder / "config.json"
        content = json.loads(path.read_text()) | {"moon": "full"}
        path.write_text(json.dumps(content))
        pool_file = self.folder / "pool.yaml"
        pool_file.write_text(
            "models:\n  - {name: a, checkpoint: a, family: f, context: 16}\n"
        )
        table = scoring.score(
            pool.read(pool_file),
            tiny.corpus_of(["some text", "another"]),
            self.folder / "out",
        )
        provenance = table.models[0].provenance
        self.assertEqual(provenance["context_source"], "pool file: context")
        self.assertEqual(provenance["unread_config"], {"moon": "full"})


if __name__ == "__main__":
    absltest.main()
