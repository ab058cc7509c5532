import math
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from mmc_jax import pool

_TWO = """
name: two
description: For this test.
models:
  - name: small
    checkpoint: checkpoints/small
    family: gpt2
  - name: Large-1.4b
    checkpoint: EleutherAI/pythia-1.4b
    revision: step3000
    family: pythia
    kind: instruct
    costs: {num_params: 1414647808, price: 0.25}
    context: 1024
    facts:
      model_type: gpt_neox
      context_length: 2048
      vocab_size: 50304
      licence: Apache-2.0
"""


def _one(lines: str = "", name: str = "a") -> str:
    """Returns a pool of one model with more lines under it."""
    start = f"models:\n  - name: {name}\n    family: f\n"
    if "checkpoint" not in lines:
        start += "    checkpoint: checkpoints/small\n"
    return start + "".join(f"    {line}\n" for line in lines.splitlines())


def _bomb(repeated, end):
    """Returns a few lines of YAML that stand for 9 ** 30 values."""
    lines = ["description:", "- &a0 {x: 1}"]
    for i in range(30):
        inner = repeated.format(", ".join([f"*a{i}"] * 9))
        lines.append(f"- &a{i + 1} {inner}")
    return "\n".join([*lines, end.format("[*a30 ]")]) + "\n"


class PoolTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory())
        )
        (self.folder / "checkpoints" / "small").mkdir(parents=True)

    def _read(self, text: str | bytes) -> pool.Pool:
        file = self.folder / "mine.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return pool.read(file)

    def test_reads_every_field(self):
        self.assertEqual(
            self._read(_TWO),
            pool.Pool(
                "two",
                (
                    pool.Model(
                        name="small",
                        checkpoint=str(self.folder / "checkpoints" / "small"),
                        revision=None,
                        family="gpt2",
                        kind="base",
                        costs={},
                        facts={},
                    ),
                    pool.Model(
                        name="Large-1.4b",
                        checkpoint="EleutherAI/pythia-1.4b",
                        revision="step3000",
                        family="pythia",
                        kind="instruct",
                        costs={"num_params": 1414647808, "price": 0.25},
                        facts={
                            "model_type": "gpt_neox",
                            "context_length": 2048,
                            "vocab_size": 50304,
                            "licence": "Apache-2.0",
                        },
                        context=1024,
                    ),
                ),
            ),
        )

    def test_is_named_after_its_file_by_default(self):
        self.assertEqual(self._read(_one()).name, "mine")

    def test_dates_as_yaml_reads_them(self):
        for written in ("2023-04-03", "'2023-04-03'", "2023", "2023-04"):
            with self.subTest(written):
                read = self._read(_one(f"facts: {{release_date: {written}}}"))
                self.assertEqual(
                    read.models[0].facts,
                    {"release_date": written.strip("'")},
                )

    def test_absolute_and_parent_folders(self):
        small = self.folder / "checkpoints" / "small"
        for checkpoint in (small, "checkpoints/../checkpoints/small/"):
            with self.subTest(checkpoint=str(checkpoint)):
                read = self._read(_one(f"checkpoint: {checkpoint}"))
                self.assertEqual(read.models[0].checkpoint, str(small))

    def test_shipped_by_bare_name(self):
        package = self.folder / "package"
        (package / "pools").mkdir(parents=True)
        (package / "pools" / "tiny.yaml").write_text(
            _one("checkpoint: a/b\nrevision: main")
        )
        (package / "pools" / "stdlib20.yaml").write_text("models: []")
        with mock.patch("importlib.resources.files", return_value=package):
            self.assertEqual(pool.read("tiny").name, "tiny")
            self.assertEqual(pool.shipped(), ("stdlib20", "tiny"))
            with self.assertRaisesRegex(
                ValueError, "no pool 'huge' ships.*stdlib20, tiny"
            ):
                pool.read("huge")

    def test_missing_file(self):
        with self.assertRaisesRegex(FileNotFoundError, "none.yaml: no such"):
            pool.read(self.folder / "none.yaml")

    @parameterized.named_parameters(
        ("empty_file", "", "mapping with `models:`"),
        ("list_on_top", "- a", "mapping with `models:`"),
        ("no_models", "name: x", "models is missing"),
        ("models_not_list", "models: {a: 1}", "models: a list"),
        ("empty_pool", "models: []", "models: a list of at least one"),
        ("unknown_top_key", "model: []\nmodels: []", "'model'.*'models'"),
        ("name_not_string", "name: 1\n" + _one(), "name: 1 is not a string"),
        ("entry_not_mapping", "models: [a]", r"models\[0\]: 'a' is not a map"),
        (
            "missing_family",
            "models: [{name: a, checkpoint: b}]",
            r"models\[0\] \(a\): family is missing; add it",
        ),
        (
            "missing_name",
            "models: [{family: a, checkpoint: b}]",
            r"models\[0\]: name is missing",
        ),
        (
            "unknown_key",
            _one("familly: g"),
            r"models\[0\] \(a\): unknown key 'familly'; did you mean 'family'",
        ),
        (
            "duplicate_name",
            _TWO.replace("small\n    c", "large-1.4B\n    c"),
            r"models\[1\] \(Large-1.4b\): name: taken by models\[0\]",
        ),
        ("unsafe_name", _one(name="a/b"), r"\(a/b\): name: .*letters, digits"),
        ("hidden_name", _one(name=".a"), r"\(.a\): name: .*letters, digits"),
        ("name_is_number", _one(name="1.5"), "name: 1.5 is not a string"),
        ("empty_name", _one(name="''"), "name: '' is not a string, or empty"),
        ("unknown_kind", _one("kind: chat"), "kind: 'chat' is not one of base"),
        (
            "revision_is_number",
            _one("checkpoint: a/b\nrevision: 1234567"),
            "revision: 1234567 is not a string.*quotes",
        ),
        (
            "no_folder",
            _one("checkpoint: EleutherAI/pythia-70m"),
            r"\(a\): checkpoint: no folder or GGUF file .*pythia.*`revision`",
        ),
        (
            "folder_with_revision",
            _one("checkpoint: ./checkpoints/small\nrevision: main"),
            "checkpoint: './checkpoints/small' is no Hugging Face hub id",
        ),
        ("costs_not_mapping", _one("costs: 3"), "costs: 3 is not a mapping"),
        (
            "cost_is_string",
            _one("costs: {num_params: 1e9}"),
            r"\(a\): costs.num_params: '1e9' is not a number; .*1.0e\+9",
        ),
        ("cost_is_bool", _one("costs: {x: yes}"), "costs.x: True is not a num"),
        ("negative_cost", _one("costs: {x: -1}"), "costs.x: -1 is negative"),
        ("nan_cost", _one("costs: {x: .nan}"), "costs.x: nan is .*not finite"),
        ("infinite_cost", _one("costs: {x: .inf}"), "costs.x: inf is .*not fi"),
        ("cost_name", _one("costs: {1: 2}"), "name of a cost: 1 is not a str"),
        ("facts_not_mapping", _one("facts: MIT"), "facts: 'MIT' is not a map"),
        (
            "unknown_fact",
            _one("facts: {license: MIT}"),
            r"\(a\): facts: unknown key 'license'; did you mean 'licence'",
        ),
        (
            "fact_is_no_string",
            _one("facts: {licence: 2.0}"),
            r"\(a\): facts.licence: 2.0 is not a string.*quotes",
        ),
        ("empty_fact", _one("facts: {model_type: ''}"), "model_type: '' is no"),
        (
            "fact_is_string",
            _one("facts: {vocab_size: 50k}"),
            r"\(a\): facts.vocab_size: '50k' is not a whole number",
        ),
        (
            "fact_is_float",
            _one("facts: {context_length: 2048.0}"),
            "facts.context_length: 2048.0 is not a whole number",
        ),
        ("fact_is_bool", _one("facts: {vocab_size: yes}"), "True is not a who"),
        (
            "no_release_date",
            _one("facts: {release_date: May}"),
            "facts.release_date: 'May' is no date; write it as 2023-04-03",
        ),
        ("fact_is_zero", _one("facts: {vocab_size: 0}"), "0 is not a whole"),
        ("huge_cost", _one("costs: {x: 1" + 400 * "0" + "}"), "not finite"),
        ("huge_fact", _one("facts: {vocab_size: 1" + 40 * "0" + "}"), "whole"),
        ("context", _one("context: 2k"), "context: '2k' is not a whole numb"),
        ("context_is_zero", _one("context: 0"), "context: 0 is not a whole"),
        ("long_name", _one(name=250 * "a"), "name: 250 letters"),
        ("escape", _one(name='"a\\e[31m"'), r"\(a\\x1b\[31m\): name"),
        ("no_date", _one("kind: 2020-13-45"), "not readable as YAML"),
        ("long_number", _one("kind: " + 5000 * "1"), "not readable as YAML"),
        ("nested", _one("costs: " + 1100 * "["), "not readable as YAML"),
        ("not_yaml", "models:\n  - name: [a\n", "line 3: not readable as YAML"),
        ("not_text", b"models: \xff\xfe", "not readable as YAML"),
        (
            "key_twice",
            _one("family: g"),
            "line 5: .*the key 'family' is given twice",
        ),
        ("odd_key", "? [a]\n: 1", "line 1: not readable as YAML"),
        ("bomb", _bomb("[{}]", "models: {}"), "description: .*not a string"),
        (
            "bomb_of_keys",
            _bomb("{{<<: [{}]}}", "models: [{}]"),
            "(not a string|10,000 keys)",
        ),
        (
            "no_revision",
            _one("checkpoint: a/b\nrevision: ../x"),
            "revision: '../x' is no",
        ),
        ("long_hex", _one(f"costs: {{a: -0x{5000 * 'f'}}}"), "too many digits"),
        (
            "long_hex_key",
            f"? 0x{5000 * 'f'}\n: 1\n",
            "key a number of too many",
        ),
        (
            "long_hex_date",
            _one(f"facts: {{release_date: 0x{5000 * 'f'}}}"),
            "release_date: .*too many digits",
        ),
        (
            "long_folder",
            _one("checkpoint: " + 5000 * "m"),
            "checkpoint: File name",
        ),
    )
    def test_refuses(self, text, message):
        with self.assertRaisesRegex(ValueError, f"(?s)mine.yaml.*{message}"):
            self._read(text)

    def test_numbers_as_yaml_writes_them(self):
        read = self._read(_one("costs: {a: 1.0e+9, b: 1_000, c: 0}"))
        self.assertEqual(read.models[0].costs, {"a": 1e9, "b": 1000, "c": 0})
        self.assertTrue(all(map(math.isfinite, read.models[0].costs.values())))

    def test_select(self):
        two = self._read(_TWO)
        chosen = two.select(["Large-1.4b", "small"])
        self.assertEqual(chosen.models, two.models[::-1])
        for names, message in (
            (["tiny"], "pool two: no model 'tiny'; it has small, Large-1.4b"),
            (["small", "small"], "'small' is selected twice"),
            ([], "no model is selected"),
        ):
            with (
                self.subTest(names=names),
                self.assertRaisesRegex(ValueError, message),
            ):
                two.select(names)


if __name__ == "__main__":
    absltest.main()
