"""Scoring from files to a table.

Other scoring programs have had the faults of this list, as their public issue
threads tell. Each fault stands with the test that covers it here; a test
without a file's name is in this file.

 1. Prefix policy: test_tokenization PrefixTest; test_equals_pytorch.
 2. No doubled prefix: test_tokenization test_nothing_is_added.
 3. A prefix in every window: test_windows test_what_the_model_sees;
    test_equals_pytorch.
 4. Neither BOS nor EOS: test_tokenization PrefixTest; WithoutPrefixTest.
 5. No truncation: test_windows test_each_token_is_scored_once;
    test_tokenization test_long_texts_are_not_truncated_nor_short_ones_padded.
 6. Sum and length of one and the same text: test_counts.
 7. Batch size and softmax in float32: InvarianceTest; test_likelihood
    test_bfloat16_parameters.
 8. Memory of the logits: test_likelihood MemoryTest.
 9. Padding side: test_batching test_invariants;
    test_batch_size_and_padding_change_nothing.
10. Padding and recurrent state: the same tests, with Mamba.
11. Sliding window: tests/models/test_parity test_text_at_the_window.
12. float16: test_float16_is_refused, NotFiniteTest.
13. Bytes of the raw text: test_counts, with a lossy tokenizer.
14. Resume: ResumeTest, test_another_run_scores_nothing.
15. Vocabulary padding: test_equals_pytorch, where the models have 264 rows and
    the tokenizers fewer; test_tokenization
    test_token_beyond_the_vocabulary.
16. Rotary scaling by the longest text of a batch: windows whose angles would
    change are refused, tests/models/test_layers
    test_refuses_texts_that_would_change_the_angles.
17. Rotary angles in float32: tests/models/test_loading
    test_bfloat16_rounds_as_pytorch_does.
18. Tied heads and biases: tests/models/test_parity and test_loading.
19. A shift by one: test_likelihood test_targets_are_not_shifted;
    test_equals_pytorch.
20. Order of requests: InvarianceTest; the forward pass keeps no state.
21. Out of memory: every batch keeps the budget of tokens, test_batching
    test_invariants; one that does not fit is halved, test_device.
22. Several devices and processes: MeshTest; test_hosts.
23. The window in use: it is in the provenance, and another is refused,
    test_provenance and test_other_settings_are_refused.
24. Capacity of experts, which padding would use up: experts have none,
    tests/models/test_experts test_neighbours_change_nothing and
    test_one_expert_gets_all.
25. ALiBi: the slopes, tests/models/test_alibi; in bfloat16 as well,
    tests/models/test_loading test_bfloat16_rounds_as_pytorch_does.
26. Texts that a tokenizer changes: test_tokenization RoundTripsTest;
    test_counts.
27. Ports that differ: test_equals_pytorch, tests/models/test_parity.
28. Tokenizer options: the files' own, test_tokenization
    test_are_those_of_the_file; their hashes, test_provenance.
"""

import dataclasses
import errno
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from unittest import mock

import jax
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
import torch
import transformers
import yaml
from absl.testing import absltest, parameterized
from tokenizers import pre_tokenizers

from mmc_jax import corpus, pool, scores, scoring, training, user_cache
from mmc_jax.models import hub, loading, weight_files
from mmc_jax.scores import files
from mmc_jax.scoring import preparation, tokenization
from tests import tolerances
from tests.scoring import checkpoints

_ROOT = pathlib.Path(__file__).parents[2]
_SETTINGS = scoring.Settings(
    max_context=checkpoints.CONTEXT, tokens_per_batch=512, num_data=1
)
_WORDS = "The naïve 漢字 parser\n\treturns (x_1, 42) + 🙂; don't ask  why. "
# Texts of one window and of several, in both buckets and at their ends.
_NUM_CHARS = (1, 2, 11, 40, 50, 55, 62, 90, 99, 108, 150, 205, 400)
_TEXTS = tuple(
    (20 * _WORDS)[i : i + length] for i, length in enumerate(_NUM_CHARS)
)
_FAMILIES = [
    dict(testcase_name=model_type, model_type=model_type)
    for model_type in checkpoints.FAMILIES
]

_folder = tempfile.TemporaryDirectory()
_checkpoints: dict[str, pathlib.Path] = {}


def setUpModule():
    bpe = training.bpe_tokenizer(_TEXTS, 262, checkpoints.SEPARATOR)
    for model_type in checkpoints.FAMILIES:
        _checkpoints[model_type] = checkpoints.make(
            pathlib.Path(_folder.name) / model_type,
            model_type,
            tokenizer=bpe if model_type == "llama" else None,
        )


def tearDownModule():
    _folder.cleanup()


def _nll(model_type, texts, **settings):
    """Returns the nll of the texts, [X], from a fresh table."""
    with tempfile.TemporaryDirectory() as out:
        table = scoring.score(
            checkpoints.pool_of(model=_checkpoints[model_type]),
            checkpoints.corpus_of(texts),
            out,
            settings=_SETTINGS._replace(**settings),
        )
    return table.nll_nats[0]


@functools.cache
def _nll_of_all(model_type):
    return _nll(model_type, _TEXTS)


@functools.cache
def _reference_model(model_type):
    return transformers.AutoModelForCausalLM.from_pretrained(
        _checkpoints[model_type], dtype=torch.float32
    ).eval()


def _reference_nll(model_type, text, stride):
    """Returns the nll of a text by PyTorch, window by window."""
    tokenizer = tokenizers.Tokenizer.from_file(
        str(_checkpoints[model_type] / "tokenizer.json")
    )
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    prefix = tokenizer.token_to_id(checkpoints.SEPARATOR)
    context, nll, num_scored = checkpoints.CONTEXT, 0.0, 0
    while num_scored < len(tokens):
        end = min(len(tokens), num_scored + stride if num_scored else context)
        start = max(0, end - context)
        seen = torch.tensor([[prefix, *tokens[start : end - 1]]])
        with torch.no_grad():
            logits = _reference_model(model_type)(seen).logits[0].double()
        log_probs = torch.log_softmax(logits, dim=-1)
        for i in range(num_scored, end):
            nll -= float(log_probs[i - start, tokens[i]])
        num_scored = end
    return nll


@pytest.mark.full_optimisation
class ReferenceTest(parameterized.TestCase):
    @parameterized.named_parameters(*_FAMILIES)
    def test_equals_pytorch(self, model_type):
        half = checkpoints.CONTEXT // 2
        np.testing.assert_allclose(
            _nll_of_all(model_type),
            [_reference_nll(model_type, text, half) for text in _TEXTS],
            rtol=tolerances.TEXT_NLL,
        )

    @parameterized.named_parameters(*_FAMILIES)
    def test_equals_pytorch_with_a_stride(self, model_type):
        for stride in (50, checkpoints.CONTEXT):
            np.testing.assert_allclose(
                _nll(model_type, _TEXTS[-1:], stride=stride),
                [_reference_nll(model_type, _TEXTS[-1], stride)],
                rtol=tolerances.TEXT_NLL,
            )


@pytest.mark.full_optimisation
class InvarianceTest(parameterized.TestCase):
    @parameterized.named_parameters(*_FAMILIES)
    def test_neighbours_change_nothing(self, model_type):
        with self.subTest("alone"):
            for i in (0, 3, len(_TEXTS) - 1):
                np.testing.assert_array_equal(
                    _nll(model_type, [_TEXTS[i]]), _nll_of_all(model_type)[[i]]
                )
        with self.subTest("other neighbours"):
            others = {f"o{i}": text[::-1] for i, text in enumerate(_TEXTS)}
            mixed = others | {f"t{i}": text for i, text in enumerate(_TEXTS)}
            np.testing.assert_array_equal(
                _nll(model_type, mixed)[len(others) :], _nll_of_all(model_type)
            )

    @parameterized.named_parameters(*_FAMILIES)
    def test_order_changes_nothing(self, model_type):
        np.testing.assert_array_equal(
            _nll(model_type, _TEXTS[::-1])[::-1], _nll_of_all(model_type)
        )

    @parameterized.named_parameters(*_FAMILIES)
    def test_batch_size_and_padding_change_nothing(self, model_type):
        """Row by row, with a context as long as the longest text."""
        unpadded = "An unpadded text of 49 bytes, so one bucket of it"
        texts = [unpadded, *_TEXTS[:3]]
        np.testing.assert_allclose(
            _nll(model_type, texts, max_context=49, tokens_per_batch=1),
            _nll(model_type, texts),
            rtol=tolerances.TEXT_NLL,
        )


@pytest.mark.full_optimisation
class MeshTest(parameterized.TestCase):
    # Of several buckets and windows, and of one bucket.
    @parameterized.parameters((8, 1, 5), (2, 4, len(_TEXTS)), (1, 8, 5))
    def test_devices_change_nothing(self, num_data, num_model, num_texts):
        texts = _TEXTS[:num_texts]
        np.testing.assert_allclose(
            _nll("llama", texts, num_data=num_data, num_model=num_model),
            _nll_of_all("llama")[:num_texts],
            rtol=tolerances.TEXT_NLL,
        )

    def test_all_devices_by_default(self):
        with tempfile.TemporaryDirectory() as out:
            (model,) = scoring.score(
                checkpoints.pool_of(m=_checkpoints["gpt2"]),
                checkpoints.corpus_of(["one"]),
                out,
            ).models
        self.assertEqual(model.provenance["mesh"], {"data": 8, "model": 1})


class ScoreTest(parameterized.TestCase):
    """Tests that look at the output folder."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "scores"

    def _make(self, name, model_type="gpt_neox", **more):
        return checkpoints.make(self.folder / name, model_type, **more)

    def _copy(self, name, model_type):
        return shutil.copytree(_checkpoints[model_type], self.folder / name)

    def _score(
        self, texts=("one", "two", "three"), settings=_SETTINGS, **folders
    ):
        return scoring.score(
            checkpoints.pool_of(**folders),
            checkpoints.corpus_of(texts),
            self.out,
            settings=settings,
        )

    def _rescored(self):
        """Returns a patch that notes the ids of the texts that are scored."""
        return mock.patch.object(
            tokenization, "encode", wraps=tokenization.encode
        )

    def _ids(self, encode):
        """Returns the ids of the texts that a patched `encode` was given."""
        return [id_ for call in encode.call_args_list for id_ in call.args[2]]


# Neither the tokenizer nor the model's config names one.
_WITHOUT_PREFIX = dict(special_tokens={}, bos_token_id=None, eos_token_id=None)


class WithoutPrefixTest(ScoreTest):
    def test_first_token_is_not_scored(self):
        bare = self._make("bare", **_WITHOUT_PREFIX)
        long = _TEXTS[-1]
        table = self._score(("x", "xy", long), bare=bare)
        num_tokens = [1, 2, len(long.encode())]
        np.testing.assert_array_equal(table.num_tokens, [num_tokens])
        np.testing.assert_array_equal(
            table.num_scored, np.array([num_tokens]) - 1
        )
        with self.subTest("one token"):
            self.assertEqual(table.nll_nats[0, 0], 0.0)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            bare, dtype=torch.float32
        )
        tokenizer = training.byte_tokenizer(checkpoints.SEPARATOR)
        x, y = (tokenizer.token_to_id(letter) for letter in "xy")
        with self.subTest("two tokens"), torch.no_grad():
            logits = model(torch.tensor([[x]])).logits[0, 0]
            np.testing.assert_allclose(
                table.nll_nats[0, 1],
                -torch.log_softmax(logits.double(), dim=-1)[y],
                rtol=tolerances.TEXT_NLL,
            )
        with self.subTest("provenance"):
            key = table.models[0].provenance["key"]
            self.assertEqual(key["prefix_policy"], "none")
            self.assertIsNone(key["prefix_token"])

    def test_only_texts_of_one_token(self):
        bare = self._make("bare", **_WITHOUT_PREFIX)
        table = self._score(("x", "y"), bare=bare)
        np.testing.assert_array_equal(table.nll_nats, [[0.0, 0.0]])
        np.testing.assert_array_equal(table.num_scored, [[0, 0]])


def _counted(folder: pathlib.Path) -> dict[str, int]:
    """Returns the costs of an untied checkpoint, from its tensors alone."""
    whole, active, multiplied, tables = 0, 0, 0, 0
    for name, value in safetensors.numpy.load_file(
        folder / weight_files.WEIGHTS
    ).items():
        # A token goes to two of the five experts.
        size = value.size * 2 // 5 if "experts" in name else value.size
        whole += value.size
        active += size
        if "embed_tokens" in name or "lm_head" in name:
            tables += value.size
        if value.ndim >= 2 and "embed_tokens" not in name:
            multiplied += size
    return {
        "num_params": whole,
        "num_active_params": active,
        "num_non_embedding_params": whole - tables,
        "flops_per_token": 2 * multiplied,
    }


class TableTest(ScoreTest):
    def test_counts(self):
        lossy = training.byte_tokenizer(checkpoints.SEPARATOR)
        lossy.normalizer = tokenizers.normalizers.Sequence(
            [tokenizers.normalizers.NFD(), tokenizers.normalizers.Lowercase()]
        )
        texts = ("Ångström", "small")
        table = self._score(
            texts,
            plain=_checkpoints["gpt_neox"],
            lossy=self._make("lossy", tokenizer=lossy),
        )
        self.assertEqual(table.texts.num_bytes.tolist(), [10, 5])
        self.assertEqual(table.texts.num_chars.tolist(), [8, 5])
        self.assertEqual(table.num_tokens.tolist(), [[10, 5], [12, 5]])
        self.assertEqual(table.num_scored.tolist(), [[10, 5], [12, 5]])
        self.assertEqual(
            table.round_trips.tolist(), [[True, True], [False, True]]
        )

    def test_models_in_the_order_of_the_pool(self):
        folders = {"z": _checkpoints["gpt2"], "a": _checkpoints["llama"]}
        table = self._score(**folders)
        self.assertEqual([model.name for model in table.models], ["z", "a"])
        self.assertEqual(table.nll_nats.dtype, np.float64)
        opened = scores.open(self.out).select(models=["z", "a"])
        np.testing.assert_array_equal(table.nll_nats, opened.nll_nats)

    def test_provenance(self):
        folder = _checkpoints["qwen3"]
        entry = pool.Model(
            "q", str(folder), None, "qwen", "instruct", {"price": 0.5}
        )
        table = scoring.score(
            pool.Pool("p", (entry,)),
            checkpoints.corpus_of(["one"]),
            self.out,
            settings=_SETTINGS._replace(max_context=10**6, stride=7),
        )
        (model,) = table.models
        self.assertEqual(model.name, "q")
        self.assertEqual(model.family, "qwen")
        self.assertEqual(model.kind, "instruct")
        self.assertEqual(model.costs, {"price": 0.5, **_counted(folder)})
        self.assertEqual(
            model.costs["num_active_params"], model.costs["num_params"]
        )
        facts = dict(model.provenance)
        self.assertGreater(facts.pop("seconds"), 0.0)
        key = facts.pop("key")
        self.assertEqual(
            facts,
            {
                "checkpoint": str(folder),
                "revision": None,
                "resolved_revision": None,
                "model_type": "qwen3",
                "context_source": "config.json: max_position_embeddings",
                "unread_config": {},
                "device": jax.devices()[0].device_kind,
                "mesh": {"data": 1, "model": 1},
                "num_processes": 1,
                "versions": {
                    "jax": jax.__version__,
                    "tokenizers": tokenizers.__version__,
                    "transformers": transformers.__version__,
                },
            },
        )
        hashes = key.pop("files")
        self.assertEqual(
            set(hashes),
            {
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
            },
        )
        for digest in hashes.values():
            self.assertRegex(digest, "^[0-9a-f]{64}$")
        self.assertGreater(key.pop("engine_version"), 0)
        self.assertEqual(
            key,
            {
                "dtype": "float32",
                "context": checkpoints.CONTEXT,
                "stride": 7,
                "prefix_policy": "bos",
                "prefix_token": 0,
            },
        )

    def test_costs_of_a_mixture_of_experts(self):
        folder = self._make("mixture", "mixtral")
        (model,) = self._score(mixture=folder).models
        self.assertEqual(model.costs, _counted(folder))
        self.assertLess(
            model.costs["num_active_params"], model.costs["num_params"]
        )

    def test_model_without_a_limit(self):
        scoring.score(
            checkpoints.pool_of(mamba=_checkpoints["mamba"]),
            checkpoints.corpus_of(["one"]),
            self.out,
            settings=_SETTINGS._replace(max_context=None),
        )
        key = scores.open(self.out).models[0].provenance["key"]
        self.assertEqual((key["context"], key["stride"]), (4096, 2048))


class RefusalsTest(ScoreTest):
    def test_no_texts(self):
        empty = checkpoints.corpus_of(["a"]).select([])
        with self.assertRaisesRegex(ValueError, "the corpus has no texts"):
            scoring.score(
                checkpoints.pool_of(m=_checkpoints["gpt2"]), empty, self.out
            )
        self.assertFalse(self.out.exists())

    def test_mesh_of_too_many_devices(self):
        with self.assertRaisesRegex(ValueError, "mesh of 4 x 4"):
            _nll("gpt2", ["one"], num_data=4, num_model=4)

    def test_corpus_without_texts(self):
        counts = dataclasses.replace(checkpoints.corpus_of(["a"]), texts=None)
        with self.assertRaisesRegex(ValueError, "scoring needs its texts"):
            scoring.score(
                checkpoints.pool_of(m=_checkpoints["gpt2"]), counts, self.out
            )
        self.assertFalse(self.out.exists())

    @parameterized.parameters(
        dict(stride=0), dict(stride=73), dict(max_context=0)
    )
    def test_window_plan(self, **settings):
        with self.assertRaisesRegex(ValueError, "a stride is at least 1"):
            _nll("gpt2", ["one"], **settings)

    def test_float16_is_refused(self):
        with self.assertRaisesRegex(ValueError, "float16"):
            _nll("gpt2", ["one"], dtype="float16")

    def test_corpus_that_changed(self):
        self._score(m=_checkpoints["gpt2"])
        for texts in (("one", "2", "three"), ("one", "two")):
            with self.assertRaisesRegex(ValueError, "corpus has changed"):
                self._score(texts, m=_checkpoints["gpt2"])

    def test_token_beyond_the_vocabulary(self):
        small = self._make("small", vocab_size=30)
        with self.assertRaisesRegex(
            ValueError, "text 't0' has the token .* vocabulary ends at 29"
        ) as raised:
            self._score(small=small)
        self.assertIn(
            "the model small", raised.exception.failures["small"].__notes__[0]
        )
        self.assertIsNone(raised.exception.table)

    def _score_again(self, folder, rescore, **settings):
        with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix dtypes.
            return scoring.score(
                checkpoints.pool_of(m=folder),
                checkpoints.corpus_of(("one", "two", "three")),
                self.out,
                settings=_SETTINGS._replace(**settings),
                rescore=rescore,
            )

    @parameterized.named_parameters(
        ("dtype", dict(dtype="bfloat16"), "dtype", "bfloat16"),
        ("stride", dict(stride=7), "stride", 7),
        ("context", dict(max_context=32), "context", 32),
    )
    def test_other_settings_are_refused(self, settings, field, value):
        folder = _checkpoints["gpt2"]
        first = self._score(m=folder)
        with self.assertRaisesRegex(
            ValueError, rf"scored differently: .*\b{field} \("
        ):
            self._score_again(folder, rescore=False, **settings)
        np.testing.assert_array_equal(
            scores.open(self.out).nll_nats, first.nll_nats
        )
        again = self._score_again(folder, rescore=True, **settings)
        self.assertEqual(again.models[0].provenance["key"][field], value)

    def test_other_weights_are_refused(self):
        folder = self._copy("m", "gpt2")
        first = self._score(m=folder)
        self._make("m", "gpt2", seed=1)
        with self.assertRaisesRegex(
            ValueError, r"differently: files: model.safetensors \("
        ):
            self._score_again(folder, rescore=False)
        again = self._score_again(folder, rescore=True)
        self.assertFalse(np.any(again.nll_nats == first.nll_nats))

    def test_bfloat16_is_near_float32(self):
        with jax.numpy_dtype_promotion("standard"):  # Flax's norms mix dtypes.
            rounded = _nll("gpt2", _TEXTS, dtype="bfloat16")
        exact = _nll_of_all("gpt2")
        self.assertFalse(np.array_equal(rounded, exact))
        np.testing.assert_allclose(
            rounded, exact, rtol=tolerances.TEXT_NLL_BFLOAT16
        )


class FailuresTest(ScoreTest):
    def _fails(self, kind, message, bad):
        """Scores a pool that fails in its midst, all the others included."""
        good = _checkpoints["gpt2"]
        with self.assertRaisesRegex(
            scoring.ScoringError,
            rf"1 of 3 models could not be scored: bad: .*{message}",
        ) as raised:
            self._score(first=good, bad=bad, last=good)
        (failure,) = raised.exception.failures.values()
        self.assertIsInstance(failure, kind)
        self.assertEqual(failure.__notes__, ["while scoring the model bad"])
        table = raised.exception.table
        self.assertEqual([m.name for m in table.models], ["first", "last"])
        there = scores.open(self.out, leave_out_unfinished=True)
        np.testing.assert_array_equal(
            there.select(models=["first", "last"]).nll_nats, table.nll_nats
        )

    def test_missing_tensor(self):
        bad = self._copy("bad", "gpt2")
        stored = safetensors.numpy.load_file(bad / weight_files.WEIGHTS)
        stored.pop("transformer.h.0.ln_1.bias")
        safetensors.numpy.save_file(stored, bad / weight_files.WEIGHTS)
        self._fails(
            ValueError,
            "missing: transformer.h.0.ln_1.bias",
            bad,
        )

    def test_no_weights(self):
        bad = self._copy("bad", "gpt2")
        (bad / weight_files.WEIGHTS).unlink()
        self._fails(
            FileNotFoundError,
            "model.safetensors: missing",
            bad,
        )

    def test_damaged_weights(self):
        bad = self._copy("bad", "gpt2")
        (bad / weight_files.WEIGHTS).write_bytes(b"not weights")
        self._fails(Exception, "header", bad)

    def test_no_folder(self):
        with mock.patch.object(
            hub.huggingface_hub,
            "snapshot_download",
            side_effect=OSError("no network"),
        ):
            self._fails(
                FileNotFoundError,
                "nowhere/bad: no such folder.*no network",
                "nowhere/bad",
            )

    def test_tokenizer_without_vocabulary(self):
        bad = self._copy("bad", "gpt2")
        (bad / "tokenizer.json").unlink()
        self._fails(ValueError, "no tokenizer; tokenizer.json", bad)

    def test_panic_of_a_tokenizer(self):
        """Its library, in Rust, raises what is no Exception."""
        tokenizer = training.byte_tokenizer("<|endoftext|>")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                # It gives up on the text below, and on no text that is tried.
                pre_tokenizers.Split(tokenizers.Regex("(a+)+$"), "isolated"),
                tokenizer.pre_tokenizer,
            ]
        )
        bad = self._make("bad", "gpt2", tokenizer=tokenizer)
        good = _checkpoints["gpt2"]
        with self.assertRaisesRegex(
            scoring.ScoringError, "1 of 3 .*: bad: PanicException"
        ) as raised:
            self._score(
                ("a text", "a" * 30 + "!"), first=good, bad=bad, last=good
            )
        self.assertNotIsInstance(raised.exception.failures["bad"], Exception)
        names = [model.name for model in raised.exception.table.models]
        self.assertEqual(names, ["first", "last"])

    def test_other_settings_of_one_model(self):
        good, other = _checkpoints["gpt2"], _checkpoints["llama"]
        self._score(bad=other)
        self._fails(ValueError, "was scored differently: files", good)

    def test_full_disk_ends_the_run(self):
        """What was written before stays, and is not scored again."""
        write, num_written = files.write_atomically, 0

        def write_some(table, file):
            nonlocal num_written
            if file.name.startswith("part-"):
                num_written += 1
                if num_written == 4:
                    raise OSError(errno.ENOSPC, "No space left on device")
            write(table, file)

        folders = dict(a=_checkpoints["gpt2"], b=_checkpoints["llama"])
        settings = _SETTINGS._replace(tokens_per_batch=1, part_seconds=0.0)
        texts = tuple("abcdefgh")
        with (
            mock.patch.object(files, "write_atomically", write_some),
            self.assertRaisesRegex(OSError, "No space left") as raised,
        ):
            self._score(texts, settings=settings, **folders)
        self.assertEqual(
            raised.exception.__notes__, ["while scoring the model a"]
        )
        with self._rescored() as encode:
            table = self._score(texts, settings=settings, **folders)
        self.assertEqual(
            self._ids(encode),
            [*"t3 t4 t5 t6 t7".split(), *(f"t{i}" for i in range(8))],
        )
        self.assertEqual(table.nll_nats.shape, (2, 8))


class NotFiniteTest(ScoreTest):
    def test_names_model_and_text_and_keeps_the_others(self):
        bad = self._copy("bad", "gpt_neox")  # Its head is not tied.
        stored = safetensors.numpy.load_file(bad / weight_files.WEIGHTS)
        z = training.byte_tokenizer(checkpoints.SEPARATOR).token_to_id("z")
        embedding = stored["gpt_neox.embed_in.weight"].copy()
        embedding[z] = 3e38  # Finite, but its mean overflows.
        stored["gpt_neox.embed_in.weight"] = embedding
        safetensors.numpy.save_file(stored, bad / weight_files.WEIGHTS)
        texts = ("apple", "ozone", "cherry", "date")
        good = _checkpoints["gpt_neox"]
        first = ["t0", "t1", "t2", "t3"]
        for expected in (first + first, ["t1"]):
            with (
                self._rescored() as encode,
                self.assertRaisesRegex(
                    scoring.ScoringError,
                    "1 of 2 .*model 'bad': the nll of text 't1' is nan",
                ) as raised,
            ):
                self._score(texts, bad=bad, good=good)
            self.assertEqual(self._ids(encode), expected)
            (model,) = raised.exception.table.models
            self.assertEqual(model.name, "good")


class _Watched(str):
    """A text that can be watched by a weak reference."""


class _Stream:
    """A stream that notes how many of its texts are in memory at most."""

    def __init__(self, counts):
        self.counts = counts
        self.most_alive = 0
        self._texts = []

    def __len__(self):
        return len(self.counts)

    def chunks(self, num_texts):
        for start in range(0, len(self), num_texts):
            end = min(start + num_texts, len(self))
            chunk = self.counts.select(range(start, end))
            texts = [_Watched(id_) for id_ in chunk.ids]
            self._texts += map(weakref.ref, texts)
            alive = sum(text() is not None for text in self._texts)
            self.most_alive = max(self.most_alive, alive)
            yield dataclasses.replace(chunk, texts=tuple(texts))


class StreamTest(ScoreTest):
    def test_few_texts_are_in_memory(self):
        texts = checkpoints.corpus_of([f"t{i}" for i in range(700)])
        stream = _Stream(texts.counts)
        pool_of_two = checkpoints.pool_of(
            a=_checkpoints["gpt2"], b=_checkpoints["llama"]
        )
        table = scoring.score(pool_of_two, stream, self.out, settings=_SETTINGS)
        # A chunk of 128 that is tokenized and the one before it, of the model
        # that is scored and of the next one.
        self.assertBetween(stream.most_alive, 1, 4 * 128)
        whole = scoring.score(
            pool_of_two, texts, self.folder / "whole", settings=_SETTINGS
        )
        np.testing.assert_array_equal(table.nll_nats, whole.nll_nats)


class ResumeTest(ScoreTest):
    def test_another_run_scores_nothing(self):
        folders = dict(a=_checkpoints["gpt2"], b=_checkpoints["llama"])
        first = self._score(**folders)
        with (
            self._rescored() as encode,
            mock.patch.object(loading, "load") as load,
            mock.patch.object(preparation, "prepared") as prepared,
        ):
            second = self._score(**folders)
        load.assert_not_called()
        encode.assert_not_called()
        prepared.assert_not_called()
        np.testing.assert_array_equal(first.nll_nats, second.nll_nats)
        self.assertEqual(first.models, second.models)

    def test_what_has_changed_is_looked_at_again(self):
        folder = self._copy("a", "gpt2")
        (model,) = checkpoints.pool_of(a=folder).models

        def damage_what_is_kept():
            for file in user_cache.folder("checkpoints").iterdir():
                file.write_bytes(file.read_bytes()[:-9])

        def scored(model):
            with mock.patch.object(
                preparation, "prepared", wraps=preparation.prepared
            ) as prepared:
                table = scoring.score(
                    pool.Pool("", (model,)),
                    checkpoints.corpus_of(["one", "two"]),
                    self.out,
                    settings=_SETTINGS,
                )
            return table.models[0], prepared.call_count

        scored(model)
        for change in (
            lambda: os.utime(folder / "config.json"),
            lambda: (folder / "tokens.txt").touch(),
            damage_what_is_kept,
            lambda: (self.out / "models" / "a.parts").mkdir(),
        ):
            change()
            self.assertEqual([scored(model)[1] for _ in range(2)], [1, 0])
        dear = dataclasses.replace(model, costs={"price": 2.0}, kind="instruct")
        for num_prepared in (1, 0):
            found = scored(dear)
            self.assertEqual(found[0].costs["price"], 2.0)
            self.assertEqual(found[0].kind, "instruct")
            self.assertEqual(found[1], num_prepared)

    def test_interrupt_says_what_is_kept(self):
        folders = dict(a=_checkpoints["gpt2"], b=_checkpoints["llama"])
        load, num_loaded = loading.load, 0

        def interrupted(*args, **kwargs):
            nonlocal num_loaded
            num_loaded += 1
            if num_loaded == 2:
                raise KeyboardInterrupt
            return load(*args, **kwargs)

        with (
            mock.patch.object(loading, "load", interrupted),
            self.assertRaisesRegex(
                KeyboardInterrupt,
                "1 of 2 models are done, and 0 of 3 texts of b; the scores are "
                f"kept in {self.out}",
            ),
        ):
            self._score(**folders)
        with self._rescored() as encode:
            self._score(**folders)
        self.assertEqual(self._ids(encode), ["t0", "t1", "t2"])

    def test_a_new_model_alone_is_scored(self):
        self._score(a=_checkpoints["gpt2"])
        with mock.patch.object(loading, "load", wraps=loading.load) as load:
            self._score(a=_checkpoints["gpt2"], b=_checkpoints["llama"])
        load.assert_called_once()
        self.assertEqual(load.call_args.args[0], _checkpoints["llama"])

    def test_killed(self):
        settings = _SETTINGS._replace(tokens_per_batch=1, part_seconds=0.0)
        texts = [f"{i} {_WORDS[: i % 40]}" for i in range(80)]
        lines = [json.dumps({"text": text}) for text in texts]
        corpus_file = self.folder / "texts.jsonl"
        corpus_file.write_text("\n".join(lines))
        pool_file = self.folder / "pool.yaml"
        entries = [
            dict(name=name, checkpoint=str(_checkpoints["gpt2"]), family="gpt2")
            for name in ("first", "second")
        ]
        pool_file.write_text(yaml.safe_dump({"models": entries}))
        program = (
            "import json, sys\n"
            "import tests.conftest\n"
            "from mmc_jax import corpus, pool, scoring\n"
            "pool_file, corpus_file, out, settings = sys.argv[1:]\n"
            "scoring.score(pool.read(pool_file), corpus.read(corpus_file), out,"
            " settings=scoring.Settings(**json.loads(settings)))"
        )
        arguments = [pool_file, corpus_file, self.out]
        arguments.append(json.dumps(settings._asdict()))
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=_ROOT,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
            stderr=subprocess.DEVNULL,
        )
        parts = self.out / "models" / "second.parts"
        finished = "part-*.parquet"
        while process.poll() is None and not list(parts.glob(finished)):
            time.sleep(0.001)
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL)
        killed = scores.open(self.out, leave_out_unfinished=True)
        self.assertEqual([model.name for model in killed.models], ["first"])
        num_parts = len(list(parts.glob(finished)))  # One text each.

        again = pool.read(pool_file), corpus.read(corpus_file)
        with self._rescored() as encode:
            resumed = scoring.score(*again, self.out, settings=settings)
        missing = self._ids(encode)
        self.assertBetween(len(missing), 1, len(texts) - 1)
        self.assertLen(missing, len(texts) - num_parts)
        whole = scoring.score(*again, self.folder / "whole", settings=settings)
        for field in ("nll_nats", "num_tokens", "num_scored", "round_trips"):
            np.testing.assert_array_equal(
                getattr(resumed, field), getattr(whole, field)
            )
        self.assertEqual(resumed.texts.ids, whole.texts.ids)
        for a, b in zip(resumed.models, whole.models, strict=True):
            self.assertEqual(
                a.provenance | {"seconds": 0}, b.provenance | {"seconds": 0}
            )
        self.assertFalse(parts.exists())


if __name__ == "__main__":
    absltest.main()
