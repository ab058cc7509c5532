import json
import pathlib
import tempfile

import numpy as np
import transformers
from absl.testing import absltest, parameterized

from mmc_jax import catalogue, models, pool
from mmc_jax.scoring import flops

# Every model type that the project sets out to port: rows of the shipped pools
# may name one before its port is there, and no other.
_PLANNED = frozenset(
    """
    gpt2 gpt_neo gptj gpt_neox opt bloom falcon mpt llama mistral mixtral qwen2
    qwen2_moe qwen3 qwen3_moe gemma gemma2 gemma3_text phi phi3 stablelm olmo
    olmo2 olmo3 olmoe smollm3 starcoder2 granite nemotron xglm cohere cohere2
    deepseek_v2 mamba mamba2 falcon_mamba rwkv recurrent_gemma
    """.split()
)
# Types of `base_2026` whose ports come next.
_PLANNED_2026 = frozenset(
    """
    afmoe apertus arcee deepseek_v3 falcon_h1 gemma4 glm4 granitemoehybrid
    helium kimi_linear ministral3 nemotron_h olmo_hybrid qwen3_5 qwen3_5_moe
    xlstm zamba2
    """.split()
)
# Types with experts in some models alone.
_SOME_MIXTURES = ("gemma4", "granitemoehybrid", "nemotron_h")
_MIXTURES = (
    *("mixtral", "qwen2_moe", "qwen3_5_moe", "qwen3_moe", "olmoe"),
    *("deepseek_v2", "deepseek_v3", "kimi_linear"),
    *("afmoe", "dots1", "glm4_moe", "llama4"),
)


class ShippedTest(parameterized.TestCase):
    @parameterized.parameters("base71", "base_llms")
    def test_rows(self, name):
        models_of_pool = pool.read(name).models
        for attribute in ("name", "checkpoint"):
            values = [getattr(m, attribute).lower() for m in models_of_pool]
            with self.subTest(unique=attribute):
                self.assertLen(set(values), len(values))
        for model in models_of_pool:
            with self.subTest(model=model.name):
                self.assertIn(
                    model.facts["model_type"], _PLANNED.union(models.FAMILIES)
                )
                self.assertEqual(model.kind, "base")
                self.assertIn("/", model.checkpoint)
                self.assertGreaterEqual(model.facts["context_length"], 512)
                self.assertEqual(
                    "num_params" in model.costs,
                    "num_active_params" in model.costs,
                )
                if "num_params" not in model.costs:
                    continue
                total = model.costs["num_params"]
                active = model.costs["num_active_params"]
                self.assertIsInstance(total, int)
                self.assertIsInstance(active, int)
                if model.facts["model_type"] in _SOME_MIXTURES:
                    self.assertBetween(active, total // 12, total)
                elif model.facts["model_type"] in _MIXTURES:
                    self.assertBetween(active, total // 24, total // 2)
                else:
                    self.assertEqual(active, total)

    def test_2026(self):
        """About 100 models of many families and of all sizes."""
        models_of_pool = pool.read("base_2026").models
        sizes = [model.costs["num_params"] for model in models_of_pool]
        with self.subTest("about 100 models of 40 families or more"):
            self.assertBetween(len(models_of_pool), 95, 110)
            families = {model.family for model in models_of_pool}
            self.assertGreaterEqual(len(families), 40)
        with self.subTest("up to 70B, and some of each size below"):
            self.assertBetween(max(sizes), 60e9, 72e9)
            for low in 2e8 * 2 ** np.arange(8):
                self.assertGreaterEqual(
                    sum(low <= size < 2 * low for size in sizes), 5
                )
        catalogued = {m.checkpoint: m for m in pool.read("base_llms").models}
        for attribute in ("name", "checkpoint"):
            values = [getattr(m, attribute).lower() for m in models_of_pool]
            self.assertLen(set(values), len(values))
        for model in models_of_pool:
            with self.subTest(model=model.name):
                self.assertIn(
                    model.facts["model_type"],
                    _PLANNED.union(_PLANNED_2026, models.FAMILIES),
                )
                self.assertEqual(model.kind, "base")
                self.assertEqual(model.revision, "main")
                total = model.costs["num_params"]
                active = model.costs["num_active_params"]
                self.assertBetween(active, total / 17, total)
                tokens = model.costs.get("num_training_tokens", 1e12)
                self.assertBetween(tokens, 1e10, 1e14)
                other = catalogued.get(model.checkpoint)
                if other is not None:
                    self.assertEqual(model.family, other.family)
                    self.assertLessEqual(
                        other.facts.items(), model.facts.items()
                    )
                    self.assertLessEqual(
                        other.costs.items(), model.costs.items()
                    )

    @parameterized.parameters(
        ("ERNIE-4.5-0.3B-Base-PT", "ernie4_5", {}),
        ("ERNIE-4.5-21B-A3B-Base-PT", "ernie4_5_moe", {}),
        ("Seed-OSS-36B-Base", "seed_oss", dict(hidden_size=5120)),
        (
            "LFM2.5-1.2B-Base",
            "lfm2",
            dict(
                hidden_size=2048,
                num_hidden_layers=16,
                layer_types=10 * ["conv"] + 6 * ["full_attention"],
            ),
        ),
    )
    def test_counts_of_2026(self, name, model_type, sizes):
        """The ports count what the pool states."""
        model = pool.read("base_2026").select([name]).models[0]
        config = transformers.AutoConfig.for_model(model_type, **sizes)
        self.assertEqual(flops.num_params(config), model.costs["num_params"])
        self.assertEqual(
            flops.num_active_params(config), model.costs["num_active_params"]
        )

    def test_proposal(self):
        models_of_pool = pool.read("base71").models
        sizes = [model.costs["num_params"] for model in models_of_pool]
        with self.subTest("71 models"):
            self.assertLen(models_of_pool, 71)
        with self.subTest("at least 15 families"):
            families = {model.family for model in models_of_pool}
            self.assertGreaterEqual(len(families), 15)
        with self.subTest("from 124M to about 70B"):
            self.assertBetween(min(sizes), 124e6, 125e6)
            self.assertBetween(max(sizes), 69e9, 71e9)
        with self.subTest("of all sizes between"):
            for low, high in (
                (1e8, 1e9),
                (1e9, 3e9),
                (3e9, 1e10),
                (1e10, 1e11),
            ):
                self.assertGreaterEqual(
                    sum(low <= size < high for size in sizes), 8
                )

    @parameterized.parameters(
        ("Mixtral-8x7B-v0.1", 32, 8 - 2, 4096, 14336),
        ("Qwen1.5-MoE-A2.7B", 24, 60 - 4, 2048, 1408),
        ("Qwen3-30B-A3B-Base", 48, 128 - 8, 2048, 768),
        ("Qwen3.5-35B-A3B-Base", 40, 256 - 8, 2048, 512),
        ("Kimi-Linear-48B-A3B-Base", 26, 256 - 8, 2304, 1024),
        ("OLMoE-1B-7B-0924", 16, 64 - 8, 2048, 1024),
        ("DeepSeek-V2-Lite", 26, 64 - 6, 2048, 1408),
    )
    def test_active(self, name, num_layers, num_idle, hidden_size, width):
        """A token passes by the idle experts, of three matrices each."""
        model = pool.read("base_llms").select([name]).models[0]
        idle = num_layers * num_idle * 3 * hidden_size * width
        self.assertEqual(
            model.costs["num_active_params"], model.costs["num_params"] - idle
        )

    def test_both_say_the_same(self):
        """What stands in both files is one row."""
        catalogued = {m.checkpoint: m for m in pool.read("base_llms").models}
        for model in pool.read("base71").models:
            with self.subTest(model=model.name):
                self.assertEqual(catalogued[model.checkpoint], model)


class FamiliesTest(absltest.TestCase):
    def test_every_model_type_stands_under_its_module(self):
        families = catalogue.families()
        listed = [t for types in families.values() for t in types]
        self.assertCountEqual(listed, models.FAMILIES)
        self.assertIn("gpt2", families["mmc_jax.models.families.gpt2"])


class TriedTest(absltest.TestCase):
    """The page of ports, and the facts that it is made of."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(models.__file__).parent
        self.tried = catalogue.tried(self.folder / "tried_checkpoints.yaml")

    def test_facts(self):
        names = [row.checkpoint for row in self.tried]
        self.assertLen(set(names), len(names))
        for row in self.tried:
            with self.subTest(row.checkpoint):
                self.assertIn(row.model_type, models.FAMILIES)
                self.assertIn(row.config, ("file", "rebuilt", "GGUF"))

    def test_the_proposal_is_among_them(self):
        model_types = {row.checkpoint: row.model_type for row in self.tried}
        for model in pool.read("base71").models:
            with self.subTest(model.name):
                self.assertEqual(
                    model_types.get(model.checkpoint),
                    model.facts["model_type"],
                )

    def test_page(self):
        page = (self.folder / "README.md").read_text()
        self.assertIn(catalogue.tried_table(self.tried), page)
        for name in catalogue.families():
            self.assertIn(f"\n| {name.rpartition('.')[2]} |", page)

    def test_tables(self):
        rows = [
            catalogue.Tried("a/b", "gpt2", "file", tokenizer="vocab.json"),
            catalogue.Tried("a/c", "gpt2", "rebuilt"),
        ]
        self.assertEqual(
            catalogue.tried_table(rows).splitlines()[2:],
            [
                "| a/b | `gpt2` | file | vocab.json |  |",
                "| a/c | `gpt2` | rebuilt |  |  |",
            ],
        )
        errors = dict.fromkeys(models.FAMILIES, 2e-7)
        table = catalogue.family_table(errors, [], rows)
        (line,) = (x for x in table.splitlines() if x.startswith("| gpt2 "))
        self.assertRegex(line, r"^\| gpt2 \| `gpt2` \|  \| 2 \| \d+ \| 2.0e-07")


class RowsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def _rows(self, *models_of_pool):
        return catalogue.rows(pool.Pool("mine", models_of_pool))

    def _local(self, **costs):
        return pool.Model("a", str(self.folder), None, "f", costs=costs)

    def test_of_a_hub_id_the_file_is_believed(self):
        hub = pool.Model(
            "a",
            "some/mixture",
            "main",
            "f",
            costs={"num_params": 47.0, "num_active_params": 13},
            facts={"model_type": "gpt2"},
        )
        unknown = pool.Model("b", "some/other", "main", "g")
        unported = pool.Model(
            "c", "some/bert", "main", "g", facts={"model_type": "bert"}
        )
        self.assertEqual(
            self._rows(hub, unknown, unported),
            [
                catalogue.Row("a", "f", "gpt2", True, 47, 13),
                catalogue.Row("b", "g", None, False, None, None),
                catalogue.Row("c", "g", "bert", False, None, None),
            ],
        )

    def test_a_local_config_is_counted(self):
        config = transformers.GPT2Config(
            vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2
        )
        config.save_pretrained(self.folder)
        row = self._rows(self._local(num_params=5))[0]
        self.assertTrue(row.covered)
        # Tokens, positions, four matrices with biases, three norms.
        count = 11 * 4 + 8 * 4 + (12 * 16 + 4 + 12 + 16 + 4) + 3 * 8
        self.assertEqual(row.num_params, count)

    def test_a_local_config_without_a_port(self):
        (self.folder / "config.json").write_text('{"model_type": "bert"}')
        row = self._rows(self._local(num_params=5))[0]
        self.assertEqual((row.model_type, row.covered), ("bert", False))
        self.assertEqual(row.num_params, 5)

    def test_a_config_that_is_none(self):
        for text in ("{", json.dumps([1])):
            (self.folder / "config.json").write_text(text)
            with (
                self.subTest(text=text),
                self.assertRaisesRegex(ValueError, "config.json: not readable"),
            ):
                self._rows(self._local())


class WeightsTest(parameterized.TestCase):
    @parameterized.parameters(
        # parameters, dtype, data, model, over data, bytes a device
        (0, "float32", 1, 1, False, 0),
        (1, "float32", 1, 1, False, 4),
        (1, "bfloat16", 1, 8, False, 2),
        (16, "bfloat16", 4, 8, False, 4),
        (17, "bfloat16", 1, 8, False, 6),
        (17, "bfloat16", 2, 4, True, 6),
        (70553706496, "bfloat16", 1, 1, False, 141107412992),
    )
    def test_least(self, num_params, dtype, data, model, over_data, num_bytes):
        hub = pool.Model("a", "a/b", "m", "f", costs={"num_params": num_params})
        self.assertEqual(
            catalogue.weights(
                hub,
                dtype,
                num_data=data,
                num_model=model,
                over_data=over_data,
            ),
            catalogue.Weights(num_bytes, False, {}),
        )

    def test_nothing_is_known(self):
        hub = pool.Model("a", "a/b", "main", "f")
        self.assertIsNone(catalogue.weights(hub, "float32"))

    def test_by_the_rules_of_the_port(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        # Of 11 tokens, which 4 does not divide: the table stays whole.
        transformers.GPT2Config(
            vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2
        ).save_pretrained(folder)
        model = pool.Model("a", folder, None, "f")
        matrices = 12 * 16 // 4 + (12 + 16) // 4
        whole = 11 * 4 + 8 * 4 + 4 + 4 + 3 * 8
        self.assertEqual(
            catalogue.weights(model, "float32", num_data=2, num_model=4),
            catalogue.Weights(
                4 * (matrices + whole),
                True,
                {"transformer.wte.embedding": 4 * 44},
            ),
        )


if __name__ == "__main__":
    absltest.main()
