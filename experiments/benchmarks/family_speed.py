"""A model beside a transformer of as many parameters: seconds of each.

D width, F MLP width, L layers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import transformers

from mmc_jax import report
from mmc_jax.scoring import flops, likelihood

from . import scoring_speed

# Positions of the one text that both score.
LENGTH = 1024
_HEAD_DIM = 64


def equal_transformer(
    config: transformers.PreTrainedConfig,
) -> transformers.LlamaConfig:
    """Returns a LLaMA of as many active parameters, head and width the same.

    Its layers have 12 D^2 parameters or nearly so: 4 D^2 of attention and
    3 D F of the MLP, F by the number that is to be reached.

    Args:
      config: The config of any ported model.
    """
    D, head = config.hidden_size, config.vocab_size * config.hidden_size
    num_tables = 1 if config.tie_word_embeddings else 2
    num_params = flops.num_active_params(config) - num_tables * head
    L = max(1, round(num_params / (12 * D**2)))
    num_heads = max(1, D // _HEAD_DIM)
    attention = 4 * D * num_heads * _HEAD_DIM
    F = max(1, round((num_params / L - attention) / (3 * D)))
    return transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=D,
        intermediate_size=F,
        num_hidden_layers=L,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=_HEAD_DIM,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=config.tie_word_embeddings,
    )


def write(
    setup: scoring_speed.Setup, out: str, flags: Mapping[str, Any]
) -> None:
    """Times both models, prints how they compare, and writes the result folder.

    Each scores one text of 1,024 tokens, in turns.

    Args:
      setup: What is measured; its texts, budgets and devices are not used.
      out: The result folder.
      flags: What the program was called with.
    """
    config = scoring_speed.SHAPES[setup.shape]()
    sides = {setup.shape: config, "transformer": equal_transformer(config)}
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, config.vocab_size, (1, LENGTH + 1), np.int32)
    score = jax.jit(likelihood.token_nll)

    def scorer(of_side):
        model = jax.device_put(scoring_speed.random_model(of_side, setup.dtype))
        return lambda: score(
            model, tokens[:, :-1], tokens[:, 1:]
        ).block_until_ready()

    functions = [scorer(of_side) for of_side in sides.values()]
    for function in functions:
        function()  # Compiles.
    seconds = dict(
        zip(sides, scoring_speed.seconds(setup, functions), strict=True)
    )
    numbers = {
        "num_tokens": LENGTH,
        "num_active_params": {
            side: flops.num_active_params(of_side)
            for side, of_side in sides.items()
        },
        "gigaflops": {
            side: flops.forward_flops(of_side, LENGTH) / 1e9
            for side, of_side in sides.items()
        },
        "seconds": seconds,
        "ratio": seconds[setup.shape] / seconds["transformer"],
    }
    for side in sides:
        print(
            f"{side:<24}{numbers['num_active_params'][side] / 1e6:10.1f} "
            f"million parameters, {numbers['gigaflops'][side]:.0f} GFLOP, "
            f"{seconds[side]:.2f} s"
        )
    print(f"{'times the transformer':<24}{numbers['ratio']:10.2f}")
    print(f"result: {report.write_result(out, numbers, flags=flags)}")
