"""What a config may hold: transformers' own files say what counts."""

import ast
import functools
import json
import pathlib
import re
import tempfile
from unittest import mock

import transformers
from absl.testing import absltest, parameterized
from flax import nnx

from mmc_jax import models
from mmc_jax.models import attributes, configs, layers, rotary
from mmc_jax.models.families import WRAPPERS
from tests.models import test_parity

_TRANSFORMERS = pathlib.Path(transformers.__file__).parent
# What a modelling file calls a config.
_CONFIGS = ("config", "text_config", "attn_config")


def _is_config(node: ast.expr) -> bool:
    name = getattr(node, "attr", getattr(node, "id", None))
    return isinstance(node, ast.Attribute | ast.Name) and name in _CONFIGS


# Files with other towers beside the text's, whose classes have other names.
_TOWERS = ("modeling_gemma4.py", "modeling_llama4.py")


def _classes_of_text(tree: ast.Module) -> ast.Module:
    """Returns the classes of a file that belong to the text tower."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    of_text = re.compile("Text|ForCausalLM")
    return ast.Module([c for c in classes if of_text.search(c.name)], [])


@functools.cache
def _attributes_read(path: pathlib.Path) -> frozenset[str]:
    """Returns the attributes of configs that a Python file reads."""
    found = set()
    tree = ast.parse(path.read_text())
    if path.name in _TOWERS:
        tree = _classes_of_text(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_config(node.value):
            found.add(node.attr)
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", None) in ("getattr", "hasattr")
            and _is_config(node.args[0])
            and isinstance(node.args[1], ast.Constant)
        ):
            found.add(node.args[1].value)
    return frozenset(found)


def _modelling_file(model_type: str) -> pathlib.Path:
    module = transformers.CONFIG_MAPPING[model_type].__module__
    folder = module.split(".")[-2]
    return _TRANSFORMERS / "models" / folder / f"modeling_{folder}.py"


@functools.cache
def _read_by_port(model_type: str) -> frozenset[str]:
    """Returns what a port reads of the configs of its parity tests."""
    found = set()
    for case in range(len(test_parity.CASES[model_type])):
        watched = attributes.Watched(test_parity.make_config(model_type, case))
        nnx.eval_shape(
            lambda watched=watched: models.FAMILIES[model_type].CausalLM(
                watched, rngs=layers.ShapesOnly(0)
            )
        )
        found |= watched.names_read
    return frozenset(found)


_MODEL_TYPES = sorted(set(models.FAMILIES) - set(WRAPPERS))


class RuleTest(parameterized.TestCase):
    """Each attribute that transformers reads is read, inert or refused."""

    @parameterized.parameters(*_MODEL_TYPES)
    def test_every_attribute_that_the_modelling_code_reads(self, model_type):
        config = test_parity.make_config(model_type)
        default = type(config)()
        read = _attributes_read(_modelling_file(model_type))
        read |= _attributes_read(_TRANSFORMERS / "masking_utils.py")
        self.assertIn("_attn_implementation", read)
        known = {
            *_read_by_port(model_type),
            *attributes.inert(config),
            *attributes.UNDECLARED,
            *getattr(models.FAMILIES[model_type], "UNDECLARED", ()),
            # Refused where it is not at its default.
            *default.to_dict(),
            # Only chunked attention reads it, which no ported family has.
            "attention_chunk_size",
        }
        if model_type == "gemma3_text":  # One file holds both towers.
            known |= attributes.TOWERS.keys()
        if model_type.startswith("qwen3_5"):
            vision = transformers.Qwen3_5VisionConfig()
            known |= attributes.TOWERS.keys() | vision.to_dict().keys()
        if model_type == "mpt":  # Of its attn_config.
            known |= config.attn_config.to_dict().keys()
        names = {config.attribute_map.get(name, name) for name in read}
        # Methods, properties and constants of a class are in no file.
        unknown = {
            name
            for name in names - known
            if not hasattr(type(config), name) or name == "sliding_window"
        }
        # Mixers that transformers itself names by the layer.
        unknown -= {"layer_types"} if "mamba" in model_type else set()
        # So it is refused: no port is of an encoder with a decoder.
        self.assertNotIn("is_encoder_decoder", _read_by_port(model_type))
        self.assertNotIn("is_encoder_decoder", attributes.inert(config))
        self.assertIs(default.to_dict()["is_encoder_decoder"], False)
        declared = {"sliding_window"} if "sliding_window" in known else set()
        if "sliding_window" not in _attributes_read(
            _modelling_file(model_type)
        ):
            declared.add("sliding_window")  # Read for sliding layers alone.
        self.assertEmpty(unknown - declared)

    @parameterized.parameters(*_MODEL_TYPES)
    def test_inert_attributes_are_known_to_transformers(self, model_type):
        config = test_parity.make_config(model_type)
        port = models.FAMILIES[model_type]
        known = {*type(config)().to_dict()}
        known |= _attributes_read(_modelling_file(model_type))
        known |= attributes.UNDECLARED.keys()
        declared = getattr(port, "INERT", {})
        shared = [t for t, p in models.FAMILIES.items() if p is port]
        if len(shared) == 1:
            self.assertLessEqual(declared.keys(), known)
        for name, reason in declared.items():
            self.assertGreater(len(reason.split()), 2, name)
        # What is inert for all is not said once more.
        self.assertEmpty(declared.keys() & attributes.INERT.keys())

    def test_every_rotary_parameter_that_transformers_reads(self):
        tree = ast.parse((_TRANSFORMERS / "modeling_rope_utils.py").read_text())
        read = set()
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            if not function.name.startswith("_compute_"):
                continue
            for node in ast.walk(function):
                strings = [
                    child.value
                    for child in ast.walk(node)
                    if isinstance(child, ast.Constant)
                ]
                owner = getattr(node, "value", None) or getattr(
                    getattr(node, "func", None), "value", None
                )
                if getattr(owner, "id", None) == "rope_parameters_dict":
                    read |= {s for s in strings[:1] if isinstance(s, str)}
        self.assertContainsSubset({"beta_fast", "low_freq_factor"}, read)
        known = {"rope_theta", "rope_type", "partial_rotary_factor"}
        for kind in ("linear", "dynamic", "llama3", "yarn", "longrope"):
            unread = rotary.unread(dict.fromkeys(read, 1) | {"rope_type": kind})
            known |= read - unread.keys()
        self.assertLessEqual(read, known)


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )

    def write(self, family: str, **changes) -> dict:
        """Writes the config of a parity test with other keys in it."""
        test_parity.make_config(family).save_pretrained(self.folder)
        path = self.folder / configs.CONFIG
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps(content))
        return content

    def refusal(self) -> str:
        with self.assertRaises(ValueError) as raised:
            models.num_params(self.folder)
        return str(raised.exception)


class UnreadTest(FolderTest):
    @parameterized.parameters(*_MODEL_TYPES)
    def test_a_key_that_transformers_ignores(self, model_type):
        """It is named in a warning, and a port cannot read it."""
        self.write(model_type, moon="full", num_steps=3, use_flash_attn=True)
        with self.assertLogs("absl", level="WARNING") as logged:
            config = configs.read(self.folder)
            configs.read(self.folder)
        (line,) = logged.output
        self.assertIn("moon, num_steps, use_flash_attn", line)
        unread = attributes.unread(config)
        self.assertEqual(
            unread, dict(moon="full", num_steps=3, use_flash_attn=True)
        )
        watched = attributes.Watched(config)
        for name in unread:
            self.assertFalse(hasattr(watched, name))

    # Keys of published files, each of another origin.
    @parameterized.parameters(
        ("gpt2", dict(n_special=0, predict_special_tokens=True)),
        ("gpt2", dict(output_past=True, _num_labels=1)),
        ("llama", dict(unsloth_fixed=True, pruned_heads={})),
        ("llama", {"transformers.js_config": {"dtype": "q4"}}),
        ("llama", dict(_attn_implementation_autoset=True)),
        ("llama", dict(torchscript=False, use_bfloat16=True)),
        ("llama", dict(is_decoder=False, sep_token_id=None)),
        ("llama", dict(neftune_noise_alpha=5.0, sliding_window=16)),
        ("llama", dict(quantization_config=None)),
        ("cohere2", dict(_sliding_window_pattern=4)),
        ("deepseek_v2", dict(scoring_func="softmax", moe_layer_freq=1)),
    )
    def test_published_keys(self, model_type, changes):
        self.write(model_type)
        expected = models.num_params(self.folder)
        self.write(model_type, **changes)
        self.assertEqual(models.num_params(self.folder), expected)

    def test_parameters_of_another_kind_of_rotary_scaling(self):
        rope = dict(
            rope_type="yarn",
            rope_theta=900.0,
            factor=2.0,
            original_max_position_embeddings=135,
        )
        self.write("llama", rope_parameters=rope)
        plain = configs.read(self.folder)
        extra = dict(finetuned=True, attn_factor=1.0, extrapolation_factor=1)
        self.write("llama", rope_parameters=rope | extra)
        config = configs.read(self.folder)
        self.assertEqual(
            attributes.unread(config),
            {f"rope_parameters.{name}": value for name, value in extra.items()},
        )
        made = [
            rotary.rotary_positions(c.rope_parameters, 8, 270)
            for c in (plain, config)
        ]
        self.assertEqual(made[0].scale, made[1].scale)

    def test_keys_inside_an_attention_config(self):
        self.write("mpt", attn_config=dict(moon="full", clip_qkv=6))
        config = configs.read(self.folder)
        self.assertEqual(
            attributes.unread(config), {"attn_config.moon": "full"}
        )
        self.assertEqual(config.attn_config.clip_qkv, 6.0)
        self.assertIsInstance(config.attn_config.clip_qkv, float)

    def test_architecture_without_a_head(self):
        self.write("gpt2", architectures=["GPT2Model"])
        self.assertGreater(models.num_params(self.folder), 0)


class RefusedTest(FolderTest):
    def test_all_at_once(self):
        self.write(
            "gpt2",
            add_cross_attention=True,
            activation_function="mish",
            is_causal=False,
            is_encoder_decoder=True,
            quantization_config=dict(quant_method="gptq"),
        )
        message = self.refusal()
        for part in (
            "add_cross_attention=True",
            "'mish'",
            "is_causal=False",
            "is_encoder_decoder=True",
            "quantization_config=",
        ):
            self.assertEqual(message.count(part), 1, message)

    @parameterized.parameters(
        ("llama", dict(quantization_config=dict(bits=4)), "quantization_conf"),
        ("llama", dict(is_causal=False), "is_causal=False"),
        ("llama", dict(transformers_weights="other.bin"), "other.bin"),
        ("llama", dict(to_dict=1), "'to_dict' is a method"),
        ("llama", dict(per_layer_config={"0": dict(hidden_act="gelu")}), ""),
        ("qwen2", dict(head_dim=12), "head_dim=12"),
        ("olmoe", dict(sliding_window=16), "sliding_window=16"),
        ("mpt", dict(attn_config=dict(qk_ln=True, alibi=False)), "qk_ln=True"),
        ("mpt", dict(attn_config=dict(qk_ln=True, alibi=False)), "alibi=False"),
        ("mpt", dict(logit_scale=2.0), "logit_scale=2.0"),
    )
    def test_what_transformers_reads(self, model_type, changes, message):
        self.write(model_type, **changes)
        self.assertIn(message, self.refusal())

    @parameterized.parameters(
        ("llama", "num_layers", "num_hidden_layers"),
        ("llama", "n_head", "num_attention_heads"),
        ("gpt2", "num_hidden_layers", "num_hidden_layers"),
        ("gpt2", "d_model", "hidden_size"),
        ("mamba", "n_layer", "num_hidden_layers"),
        ("mamba", "d_inner", "intermediate_size"),
    )
    def test_second_name(self, model_type, name, known):
        """It may differ where the shapes of tensors tell which one holds."""
        self.write(model_type)
        config = configs.read(self.folder)
        value = getattr(config, known)
        self.write(model_type, **{name: value})
        expected = models.num_params(self.folder)
        content = self.write(model_type)
        path = self.folder / configs.CONFIG
        path.write_text(json.dumps({name: value + 1} | content))
        if name != "n_head" and name not in config.attribute_map:
            self.assertEqual(models.num_params(self.folder), expected)
            content.pop(known, content.pop(config.attribute_map.get(known), 0))
            path.write_text(json.dumps({name: value + 1} | content))
        self.assertIn(", but ", self.refusal())

    @parameterized.parameters(
        ("granitemoehybrid", "layer_types"), ("zamba2", "layers_block_type")
    )
    def test_older_types_of_layers(self, model_type, name):
        """transformers renames them, and published files have them."""
        older = dict(linear_attention="mamba", full_attention="attention")
        kinds = self.write(model_type)[name]
        content = self.write(
            model_type, **{name: [older.get(kind, kind) for kind in kinds]}
        )
        self.assertIn("mamba", content[name])
        self.assertEqual(getattr(configs.read(self.folder), name), kinds)

    @parameterized.parameters(
        "partial_rotary_factor", "rotary_pct", "rotary_emb_base"
    )
    def test_second_name_of_a_rotary_parameter(self, name):
        self.write("gpt_neox")
        rope = configs.read(self.folder).rope_parameters
        known = "rope_theta" if "base" in name else "partial_rotary_factor"
        self.write("gpt_neox", **{name: rope[known]})
        models.num_params(self.folder)
        self.write("gpt_neox", **{name: 2 * rope[known]})
        self.assertIn(f"{known} of rope_parameters", self.refusal())

    @parameterized.parameters(
        ("llama", dict(num_hidden_layers=0), "num_hidden_layers is 0; it is"),
        ("gpt2", dict(n_head=-2), "n_head is -2; it is at least 1"),
        ("llama", dict(rope_parameters=dict(rope_theta=None)), ""),
        ("llama", dict(num_key_value_heads=0), ""),
        ("llama", dict(num_key_value_heads=7), "is no multiple of num_key_v"),
        ("mistral", dict(sliding_window=0), "sliding_window=0; it is at least"),
        ("mixtral", dict(num_experts_per_tok=9), "tok=9, but num_local_exp"),
        ("hunyuan_v1_moe", dict(moe_topk=9), "per_tok=9, but num_local_exp"),
        (
            "recurrent_gemma",
            dict(attention_window_size=0),
            "attention_window_size=0; it is at least 1",
        ),
        (
            "llama",
            dict(rope_parameters=dict(rope_type="linear", factor=0.0)),
            "factor=0.0 is not positive",
        ),
    )
    def test_sizes_of_no_model(self, model_type, changes, message):
        self.write(model_type, **changes)
        said = self.refusal()
        self.assertIn(str(self.folder), said)
        self.assertIn(message, said)
        self.assertNotIn("\n", said)

    def test_two_kinds_of_rotary_scaling(self):
        rope = dict(rope_type="linear", type="yarn", factor=2.0)
        self.write("llama", rope_parameters=rope)
        self.assertIn("type 'yarn', but rope_type 'linear'", self.refusal())

    def test_code_of_a_checkpoint(self):
        self.write("llama", model_type="moon", auto_map={"AutoConfig": "a.B"})
        self.assertIn("(auto_map) is never run", self.refusal())

    def test_files_beside_the_config(self):
        self.write("llama")
        (self.folder / "hf_quant_config.json").write_text("{}")
        self.assertRegex(self.refusal(), "hf_quant_config.json: .*quantised")


class JsonTest(FolderTest):
    def test_byte_order_mark(self):
        self.write("llama")
        expected = models.num_params(self.folder)
        path = self.folder / configs.CONFIG
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        self.assertEqual(models.num_params(self.folder), expected)

    @parameterized.parameters(
        ('{"model_type": "llama",', "not readable as JSON"),
        ("[]", "it is a list"),
        ("", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"model_type": ["llama"]}', "model_type"),
        ('{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}", "JSON"),
    )
    def test_no_config(self, content, message):
        (self.folder / configs.CONFIG).write_text(content)
        self.assertRegex(self.refusal(), f"config.json: .*{message}")

    @parameterized.parameters(
        ("llama", dict(num_hidden_layers=10**9)),
        ("llama", dict(hidden_size=10**400)),
        ("llama", dict(head_dim=10**9)),
        ("llama", dict(moon=10**400)),
        ("gpt2", dict(vocab_size=10**12)),
        ("gpt2", dict(n_positions=10**12)),
        ("gpt_neo", dict(attention_types=[[["global", "local"], 10**9]])),
        ("mamba", dict(expand=10**9)),
        ("mixtral", dict(num_local_experts=10**9)),
        ("qwen2", dict(num_hidden_layers=10**9)),
    )
    def test_sizes_without_bounds(self, model_type, changes):
        self.write(model_type, **changes)
        with mock.patch.object(
            transformers.CONFIG_MAPPING[model_type], "from_dict"
        ) as made:
            self.assertRegex(self.refusal(), f"{next(iter(changes))} is .*more")
        made.assert_not_called()


if __name__ == "__main__":
    absltest.main()
