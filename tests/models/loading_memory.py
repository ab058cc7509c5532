"""Measures the host's memory while a made-up LLaMA is loaded onto a mesh.

  python -m tests.models.loading_memory --scale=4

It makes a checkpoint in a temporary folder (scale 1: 134 MB, 4: 2.1 GB, both
float32), loads it onto 8 virtual CPU devices as 2 x 4, and prints bytes, one
JSON object. What counts is RssAnon of /proc/self/status, as the most of many
samples, above what the process had before: pages of the checkpoint's files are
the kernel's, which drops them when it needs the memory.
"""

import contextlib
import json
import pathlib
import re
import tempfile
import threading
import time

import jax
import numpy as np
import safetensors.numpy
import transformers
from absl import app, flags

from mmc_jax import models
from mmc_jax.models import sharding, tensors, weight_files

_SCALE = flags.DEFINE_integer("scale", 1, "Of all widths.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the parameters."
)


def _config(scale: int) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        vocab_size=8000 * scale,
        hidden_size=256 * scale,
        intermediate_size=1024 * scale,
        num_hidden_layers=28,
        num_attention_heads=8,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )


def _make(config: transformers.LlamaConfig, folder: pathlib.Path) -> int:
    """Writes random tensors, one a file; returns the bytes of the largest."""
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    abstract = models.abstract(config)
    stacks = tensors.stacks(models.FAMILIES["llama"], config)
    rng = np.random.default_rng(0)
    weight_map, largest = {}, 0
    for path, param in models.shapes.parameters(abstract).items():
        names = tensors.tensor_names(path, stacks)
        shape = names.of_tensor(param.shape)
        for name in names.all:
            tensor = rng.standard_normal(shape, np.float32)
            weight_map[name] = f"{name}.safetensors"
            largest = max(largest, tensor.nbytes)
            safetensors.numpy.save_file(
                {name: tensor}, folder / weight_map[name]
            )
    (folder / weight_files.INDEX).write_text(
        json.dumps({"weight_map": weight_map})
    )
    return largest


def _anonymous_bytes() -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s*(\d+) kB", status)[1])


@contextlib.contextmanager
def _most_anonymous_bytes():
    """Yields a list that gets the most bytes above those at the start."""
    before, most, done = _anonymous_bytes(), [0], threading.Event()

    def watch():
        while not done.is_set():
            most[0] = max(most[0], _anonymous_bytes() - before)
            time.sleep(1e-3)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def main(argv):
    del argv
    mesh = sharding.mesh(2, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        largest = _make(_config(_SCALE.value), folder)
        # What the first load of any model brings with it does not count.
        models.load("mmc_jax/pools/stdlib20/llama-30k", mesh=mesh)
        started = time.monotonic()
        with _most_anonymous_bytes() as most:
            model = models.load(folder, dtype=_DTYPE.value, mesh=mesh)
        seconds = time.monotonic() - started
    # CPU devices that hold the same part share its memory.
    params = models.shapes.parameters(model).values()
    print(
        json.dumps(
            {
                "shards": sum(param.nbytes for param in params),
                "largest_tensor": largest,
                "most": most[0],
                "seconds": round(seconds, 2),
            }
        )
    )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    app.run(main)
