"""Makes the fixtures of lm-evaluation-harness: one folder a version.

    python -m tests.importers.make_fixtures.lm_eval --envs=/tmp/envs

Two models of the shipped pool are run on tasks of five kinds: rolling
likelihood, rolling on rewritten text (as wikitext), multiple choice, one
likelihood (as lambada), and generation with two filters; one model then once
more on the choices, with an example in front. Takes ten minutes a version, most
of them to install.
"""

import argparse
import json
import pathlib
import re
import shutil
import tempfile

from tests.importers.make_fixtures import environments

_TARGET = pathlib.Path(__file__).parents[1] / "fixtures/lm_eval"

# What the old versions need that newer packages took away.
_OLD = [
    "torch==2.13.0",
    "transformers==4.57.6",
    "datasets==3.6.0",
    "setuptools<81",
]
VERSIONS = {
    "0.4.0": [
        *("lm-eval==0.4.0", "torch==2.13.0", "transformers==4.57.6"),
        # The last with `load_metric`, and what these packages can live with.
        *("datasets==2.21.0", "pyarrow==16.1.0", "numpy<2", "setuptools<81"),
    ],
    "0.4.3": ["lm-eval==0.4.3", *_OLD],
    "0.4.8": ["lm-eval==0.4.8", *_OLD],
    "0.4.13": ["lm-eval[hf]==0.4.13", "torch==2.13.0"],
    "0.5.0.dev1": ["lm-eval[hf]==0.5.0.dev1", "torch==2.13.0", "requests"],
}

# Facts of the machine, and long ones that no reader needs.
_SCRUBBED = ("pretty_env_info", "git_hash", "upper_git_hash", "date")
_SCRUBBED += ("start_time", "end_time", "total_evaluation_time_seconds")

_DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d.-]+\d")

_COMMON = """\
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
fewshot_split: test
metadata:
  version: 1.0
"""
_TASKS = {
    "tiny_rolling": """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
""",
    "tiny_rewritten": """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: !function rewriting.rewritten
process_results: !function rewriting.counted_on_the_original
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
""",
    "tiny_choice": """\
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
""",
    "tiny_last_word": """\
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{choices[answer]}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
""",
    "tiny_generation": """\
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs:
  until: ["\\n"]
  do_sample: false
  max_gen_toks: 4
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "^(close|sorted|4)$"
      - function: take_first
  - name: flexible-extract
    filter:
      - function: regex
        regex_pattern: "([a-z0-9])"
      - function: take_first
""",
}
_REWRITING = """\
def rewritten(doc):
    return doc["text"].replace(" ,", ",").replace(" .", ".")


def counted_on_the_original(doc, results):
    (loglikelihood,) = results
    if not isinstance(loglikelihood, float):
        loglikelihood = loglikelihood[0]  # As 0.5 gives it.
    words, num_bytes = len(doc["text"].split()), len(doc["text"].encode())
    return {
        "word_perplexity": (loglikelihood, words),
        "byte_perplexity": (loglikelihood, num_bytes),
        "bits_per_byte": (loglikelihood, num_bytes),
    }
"""

# The old versions fetch this metric when they start, or take it from a folder.
_EXACT_MATCH = """\
import datasets
import evaluate


class ExactMatch(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="",
            citation="",
            inputs_description="",
            features=datasets.Features(predictions=text, references=text),
        )

    def _compute(self, predictions, references, **ignored):
        same = [p == r for p, r in zip(predictions, references)]
        return {"exact_match": sum(same) / len(same)}
"""


def _write_tasks(folder: pathlib.Path) -> None:
    tasks = folder / "tasks"
    tasks.mkdir()
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"text": t}) + "\n" for t in environments.TEXTS)
    )
    keys = ("question", "choices", "answer")
    (folder / "questions.jsonl").write_text(
        "".join(
            json.dumps(dict(zip(keys, q, strict=True))) + "\n"
            for q in environments.QUESTIONS
        )
    )
    (tasks / "rewriting.py").write_text(_REWRITING)
    (folder / "exact_match").mkdir()
    (folder / "exact_match/exact_match.py").write_text(_EXACT_MATCH)
    for name, text in _TASKS.items():
        of_texts = name in ("tiny_rolling", "tiny_rewritten")
        common = _COMMON.format(
            data="texts.jsonl" if of_texts else "questions.jsonl"
        )
        (tasks / f"{name}.yaml").write_text(f"task: {name}\n{common}{text}")


def _evaluate(
    python: pathlib.Path, folder: pathlib.Path, version: str
) -> pathlib.Path:
    """Runs both models and returns the folder of what the tool wrote."""
    out = folder / "out"
    old = version == "0.4.0"
    for i, model in enumerate(environments.MODELS):
        # One model once more, with an example in front.
        shown = ((0, list(_TASKS)), (1, ["tiny_choice"]))[: 2 - i]
        for shots, chosen in shown:
            # The first versions write results.json, again and again.
            where = out / f"{model}-{shots}" if old else out
            environments.run(
                python,
                [
                    *("-m", "lm_eval", "--model", "hf"),
                    "--model_args",
                    f"pretrained=stdlib20/{model},dtype=float32",
                    *("--tasks", ",".join(chosen), "--include_path", "tasks"),
                    *("--num_fewshot", str(shots), "--device", "cpu"),
                    *("--batch_size", "1", "--log_samples"),
                    *("--output_path", str(where)),
                ],
                folder,
            )
    return out


def _copy_scrubbed(out: pathlib.Path, target: pathlib.Path, folder) -> None:
    shutil.rmtree(target, ignore_errors=True)
    found = sorted(out.rglob("*.json*"))
    dates = sorted({d[0] for path in found if (d := _DATE.search(path.name))})
    for path in found:
        text = path.read_text()
        if path.name.startswith("results"):
            content = json.loads(text)
            for key in _SCRUBBED:
                content.pop(key, None)
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        text = text.replace(str(folder), "/data")
        name = _DATE.sub(
            lambda date: f"2025-01-01T00-00-{dates.index(date[0]):02d}.5",
            path.name,
        )
        copy = target / path.relative_to(out).with_name(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=pathlib.Path, required=True)
    parser.add_argument("--versions", nargs="*", default=list(VERSIONS))
    options = parser.parse_args()
    for version in options.versions:
        python = environments.environment(
            options.envs / f"lm_eval-{version}", VERSIONS[version]
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            environments.copy_models(folder)
            _write_tasks(folder)
            out = _evaluate(python, folder, version)
            _copy_scrubbed(out, _TARGET / version, folder)


if __name__ == "__main__":
    main()
