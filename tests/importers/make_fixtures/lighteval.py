"""Makes the fixtures of lighteval: details of choices under two models.

    python -m tests.importers.make_fixtures.lighteval --envs=/tmp/envs

The version on the package index is older than its pull request 1252, and ends
with an error on tasks of rolling likelihoods; choices alone are run. Takes ten
minutes, most of them to install.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

from tests.importers.make_fixtures import environments

_TARGET = pathlib.Path(__file__).parents[1] / "fixtures/lighteval"
_PINS = [
    *("lighteval==0.13.0", "torch==2.13.0", "transformers==4.57.6"),
    "xxhash<4",  # From 4 on it hashes bytes alone.
]
_DATE = "2025-01-01T00-00-00.500000"

# A file that the tool fetches when it starts, and that these tasks do not read.
_FETCHED = """\
import importlib.util
import pathlib

package = pathlib.Path(importlib.util.find_spec("lighteval").origin).parent
(package / "tasks/tasks/tinyBenchmarks.pkl").touch()
"""

_TASKS = """\
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


def prompt(line, task_name):
    return Doc(
        task_name=task_name,
        query=line["question"],
        choices=[f" {choice}" for choice in line["choices"]],
        gold_index=line["answer"],
    )


TASKS_TABLE = [
    LightevalTaskConfig(
        name="tiny_choice",
        prompt_function=prompt,
        hf_repo="questions",
        hf_subset="default",
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        metrics=[Metrics.loglikelihood_acc],
        generation_size=1,
        stop_sequence=["\\\\n"],
        version=0,
    )
]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=pathlib.Path, required=True)
    options = parser.parse_args()
    python = environments.environment(options.envs / "lighteval", _PINS)
    keys = ("question", "choices", "answer")
    shutil.rmtree(_TARGET, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        environments.copy_models(folder)
        (folder / "questions").mkdir()
        (folder / "questions/test.jsonl").write_text(
            "".join(
                json.dumps(dict(zip(keys, question, strict=True))) + "\n"
                for question in environments.QUESTIONS
            )
        )
        (folder / "tiny_tasks.py").write_text(_TASKS)
        environments.run(python, ["-c", _FETCHED], folder)
        for model in environments.MODELS:
            environments.run(
                python,
                [
                    *("-m", "lighteval", "accelerate"),
                    f"model_name=stdlib20/{model},dtype=float32,device=cpu,"
                    "batch_size=1",
                    "tiny_choice|0",
                    *("--custom-tasks", "tiny_tasks.py", "--save-details"),
                    *("--output-dir", "out"),
                ],
                folder,
            )
        for path in sorted((folder / "out").rglob("*.parquet")):
            # The tool puts a bar before the 0, which Windows does not take.
            name = f"details_tiny_choice_0_{_DATE}.parquet"
            model = path.parent.parent.relative_to(folder / "out/details")
            target = _TARGET / "details" / model / _DATE / name
            target.parent.mkdir(parents=True)
            shutil.copy(path, target)


if __name__ == "__main__":
    main()
