"""Times the scoring engine side by side with transformers on PyTorch.

  python -m experiments.benchmark_scoring --shape=gpt2-124m --out=results/speed

One run, one machine, one dtype: both sides score the same random texts with the
same random weights, in batches of like lengths, and take turns; the fastest of
the repetitions counts. The engine has batches of the size that is its default
for the device, the peer of each size of --peer_tokens_per_batch; the ratio is
to the size that suits it best, and the others stand beside it. The peer is told
which rows and positions are padding and leaves them out; its loss is PyTorch's
cross entropy, float32, of the logits of a batch. Without torch only the engine
is timed. Tokens are those of the texts, without padding. Beside them stands
what bounds both: the rate of a large product by XLA, as the engine makes them,
and by PyTorch, in the same run; and the ratio of an engine that ran at the
faster of the two throughout.

On a CPU that others use as well, `taskset -c 0 python -m
experiments.benchmark_scoring --num_threads=1 --clock=cpu ...` tells the same of
one core: the seconds that the process has had, not those that went by.

`--num_devices=1,2,4,8` adds the engine alone on so many devices, virtual ones
on a CPU, where it shows that scores stay the same, and nothing about speed.

Expected on 2 CPU cores in float32: 1.1 to 1.3 times the tokens a second of the
peer at its best, 1.3 to 1.5 times those of its larger batches, and scores
within 1e-7; 4 minutes for 24 texts.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import transformers
from absl import flags

from experiments import program
from mmc_jax import models, report
from mmc_jax.models import sharding
from mmc_jax.scoring import batching, device, flops, likelihood
from mmc_jax.scoring.settings import Settings

try:
    import torch
except ImportError:
    torch = None

_LLAMA = dict(rope_theta=5e5, max_position_embeddings=8192, rms_norm_eps=1e-5)
# As published: the configs of openai-community/gpt2, HuggingFaceTB/SmolLM2-135M
# and meta-llama/Llama-3.2-1B and -3.1-8B.
_SHAPES = {
    "gpt2-124m": lambda: transformers.GPT2Config(),
    "smollm2-135m": lambda: _llama(576, 30, 9, 3, 1536, 49152, True),
    "llama-1b": lambda: _llama(2048, 16, 32, 8, 8192, 128256, True),
    "llama-8b": lambda: _llama(4096, 32, 32, 8, 14336, 128256, False),
}
# Median and spread of the log-normal lengths; the shortest and longest text.
_MEDIAN_TOKENS, _LOG_SPREAD, _LENGTHS = 300, 0.5, (16, 1024)
_CONTEXT = 1024
# Side of the product that the rate is measured by.
_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
_PRODUCTS = 5

_SHAPE = flags.DEFINE_enum("shape", "gpt2-124m", list(_SHAPES), "Of the model.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the parameters."
)
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts", 64, "At least so many texts, in full batches.", lower_bound=1
)
_TOKENS_PER_BATCH = flags.DEFINE_integer(
    "tokens_per_batch",
    None,
    "Token budget of the engine's batches; its default if unset.",
    lower_bound=1,
)
_PEER_TOKENS_PER_BATCH = flags.DEFINE_list(
    "peer_tokens_per_batch", ["1024", "8192"], "Token budgets of the peer's."
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", 3, "The fastest counts.", lower_bound=1
)
_NUM_THREADS = flags.DEFINE_integer(
    "num_threads", os.cpu_count(), "Of PyTorch.", lower_bound=1
)
_NUM_DEVICES = flags.DEFINE_list(
    "num_devices", [], "Also times the engine on so many devices each."
)
_CLOCK = flags.DEFINE_enum(
    "clock",
    "wall",
    ["wall", "cpu"],
    "The seconds that go by, or those of this process on all cores, waiting "
    "threads included: for one thread on a busy CPU.",
)
_PEER = flags.DEFINE_bool("peer", True, "Time transformers as well.")
_DEPTHS = flags.DEFINE_list(
    "depths", ["4", "48"], "Layers of which the compile time is told."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A folder with weights of the shape; random if unset."
)
_NUM_DATA = flags.DEFINE_integer(
    "num_data", 1, "Devices that batches are spread over.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "The result's folder.", required=True)


def _llama(width, layers, heads, key_heads, inner, vocab, tied):
    return transformers.LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=inner,
        vocab_size=vocab,
        tie_word_embeddings=tied,
        **_LLAMA,
    )


def _write_checkpoint(config, folder):
    """Writes a model with random weights."""
    rng = np.random.default_rng(0)

    def random(path, leaf):
        # The scale of a norm is about 1.
        mean = 1.0 if jax.tree_util.keystr(path).endswith(".scale.value") else 0
        noise = rng.standard_normal(leaf.shape, np.float32)
        return (mean + 0.02 * noise).astype(leaf.dtype)

    abstract = models.abstract(config, dtype=_DTYPE.value)
    models.save(jax.tree_util.tree_map_with_path(random, abstract), folder)


def _texts(vocab_size):
    """Returns texts that fill whole batches, as rows."""
    rng = np.random.default_rng(0)
    full, num_texts = [], 0
    lengths = rng.lognormal(np.log(_MEDIAN_TOKENS), _LOG_SPREAD, 10**5)
    lengths = np.clip(lengths, *_LENGTHS).astype(int)
    tokens = (rng.integers(0, vocab_size, n + 1, np.int32) for n in lengths)
    rows = (
        batching.Row(i, text[:-1], text[1:], 0) for i, text in enumerate(tokens)
    )
    for batch in _batches(rows, _budget()):
        full += batch.rows
        num_texts += len(batch.rows)
        if num_texts >= _NUM_TEXTS.value:
            return [row._replace(text=i) for i, row in enumerate(full)]
    raise ValueError(f"num_texts is {_NUM_TEXTS.value}: more than there are")


def _budget():
    settings = Settings(tokens_per_batch=_TOKENS_PER_BATCH.value)
    return device.tokens_per_batch(settings)


def _batches(rows, budget, num_data=1):
    lengths = batching.bucket_lengths(_CONTEXT)
    return batching.batches(rows, lengths, budget, num_data)


def _engine(folder, rows, num_data):
    """Returns a function that scores all texts: float64 [X], in nats."""
    mesh = sharding.mesh(num_data, 1, jax.devices())
    network = models.load(folder, dtype=_DTYPE.value, mesh=mesh)
    scorer = device.Scorer(network, mesh)

    def score():
        nll = np.zeros(len(rows))
        for batch, values in scorer.scored(_batches(rows, _budget(), num_data)):
            for row, of_row in zip(batch.rows, values, strict=False):
                scored = of_row[: len(row.targets)]
                nll[row.text] = scored.sum(dtype=np.float64)
        return nll

    return score


def _transformers(folder, rows):
    """Returns that function by transformers, for each of its budgets.

    On the same kind of device.
    """
    where = "cuda" if jax.default_backend() == "gpu" else "cpu"
    torch.set_num_threads(_NUM_THREADS.value)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, _DTYPE.value),
        attn_implementation="sdpa",
    )
    network = network.to(where).eval()

    def score(budget):
        nll = np.zeros(len(rows))
        for batch in _batches(rows, budget):
            num_rows = len(batch.rows)
            longest = max(len(row.inputs) for row in batch.rows)
            inputs, targets = (
                torch.from_numpy(tokens[:num_rows, :longest]).to(
                    where, torch.int64
                )
                for tokens in (batch.inputs, batch.targets)
            )
            with torch.inference_mode():
                logits = network(inputs, use_cache=False).logits.float()
                values = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), reduction="none"
                )
            values = values.view(targets.shape).cpu().numpy()
            for row, of_row in zip(batch.rows, values, strict=True):
                scored = of_row[: len(row.targets)]
                nll[row.text] = scored.sum(dtype=np.float64)
        return nll

    return {
        f"transformers, {budget} tokens": functools.partial(score, int(budget))
        for budget in _PEER_TOKENS_PER_BATCH.value
    }


def _seconds(functions):
    """Returns the fastest of each function's times, taken in turns."""
    now = dict(wall=time.perf_counter, cpu=time.process_time)[_CLOCK.value]
    times = [[] for _ in functions]
    for _ in range(_REPETITIONS.value):
        for function, of_function in zip(functions, times, strict=True):
            started = now()
            function()
            of_function.append(now() - started)
    return [min(of_function) for of_function in times]


def _products():
    """Returns a large product by each library, and its operations."""
    side = _SIDE[jax.default_backend()]
    square = jnp.ones((side, side), _DTYPE.value)
    by_xla = jax.jit(jnp.matmul)
    products = {"XLA": lambda: by_xla(square, square).block_until_ready()}
    if _PEER.value and torch is not None:
        where = "cuda" if jax.default_backend() == "gpu" else "cpu"
        dtype = getattr(torch, _DTYPE.value)
        matrix = torch.ones(side, side, dtype=dtype, device=where)
        # One number is fetched: a GPU's product is then done.
        products["PyTorch"] = lambda: (matrix @ matrix)[0, 0].item()
    return products, 2 * side**3


def _compile_seconds(config, num_layers):
    """Returns how long the program of a model so deep takes to compile."""
    config = type(config).from_dict(config.to_dict())
    config.num_hidden_layers = num_layers
    abstract = models.abstract(config, dtype=_DTYPE.value)
    tokens = jax.ShapeDtypeStruct((4, 512), jnp.int32)
    lowered = jax.jit(likelihood.token_nll).lower(abstract, tokens, tokens)
    started = time.perf_counter()
    lowered.compile()
    return time.perf_counter() - started


def _on_devices(num_devices, folder, out):
    """Returns tokens a second and scores on so many devices.

    In a process of its own: the number of a CPU's devices is set at the start.
    """
    command = [sys.executable, "-m", "experiments.benchmark_scoring"]
    changes = dict(
        out=out,
        checkpoint=folder,
        num_data=num_devices,
        num_devices="",
        peer=False,
        peer_tokens_per_batch="",
        tokens_per_batch=_budget(),
        depths="",
    )
    own = program.flag_values() | changes
    command += [f"--{name}={value}" for name, value in own.items()]
    environment = os.environ | dict(JAX_NUM_CPU_DEVICES=str(num_devices))
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    result = json.loads((pathlib.Path(out) / "result.json").read_text())
    with np.load(pathlib.Path(out) / "arrays.npz") as arrays:
        return result["tokens_per_second"]["mmc_jax"], arrays["mmc_jax"]


def _differences(nll, expected):
    """Returns how far scores lie from others, relative, as JSON."""
    relative = np.abs(nll - expected) / np.abs(expected)
    quantiles = np.quantile(relative, [0.5, 0.9, 0.99, 1.0]).tolist()
    return dict(zip(("median", "p90", "p99", "max"), quantiles, strict=True))


def main():
    config = _SHAPES[_SHAPE.value]()
    rows = _texts(config.vocab_size)
    num_tokens = sum(len(row.targets) for row in rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = _CHECKPOINT.value or f"{scratch}/checkpoint"
        if _CHECKPOINT.value is None:
            _write_checkpoint(config, folder)
        sides = {"mmc_jax": _engine(folder, rows, _NUM_DATA.value)}
        if _PEER.value and torch is None:
            print("torch is not installed: transformers is not timed")
        elif _PEER.value:
            sides |= _transformers(folder, rows)
        # The first pass compiles, and tells the scores.
        nll = {side: score() for side, score in sides.items()}
        products, product_flops = _products()
        for product in products.values():
            product()
        # They are short, and so have several goes at each turn.
        times = _seconds([*sides.values(), *_PRODUCTS * [*products.values()]])
        seconds = dict(zip(sides, times, strict=False))
        of_products = np.reshape(times[len(sides) :], (_PRODUCTS, -1)).min(0)
        on_devices = {
            int(k): _on_devices(int(k), folder, f"{scratch}/{k}")
            for k in _NUM_DEVICES.value
        }
    model_flops = sum(
        flops.forward_flops(config, len(row.targets)) for row in rows
    )
    product_rates = dict(
        zip(products, (product_flops / of_products).tolist(), strict=True)
    )
    fastest = max(product_rates.values())
    rates = {side: model_flops / of_side for side, of_side in seconds.items()}
    numbers = {
        "num_texts": len(rows),
        "num_tokens": num_tokens,
        "tokens_per_second": {
            side: num_tokens / of_side for side, of_side in seconds.items()
        },
        "flops_per_second": rates,
        "product_flops_per_second": product_rates,
        "compile_seconds": {
            depth: _compile_seconds(config, int(depth))
            for depth in filter(None, _DEPTHS.value)
        },
    }
    print(f"{_SHAPE.value}, {_DTYPE.value}: {num_tokens} tokens of {len(rows)}")
    for side, rate in numbers["tokens_per_second"].items():
        print(f"{side:<34}{rate:10.0f} tokens/s")
    peers = [side for side in sides if side != "mmc_jax"]
    if peers:
        best = min(peers, key=seconds.get)
        numbers["ratios"] = {
            side: seconds[side] / seconds["mmc_jax"] for side in peers
        }
        numbers["ratio"] = numbers["ratios"][best]
        numbers["ratio_at_product_rate"] = fastest / rates[best]
        numbers["relative_differences"] = _differences(
            nll["mmc_jax"], nll[best]
        )
        for side, ratio in numbers["ratios"].items():
            print(f"{f'ratio to {side}':<34}{ratio:10.2f}")
        for name, value in numbers["relative_differences"].items():
            print(f"{'difference of scores, ' + name:<34}{value:10.1e}")
    for library, rate in product_rates.items():
        print(f"{'a large product, ' + library:<34}{rate / 1e9:10.0f} GFLOP/s")
    for side, rate in rates.items():
        print(
            f"{side:<34}{rate / 1e9:10.0f} GFLOP/s, {rate / fastest:.0%} of "
            "the faster product"
        )
    if peers:
        bound = numbers["ratio_at_product_rate"]
        print(f"{'ratio at the rate of that product':<34}{bound:10.2f}")
    for depth, value in numbers["compile_seconds"].items():
        print(f"{f'compile time, {depth} layers':<34}{value:10.1f} s")
    numbers["on_devices"] = {}
    for k, (rate, scores) in on_devices.items():
        off = _differences(scores, nll["mmc_jax"])["max"]
        numbers["on_devices"][k] = {
            "tokens_per_second": rate,
            "largest_relative_difference": off,
        }
        print(f"{f'on {k} devices':<34}{rate:10.0f} tokens/s, off by {off:.1e}")
    path = report.write_result(
        _OUT.value, numbers, flags=program.flag_values(), arrays=nll
    )
    print(f"result: {path}")


if __name__ == "__main__":
    program.run(main)
