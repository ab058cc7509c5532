"""What a run would take, against what it takes."""

import json
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from mmc_jax import corpus, models, scoring
from mmc_jax.models import configs, hub
from mmc_jax.scoring import (
    batching,
    calibration,
    device,
    dry_runs,
    flops,
    tokenization,
    windows,
)
from tests import tolerances
from tests.scoring import checkpoints

pytestmark = pytest.mark.full_optimisation

_TOKENS_PER_BATCH = 512


def _settings(**changes) -> scoring.Settings:
    one_device = dict(num_data=1, num_model=1)
    return scoring.Settings(
        **dict(tokens_per_batch=_TOKENS_PER_BATCH) | one_device | changes
    )


def _texts(num_texts: int) -> dict[str, str]:
    """Returns texts of 1 to 300 bytes, which are as many tokens."""
    sizes = np.random.default_rng(0).integers(1, 301, num_texts)
    return {f"t{i}": f"{i:05}" + size * "a" for i, size in enumerate(sizes)}


class DryRunTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        root = pathlib.Path(tempfile.mkdtemp())
        # Without weights there is no calibration, which takes its time.
        cls.folders = {
            "gpt2": checkpoints.make(root / "gpt2", "gpt2"),
            "bare": checkpoints.make(root / "bare", "gpt2", with_weights=False),
            "llama": checkpoints.make(
                root / "llama", "llama", with_weights=False
            ),
        }
        cls.texts = checkpoints.corpus_of(_texts(60))

    def plan(self, name="gpt2", **settings) -> dry_runs.Plan:
        run = dry_runs.dry_run(
            checkpoints.pool_of(**{name: self.folders[name]}),
            self.texts,
            settings=_settings(**settings),
        )
        self.assertEqual(run.failures, {})
        (plan,) = run.plans
        return plan

    @parameterized.parameters(None, 66)
    def test_batches_are_those_of_a_run(self, max_context):
        plan = self.plan("bare", max_context=max_context)
        tokenizer = tokenization.load(self.folders["gpt2"])
        encoded = tokenization.encode(
            tokenizer, self.texts.texts, self.texts.ids, 264
        )
        context = max_context or checkpoints.CONTEXT
        rows = [
            batching.Row(
                i, *windows.model_input(tokens, window, tokenizer.prefix.token)
            )
            for i, tokens in enumerate(encoded.tokens)
            for window in windows.plan(
                len(tokens), context, context // 2, has_prefix=True
            )
        ]
        lengths = [len(row.inputs) for row in rows]
        config = configs.read(self.folders["gpt2"])
        num_batches = batching.expected_batches(
            self.texts.num_bytes.sum(), _TOKENS_PER_BATCH
        )
        num_flops = num_batches * _TOKENS_PER_BATCH
        num_flops *= flops.matmul_flops_per_token(config)
        of_bucket = batching.bucket_lengths(
            context, num_batches, num_flops / device.flops_per_program()
        )
        made = list(batching.batches(rows, of_bucket, _TOKENS_PER_BATCH))
        shapes = [batch.inputs.shape for batch in made]
        expected = [
            calibration.Bucket(*shape, shapes.count(shape))
            for shape in sorted(set(shapes), key=lambda shape: -shape[1])
        ]
        self.assertEqual(list(plan.buckets), expected)
        num_positions = sum(batch.inputs.size for batch in made)
        self.assertAlmostEqual(
            plan.padding_share, 1 - sum(lengths) / num_positions
        )
        self.assertEqual(plan.num_tokens, sum(map(len, encoded.tokens)))
        self.assertEqual(
            plan.flops, sum(flops.forward_flops(config, T) for T in lengths)
        )

    def test_memory(self):
        num_params = models.num_params(self.folders["llama"])
        plan = self.plan("llama")
        self.assertEqual(plan.num_params, num_params)
        self.assertEqual(plan.num_active_params, num_params)
        self.assertEqual(plan.weight_bytes, 4 * num_params)
        self.assertGreater(plan.work_bytes, 0)
        with jax.numpy_dtype_promotion("standard"):  # As outside of tests.
            halved = self.plan("llama", dtype="bfloat16")
        self.assertEqual(halved.weight_bytes, 2 * num_params)

    def test_on_a_mesh(self):
        alone = self.plan("llama")
        plan = self.plan("llama", num_data=2, num_model=2)
        self.assertLess(plan.weight_bytes, 0.6 * alone.weight_bytes)
        for bucket in plan.buckets:
            T = bucket.length
            self.assertEqual(bucket.num_rows, 2 * (_TOKENS_PER_BATCH // T))
        self.assertEqual(plan.num_tokens, alone.num_tokens)
        self.assertEqual(plan.flops, alone.flops)

    def test_expected_time(self):
        seconds = self.plan().seconds
        for part in seconds:
            self.assertGreater(part, 0)
        self.assertEqual(calibration.Seconds(1, 2, 30, 4).total, 33)
        self.assertEqual(calibration.Seconds(1, 2, 3, 40).total, 43)
        self.assertEqual(str(calibration.Seconds(1, 2, 3597.2, 0)), "1:00:01")

    def test_weights_that_are_not_there(self):
        plan, whole = self.plan("bare"), self.plan()
        self.assertIsNone(plan.seconds)
        self.assertIn(str(self.folders["bare"]), plan.why_no_seconds)
        self.assertIn("not there", plan.why_no_seconds)
        told = dict(name=None, seconds=None, why_no_seconds=None)
        self.assertEqual(plan._replace(**told), whole._replace(**told))

    def test_weights_that_do_not_fit(self):
        with mock.patch.object(calibration, "_free_bytes", return_value=1000):
            plan = self.plan()
        self.assertIsNone(plan.seconds)
        self.assertIn(f"{plan.weight_bytes} bytes", plan.why_no_seconds)
        self.assertIn("1000", plan.why_no_seconds)
        device = jax.devices()[0]
        self.assertGreater(calibration._free_bytes(device, 8), 2**20)

    def test_weights_of_the_hub_are_not_fetched(self):
        pool = checkpoints.pool_of(gpt2=self.folders["gpt2"])
        with mock.patch.object(
            hub, "resolve", return_value=self.folders["bare"]
        ) as resolve:
            dry_runs.dry_run(pool, self.texts, settings=_settings())
        self.assertEqual(
            resolve.call_args_list[0],
            mock.call(str(self.folders["gpt2"]), None, with_weights=False),
        )

    def test_sample_of_a_stream(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        texts = _texts(2000)
        lines = [json.dumps(dict(id=i, text=t)) for i, t in texts.items()]
        (folder / "a.jsonl").write_text("\n".join(lines))
        stream = corpus.stream(folder / "a.jsonl")
        pool = checkpoints.pool_of(bare=self.folders["bare"])
        exact, sampled = (
            dry_runs.dry_run(
                pool, stream, settings=_settings(), num_texts=num_texts
            )
            for num_texts in (2000, 400)
        )
        self.assertEqual(exact.num_texts, 2000)
        self.assertEqual(exact.num_tokenized, 2000)
        self.assertEqual(sampled.num_texts, 2000)
        self.assertEqual(sampled.num_tokenized, 400)
        (exact,), (sampled,) = exact.plans, sampled.plans
        self.assertEqual(exact.num_tokens, stream.counts.num_bytes.sum())
        # A byte is a token here, so that the bytes tell the tokens.
        self.assertEqual(sampled.num_tokens, exact.num_tokens)
        ratio = sampled.flops / exact.flops
        self.assertLess(abs(ratio - 1), tolerances.SAMPLED_FLOPS)

    def test_other_models_are_planned(self):
        broken = pathlib.Path(tempfile.mkdtemp())
        (broken / "config.json").write_text('{"model_type": "unheard-of"}')
        run = dry_runs.dry_run(
            checkpoints.pool_of(broken=broken, bare=self.folders["bare"]),
            self.texts,
            settings=_settings(),
        )
        self.assertEqual([plan.name for plan in run.plans], ["bare"])
        self.assertEqual(list(run.failures), ["broken"])
        self.assertIn("unheard-of", str(run.failures["broken"]))
        text = str(run)
        for part in (
            "bare",
            "not there",
            "broken",
            "unheard-of",
            f"x{checkpoints.CONTEXT}",
            "60 of 60 texts",
        ):
            self.assertIn(part, text)

    def test_no_texts(self):
        pool = checkpoints.pool_of(bare=self.folders["bare"])
        with self.assertRaisesRegex(ValueError, "no texts"):
            dry_runs.dry_run(pool, self.texts.select([]))


if __name__ == "__main__":
    absltest.main()
