"""Makes the fixtures of Inspect: one log of likelihoods, one of answers.

    python -m tests.importers.make_fixtures.inspect_ai --envs=/tmp/envs

Inspect's own provider for local weights gives no log-probabilities of a prompt,
so that a small provider does, which runs models of the shipped pool; scorers
and log files are the tool's. Takes five minutes, most of them to install.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

from tests.importers.make_fixtures import environments

_TARGET = pathlib.Path(__file__).parents[1] / "fixtures/inspect"
_PINS = ["inspect-ai==0.3.285", "torch==2.13.0", "transformers==4.57.6"]

_PROGRAM = """\
import json
import pathlib
import sys
import zipfile

import torch
import transformers
import zipfile_zstd
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatCompletionChoice, ChatMessageAssistant, GenerateConfig, Logprob,
    Logprobs, ModelAPI, ModelOutput, modelapi,
)
from inspect_ai.scorer import includes, perplexity
from inspect_ai.solver import generate

folder, models, texts, questions = json.loads(sys.argv[1])


@modelapi("pool")
class Pool(ModelAPI):
    def __init__(self, model_name, *arguments, **options):
        super().__init__(model_name, config=GenerateConfig())
        path = pathlib.Path("stdlib20", model_name)
        load = transformers.AutoModelForCausalLM.from_pretrained
        self.model = load(path, dtype=torch.float32)
        self.tokens = transformers.AutoTokenizer.from_pretrained(path)

    async def generate(self, input, tools, tool_choice, config):
        text = input[-1].text
        ids = self.tokens(text)["input_ids"]
        row = torch.tensor([[self.tokens.bos_token_id, *ids]])
        with torch.no_grad():
            logits = torch.log_softmax(self.model(row).logits[0], -1)
        found = [
            Logprob(token=self.tokens.decode([i]), logprob=float(logits[t, i]))
            for t, i in enumerate(ids)
        ]
        answer = self.tokens.decode([int(logits[-1].argmax())])
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(content=answer),
                    prompt_logprobs=Logprobs(content=found),
                )
            ],
        )


tiny_texts = Task(
    name="tiny_texts",
    dataset=[Sample(input=t, target="") for t in texts],
    solver=generate(),
    scorer=perplexity(),
)
tiny_questions = Task(
    name="tiny_questions",
    dataset=[Sample(input=q, target=c[g]) for q, c, g in questions],
    solver=generate(),
    scorer=includes(),
)
for model in models:
    eval(
        [tiny_texts, tiny_questions],
        model=f"pool/{model}",
        log_dir="logs",
        log_format="eval",
        display="none",
    )
# Names that tell of neither day nor machine.
for i, path in enumerate(sorted(pathlib.Path("logs").glob("*.eval"))):
    with zipfile.ZipFile(path) as old:
        task = json.loads(old.read("header.json"))["eval"]["task"]
        name = pathlib.Path("out", f"{task}-{i}.eval")
        name.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(name, "w", zipfile.ZIP_ZSTANDARD) as new:
            for member in old.namelist():
                content = old.read(member).decode().replace(folder, "/data")
                new.writestr(zipfile.ZipInfo(member), content, 93)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=pathlib.Path, required=True)
    options = parser.parse_args()
    python = environments.environment(options.envs / "inspect_ai", _PINS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        environments.copy_models(folder)
        (folder / "program.py").write_text(_PROGRAM)
        given = (
            temporary,
            environments.MODELS,
            environments.TEXTS,
            environments.QUESTIONS,
        )
        environments.run(python, ["program.py", json.dumps(given)], folder)
        shutil.rmtree(_TARGET, ignore_errors=True)
        shutil.copytree(folder / "out", _TARGET)


if __name__ == "__main__":
    main()
