"""The scoring engine and transformers on the same texts: seconds of each."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import transformers

from mmc_jax import models, report
from mmc_jax.models import sharding
from mmc_jax.scoring import batching, device, flops, likelihood
from mmc_jax.scoring.settings import Settings

from ..peers import transformers_scoring

_LLAMA = dict(rope_theta=5e5, max_position_embeddings=8192, rms_norm_eps=1e-5)
# As published: the configs of openai-community/gpt2, HuggingFaceTB/SmolLM2-135M
# and meta-llama/Llama-3.2-1B and -3.1-8B; of state-spaces/mamba-130m-hf and
# mamba2-130m, RWKV/rwkv-4-169m-pile, ibm-granite/granite-4.0-h-350m-base,
# tiiuae/Falcon-H1-0.5B-Base and Zyphra/Zamba2-1.2B. Nemotron-H is one of every
# kind of layer of nvidia/Nemotron-H-8B-Base-8K, whose smallest sister is large.
SHAPES = {
    "gpt2-124m": lambda: transformers.GPT2Config(),
    "smollm2-135m": lambda: _llama(576, 30, 9, 3, 1536, 49152, True),
    "llama-1b": lambda: _llama(2048, 16, 32, 8, 8192, 128256, True),
    "llama-8b": lambda: _llama(4096, 32, 32, 8, 14336, 128256, False),
    "mamba-130m": lambda: transformers.MambaConfig(
        num_hidden_layers=24, vocab_size=50280
    ),
    "mamba2-130m": lambda: transformers.Mamba2Config(
        hidden_size=768,
        num_hidden_layers=24,
        num_heads=24,
        n_groups=1,
        vocab_size=50288,
        tie_word_embeddings=True,
    ),
    "rwkv-169m": lambda: transformers.RwkvConfig(
        hidden_size=768, num_hidden_layers=12
    ),
    "granite-4-h-350m": lambda: transformers.GraniteMoeHybridConfig(
        vocab_size=100352,
        hidden_size=768,
        num_hidden_layers=32,
        num_attention_heads=12,
        num_key_value_heads=4,
        shared_intermediate_size=2048,
        num_local_experts=0,
        num_experts_per_tok=0,
        mamba_n_heads=48,
        mamba_d_state=128,
        layer_types=[
            "full_attention" if i in (10, 13, 17, 27) else "linear_attention"
            for i in range(32)
        ],
        tie_word_embeddings=True,
    ),
    "falcon-h1-500m": lambda: transformers.FalconH1Config(
        vocab_size=32784,
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=36,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        mamba_d_ssm=1536,
        mamba_n_heads=24,
        mamba_d_state=128,
        rope_parameters=dict(rope_type="default", rope_theta=1e11),
    ),
    "nemotron-h-4-layers": lambda: transformers.NemotronHConfig(
        vocab_size=32768,
        layers_block_type=[
            *("linear_attention", "mlp", "linear_attention"),
            "full_attention",
        ],
    ),
    # Of the 0.8B, whose vocabulary would be most of the work.
    "qwen3.5-8-layers": lambda: transformers.Qwen3_5TextConfig(
        vocab_size=32768,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
        tie_word_embeddings=True,
    ),
    # Half as wide as the 7B, with heads of its size.
    "olmo-hybrid-4-layers": lambda: transformers.OlmoHybridConfig(
        vocab_size=32768,
        hidden_size=1920,
        intermediate_size=5504,
        num_hidden_layers=4,
        num_attention_heads=15,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
    ),
    # Of the 48B one layer of each kind, with two experts that all tokens get.
    "kimi-linear-4-layers": lambda: transformers.KimiLinearConfig(
        vocab_size=32768,
        num_hidden_layers=4,
        layer_types=[*3 * ["linear_attention"], "full_attention"],
        mlp_layer_types=["dense", *3 * ["sparse"]],
        num_local_experts=2,
        num_experts_per_tok=2,
        moe_intermediate_size=3072,
    ),
    # Half as wide as the 7B, with heads of its size.
    "xlstm-6-layers": lambda: transformers.xLSTMConfig(
        vocab_size=32768,
        hidden_size=2048,
        num_heads=4,
        num_hidden_layers=6,
    ),
    "zamba2-1b": lambda: transformers.Zamba2Config(
        hidden_size=2048,
        num_hidden_layers=38,
        layers_block_type=[
            "hybrid" if i % 6 == 5 and i < 36 else "linear_attention"
            for i in range(38)
        ],
        num_mem_blocks=1,
        use_shared_attention_adapter=True,
        use_mem_rope=True,
        mamba_d_state=128,
        n_mamba_heads=64,
    ),
}
# Median and spread of the log-normal lengths; the shortest and longest text.
_MEDIAN_TOKENS, _LOG_SPREAD, _LENGTHS = 300, 0.5, (16, 1024)
_CONTEXT = 1024
# Side of the product that the rate is measured by.
_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
_PRODUCTS = 5


class Setup(NamedTuple):
    """What is measured.

    Attributes:
      shape: Name of the model's shape, one of SHAPES.
      dtype: Type of the parameters.
      num_texts: Least number of texts; batches are filled up.
      tokens_per_batch: Token budget of the engine's batches; what suits the
        device if None.
      peer_tokens_per_batch: Token budgets of the peer's batches; empty if it is
        not timed.
      num_repeats: Times that each side scores all texts; the fastest counts.
      num_threads: Threads of PyTorch.
      num_devices: Numbers of devices on which the engine is timed as well.
      clock: "wall" for the seconds that go by, "cpu" for those of this process.
      depths: Numbers of layers of which the compile time is told.
      checkpoint: Folder with weights of the shape; random weights if None.
      mesh: Devices along data and model.
    """

    shape: str
    dtype: str
    num_texts: int
    tokens_per_batch: int | None
    peer_tokens_per_batch: list[int]
    num_repeats: int
    num_threads: int
    num_devices: list[int]
    clock: str
    depths: list[int]
    checkpoint: str | None
    mesh: tuple[int, int]


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


def random_model(
    config: transformers.PreTrainedConfig, dtype: str
) -> models.layers.LanguageModel:
    """Returns a model with random weights."""
    rng = np.random.default_rng(0)

    def random(path, leaf):
        # The scale of a norm is about 1.
        mean = 1.0 if jax.tree_util.keystr(path).endswith(".scale.value") else 0
        noise = rng.standard_normal(leaf.shape, np.float32)
        return (mean + 0.02 * noise).astype(leaf.dtype)

    abstract = models.abstract(config, dtype=dtype)
    return jax.tree_util.tree_map_with_path(random, abstract)


def texts(setup: Setup, vocab_size: int) -> list[batching.Row]:
    """Returns texts that fill whole batches, as rows."""
    rng = np.random.default_rng(0)
    full, num_texts = [], 0
    lengths = rng.lognormal(np.log(_MEDIAN_TOKENS), _LOG_SPREAD, 10**5)
    lengths = np.clip(lengths, *_LENGTHS).astype(int)
    tokens = (rng.integers(0, vocab_size, n + 1, np.int32) for n in lengths)
    rows = (
        batching.Row(i, text[:-1], text[1:], 0) for i, text in enumerate(tokens)
    )
    for batch in batches(rows, _budget(setup)):
        full += batch.rows
        num_texts += len(batch.rows)
        if num_texts >= setup.num_texts:
            return [row._replace(text=i) for i, row in enumerate(full)]
    raise ValueError(f"num_texts is {setup.num_texts}: more than there are")


def _budget(setup):
    settings = Settings(tokens_per_batch=setup.tokens_per_batch)
    return device.tokens_per_batch(settings)


def batches(rows, budget: int, num_data: int = 1):
    """Yields batches of rows of like lengths."""
    lengths = batching.bucket_lengths(_CONTEXT)
    return batching.batches(rows, lengths, budget, num_data)


def _engine(setup, folder, rows):
    """Returns a function that scores all texts: float64 [X], in nats."""
    mesh = sharding.mesh(*setup.mesh, jax.devices())
    network = models.load(folder, dtype=setup.dtype, mesh=mesh)
    scorer = device.Scorer(network, mesh)

    def score():
        nll = np.zeros(len(rows))
        for batch, values in scorer.scored(
            batches(rows, _budget(setup), setup.mesh[0])
        ):
            for row, of_row in zip(batch.rows, values, strict=False):
                scored = of_row[: len(row.targets)]
                nll[row.text] = scored.sum(dtype=np.float64)
        return nll

    return score


def seconds(
    setup: Setup, functions: Sequence[Callable[[], Any]]
) -> list[float]:
    """Returns the fastest of each function's times, taken in turns.

    Args:
      setup: The clock and the number of repetitions.
      functions: Functions that are called.
    """
    now = dict(wall=time.perf_counter, cpu=time.process_time)[setup.clock]
    times = [[] for _ in functions]
    for _ in range(setup.num_repeats):
        for function, of_function in zip(functions, times, strict=True):
            started = now()
            function()
            of_function.append(now() - started)
    return [min(of_function) for of_function in times]


def _products(setup):
    """Returns a large product by each library, and its operations."""
    side = _SIDE[jax.default_backend()]
    square = jnp.ones((side, side), setup.dtype)
    by_xla = jax.jit(jnp.matmul)
    products = {"XLA": lambda: by_xla(square, square).block_until_ready()}
    if setup.peer_tokens_per_batch:
        products["PyTorch"] = transformers_scoring.product(side, setup.dtype)
    return products, 2 * side**3


def _compile_seconds(config, dtype, num_layers):
    """Returns how long the program of a model so deep takes to compile."""
    config = type(config).from_dict(config.to_dict())
    config.num_hidden_layers = num_layers
    abstract = models.abstract(config, dtype=dtype)
    tokens = jax.ShapeDtypeStruct((4, 512), jnp.int32)
    lowered = jax.jit(likelihood.token_nll).lower(abstract, tokens, tokens)
    started = time.perf_counter()
    lowered.compile()
    return time.perf_counter() - started


def _on_devices(setup, num_devices, folder, out):
    """Returns tokens a second and scores on so many devices.

    In a process of its own: the number of a CPU's devices is set at the start.
    """
    flags = dict(
        shape=setup.shape,
        dtype=setup.dtype,
        num_texts=setup.num_texts,
        tokens_per_batch=_budget(setup),
        num_repeats=setup.num_repeats,
        clock=setup.clock,
        checkpoint=folder,
        mesh=f"{num_devices}x1",
        peer=False,
        depths="",
        out=out,
    )
    command = [sys.executable, "-m", "mmc_jax", "benchmark_scoring"]
    command += [f"--{name}={value}" for name, value in flags.items()]
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


class Measured(NamedTuple):
    """What both sides took and said.

    Attributes:
      seconds: Fastest time of each side for all texts.
      nll: Scores of each side, in nats: [X].
      product_seconds: Fastest time of a large product of each library.
      product_flops: Operations of such a product.
      on_devices: Tokens a second and scores, by the number of devices.
    """

    seconds: dict[str, float]
    nll: dict[str, np.ndarray]
    product_seconds: dict[str, float]
    product_flops: int
    on_devices: dict[int, tuple[float, np.ndarray]]


def _measured(setup, config, rows, scratch):
    """Returns what both sides take for the rows."""
    folder = setup.checkpoint or f"{scratch}/checkpoint"
    if setup.checkpoint is None:
        models.save(random_model(config, setup.dtype), folder)
    sides = {"mmc_jax": _engine(setup, folder, rows)}
    if setup.peer_tokens_per_batch:
        sides |= transformers_scoring.scorers(
            folder,
            rows,
            lambda budget: batches(rows, budget),
            dtype=setup.dtype,
            num_threads=setup.num_threads,
            budgets=setup.peer_tokens_per_batch,
        )
    # The first pass compiles, and tells the scores.
    nll = {side: score() for side, score in sides.items()}
    products, product_flops = _products(setup)
    for product in products.values():
        product()
    # They are short, and so have several goes at each turn.
    repeated = _PRODUCTS * [*products.values()]
    times = seconds(setup, [*sides.values(), *repeated])
    of_products = np.reshape(times[len(sides) :], (_PRODUCTS, -1)).min(0)
    return Measured(
        dict(zip(sides, times, strict=False)),
        nll,
        dict(zip(products, of_products.tolist(), strict=True)),
        product_flops,
        {
            k: _on_devices(setup, k, folder, f"{scratch}/{k}")
            for k in setup.num_devices
        },
    )


def _numbers(setup, config, rows, measured):
    """Returns what result.json holds."""
    seconds, nll = measured.seconds, measured.nll
    num_tokens = sum(len(row.targets) for row in rows)
    model_flops = sum(
        flops.forward_flops(config, len(row.targets)) for row in rows
    )
    rates = {side: model_flops / value for side, value in seconds.items()}
    product_rates = {
        library: measured.product_flops / value
        for library, value in measured.product_seconds.items()
    }
    numbers = {
        "num_texts": len(rows),
        "num_tokens": num_tokens,
        "tokens_per_second": {
            side: num_tokens / value for side, value in seconds.items()
        },
        "flops_per_second": rates,
        "product_flops_per_second": product_rates,
        "compile_seconds": {
            str(depth): _compile_seconds(config, setup.dtype, depth)
            for depth in setup.depths
        },
    }
    peers = [side for side in seconds if side != "mmc_jax"]
    if peers:
        best = min(peers, key=seconds.get)
        numbers["ratios"] = {
            side: seconds[side] / seconds["mmc_jax"] for side in peers
        }
        numbers["ratio"] = numbers["ratios"][best]
        fastest = max(product_rates.values())
        numbers["ratio_at_product_rate"] = fastest / rates[best]
        numbers["relative_differences"] = _differences(
            nll["mmc_jax"], nll[best]
        )
    numbers["on_devices"] = {
        k: {
            "tokens_per_second": rate,
            "largest_relative_difference": _differences(scores, nll["mmc_jax"])[
                "max"
            ],
        }
        for k, (rate, scores) in measured.on_devices.items()
    }
    return numbers


def _sentences(setup, numbers):
    """Yields the numbers in words."""
    yield (
        f"{setup.shape}, {setup.dtype}: {numbers['num_tokens']} tokens of "
        f"{numbers['num_texts']}"
    )
    for side, rate in numbers["tokens_per_second"].items():
        yield f"{side:<34}{rate:10.0f} tokens/s"
    for side, ratio in numbers.get("ratios", {}).items():
        yield f"{f'ratio to {side}':<34}{ratio:10.2f}"
    for name, value in numbers.get("relative_differences", {}).items():
        yield f"{'difference of scores, ' + name:<34}{value:10.1e}"
    product_rates = numbers["product_flops_per_second"]
    for library, rate in product_rates.items():
        yield f"{'a large product, ' + library:<34}{rate / 1e9:10.0f} GFLOP/s"
    fastest = max(product_rates.values())
    for side, rate in numbers["flops_per_second"].items():
        yield (
            f"{side:<34}{rate / 1e9:10.0f} GFLOP/s, {rate / fastest:.0%} of "
            "the faster product"
        )
    if "ratio_at_product_rate" in numbers:
        bound = numbers["ratio_at_product_rate"]
        yield f"{'ratio at the rate of that product':<34}{bound:10.2f}"
    for depth, value in numbers["compile_seconds"].items():
        yield f"{f'compile time, {depth} layers':<34}{value:10.1f} s"
    for k, found in numbers["on_devices"].items():
        rate = found["tokens_per_second"]
        off = found["largest_relative_difference"]
        yield f"{f'on {k} devices':<34}{rate:10.0f} tokens/s, off by {off:.1e}"


def write(setup: Setup, out: str, flags: Mapping[str, Any]) -> None:
    """Times both sides, prints how they compare, and writes the result folder.

    Args:
      setup: What is measured.
      out: The result folder.
      flags: What the program was called with.
    """
    if setup.peer_tokens_per_batch and not transformers_scoring.is_there():
        print("torch is not installed: transformers is not timed")
        setup = setup._replace(peer_tokens_per_batch=[])
    config = SHAPES[setup.shape]()
    rows = texts(setup, config.vocab_size)
    with tempfile.TemporaryDirectory() as scratch:
        measured = _measured(setup, config, rows, scratch)
    numbers = _numbers(setup, config, rows, measured)
    for sentence in _sentences(setup, numbers):
        print(sentence)
    path = report.write_result(out, numbers, flags=flags, arrays=measured.nll)
    print(f"result: {path}")
