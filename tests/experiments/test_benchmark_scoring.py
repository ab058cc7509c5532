"""The benchmark of scoring, on a tiny model."""

import json
import pathlib
import tempfile

import numpy as np
import transformers
from absl.testing import absltest

from experiments.benchmarks import family_speed, scoring_speed
from mmc_jax.scoring import flops
from tests import tolerances

_SETUP = scoring_speed.Setup(
    shape="llama-1b",
    dtype="float32",
    num_texts=3,
    tokens_per_batch=512,
    peer_tokens_per_batch=[64, 512],
    num_repeats=1,
    num_threads=1,
    num_devices=[],
    clock="wall",
    depths=[],
    checkpoint=None,
    mesh=(1, 1),
)


def _tiny():
    return transformers.LlamaConfig(
        vocab_size=96,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        max_position_embeddings=1024,
    )


class FamilySpeedTest(absltest.TestCase):
    def test_side_by_side(self):
        out = pathlib.Path(tempfile.mkdtemp())
        config = transformers.Mamba2Config(
            vocab_size=96,
            hidden_size=64,
            num_hidden_layers=3,
            num_heads=4,
            head_dim=32,
            n_groups=1,
            state_size=8,
        )
        self.enter_context(
            absltest.mock.patch.dict(
                scoring_speed.SHAPES, {"mamba2-130m": lambda: config}
            )
        )
        setup = _SETUP._replace(shape="mamba2-130m")
        family_speed.write(setup, out, flags={})
        result = json.loads((out / "result.json").read_text())
        seconds = result["seconds"]
        self.assertEqual(
            result["ratio"], seconds["mamba2-130m"] / seconds["transformer"]
        )
        sides = result["num_active_params"].values()
        self.assertLess(max(sides), 1.05 * min(sides))

    def test_as_many_parameters(self):
        for shape in ("mamba-130m", "zamba2-1b"):
            config = scoring_speed.SHAPES[shape]()
            counts = [
                flops.num_active_params(c)
                for c in (config, family_speed.equal_transformer(config))
            ]
            with self.subTest(shape):
                self.assertLess(max(counts), 1.01 * min(counts))


class BenchmarkScoringTest(absltest.TestCase):
    def test_side_by_side(self):
        out = pathlib.Path(tempfile.mkdtemp())
        self.enter_context(
            absltest.mock.patch.dict(scoring_speed.SHAPES, {"llama-1b": _tiny})
        )
        scoring_speed.write(_SETUP, out, flags={})
        result = json.loads((out / "result.json").read_text())
        self.assertGreaterEqual(result["num_texts"], 3)
        self.assertEqual(
            list(result["ratios"]),
            ["transformers, 64 tokens", "transformers, 512 tokens"],
        )
        self.assertGreater(result["ratio"], 0)
        self.assertEqual(result["ratio"], min(result["ratios"].values()))
        self.assertLess(
            result["relative_differences"]["max"], tolerances.SCORE_TORCH
        )
        products = result["product_flops_per_second"]
        self.assertEqual(list(products), ["XLA", "PyTorch"])
        self.assertAlmostEqual(
            result["ratio_at_product_rate"],
            max(products.values())
            / max(
                rate
                for side, rate in result["flops_per_second"].items()
                if side != "mmc_jax"
            ),
        )
        with np.load(out / "arrays.npz") as arrays:
            self.assertLen(arrays["mmc_jax"], result["num_texts"])

    def test_texts_fill_their_batches(self):
        setup = _SETUP._replace(num_texts=20, tokens_per_batch=2048)
        rows = scoring_speed.texts(setup, 96)
        self.assertGreaterEqual(len(rows), 20)
        made = list(scoring_speed.batches(rows, 2048))
        self.assertEqual([row.text for row in rows], list(range(len(rows))))
        for batch in made:
            self.assertLen(batch.rows, len(batch.inputs))


if __name__ == "__main__":
    absltest.main()
