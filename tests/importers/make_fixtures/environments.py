"""A virtual environment for each tool, and models of the pool as it wants them.

    environment(folder, ["lm-eval==0.4.8"])

makes it once; a folder that has one is used again.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

# Of an earlier training of the shipped pool, so that logs stay right after the
# next one.
POOL = pathlib.Path(__file__).parents[1] / "fixtures/stdlib20"
MODELS = ("gpt2-30k", "llama-30k")

# Blanks before commas, so that a task may remove them; more bytes than
# characters; one text twice.
TEXTS = (
    "import os\n\nReturn the base name of a path , as a string .\n",
    "The café opens at 9 , and «closes» at 17 .",
    "for key , value in table.items():\n    print(key , value)\n",
    "The café opens at 9 , and «closes» at 17 .",
)
QUESTIONS = (
    ("The opposite of open is", ["close", "read", "write"], 0),
    ("A list of numbers is sorted by", ["json", "sorted", "os.path"], 1),
    ("The square of 2 is", ["1", "2", "4"], 2),
)


def environment(folder: pathlib.Path, pins: list[str]) -> pathlib.Path:
    """Returns the Python of an environment with some packages.

    Args:
      folder: Where the environment is, or is to be made.
      pins: Requirements as pip takes them.
    """
    python = folder / "bin/python"
    done = folder / "installed.json"
    if not done.exists() or json.loads(done.read_text()) != pins:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *pins], check=True
        )
        done.write_text(json.dumps(pins))
    return python


def run(python: pathlib.Path, arguments: list[str], folder: pathlib.Path):
    """Runs a program of an environment offline, without an accelerator."""
    offline = {
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(folder / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": "",
    }
    subprocess.run(
        [str(python), *arguments],
        check=True,
        cwd=folder,
        env={**os.environ, **offline},
    )


def copy_models(folder: pathlib.Path) -> None:
    """Copies models of the pool, so that transformers before 5 reads them."""
    for name in MODELS:
        target = folder / "stdlib20" / name
        shutil.copytree(POOL / name, target, dirs_exist_ok=True)
        file = target / "tokenizer_config.json"
        config = json.loads(file.read_text())
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        file.write_text(json.dumps(config))
