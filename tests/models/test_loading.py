"""Checkpoints in and out: what is read, what is refused, and the way back."""

import functools
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import huggingface_hub
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax import models
from mmc_jax.models import (
    configs,
    shapes,
    sharding,
    tensors,
    weight_files,
)
from tests.models import test_parity
from tests.models.cases import MIXERS

_FAMILIES = tuple(test_parity.CASES)
_BY_FAMILY = tuple((name, name) for name in _FAMILIES)

# Tensors that published files hold and no port needs.
_BUFFERS = {
    "gpt2": ("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"),
    "gpt_neox": (
        "gpt_neox.layers.0.attention.bias",
        "gpt_neox.layers.0.attention.masked_bias",
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
    ),
    "llama": ("model.layers.0.self_attn.rotary_emb.inv_freq",),
}

_READ = tensors.Tensors.read
# What Python and JAX take while a model is loaded, of whatever size; a stack of
# layers is 29 MB there.
_MARGIN_BYTES = 12e6

# What a config says of its layers: their number, or something of each.
_DEPTHS = {
    "attention_types",
    "layer_types",
    "layers_block_type",
    "mlp_layer_types",
    "n_layer",
    "n_layers",
    "num_hidden_layers",
    "num_layers",
}

# Recurrences carry on what one token's experts give, and shares of sigmoids are
# large for the last one chosen. So that no near tie of the router counts, which
# bfloat16 may turn over on either side, all are chosen.
_ALL_EXPERTS = {
    "kimi_linear": dict(num_experts_per_tok=6),
    "qwen3_next": dict(num_experts_per_tok=5),
}
# Families whose head transformers never ties.
_NEVER_TIED = ("kimi_linear", "nemotron_h", "xlstm")
# Families that fail in PyTorch in bfloat16: its chunks of xLSTM mix dtypes.
_NOT_IN_BFLOAT16 = ("xlstm",)
_ROUNDED = tuple(name for name in MIXERS if name not in _NOT_IN_BFLOAT16)
# Families whose head is always tied.
_ALWAYS_TIED = ("zamba2",)

# A kind of rotary scaling that nobody knows.
_MOON = dict(rope_type="moon", rope_theta=900.0, factor=2.0)
_PLAIN = dict(rope_type="default", rope_theta=900.0)
_LONGROPE = dict(
    rope_type="longrope",
    short_factor=[1.0] * 4,
    long_factor=[2.0] * 5,
    original_max_position_embeddings=135,
)

# What a port refuses of its family's config, and what the error says.
_REFUSED = (
    ("gpt2", dict(add_cross_attention=True), "add_cross_attention=True"),
    ("gpt2", dict(activation_function="mish"), "'mish'"),
    ("gpt2", dict(is_encoder_decoder=True), "is_encoder_decoder=True"),
    ("gpt2", dict(n_embd=25), "n_embd 25"),
    ("gpt_neox", dict(hidden_act="mish"), "'mish'"),
    ("gpt_neox", dict(hidden_size=37), "hidden size is not divisible"),
    ("gpt_neox", dict(rope_parameters=_MOON), "'moon'"),
    ("llama", dict(hidden_act="mish"), "'mish'"),
    ("llama", dict(rope_parameters=_MOON), "'moon'"),
    (
        "llama",
        dict(rope_parameters=dict(partial_rotary_factor=0.5)),
        "partial_rotary_factor=0.5",
    ),
    ("mamba", dict(hidden_act="mish"), "'mish'"),
    ("mistral", dict(hidden_act="mish"), "'mish'"),
    ("deepseek_v3", dict(n_group=4), "n_group=4"),
    ("deepseek_v3", dict(topk_group=4), "topk_group=4"),
    ("deepseek_v3", dict(num_experts_per_tok=5), "num_experts_per_tok=5"),
    ("deepseek_v3", dict(num_key_value_heads=1), "num_key_value_heads=1"),
    ("deepseek_v3", dict(first_k_dense_replace=3), "3 of 3 layers"),
    ("dots1", dict(layer_types=["full_attention"] * 2 + ["moon"]), "moon"),
    ("helium", dict(head_dim=14), "head_dim=14"),
    (
        "ministral3",
        dict(rope_parameters=dict(llama_4_scaling_beta=None)),
        "llama_4_scaling_beta",
    ),
    ("gemma4_text", dict(use_bidirectional_attention="all"), "'all'"),
    ("gemma4_text", dict(vocab_size_per_layer_input=9), "_per_layer_input=9"),
    ("gemma4_text", dict(num_kv_shared_layers=5), "num_kv_shared_layers=5"),
    (
        "gemma4_text",
        dict(per_layer_config={"2": dict(intermediate_size=9)}),
        "per_layer_config",
    ),
    ("llama4_text", dict(attention_chunk_size=None), "chunked_attention"),
    ("llama4_text", dict(no_rope_layers=[1, 0]), "no_rope_layers"),
    ("mistral", dict(rope_parameters=_LONGROPE), "short_factor has 4"),
    ("qwen3", dict(hidden_act="mish"), "'mish'"),
    ("qwen3", dict(use_sliding_window=True), "use_sliding_window=True"),
    (
        "qwen3",
        dict(layer_types=["full_attention"] * 2 + ["sliding_attention"]),
        "layer_types",
    ),
    (
        "qwen3",
        dict(rope_parameters=dict(partial_rotary_factor=0.5)),
        "partial_rotary_factor=0.5",
    ),
    ("lfm2", dict(layer_types=["conv"] * 4), "layer_types"),
    ("lfm2", dict(head_dim=10), "head_dim=10"),
    ("lfm2_moe", dict(num_dense_layers=4), "num_dense_layers=4"),
    ("ernie4_5_moe", dict(moe_layer_interval=2), "moe_layer_interval=2"),
    ("hunyuan_v1_moe", dict(moe_topk=[1, 2]), "moe_topk=[1, 2]"),
    ("exaone4", dict(rope_parameters=_LONGROPE), "short_factor has 4"),
    ("gpt_oss", dict(quantization_config=dict(quant_method="awq")), "awq"),
    ("xlstm", dict(weight_mode="fused"), "weight_mode='fused'"),
    ("xlstm", dict(num_blocks=2), "num_blocks=2, but num_hidden_layers=3"),
    ("xlstm", dict(num_heads=5), "num_heads=5 does not divide 24"),
)

# Configs as they stand on the hub, with the attributes that mattered to older
# programs, and the published number of parameters.
_PUBLISHED = (
    (
        "gpt2",
        124_439_808,
        dict(
            activation_function="gelu_new",
            architectures=["GPT2LMHeadModel"],
            attn_pdrop=0.1,
            bos_token_id=50256,
            layer_norm_epsilon=1e-05,
            model_type="gpt2",
            n_ctx=1024,
            n_embd=768,
            n_head=12,
            n_layer=12,
            n_positions=1024,
            summary_activation=None,
            summary_type="cls_index",
            task_specific_params={"text-generation": {"do_sample": True}},
            vocab_size=50257,
        ),
    ),
    (
        "EleutherAI/gpt-neox-20b",
        20_554_567_680,
        dict(
            architectures=["GPTNeoXForCausalLM"],
            attention_probs_dropout_prob=0,
            hidden_act="gelu_fast",
            hidden_dropout_prob=0,
            hidden_size=6144,
            intermediate_size=24576,
            layer_norm_eps=1e-05,
            max_position_embeddings=2048,
            model_type="gpt_neox",
            num_attention_heads=64,
            num_hidden_layers=44,
            rotary_emb_base=10000,
            rotary_pct=0.25,
            tie_word_embeddings=False,
            torch_dtype="float16",
            vocab_size=50432,
        ),
    ),
    (
        "HuggingFaceTB/SmolLM2-135M",
        134_515_008,
        dict(
            architectures=["LlamaForCausalLM"],
            hidden_act="silu",
            hidden_size=576,
            intermediate_size=1536,
            is_llama_config=True,
            max_position_embeddings=8192,
            model_type="llama",
            num_attention_heads=9,
            num_hidden_layers=30,
            num_key_value_heads=3,
            pretraining_tp=1,
            rms_norm_eps=1e-05,
            rope_interleaved=False,
            rope_scaling=None,
            rope_theta=100000,
            tie_word_embeddings=True,
            torch_dtype="bfloat16",
            vocab_size=49152,
        ),
    ),
    (
        "mistralai/Mistral-7B-v0.1",
        7_241_732_096,
        dict(
            architectures=["MistralForCausalLM"],
            hidden_act="silu",
            hidden_size=4096,
            intermediate_size=14336,
            max_position_embeddings=32768,
            model_type="mistral",
            num_attention_heads=32,
            num_hidden_layers=32,
            num_key_value_heads=8,
            rms_norm_eps=1e-05,
            rope_theta=10000.0,
            sliding_window=4096,
            tie_word_embeddings=False,
            torch_dtype="bfloat16",
            vocab_size=32000,
        ),
    ),
    (
        "Qwen/Qwen3-4B-Base",
        4_022_468_096,
        dict(
            architectures=["Qwen3ForCausalLM"],
            attention_bias=False,
            head_dim=128,
            hidden_act="silu",
            hidden_size=2560,
            intermediate_size=9728,
            max_position_embeddings=32768,
            max_window_layers=36,
            model_type="qwen3",
            num_attention_heads=32,
            num_hidden_layers=36,
            num_key_value_heads=8,
            rms_norm_eps=1e-06,
            rope_scaling=None,
            rope_theta=1000000,
            sliding_window=None,
            tie_word_embeddings=True,
            use_sliding_window=False,
            vocab_size=151936,
        ),
    ),
    (
        "openai/gpt-oss-20b",
        20_914_757_184,
        dict(
            attention_bias=True,
            head_dim=64,
            hidden_act="silu",
            hidden_size=2880,
            initial_context_length=4096,
            intermediate_size=2880,
            layer_types=["sliding_attention", "full_attention"] * 12,
            max_position_embeddings=131072,
            model_type="gpt_oss",
            num_attention_heads=64,
            num_experts_per_tok=4,
            num_hidden_layers=24,
            num_key_value_heads=8,
            num_local_experts=32,
            quantization_config=dict(
                quant_method="mxfp4", modules_to_not_convert=["lm_head"]
            ),
            rms_norm_eps=1e-05,
            rope_scaling=dict(
                beta_fast=32.0,
                beta_slow=1.0,
                factor=32.0,
                original_max_position_embeddings=4096,
                rope_type="yarn",
                truncate=False,
            ),
            rope_theta=150000,
            router_aux_loss_coef=0.9,
            sliding_window=128,
            swiglu_limit=7.0,
            tie_word_embeddings=False,
            vocab_size=201088,
        ),
    ),
    (
        "deepseek-ai/DeepSeek-V3.1-Base",
        671_026_419_200,
        dict(
            auto_map=dict(AutoConfig="configuration_deepseek.DeepseekV3Config"),
            ep_size=1,
            first_k_dense_replace=3,
            hidden_size=7168,
            intermediate_size=18432,
            kv_lora_rank=512,
            max_position_embeddings=163840,
            model_type="deepseek_v3",
            moe_intermediate_size=2048,
            moe_layer_freq=1,
            n_group=8,
            n_routed_experts=256,
            n_shared_experts=1,
            norm_topk_prob=True,
            num_attention_heads=128,
            num_experts_per_tok=8,
            num_hidden_layers=61,
            num_key_value_heads=128,
            num_nextn_predict_layers=1,
            q_lora_rank=1536,
            qk_nope_head_dim=128,
            qk_rope_head_dim=64,
            quantization_config=dict(
                activation_scheme="dynamic",
                fmt="e4m3",
                quant_method="fp8",
                scale_fmt="ue8m0",
                weight_block_size=[128, 128],
            ),
            rope_scaling=dict(
                beta_fast=32,
                beta_slow=1,
                factor=40,
                mscale=1.0,
                mscale_all_dim=1.0,
                original_max_position_embeddings=4096,
                type="yarn",
            ),
            rope_theta=10000,
            routed_scaling_factor=2.5,
            scoring_func="sigmoid",
            topk_group=4,
            topk_method="noaux_tc",
            v_head_dim=128,
            vocab_size=129280,
        ),
    ),
    (
        "mistralai/Ministral-3-8B-Instruct-2512",
        8_489_553_920,
        dict(
            model_type="mistral3",
            quantization_config=dict(
                activation_scheme="static",
                dequantize=False,
                modules_to_not_convert=["model.vision_tower", "lm_head"],
                quant_method="fp8",
                weight_block_size=None,
            ),
            text_config=dict(
                head_dim=128,
                hidden_size=4096,
                intermediate_size=14336,
                max_position_embeddings=262144,
                model_type="ministral3",
                num_attention_heads=32,
                num_hidden_layers=34,
                num_key_value_heads=8,
                rms_norm_eps=1e-05,
                rope_parameters=dict(
                    beta_fast=32.0,
                    beta_slow=1.0,
                    factor=16.0,
                    llama_4_scaling_beta=0.1,
                    mscale=1.0,
                    mscale_all_dim=1.0,
                    original_max_position_embeddings=16384,
                    rope_theta=1000000.0,
                    rope_type="yarn",
                    type="yarn",
                ),
                sliding_window=None,
                vocab_size=131072,
            ),
            tie_word_embeddings=False,
        ),
    ),
    (
        "nvidia/Nemotron-H-8B-Base-8K",
        8_100_852_736,
        dict(
            attention_head_dim=128,
            chunk_size=128,
            conv_kernel=4,
            expand=2,
            hidden_size=4096,
            hybrid_override_pattern=(
                "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
            ),
            intermediate_size=21504,
            mamba_head_dim=64,
            mamba_num_heads=128,
            mlp_hidden_act="relu2",
            model_type="nemotron_h",
            n_groups=8,
            num_attention_heads=32,
            num_hidden_layers=52,
            num_key_value_heads=8,
            num_logits_to_keep=1,
            residual_in_fp32=False,
            sliding_window=None,
            ssm_state_size=128,
            time_step_rank=256,
            use_bias=False,
            use_conv_bias=True,
            vocab_size=131072,
        ),
    ),
    (
        "NX-AI/xLSTM-7b",
        6_865_424_896,
        dict(
            add_out_norm=True,
            add_post_blocks_norm=True,
            autocast_kernel_dtype="bfloat16",
            cell_norm_eps=1e-06,
            chunk_size=64,
            chunkwise_kernel="chunkwise--triton_xl_chunk",
            embedding_dim=4096,
            ffn_proj_factor=2.667,
            force_bos_token_insert=True,
            head_dim=512,
            mlstm_round_up_to_multiple_of=64,
            mode="inference",
            model_type="xlstm",
            num_blocks=32,
            num_heads=8,
            sequence_kernel="native_sequence__triton",
            step_kernel="triton",
            tie_word_embeddings=False,
            vocab_size=50304,
        ),
    ),
    (
        "state-spaces/mamba-790m-hf",
        793_204_224,
        dict(
            d_model=2048,  # It is not read.
            hidden_size=1536,
            intermediate_size=3072,
            model_type="mamba",
            n_layer=48,
            num_hidden_layers=48,
            ssm_cfg={},
            time_step_rank=96,
            vocab_size=50280,
        ),
    ),
    (
        "tencent/Hunyuan-0.5B-Pretrain",
        539_010_048,
        dict(
            attention_head_dim=128,
            cla_share_factor=2,
            dense_list=[1024, 0],
            head_dim=128,
            hidden_size=1024,
            intermediate_size=3584,
            max_position_embeddings=262144,
            model_type="hunyuan_v1_dense",
            num_attention_heads=16,
            num_hidden_layers=24,
            num_key_value_heads=8,
            rope_scaling=dict(
                alpha=1000.0,
                beta_fast=32,
                beta_slow=1,
                factor=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                type="dynamic",
            ),
            tie_word_embeddings=True,
            use_cla=False,
            use_qk_norm=True,
            vocab_size=120818,
        ),
    ),
    (
        "state-spaces/mamba-130m-hf",
        129_135_360,
        dict(
            architectures=["MambaForCausalLM"],
            conv_kernel=4,
            d_inner=1536,
            d_model=768,
            expand=2,
            fused_add_norm=True,
            hidden_act="silu",
            hidden_size=768,
            intermediate_size=1536,
            layer_norm_epsilon=1e-05,
            model_type="mamba",
            n_layer=24,
            num_hidden_layers=24,
            pad_vocab_size_multiple=8,
            residual_in_fp32=True,
            rms_norm=True,
            ssm_cfg={},
            state_size=16,
            time_step_rank=48,
            use_bias=False,
            use_conv_bias=True,
            vocab_size=50280,
        ),
    ),
)


def _reference(model_type: str, changes: dict) -> transformers.PreTrainedModel:
    config = test_parity.make_config(model_type, **changes)
    return test_parity.make_reference(config, perturbed=True)


@functools.cache
def _saved(model_type: str, changes: str) -> dict[str, bytes]:
    """Returns the files that PyTorch's model writes, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        _reference(model_type, json.loads(changes)).save_pretrained(folder)
        files = pathlib.Path(folder).iterdir()
        return {file.name: file.read_bytes() for file in files}


class LoadingTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def folder_of(
        self, model_type: str, name: str = "saved", **changes
    ) -> pathlib.Path:
        """Returns a folder in which PyTorch's model was saved."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        files = _saved(model_type, json.dumps(changes))
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return folder

    def saved(self, model_type: str, **changes):
        """Returns PyTorch's model and the folder that it was saved in."""
        return _reference(model_type, changes), self.folder_of(
            model_type, **changes
        )

    def tensors(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        return safetensors.numpy.load_file(folder / weight_files.WEIGHTS)

    def write(self, folder: pathlib.Path, stored: dict[str, np.ndarray]):
        safetensors.numpy.save_file(stored, folder / weight_files.WEIGHTS)

    def change_config(self, folder: pathlib.Path, **changes):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for name, value in changes.items():
            if isinstance(value, dict) and isinstance(config.get(name), dict):
                value = config[name] | value
            config[name] = value
        path.write_text(json.dumps(config))

    def assert_same(self, first, second):
        """The parameters are the same, bit by bit."""
        first, second = nnx.state(first), nnx.state(second)
        jax.tree.map(np.testing.assert_array_equal, first, second)


class FilesTest(LoadingTest):
    @parameterized.named_parameters(*_BY_FAMILY)
    def test_shards_equal_one_file(self, model_type):
        reference, folder = self.saved(model_type)
        shards = self.folder / "shards"
        reference.save_pretrained(shards, max_shard_size="10KB")
        self.assertGreater(len(weight_files.find(shards)), 2)
        first, second = models.load(folder), models.load(shards)
        self.assert_same(first, second)
        # And they share programs.
        first, second = jax.tree.structure(first), jax.tree.structure(second)
        self.assertEqual(first, second)
        self.assertEqual(hash(first), hash(second))

    @parameterized.product(
        stored=("bfloat16", "float16"), loaded=("float32", "bfloat16")
    )
    def test_half_precision_files(self, stored, loaded):
        reference, folder = self.saved("llama")
        reference.to(getattr(torch, stored)).save_pretrained(folder)
        model = models.load(folder, dtype=loaded)
        for leaf in jax.tree.leaves(model):
            self.assertEqual(leaf.dtype, jnp.dtype(loaded))
        tensor = reference.model.layers[2].self_attn.q_proj.weight
        expected = tensor.to(getattr(torch, loaded)).T.float().detach().numpy()
        kernel = model.model.layers.self_attn.q_proj.kernel[2]
        np.testing.assert_array_equal(kernel.astype(jnp.float32), expected)

    # Of the others, the next test.
    @parameterized.named_parameters(
        (name, name) for name in _FAMILIES if name not in _ROUNDED
    )
    def test_bfloat16_stays_bfloat16(self, model_type):
        folder = self.folder_of(model_type)
        model = models.load(folder, dtype=jnp.bfloat16)
        tokens = test_parity.random_tokens(model_type, 1, 77)
        # Flax's norms go to float32 and back by implicit promotion.
        with jax.numpy_dtype_promotion("standard"):
            logits = jax.eval_shape(
                lambda model, tokens: model(tokens), model, tokens
            )
        self.assertEqual(logits.dtype, jnp.bfloat16)

    # One of each way to mix positions.
    @parameterized.named_parameters((name, name) for name in _ROUNDED)
    def test_bfloat16_rounds_as_pytorch_does(self, model_type):
        changes = _ALL_EXPERTS.get(model_type, {})
        reference, folder = self.saved(model_type, **changes)
        tokens = test_parity.random_tokens(model_type, 1, 77)
        exact = test_parity.reference_logits(reference, tokens)
        model = models.load(folder, dtype=jnp.bfloat16)
        with jax.numpy_dtype_promotion("standard"):
            logits = jax.jit(lambda model, tokens: model(tokens))(model, tokens)
        self.assertEqual(logits.dtype, jnp.bfloat16)
        rounded = test_parity.reference_logits(
            reference.to(torch.bfloat16), tokens
        )
        self.assertLess(
            test_parity.error(logits.astype(jnp.float32), exact),
            2 * test_parity.error(rounded, exact),
        )

    def test_float16_is_refused(self):
        folder = self.folder_of("gpt2")
        with self.assertRaisesRegex(ValueError, "float16"):
            models.load(folder, dtype=jnp.float16)

    @parameterized.named_parameters(*_BY_FAMILY)
    def test_names_without_prefix_and_buffers(self, model_type):
        folder = self.folder_of(model_type)
        model = models.load(folder)
        stored = self.tensors(folder)
        for name in _BUFFERS.get(model_type, ()):
            stored[name] = np.ones((1, 1, 3, 3), np.float32)
        self.write(folder, stored)
        self.assert_same(model, models.load(folder))
        prefix = models.FAMILIES[model_type].PREFIX
        self.write(
            folder, {k.removeprefix(prefix): v for k, v in stored.items()}
        )
        self.assert_same(model, models.load(folder))

    @parameterized.named_parameters(
        (name, name) for name in _FAMILIES if name not in _NEVER_TIED
    )
    def test_tied_head_may_be_in_the_file(self, model_type):
        reference, folder = self.saved(model_type, tie_word_embeddings=True)
        model = models.load(folder)
        stored = self.tensors(folder)
        for head in ("lm_head.weight", "embed_out.weight"):
            self.assertNotIn(head, stored)
            embedding = reference.get_input_embeddings().weight
            table = embedding.detach().numpy().copy()
            self.write(folder, stored | {head: table})
            self.assert_same(model, models.load(folder))

    @parameterized.named_parameters(*_BY_FAMILY)
    def test_wrong_tensors_are_named(self, model_type):
        folder = self.folder_of(model_type)
        original = self.tensors(folder)
        name = sorted(original)[len(original) // 2]
        tensor = original[name]
        cut = np.ascontiguousarray(tensor[..., :-1])
        for message, written in {
            "missing": {k: v for k, v in original.items() if k != name},
            "does not know": original | {f"{name}.more": tensor},
            "has shape": original | {name: cut},
            "is I32": original | {name: tensor.astype(np.int32)},
        }.items():
            with self.subTest(message):
                self.write(folder, written)
                with self.assertRaisesRegex(ValueError, message) as raised:
                    models.load(folder)
                self.assertIn(name, str(raised.exception))

    @parameterized.named_parameters(*_BY_FAMILY)
    def test_tensor_in_two_shards(self, model_type):
        reference, _ = self.saved(model_type)
        shards = self.folder / "shards"
        reference.save_pretrained(shards, max_shard_size="10KB")
        first, second, *_ = weight_files.find(shards)
        twice = safetensors.numpy.load_file(first)
        twice |= safetensors.numpy.load_file(second)
        name = sorted(safetensors.numpy.load_file(first))[0]
        twice[name] = twice[name] + 1
        safetensors.numpy.save_file(twice, second)
        with self.assertRaisesRegex(ValueError, "stands in .* and") as raised:
            models.load(shards)
        self.assertIn(name, str(raised.exception))

    def test_many_missing_tensors_are_counted(self):
        folder = self.folder_of("gpt2")
        stored = self.tensors(folder)
        self.write(folder, {k: v for k, v in stored.items() if ".h." not in k})
        with self.assertRaisesRegex(ValueError, "and 19 more"):
            models.load(folder)

    def test_no_config(self):
        folder = self.folder_of("gpt2")
        (folder / "config.json").unlink()
        for read in (models.load, models.num_params):
            with self.assertRaisesRegex(FileNotFoundError, "no config.json"):
                read(folder)

    def test_only_pickled_weights(self):
        reference, folder = self.saved("gpt2")
        original = models.load(folder)
        (folder / weight_files.WEIGHTS).unlink()
        with self.assertRaisesRegex(FileNotFoundError, "only safetensors"):
            models.load(folder)
        torch.save(reference.state_dict(), folder / "pytorch_model.bin")
        with self.assertRaisesRegex(
            FileNotFoundError, "pytorch_model.bin is a pickle.*If you trust it"
        ) as raised:
            models.load(folder)
        # What the error says is what helps.
        program = re.search(r"python -c '(.*)'", str(raised.exception))[1]
        exec(program, {})
        self.assert_same(original, models.load(folder))

    @parameterized.parameters(
        ("../elsewhere.safetensors", ValueError),
        ("/etc/elsewhere.safetensors", ValueError),
        ("elsewhere.safetensors", FileNotFoundError),
    )
    def test_index_that_points_nowhere(self, file, error):
        reference, _ = self.saved("gpt2")
        shards = self.folder / "shards"
        reference.save_pretrained(shards, max_shard_size="10KB")
        path = shards / weight_files.INDEX
        index = json.loads(path.read_text())
        index["weight_map"]["transformer.wte.weight"] = file
        path.write_text(json.dumps(index))
        with self.assertRaisesRegex(error, file):
            models.load(shards)

    def shards_with_link(self, folder: pathlib.Path, target: pathlib.Path):
        """Makes the first file of an indexed checkpoint a link to another."""
        reference, _ = self.saved("gpt2")
        reference.save_pretrained(folder, max_shard_size="10KB")
        file = weight_files.find(folder)[0]
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
        file.symlink_to(target)
        return file

    def test_links_that_lead_outside(self):
        shards = self.folder / "shards"
        self.shards_with_link(shards, self.folder / "other" / "weights")
        original = self.folder / "saved"
        self.assert_same(models.load(shards), models.load(original))
        stored = original / weight_files.WEIGHTS
        stored = stored.rename(self.folder / "other" / stored.name)
        (original / weight_files.WEIGHTS).symlink_to(stored)
        self.assert_same(models.load(shards), models.load(original))

    def test_links_of_the_hub_cache(self):
        hub = self.folder / "models--some--model"
        shards = hub / "snapshots" / "0123"
        self.shards_with_link(shards, hub / "blobs" / "4567")
        self.assert_same(
            models.load(shards), models.load(self.folder / "saved")
        )

    @parameterized.parameters("{", "[]", "{}", '{"weight_map": {"a": 1}}')
    def test_index_that_is_none(self, text):
        folder = self.folder_of("gpt2")
        (folder / weight_files.WEIGHTS).unlink()
        (folder / weight_files.INDEX).write_text(text)
        with self.assertRaisesRegex(ValueError, "index.json: not readable"):
            models.load(folder)

    @parameterized.parameters(
        "model.fp16.safetensors",
        "consolidated.safetensors",
        "llama-7b.safetensors",
        "model-00001-of-00001.safetensors",
    )
    def test_file_of_another_name(self, name):
        folder = self.folder_of("gpt2")
        original = models.load(folder)
        (folder / weight_files.WEIGHTS).rename(folder / name)
        self.assert_same(original, models.load(folder))

    def test_several_files_of_other_names(self):
        folder = self.folder_of("gpt2")
        file = folder / weight_files.WEIGHTS
        shutil.copy(file, folder / "model.fp16.safetensors")
        file.rename(folder / "model.fp32.safetensors")
        with self.assertRaisesRegex(
            ValueError, "model.fp16.safetensors, model.fp32.safetensors; give"
        ):
            models.load(folder)

    def test_shards_without_an_index(self):
        reference, folder = self.saved("gpt2")
        shards = self.folder / "shards"
        reference.save_pretrained(shards, max_shard_size="10KB")
        (shards / weight_files.INDEX).unlink()
        self.assert_same(models.load(folder), models.load(shards))
        weight_files.find(shards)[1].unlink()
        with self.assertRaisesRegex(FileNotFoundError, "number 2 is missing"):
            models.load(shards)

    def test_tensor_in_two_files(self):
        folder = self.folder_of("llama")
        original = models.load(folder)
        stored = self.tensors(folder)
        (folder / weight_files.WEIGHTS).unlink()
        name = "model.norm.weight"
        files = [folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        safetensors.numpy.save_file(stored, files[0])
        safetensors.numpy.save_file({name: stored[name]}, files[1])
        self.assert_same(original, models.load(folder))
        safetensors.numpy.save_file({name: stored[name] + 1}, files[1])
        with self.assertRaisesRegex(
            ValueError,
            f"{name} stands in {files[0].name} and in .*other values",
        ):
            models.load(folder)

    @parameterized.parameters(
        ("{}", "_orig_mod.{}"),
        ("{}", "module.{}"),
        ("{}", "module._orig_mod.{}"),
        ("model.layers", "model.layers._checkpoint_wrapped_module"),
    )
    def test_names_of_wrappers(self, plain, wrapped):
        folder = self.folder_of("llama")
        original = models.load(folder)
        self.write(
            folder,
            {
                wrapped.format(name)
                if plain == "{}"
                else name.replace(plain, wrapped): tensor
                for name, tensor in self.tensors(folder).items()
            },
        )
        self.assert_same(original, models.load(folder))

    @parameterized.product(
        number=(np.nan, np.inf, -np.inf),
        dtype=("float32", "float16", "bfloat16"),
    )
    def test_weights_that_are_not_finite(self, number, dtype):
        folder = self.folder_of("llama")
        stored = {
            name: tensor.astype(jnp.dtype(dtype))
            for name, tensor in self.tensors(folder).items()
        }
        self.write(folder, stored)
        models.load(folder)
        name = "model.layers.1.mlp.up_proj.weight"
        stored[name][-1, -1] = number
        self.write(folder, stored)
        with self.assertRaisesRegex(ValueError, f"{name} holds NaN or inf"):
            models.load(folder)

    def test_pointer_of_git_lfs(self):
        folder = self.folder_of("gpt2")
        for name in (weight_files.WEIGHTS, "config.json"):
            (folder / name).write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
            )
            with self.assertRaisesRegex(ValueError, f"{name}: .*git lfs pull"):
                models.load(folder)

    def test_sizes_that_the_weights_cannot_have(self):
        for changes in (dict(n_layer=9000), dict(n_embd=2**20, n_head=2**18)):
            folder = self.folder_of("gpt2")
            self.change_config(folder, **changes)
            with (
                mock.patch.object(shapes, "abstract") as abstract,
                self.assertRaisesRegex(ValueError, "and the weights at most"),
            ):
                models.load(folder)
            abstract.assert_not_called()

    def test_names_that_the_files_have_in_place(self):
        folder = self.folder_of("llama")
        stored = self.tensors(folder)
        self.write(folder, {f"base_model.{k}": v for k, v in stored.items()})
        with self.assertRaisesRegex(
            ValueError, "are missing: .* the files have .*base_model.lm_head"
        ):
            models.load(folder)

    def test_tied_head_alone_is_the_embedding(self):
        folder = self.folder_of("llama", tie_word_embeddings=True)
        original = models.load(folder)
        stored = self.tensors(folder)
        stored["lm_head.weight"] = stored.pop("model.embed_tokens.weight")
        self.write(folder, stored)
        self.assert_same(original, models.load(folder))

    def test_file_that_is_none(self):
        folder = self.folder_of("gpt2")
        (folder / weight_files.WEIGHTS).write_bytes(b"not weights")
        with self.assertRaisesRegex(
            ValueError, "model.safetensors: not readable as safetensors"
        ):
            models.load(folder)

    def test_code_of_a_checkpoint_is_not_run(self):
        folder = self.folder_of("gpt2")
        original = models.load(folder)
        (folder / "code.py").write_text("raise AssertionError('was run')")
        self.change_config(
            folder,
            auto_map={
                "AutoConfig": "code.Config",
                "AutoModelForCausalLM": "code.Model",
            },
        )
        self.assert_same(original, models.load(folder))


class MeshTest(LoadingTest):
    # One of each layout: transposed and not, experts, convolutions, stacks of
    # several kinds.
    @parameterized.parameters("gpt2", "llama", "mixtral", "recurrent_gemma")
    def test_each_part_is_read_once(self, model_type):
        folder = self.folder_of(model_type, hidden_size=96, vocab_size=160)
        whole = models.load(folder)
        mesh = sharding.mesh(2, 4)
        with mock.patch.object(
            tensors.Tensors, "read", autospec=True, side_effect=_READ
        ) as part:
            split = models.load(folder, mesh=mesh)
        self.assert_same(whole, split)
        expected = models.abstract(whole.config, mesh=mesh)
        num_params = 0
        for path, value in shapes.parameters(split).items():
            place = shapes.parameters(expected)[path].sharding
            self.assertEqual(value.sharding, place)
            num_params += value.size
        read = [math.prod(map(len, call.args[2])) for call in part.mock_calls]
        self.assertEqual(sum(read), num_params)
        self.assertGreater(len(read), len(self.tensors(folder)))

    def test_a_host_reads_its_own_parts(self):
        folder = self.folder_of("llama", hidden_size=96)
        whole = models.load(folder).model.layers.self_attn
        names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(3)]
        num_rows = whole.q_proj.kernel.shape[-1]
        part = (range(3), range(96), range(num_rows // 2, num_rows))
        with (
            tensors.Tensors(folder, models.FAMILIES["llama"]) as opened,
            mock.patch.object(
                tensors.Tensors, "read", autospec=True, side_effect=_READ
            ) as read,
        ):
            found = tensors.parameter(
                opened, tensors.TensorNames(names, (3,), True), part, np.float32
            )
        np.testing.assert_array_equal(
            found, whole.q_proj.kernel[..., num_rows // 2 :]
        )
        self.assertEqual(
            [call.args[1:] for call in read.mock_calls],
            [(name, (part[2], part[1])) for name in names],
        )

    def test_tied_head_may_be_in_the_file(self):
        folder = self.folder_of(
            "llama", vocab_size=160, tie_word_embeddings=True
        )
        mesh = sharding.mesh(1, 8)
        stored = self.tensors(folder)
        table = stored["model.embed_tokens.weight"].copy()
        self.write(folder, stored | {"lm_head.weight": table})
        self.assert_same(models.load(folder, mesh=mesh), models.load(folder))

    @pytest.mark.full_optimisation
    def test_host_memory(self):
        """The shards and one tensor, and not a second copy of a stack."""
        run = subprocess.run(
            [sys.executable, "-m", "tests.models.loading_memory"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        measured = json.loads(run.stdout)
        most = measured["shards"] + measured["largest_tensor"]
        self.assertLess(measured["most"], most + _MARGIN_BYTES)
        self.assertGreater(measured["most"], 0.9 * measured["shards"])


class ConfigTest(LoadingTest):
    @parameterized.parameters(*_REFUSED)
    def test_refused(self, model_type, changes, message):
        config = test_parity.make_config(model_type)
        config.save_pretrained(self.folder)
        self.change_config(self.folder, **changes)
        for read in (models.num_params, models.load):
            with self.assertRaises(ValueError) as raised:
                read(self.folder)
            self.assertIn(message, str(raised.exception))

    def test_model_type_that_is_not_ported(self):
        for model_type in ("bert", "no_such_model", None):
            text = json.dumps({"model_type": model_type})
            (self.folder / "config.json").write_text(text)
            with self.assertRaises(ValueError) as raised:
                models.load(self.folder)
            self.assertIn(repr(model_type), str(raised.exception))
            for family in models.FAMILIES:
                self.assertIn(family, str(raised.exception))

    @parameterized.parameters(*_PUBLISHED)
    def test_published_configs(self, checkpoint, num_params, config):
        del checkpoint
        (self.folder / "config.json").write_text(json.dumps(config))
        self.assertEqual(models.num_params(self.folder), num_params)

    def test_old_name_of_rope_type(self):
        transformers.LlamaConfig(num_hidden_layers=1).save_pretrained(
            self.folder
        )
        self.change_config(
            self.folder, rope_scaling=dict(type="linear", factor=2.0)
        )
        config = configs.read(self.folder)
        self.assertEqual(config.rope_parameters["rope_type"], "linear")
        models.num_params(self.folder)

    def test_text_longer_than_the_position_table(self):
        folder = self.folder_of("gpt2")
        model = models.load(folder)
        with self.assertRaisesRegex(ValueError, "n_positions.* 270"):
            model(test_parity.random_tokens("gpt2", 1, 271))


class HubTest(LoadingTest):
    def test_hub_id(self):
        folder = self.folder_of("gpt2")
        with mock.patch.object(
            huggingface_hub, "snapshot_download", return_value=str(folder)
        ) as download:
            model = models.load("some/model", revision="main")
            num_params = models.num_params("some/model")
        self.assert_same(model, models.load(folder))
        self.assertEqual(num_params, models.num_params(folder))
        (checkpoint,), options = download.call_args_list[0]
        self.assertEqual(checkpoint, "some/model")
        self.assertEqual(options["revision"], "main")
        self.assertIn("*.safetensors", options["allow_patterns"])
        self.assertNotIn("*.bin", options["allow_patterns"])

    def test_hub_that_is_not_reached(self):
        with (
            mock.patch.object(
                huggingface_hub,
                "snapshot_download",
                side_effect=ConnectionError("no network"),
            ),
            self.assertRaisesRegex(FileNotFoundError, "some/model.*no network"),
        ):
            models.load("some/model")

    def test_folder_has_no_revision(self):
        with self.assertRaisesRegex(ValueError, "no revision 'main'"):
            models.load(self.folder, revision="main")


class SavingTest(LoadingTest):
    @parameterized.named_parameters(
        (f"{name}_{'tied' if tied else 'untied'}", name, tied)
        for name in _FAMILIES
        for tied in (False, True)
        if name not in (_NEVER_TIED if tied else _ALWAYS_TIED)
    )
    def test_round_trip(self, model_type, tied):
        reference, folder = self.saved(model_type, tie_word_embeddings=tied)
        model = models.load(folder)
        first, second = self.folder / "first", self.folder / "second"
        models.save(model, first)
        again = models.load(first)
        self.assert_same(model, again)
        models.save(again, second)
        for file in ("config.json", weight_files.WEIGHTS):
            self.assertEqual(
                (first / file).read_bytes(), (second / file).read_bytes()
            )
        returned, notes = transformers.AutoModelForCausalLM.from_pretrained(
            first, output_loading_info=True, attn_implementation="eager"
        )
        self.assertFalse(any(notes.values()), notes)
        self.assertIs(type(returned), type(reference))
        tokens = test_parity.random_tokens(model_type, 2, 20)
        np.testing.assert_array_equal(
            test_parity.reference_logits(returned, tokens),
            test_parity.reference_logits(reference, tokens),
        )

    @parameterized.parameters("float16", "bfloat16")
    def test_half_precision(self, dtype):
        folder = self.folder_of("gpt_neox")
        model = models.load(folder)
        models.save(model, self.folder / "half", dtype=dtype)
        config = json.loads((self.folder / "half" / "config.json").read_text())
        self.assertEqual(config["dtype"], dtype)
        self.assertEqual(model.config.dtype, torch.float32)
        returned = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder / "half", dtype="auto"
        )
        self.assertEqual(returned.dtype, getattr(torch, dtype))
        rounded = models.load(self.folder / "half")
        jax.tree.map(
            lambda half, full: np.testing.assert_array_equal(
                half, full.astype(dtype).astype(jnp.float32)
            ),
            nnx.state(rounded),
            nnx.state(model),
        )

    def test_replaces_shards(self):
        reference, folder = self.saved("gpt2")
        shards = self.folder / "shards"
        reference.save_pretrained(shards, max_shard_size="10KB")
        model = jax.tree.map(lambda x: x + 1, models.load(folder))
        models.save(model, shards)
        self.assert_same(models.load(shards), model)

    def test_new_model(self):
        config = test_parity.make_config("mamba")
        model = models.build(config, rngs=nnx.Rngs(0))
        models.save(model, self.folder)
        self.assert_same(models.load(self.folder), model)
        bias = model.backbone.layers.mixer.dt_proj.bias[...]
        steps = np.asarray(jax.nn.softplus(bias))
        self.assertGreater(steps.min(), 0.99 * config.time_step_min)
        self.assertLess(steps.max(), 1.01 * config.time_step_max)


def _num_operations(jaxpr: jax.extend.core.Jaxpr) -> int:
    """Returns how many operations the compiler is given; loops are not run."""
    total = 0
    for equation in jaxpr.eqns:
        inner = jax.extend.core.jaxprs_in_params(equation.params)
        # What a scan unrolls is lowered again and again.
        times = int(equation.params.get("unroll", 1))
        total += 1 + times * sum(map(_num_operations, inner))
    return total


class CompilationTest(LoadingTest):
    @parameterized.named_parameters(*_BY_FAMILY)
    def test_programs_do_not_grow_with_depth(self, model_type):
        case = test_parity.CASES[model_type][0]
        sizes = set()
        for factor in (2, 24):  # Of two layers, 4 and 48.
            config = test_parity.make_config(
                model_type,
                **{name: factor * case[name] for name in _DEPTHS & case.keys()},
            )
            model = models.abstract(config)
            tokens = jax.ShapeDtypeStruct((2, 24), np.int32)
            traced = jax.make_jaxpr(lambda model, tokens: model(tokens))(
                model, tokens
            )
            sizes.add(_num_operations(traced.jaxpr))
        self.assertLen(sizes, 1)

    def test_once(self):
        folder = self.folder_of("gpt2")
        num_traces = 0

        @jax.jit
        def forward(model, tokens):
            nonlocal num_traces
            num_traces += 1
            return model(tokens)

        tokens = test_parity.random_tokens("gpt2", 1, 1)
        for _ in range(2):
            model = models.load(folder)
            forward(model, tokens)
            forward(model, tokens)
        self.assertEqual(num_traces, 1)


if __name__ == "__main__":
    absltest.main()
