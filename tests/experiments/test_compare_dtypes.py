"""The program that compares dtypes, from its command line to its result."""

import json
import pathlib
import tempfile

import gguf
import numpy as np
import safetensors.numpy
import tokenizers
from absl.testing import absltest

from mmc_jax import pool, scores
from tests import tolerances
from tests.experiments.programs import run_here

_KEYS = {
    "gpt2.attention.head_count": "n_head",
    "gpt2.block_count": "n_layer",
    "gpt2.context_length": "n_positions",
    "gpt2.embedding_length": "n_embd",
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
}


def _write_quantised(folder: pathlib.Path, path: pathlib.Path) -> None:
    """Writes a checkpoint of GPT-2's kind as GGUF, its matrices in Q4_0."""
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "gpt2")
    for key, name in _KEYS.items():
        writer.add_uint32(key, config[name])
    writer.add_uint32("gpt2.feed_forward_length", 4 * config["n_embd"])
    writer.add_float32(
        "gpt2.attention.layer_norm_epsilon", config["layer_norm_epsilon"]
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda row: row[1])
    special = {t.content for t in tokenizer.get_added_tokens_decoder().values()}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([token for token, _ in vocab])
    writer.add_token_types([3 if t in special else 1 for t, _ in vocab])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config["n_layer"])
    stored = safetensors.numpy.load_file(folder / "model.safetensors")
    kind = gguf.GGMLQuantizationType.Q4_0
    for name, value in stored.items():
        name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if value.ndim == 2 and "_embd" not in name:
            value = np.ascontiguousarray(value.T)  # GPT-2's own layout.
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class CompareDtypesTest(absltest.TestCase):
    def test_what_quantisation_costs(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (model,) = pool.read("stdlib20").select(["gpt2-1m"]).models
        checkpoint = pathlib.Path(model.checkpoint)
        _write_quantised(checkpoint, folder / "q4.gguf")
        entries = [
            f"{{name: {name}, family: f, checkpoint: {path}}}"
            for name, path in (("q4", "q4.gguf"), ("own", checkpoint))
        ]
        (folder / "pool.yaml").write_text(f"models: [{', '.join(entries)}]")
        lines = [
            dict(text=f"Text number {i}, def f(x): pass") for i in range(9)
        ]
        corpus = folder / "texts.jsonl"
        corpus.write_text("\n".join(map(json.dumps, lines)))
        done = run_here(
            "experiments.compare_dtypes",
            f"--corpus={corpus}",
            f"--pool={folder}/pool.yaml",
            "--pair=own,q4",
            f"--out={folder}/out",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((folder / "out/result.json").read_text())
        (found,) = result["models"]
        self.assertEqual((found["name"], found["compared_with"]), ("q4", "own"))
        table = scores.open(folder / "out/float32")
        losses = dict(
            zip(
                [model.name for model in table.models],
                table.losses("nats_per_token"),
                strict=True,
            )
        )
        increase = losses["q4"] - losses["own"]
        self.assertAlmostEqual(
            found["increase_difference"]["mean"], increase.mean()
        )
        # Four bits a weight are felt, and leave the model what it is.
        self.assertGreater(np.abs(increase).min(), 0)
        self.assertLess(np.abs(increase).max(), losses["own"].mean() / 2)

    def test_result_is_that_of_the_tables(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        lines = [dict(text=f"Text number {i}.", domain="d") for i in range(9)]
        corpus = folder / "texts.jsonl"
        corpus.write_text("\n".join(map(json.dumps, lines)))
        done = run_here(
            "experiments.compare_dtypes",
            f"--corpus={corpus}",
            "--pool=stdlib20",
            "--only_models=gpt2-30k,llama-30k",
            "--num_texts_per_domain=5",
            f"--out={folder}/out",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads((folder / "out/result.json").read_text())
        self.assertEqual(result["num_texts"], 5)
        names = [model["name"] for model in result["models"]]
        self.assertEqual(names, ["gpt2-30k", "llama-30k"])
        tables = [
            scores.open(folder / "out" / dtype)
            for dtype in ("float32", "bfloat16")
        ]
        found = scores.differences(*tables)
        with np.load(folder / "out/arrays.npz") as arrays:
            np.testing.assert_array_equal(arrays["relative"], found.relative)
        for m, model in enumerate(result["models"]):
            distribution = model["relative_difference"]
            self.assertEqual(distribution["max"], found.relative[m].max())
            # The two were not scored alike, and not wildly apart.
            self.assertGreater(distribution["median"], 0)
            self.assertLess(distribution["max"], tolerances.TEXT_NLL_BFLOAT16)
        self.assertIn("percentile_95", done.stdout)


if __name__ == "__main__":
    absltest.main()
